/*
 * pretokenize.h - cutting text into words, inside which tokens are found: a sequence of steps, each
 * of which works on the pieces of the step before it.
 */
#ifndef CBE_TOKENIZER_PRETOKENIZE_H
#define CBE_TOKENIZER_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"
#include "tokenizer/regex.h"

/** What a split does with the matches of its pattern; the text between matches is always kept. */
typedef enum {
    CBE_SPLIT_REMOVED = 0,          /* matches are dropped */
    CBE_SPLIT_ISOLATED,             /* each match is a piece by itself */
    CBE_SPLIT_MERGED_WITH_PREVIOUS, /* a match ends the piece before it */
    CBE_SPLIT_MERGED_WITH_NEXT,     /* a match begins the piece behind it */
    CBE_SPLIT_CONTIGUOUS            /* adjacent matches are one piece */
} cbe_split_behaviour;

/** The pieces in front of which "▁" is put, unless they begin with it. */
typedef enum {
    CBE_PREPEND_NEVER = 0,
    CBE_PREPEND_FIRST /* the first piece of a text */,
    CBE_PREPEND_ALWAYS
} cbe_prepend_scheme;

/** Begins as zeros, which cut nothing; freed by cbe_pretokenizer_free. Functions that add a step
 * return CBE_OK, CBE_ERR_NOMEM or CBE_ERR_UNSUPPORTED (too many steps). */
typedef struct {
    struct cbe_pretokenizer_step *steps;
    size_t n_steps;
} cbe_pretokenizer;

/* zeroes it; a zeroed struct is allowed */
void cbe_pretokenizer_free(cbe_pretokenizer *pretokenizer);

/** Adds a split by a regex, which it takes over, also on failure.
 * @param invert  the text between matches counts as matches, and the reverse */
cbe_status cbe_pretokenizer_add_split(cbe_pretokenizer *pretokenizer, cbe_regex *regex,
                                      cbe_split_behaviour behaviour, bool invert, cbe_error *err);
/** Adds a step that puts a space in front of each piece that does not begin with one. */
cbe_status cbe_pretokenizer_add_prefix_space(cbe_pretokenizer *pretokenizer, cbe_error *err);
/** Adds a step that replaces each space by the replacement (length bytes, copied), and then
 * prepends the replacement as the scheme says. */
cbe_status cbe_pretokenizer_add_metaspace(cbe_pretokenizer *pretokenizer, const char *replacement,
                                          size_t length, cbe_prepend_scheme scheme, cbe_error *err);

/** Adds a step that cuts each piece into pieces of n characters, the last one shorter; n is at
 * least 1. */
cbe_status cbe_pretokenizer_add_fixed_length(cbe_pretokenizer *pretokenizer, size_t n,
                                             cbe_error *err);
/** Adds a step that writes each byte of a piece as the character that stands for it
 * (byte_characters.h). */
cbe_status cbe_pretokenizer_add_byte_characters(cbe_pretokenizer *pretokenizer, cbe_error *err);

/** Called with each word; any status but CBE_OK ends the visit, and cbe_pretokenize returns it. */
typedef cbe_status cbe_word_fn(void *user, const char *word, size_t length, cbe_error *err);

/** Visits the words of text from left to right. Thread-safe.
 * @param text   length bytes of well-formed UTF-8 (not checked); may contain 0
 * @param first  whether text begins the document
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_UNSUPPORTED (a regex takes too many steps); the
 * visitor's status */
cbe_status cbe_pretokenize(const cbe_pretokenizer *pretokenizer, const char *text, size_t length,
                           bool first, cbe_word_fn *visit, void *user, cbe_error *err);

#endif
