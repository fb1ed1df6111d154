/*
 * pretokenize.h - cutting text into the words inside which tokens are found: a sequence of steps,
 * each of which works on the pieces that the one before it left.
 */
#ifndef CBE_TEXT_PRETOKENIZE_H
#define CBE_TEXT_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"
#include "text/regex.h"

/** What becomes of the matches of a pattern, and of what lies between them. */
typedef enum {
    CBE_SPLIT_REMOVED = 0,          /* only what lies between is left */
    CBE_SPLIT_ISOLATED,             /* each match is a piece of its own */
    CBE_SPLIT_MERGED_WITH_PREVIOUS, /* it ends the piece before it */
    CBE_SPLIT_MERGED_WITH_NEXT,     /* it begins the piece behind it */
    CBE_SPLIT_CONTIGUOUS            /* matches without anything between them are one piece */
} cbe_split_behaviour;

/** Where "▁" is put in front of a piece that does not begin with it. */
typedef enum {
    CBE_PREPEND_NEVER = 0,
    CBE_PREPEND_FIRST /* of a text */,
    CBE_PREPEND_ALWAYS
} cbe_prepend_scheme;

/** Begins as zeros, which cut nothing; ends by cbe_pretokenizer_free. */
typedef struct {
    struct cbe_pretokenizer_step *steps;
    size_t n_steps;
} cbe_pretokenizer;

void cbe_pretokenizer_free(cbe_pretokenizer *pretokenizer); /* zeroes it; a zeroed one is allowed */

/** Takes over the regex (on failure too).
 * @param invert  matches are what lies between, and the reverse */
cbe_status cbe_pretokenizer_add_split(cbe_pretokenizer *pretokenizer, cbe_regex *regex,
                                      cbe_split_behaviour behaviour, bool invert, cbe_error *err);
/** A space in front of each piece that does not begin with one. */
cbe_status cbe_pretokenizer_add_prefix_space(cbe_pretokenizer *pretokenizer, cbe_error *err);
/** Each space becomes the replacement, length bytes, copied; then it is prepended as the scheme
 * says. */
cbe_status cbe_pretokenizer_add_metaspace(cbe_pretokenizer *pretokenizer, const char *replacement,
                                          size_t length, cbe_prepend_scheme scheme, cbe_error *err);

/** Called with each word; anything but CBE_OK ends the run and is handed on. */
typedef cbe_status cbe_word_fn(void *user, const char *word, size_t length, cbe_error *err);

/** Visits the words of text from left to right. Thread-safe.
 * @param text   length bytes of well-formed UTF-8 (not checked); may contain 0
 * @param first  whether it begins the document */
cbe_status cbe_pretokenize(const cbe_pretokenizer *pretokenizer, const char *text, size_t length,
                           bool first, cbe_word_fn *visit, void *user, cbe_error *err);

#endif
