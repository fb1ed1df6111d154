/* splits.h - the pre-tokenisations that GGUF files name. */
#ifndef CBE_TOKENIZER_SPLITS_H
#define CBE_TOKENIZER_SPLITS_H

#include <stdbool.h>
#include <stddef.h>

#include "tokenizer/pretokenize.h"

typedef enum {
    CBE_SPLIT_GPT2 = 0, /* contractions, letters, digits, other characters, white space */
    CBE_SPLIT_DEFAULT,  /* punctuation apart, then GPT-2's split, then digits apart and in threes */
    CBE_SPLIT_FALCON,   /* punctuation apart, then GPT-2's split, then digits in threes */
    CBE_SPLIT_SMOLLM,   /* each digit alone, then GPT-2's split */
    CBE_SPLIT_LLAMA3,   /* digits in threes, contractions of any case, line ends apart */
    CBE_SPLIT_DBRX,     /* Llama 3's split without its other traits */
    CBE_SPLIT_JAIS2,    /* Llama 3's, runs of white space cut to powers of two */
    CBE_SPLIT_MINICPM5, /* digits in threes, then Llama 3's with all digits */
    CBE_SPLIT_QWEN2,    /* Llama 3's with each digit alone, after Unicode's form NFC */
    CBE_SPLIT_STABLELM2,      /* Qwen 2's split without its other traits */
    CBE_SPLIT_UFAKZEKA,       /* StableLM 2's without contractions */
    CBE_SPLIT_LAGUNA,         /* lines, then StableLM 2's */
    CBE_SPLIT_QWEN35,         /* Qwen 2's, marks belong to words */
    CBE_SPLIT_BAILINGMOE,     /* StableLM 2's, each line end alone */
    CBE_SPLIT_SEED_CODER,     /* StableLM 2's, line ends never behind signs */
    CBE_SPLIT_EXAONE_MOE,     /* single letters between spaces are one word */
    CBE_SPLIT_GPT4O,          /* Llama 3's, words cut where capitals follow */
    CBE_SPLIT_TEKKEN,         /* GPT-4o's without contractions, each digit alone */
    CBE_SPLIT_YOUTU,          /* scripts of East Asia apart, then GPT-4o's with each digit alone */
    CBE_SPLIT_DEEPSEEK_LLM,   /* line ends, words, signs, white space, East Asia, digits in turn */
    CBE_SPLIT_DEEPSEEK_CODER, /* line ends, words, punctuation, East Asia, each digit in turn */
    CBE_SPLIT_DEEPSEEK_V3,    /* digits in threes, East Asia apart, a sign and letters together */
    CBE_SPLIT_SPARK,          /* DeepSeek V3's with each line end and each digit alone */
    CBE_SPLIT_BLOOM,          /* at white space and the punctuation of several scripts */
    CBE_SPLIT_VIKING,         /* BLOOM's, then each digit alone */
    CBE_SPLIT_CHAMELEON,      /* marks of images, single digits and signs, then GPT-2's */
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
