/*
 * added_tokens.h - finding the tokens that stand in a text as they are written ("<|im_start|>").
 *
 * They are recognised before anything else, the leftmost first, and of those that begin at one place
 * the longest.
 */
#ifndef CBE_TEXT_ADDED_TOKENS_H
#define CBE_TEXT_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbe/gguf.h"
#include "cbe/status.h"

typedef struct {
    cbe_span text; /* borrowed from whoever added it */
    int64_t id;
} cbe_added_token;

/** Sorted by text; begins[b]: some token begins with byte b. */
typedef struct {
    cbe_added_token *tokens;
    size_t n_tokens;
    bool begins[256];
} cbe_added_tokens;

/** Sorts n_tokens tokens, none of them empty, and takes them over. */
void cbe_added_tokens_init(cbe_added_tokens *added, cbe_added_token *tokens, size_t n_tokens);
void cbe_added_tokens_free(cbe_added_tokens *added); /* zeroes it; a zeroed one is allowed */

/** The first added token in text[from, length): its place is returned and *token set; without one,
 * length is returned and *token is NULL. */
size_t cbe_added_tokens_find(const cbe_added_tokens *added, const char *text, size_t length,
                             size_t from, const cbe_added_token **token);

#endif
