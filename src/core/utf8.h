/*
 * utf8.h - which bytes are UTF-8, and what the others become.
 *
 * Each maximal subpart of an ill-formed sequence becomes one U+FFFD (Unicode 15, section 3.9,
 * "U+FFFD Substitution of Maximal Subparts"): "F0 9F 41" is U+FFFD "A", "C0 80" is two U+FFFD.
 */
#ifndef CBE_CORE_UTF8_H
#define CBE_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"

/** Bytes of the character that text (length bytes, at least 1) begins with; where *valid is false,
 * of the maximal subpart that is not one. */
size_t cbe_utf8_next(const char *text, size_t length, bool *valid);

/** Bytes from the start of text that are well-formed; length when all are. */
size_t cbe_utf8_valid_length(const char *text, size_t length);

/** Copy of text with its ill-formed parts replaced; to cbe_free. Ended by a 0 that *out_length does
 * not count.
 * @param n_replaced  [out] parts replaced; NULL: not wanted
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_utf8_replace(char **out, const char *text, size_t length, size_t *out_length,
                            size_t *n_replaced, cbe_error *err);

/** Bytes of the character that begins with this one, in well-formed UTF-8. */
static inline size_t cbe_utf8_size(char first)
{
    const unsigned char byte = (unsigned char)first;
    return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/** Unicode's property White_Space. */
bool cbe_utf8_is_space(int32_t character);

#endif
