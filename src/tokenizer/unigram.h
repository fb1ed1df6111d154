/*
 * unigram.h - the unigram model: of all ways to write a word as tokens, the one with the highest
 * sum of scores (Kudo 2018, arXiv:1804.10959).
 */
#ifndef CBE_TOKENIZER_UNIGRAM_H
#define CBE_TOKENIZER_UNIGRAM_H

#include "tokenizer/id_list.h"
#include "tokenizer/vocabulary.h"

typedef struct cbe_unigram cbe_unigram;

/** Creates an encoder.
 * @param vocabulary     borrowed; not byte-level
 * @param scores         log-probability of each token; copied
 * @param kinds          as for cbe_vocabulary_create; unused tokens take no part
 * @param unknown        id for characters without a token; -1: such characters are an error
 * @param byte_fallback  such characters become the tokens of their bytes, "<0x0A>", if all of these
 * exist
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_unigram_create(cbe_unigram **out, const cbe_vocabulary *vocabulary,
                              const double *scores, const int64_t *kinds, int64_t unknown,
                              bool byte_fallback, cbe_error *err);
void cbe_unigram_free(cbe_unigram *unigram); /* NULL is allowed */

/** Appends the tokens of one word, well-formed UTF-8, to ids. Thread-safe. Cost: the word's length
 * times that of the longest token.
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_UNSUPPORTED (a character without a token, if unknown
 * is -1) */
cbe_status cbe_unigram_encode(const cbe_unigram *unigram, const char *word, size_t length,
                              cbe_id_list *ids, cbe_error *err);

#endif
