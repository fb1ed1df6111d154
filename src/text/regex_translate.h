/* regex_translate.h - a pattern written for Oniguruma as PCRE2 reads it; see regex.h. */
#ifndef CBE_TEXT_REGEX_TRANSLATE_H
#define CBE_TEXT_REGEX_TRANSLATE_H

#include <stddef.h>

#include "cbe/status.h"

/** *out, ended by a 0 that *out_length does not count, is to cbe_free.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED (pattern shown); CBE_ERR_NOMEM */
cbe_status cbe_regex_translate(char **out, size_t *out_length, const char *pattern, size_t length,
                               const char *path, cbe_error *err);

#endif
