/*
 * tokenizer_private.h - what a tokenizer consists of, for tokenizer.c and for what reads it from
 * files.
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
    cbe_id_list before, after; /* what is put at the ends of a text */
    cbe_vocabulary *vocabulary;
    cbe_normaliser normaliser;
    cbe_pretokenizer pretokenizer;
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    cbe_bpe *bpe;       /* one of the two */
    cbe_unigram *unigram;
    cbe_added_tokens added;      /* texts are the vocabulary's */
    cbe_added_tokens normalised; /* those that are looked for in the normalised text */
    size_t n_texts;
    char **texts; /* of these, normalised too */
    cbe_token_decoder
        decoder; /* not used with a byte-level vocabulary, but for what it cannot read */
};

#endif
