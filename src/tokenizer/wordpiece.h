/*
 * wordpiece.h - WordPiece: the longest token that begins a word, then the longest that goes on, and
 * so on (Wu et al. 2016, arXiv:1609.08144).
 */
#ifndef CBE_TOKENIZER_WORDPIECE_H
#define CBE_TOKENIZER_WORDPIECE_H

#include "tokenizer/id_list.h"
#include "tokenizer/vocabulary.h"

typedef struct cbe_wordpiece cbe_wordpiece;

/** Creates an encoder.
 * @param vocabulary  borrowed; not byte-level
 * @param prefix      what tokens that go on a word begin with, "##"; copied
 * @param longest     characters of the longest word; a longer one is unknown
 * @param unknown     id of words that cannot be written as tokens; -1: such words are an error
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_wordpiece_create(cbe_wordpiece **out, const cbe_vocabulary *vocabulary,
                                cbe_span prefix, size_t longest, int64_t unknown, cbe_error *err);
void cbe_wordpiece_free(cbe_wordpiece *wordpiece); /* NULL is allowed */

/** Appends the tokens of one word, well-formed UTF-8, to ids. Thread-safe. Cost: the word's length
 * times the square of that of the longest token.
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_UNSUPPORTED (an unknown word, if unknown is -1) */
cbe_status cbe_wordpiece_encode(const cbe_wordpiece *wordpiece, const char *word, size_t length,
                                cbe_id_list *ids, cbe_error *err);

#endif
