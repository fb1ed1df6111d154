/*
 * bpe.h - byte-pair encoding: the merges by which the symbols of a word, its bytes or its
 * characters, become tokens.
 */
#ifndef CBE_TEXT_BPE_H
#define CBE_TEXT_BPE_H

#include "text/id_list.h"
#include "text/vocabulary.h"

typedef struct cbe_bpe cbe_bpe;

/** How a word begins as symbols. In a byte-level vocabulary each byte is one, and one that has no
 * token is left out; the fields are for the others, where each character is. */
typedef struct {
    bool byte_fallback; /* a character without a token becomes the tokens of its bytes, "<0x0A>" */
    bool fuse_unknown;  /* characters without any become one unknown token together, not one each */
    int64_t unknown;    /* its id; -1: they are left out */
} cbe_bpe_options;

/** @param path        the file that the merges are from, for messages
 * @param vocabulary  borrowed
 * @param options     copied; NULL for a byte-level vocabulary
 * @param merges      n_merges pairs left, right as files write them, the one to be done first first
 * @return CBE_OK; CBE_ERR_FORMAT when a merge names no tokens or comes twice (named);
 * CBE_ERR_NOMEM */
cbe_status cbe_bpe_create(cbe_bpe **out, const char *path, const cbe_vocabulary *vocabulary,
                          const cbe_bpe_options *options, size_t n_merges,
                          const cbe_span (*merges)[2], cbe_error *err);
/** The same where merges are not listed: any two tokens whose texts make up a third may be merged
 * to it, the one of the highest score first (SentencePiece's BPE).
 * @param scores  one for each token, finite
 * @param kinds   as for the vocabulary; control, unknown and byte tokens take no part */
cbe_status cbe_bpe_create_scored(cbe_bpe **out, const cbe_vocabulary *vocabulary,
                                 const cbe_bpe_options *options, const float *scores,
                                 const int64_t *kinds, cbe_error *err);
void cbe_bpe_free(cbe_bpe *bpe); /* NULL is allowed */

/** Appends the tokens of one word, well-formed UTF-8 unless the vocabulary is byte-level, to ids.
 * Thread-safe. Cost: quadratic for short words, where that is fastest; O(n log n) for the
 * others. */
cbe_status cbe_bpe_encode(const cbe_bpe *bpe, const char *word, size_t length, cbe_id_list *ids,
                          cbe_error *err);

/* The two ways, which give the same tokens: the plain one, for words of CBE_BPE_SHORT bytes at
 * most, scans all pairs for each merge; the other keeps them in a heap. */
enum { CBE_BPE_SHORT = 32 };
cbe_status cbe_bpe_encode_short(const cbe_bpe *bpe, const char *word, size_t length,
                                cbe_id_list *ids, cbe_error *err);
cbe_status cbe_bpe_encode_long(const cbe_bpe *bpe, const char *word, size_t length,
                               cbe_id_list *ids, cbe_error *err);

#endif
