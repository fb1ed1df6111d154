/*
 * pretokenize.h - cutting text into the words inside which BPE merges.
 *
 * A split is a sequence of patterns: each cuts the pieces that the one before it left, and both what
 * matches and what lies between matches are pieces of their own.
 */
#ifndef CBE_TEXT_PRETOKENIZE_H
#define CBE_TEXT_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

typedef enum {
    CBE_SPLIT_GPT2 = 0, /* contractions, letters, digits, others, white space */
    CBE_SPLIT_SMOLLM,   /* each digit alone, then GPT-2's split */
    CBE_SPLIT_LLAMA3,   /* digits in threes, contractions of any case, line ends apart */
    CBE_SPLIT_QWEN2,    /* Llama 3's with each digit alone, after Unicode's form NFC */
    CBE_N_SPLITS
} cbe_split;

/* What belongs to a split besides its patterns. */
typedef struct {
    bool nfc;           /* text is brought to form NFC first */
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool add_bos;       /* what a file means that does not say whether a text begins with bos */
} cbe_split_traits;

typedef struct cbe_pretokenizer cbe_pretokenizer;

/** The split that a value of tokenizer.ggml.pre names; name is not ended by 0.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED (name and path in the message) */
cbe_status cbe_split_find(cbe_split *out, const char *name, size_t length, const char *path,
                          cbe_error *err);
/** Borrowed, static; split must be one of the enum. */
const cbe_split_traits *cbe_split_get(cbe_split split);

cbe_status cbe_pretokenizer_create(cbe_pretokenizer **out, cbe_split split, cbe_error *err);
void cbe_pretokenizer_free(cbe_pretokenizer *pretokenizer); /* NULL is allowed */

/** Called with each word; anything but CBE_OK ends the run and is handed on. */
typedef cbe_status cbe_word_fn(void *user, const char *word, size_t length, cbe_error *err);

/** Visits the words of text from left to right; together they are the text. Thread-safe.
 * @param text  length bytes of well-formed UTF-8 (not checked); may contain 0 */
cbe_status cbe_pretokenize(const cbe_pretokenizer *pretokenizer, const char *text, size_t length,
                           cbe_word_fn *visit, void *user, cbe_error *err);

#endif
