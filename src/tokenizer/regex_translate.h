/* regex_translate.h - translating a pattern written for Oniguruma to PCRE2's syntax; see
 * regex.h. */
#ifndef CBE_TOKENIZER_REGEX_TRANSLATE_H
#define CBE_TOKENIZER_REGEX_TRANSLATE_H

#include <stddef.h>

#include "cbe/status.h"

/** Translates a pattern (length bytes). The caller frees *out with cbe_free; a 0, which *out_length
 * does not count, ends it.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED (pattern shown); CBE_ERR_NOMEM */
cbe_status cbe_regex_translate(char **out, size_t *out_length, const char *pattern, size_t length,
                               const char *path, cbe_error *err);

#endif
