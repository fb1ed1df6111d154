/*
 * utf8_replace.h - replacing ill-formed UTF-8 in a text.
 *
 * Each maximal subpart of an ill-formed sequence becomes one U+FFFD (Unicode 15, section 3.9,
 * "U+FFFD Substitution of Maximal Subparts"): "F0 9F 41" is U+FFFD "A", "C0 80" is two U+FFFD.
 */
#ifndef CBE_CORE_UTF8_REPLACE_H
#define CBE_CORE_UTF8_REPLACE_H

#include <stddef.h>

#include "cbe/status.h"

/** Copies text with its ill-formed parts replaced; the caller frees *out with cbe_free. A 0, which
 * *out_length does not count, ends the copy.
 * @param n_replaced  [out] number of parts replaced; NULL skips it
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_utf8_replace(char **out, const char *text, size_t length, size_t *out_length,
                            size_t *n_replaced, cbe_error *err);

#endif
