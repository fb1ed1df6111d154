/* utf8.h - which bytes are UTF-8. */
#ifndef CBE_CORE_UTF8_H
#define CBE_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes of the character that text (length bytes, at least 1) begins with; where *valid is false,
 * of the maximal subpart that is not one. */
size_t cbe_utf8_next(const char *text, size_t length, bool *valid);

/** Bytes from the start of text that are well-formed; length when all are. */
size_t cbe_utf8_valid_length(const char *text, size_t length);

/** Bytes of the character that begins with this one, in well-formed UTF-8. */
static inline size_t cbe_utf8_size(char first)
{
    const unsigned char byte = (unsigned char)first;
    return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/** Unicode's property White_Space. */
bool cbe_utf8_is_space(int32_t character);

#endif
