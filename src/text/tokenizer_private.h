/*
 * tokenizer_private.h - the parts of a tokenizer, for tokenizer.c and the files that read
 * tokenizers.
 */
#ifndef CBE_TEXT_TOKENIZER_PRIVATE_H
#define CBE_TEXT_TOKENIZER_PRIVATE_H

#include "text/tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalise.h"
#include "text/pretokenize.h"
#include "text/token_decoder.h"
#include "text/unigram.h"
#include "text/vocabulary.h"

struct cbe_tokenizer {
    int64_t bos, eos;          /* -1: none */
    cbe_id_list before, after; /* ids put at the ends of a text */
    cbe_vocabulary *vocabulary;
    cbe_normaliser normaliser;
    cbe_pretokenizer pretokenizer;
    bool ignore_merges; /* a word that is a token becomes that token without merges */
    cbe_bpe *bpe;       /* bpe or unigram is set, the other is NULL */
    cbe_unigram *unigram;
    cbe_added_tokens added;      /* found in the text as given; their texts are the vocabulary's */
    cbe_added_tokens normalised; /* found in the normalised text */
    size_t n_texts;
    char **texts;              /* (n_texts), owned: normalised texts of `normalised` */
    cbe_token_decoder decoder; /* With a byte-level vocabulary only its not_read is used. */
};

#endif
