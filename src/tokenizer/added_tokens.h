/*
 * added_tokens.h - finding added tokens, which stand in a text as they are written
 * ("<|im_start|>").
 *
 * Added tokens are recognised before all other tokens: the leftmost first, and of two that begin at
 * one place the longest. A search goes on behind the token's own text, whatever white space around
 * the token includes, and whether the token counted or not, as in the library tokenizers.
 */
#ifndef CBE_TOKENIZER_ADDED_TOKENS_H
#define CBE_TOKENIZER_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/gguf.h"
#include "cbe/status.h"

typedef struct {
    cbe_span text; /* the first member; borrowed from the caller of cbe_added_tokens_init */
    int64_t id;
    bool single_word;    /* is not recognised inside a word */
    bool lstrip, rstrip; /* includes the white space in front of it; behind it */
    bool special;        /* does not count where special tokens are split */
} cbe_added_token;

/** The added tokens, sorted by text; begins[b]: some token begins with byte b. */
typedef struct {
    cbe_added_token *tokens;
    size_t n_tokens;
    bool begins[256];
    bool split_special; /* special tokens are found, but do not count */
} cbe_added_tokens;

/** Where a search in a text has come to; begins as {0}. */
typedef struct {
    size_t next; /* the text in front of this byte has been searched */
    size_t end;  /* the end of the last token, with the white space that it includes */
} cbe_added_search;

/** An added token found in a text. */
typedef struct {
    const cbe_added_token *token; /* NULL: none was found */
    /* Bytes, with the white space that the token includes; both are the text's length if none was
     * found. begin may be less than the end of the token before, if the token stands in white space
     * that this one includes. */
    size_t begin, end;
} cbe_added_place;

/** Sorts n_tokens tokens, none of which has an empty text, and takes over the array. Of equal texts
 * the token with the highest id stays.
 * @param lost  [out] a token that did not stay, where added->n_tokens is less than n_tokens
 *              afterwards; NULL: not needed */
void cbe_added_tokens_init(cbe_added_tokens *added, cbe_added_token *tokens, size_t n_tokens,
                           cbe_added_token *lost);
void cbe_added_tokens_free(cbe_added_tokens *added); /* zeroes *added; a zeroed struct is allowed */

/** The next added token in a text of well-formed UTF-8. */
cbe_added_place cbe_added_tokens_find(const cbe_added_tokens *added, const char *text,
                                      size_t length, cbe_added_search *search);

#endif
