/*
 * tokenizer_private.h - the parts of a tokenizer, for tokenizer.c and the files that read
 * tokenizers.
 */
#ifndef CBE_TOKENIZER_TOKENIZER_PRIVATE_H
#define CBE_TOKENIZER_TOKENIZER_PRIVATE_H

#include "tokenizer/tokenizer.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/normalise.h"
#include "tokenizer/pretokenize.h"
#include "tokenizer/token_decoder.h"
#include "tokenizer/unigram.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/wordpiece.h"

/* The text that an added token has when it is decoded. */
typedef struct {
    int64_t id;
    cbe_span text;
} cbe_added_text;

struct cbe_tokenizer {
    cbe_remarks remarks;        /* of cbe_tokenizer_open */
    int64_t bos, eos;           /* -1: none */
    cbe_id_list before, after;  /* ids put at the ends of a text */
    cbe_vocabulary *vocabulary; /* of a tokenizer.json: without the added tokens */
    cbe_normaliser normaliser;
    cbe_pretokenizer pretokenizer;
    bool ignore_merges; /* a word that is a token becomes that token without merges */
    /* One of the three is set; without any a word becomes its token. */
    cbe_bpe *bpe;
    cbe_unigram *unigram;
    cbe_wordpiece *wordpiece;
    int64_t unknown; /* of a word without a token where none is set; -1: such a word is an error */
    cbe_added_tokens added;      /* found in the text as given */
    cbe_added_tokens normalised; /* found in the normalised text */
    bool split_special;          /* special tokens in a text are cut like any text */
    size_t n_texts;
    char **texts; /* (n_texts), owned: texts of added tokens */
    size_t n_added_texts;
    cbe_added_text *added_texts; /* (n_added_texts) by id, beside the vocabulary's texts */
    cbe_token_decoder decoder;   /* With a byte-level vocabulary only its not_read is used. */
};

#endif
