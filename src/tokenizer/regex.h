/*
 * regex.h - the regular expressions of tokenizers, written for Oniguruma, matched by PCRE2.
 *
 * Syntax that the two read differently is translated: \s, \w, \d and \h have Unicode's meaning as
 * in Oniguruma, \b and \B are the bounds of what \w matches, scripts are those of the characters
 * alone, X{1,3}+ repeats X{1,3}, a class in a class adds to it, && intersects classes, (?m) lets a
 * dot match a line's end, and options without a group hold up to the end of the group that they
 * stand in. Syntax without a translation is an error.
 */
#ifndef CBE_TOKENIZER_REGEX_H
#define CBE_TOKENIZER_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

typedef struct cbe_regex cbe_regex;

/** Compiles a pattern.
 * @param pattern  length bytes of UTF-8
 * @param path     the pattern's file, for messages
 * @return CBE_OK; CBE_ERR_UNSUPPORTED if the pattern, which the message shows, cannot be translated
 * or compiled; CBE_ERR_NOMEM */
cbe_status cbe_regex_create(cbe_regex **out, const char *pattern, size_t length, const char *path,
                            cbe_error *err);
/** Makes a regex that matches exactly these bytes.
 * @return as cbe_regex_create */
cbe_status cbe_regex_create_literal(cbe_regex **out, const char *text, size_t length,
                                    cbe_error *err);
void cbe_regex_free(cbe_regex *regex); /* NULL is allowed */

/** The state of one search. Several threads may search with one regex, each with its own state. */
typedef struct cbe_regex_search cbe_regex_search;

/** Creates the state of a search in one text.
 * @param length  bytes of the text, with which the limit on steps grows
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_regex_search_create(cbe_regex_search **out, const cbe_regex *regex, size_t length,
                                   cbe_error *err);
void cbe_regex_search_free(cbe_regex_search *search); /* NULL is allowed */

/** Where the search for the matches of a text has come to; begins as {0}. */
typedef struct {
    size_t at;      /* the next match begins here or behind */
    size_t end;     /* end of the last match */
    bool any_match; /* there was one */
} cbe_regex_place;

/** Finds the next match, as Oniguruma's iterator does: an empty match counts, unless it is at the
 * end of the match before.
 * @param text   well-formed UTF-8 (not checked); may contain 0
 * @param place  moved behind the match
 * @param found  [out] false: there is no further match, and *begin = *end = length
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_UNSUPPORTED if matching takes too many steps */
cbe_status cbe_regex_find(cbe_regex_search *search, const char *text, size_t length,
                          cbe_regex_place *place, bool *found, size_t *begin, size_t *end,
                          cbe_error *err);

/** White space as in Unicode's property White_Space, for use in a class. */
#define CBE_REGEX_SPACES                                                                           \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"

#endif
