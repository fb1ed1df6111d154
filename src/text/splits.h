/* splits.h - the pre-tokenisations that GGUF files name. */
#ifndef CBE_TEXT_SPLITS_H
#define CBE_TEXT_SPLITS_H

#include <stdbool.h>
#include <stddef.h>

#include "text/pretokenize.h"

typedef enum {
    CBE_SPLIT_GPT2 = 0, /* contractions, letters, digits, other characters, white space */
    CBE_SPLIT_SMOLLM,   /* each digit alone, then GPT-2's split */
    CBE_SPLIT_LLAMA3,   /* digits in threes, contractions of any case, line ends apart */
    CBE_SPLIT_DBRX,     /* Llama 3's split without its other traits */
    CBE_SPLIT_QWEN2,    /* Llama 3's with each digit alone, after Unicode's form NFC */
    CBE_SPLIT_GPT4O,    /* Llama 3's, words cut where capitals follow */
    CBE_SPLIT_BLOOM,    /* at white space and the punctuation of several scripts */
    CBE_N_SPLITS
} cbe_split;

/* Traits of a split besides its patterns. */
typedef struct {
    bool nfc;           /* text is brought to form NFC first */
    bool ignore_merges; /* a word that is a token becomes that token without merges */
    bool add_bos;       /* whether a text begins with bos if the file does not say */
} cbe_split_traits;

/** Finds the split that a value of tokenizer.ggml.pre names; name is not ended by a 0.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED (name and path in the message) */
cbe_status cbe_split_find(cbe_split *out, const char *name, size_t length, const char *path,
                          cbe_error *err);
/** Traits of a split, borrowed, static; split must be below CBE_N_SPLITS. */
const cbe_split_traits *cbe_split_get(cbe_split split);
/** Adds the steps of a split.
 * @return as cbe_pretokenizer_add_split */
cbe_status cbe_pretokenizer_add_named(cbe_pretokenizer *pretokenizer, cbe_split split,
                                      cbe_error *err);

#endif
