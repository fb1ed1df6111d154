/*
 * added_tokens.h - finding the tokens that stand in a text as they are written ("<|im_start|>").
 *
 * They are recognised before anything else, the leftmost first, and of those that begin at one
 * place the longest.
 */
#ifndef CBE_TEXT_ADDED_TOKENS_H
#define CBE_TEXT_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/gguf.h"
#include "cbe/status.h"

typedef struct {
    cbe_span text; /* borrowed from whoever added it */
    int64_t id;
    bool single_word;    /* not inside a word */
    bool lstrip, rstrip; /* takes the white space in front of it, behind it, with it */
} cbe_added_token;

/** Sorted by text; begins[b]: some token begins with byte b. */
typedef struct {
    cbe_added_token *tokens;
    size_t n_tokens;
    bool begins[256];
} cbe_added_tokens;

/** Where an added token was found. */
typedef struct {
    const cbe_added_token *token; /* NULL: none was */
    size_t begin, end; /* with the white space that it takes; both the text's length without one */
} cbe_added_place;

/** Sorts n_tokens tokens, none of them empty, and takes them over. */
void cbe_added_tokens_init(cbe_added_tokens *added, cbe_added_token *tokens, size_t n_tokens);
void cbe_added_tokens_free(cbe_added_tokens *added); /* zeroes it; a zeroed one is allowed */

/** The first added token in text[from, length), which is well-formed UTF-8. */
cbe_added_place cbe_added_tokens_find(const cbe_added_tokens *added, const char *text,
                                      size_t length, size_t from);

#endif
