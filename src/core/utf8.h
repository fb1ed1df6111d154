/* utf8.h - lengths of UTF-8 characters, and tests of well-formed UTF-8. */
#ifndef CBE_CORE_UTF8_H
#define CBE_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Number of bytes of the first character of text (length bytes, at least 1). If *valid is false,
 * text begins with no character, and the number is that of the ill-formed maximal subpart. */
size_t cbe_utf8_next(const char *text, size_t length, bool *valid);

/** Number of well-formed bytes from the start of text; length if all are. */
size_t cbe_utf8_valid_length(const char *text, size_t length);

/** Number of bytes of the character whose first byte is `first`, in well-formed UTF-8. */
static inline size_t cbe_utf8_size(char first)
{
    const unsigned char byte = (unsigned char)first;
    return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/** Whether a character has Unicode's property White_Space. */
bool cbe_utf8_is_space(int32_t character);

#endif
