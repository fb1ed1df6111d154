/*
 * bpe.h - byte-pair encoding: merging the symbols of a word, its bytes or its characters, into
 * tokens.
 */
#ifndef CBE_TOKENIZER_BPE_H
#define CBE_TOKENIZER_BPE_H

#include "tokenizer/id_list.h"
#include "tokenizer/vocabulary.h"

typedef struct cbe_bpe cbe_bpe;

/** How the characters of a word become symbols. With a byte-level vocabulary, whose symbols are
 * bytes, the options do not apply: a byte without a token is left out. */
typedef struct {
    bool byte_fallback; /* a character without a token becomes the tokens of its bytes, "<0x0A>" */
    bool fuse_unknown;  /* neighbouring characters without a token share one unknown token */
    int64_t unknown;    /* id of the unknown token; -1: such characters are left out */
    bool
        unknown_lacks; /* the unknown token is named, but has no id: such characters are an error */
    /* What a character that does not begin a word has in front, and one that ends a word behind
     * it; at most CBE_BPE_AFFIX bytes each, copied. */
    cbe_span prefix, suffix;
} cbe_bpe_options;
enum { CBE_BPE_AFFIX = 64 };

/** Creates an encoder with listed merges.
 * @param path        the merges' file, for messages
 * @param vocabulary  borrowed
 * @param options     copied; NULL for a byte-level vocabulary
 * @param merges      n_merges pairs (left, right) as files write them, in the order of rank; of
 * equal pairs the last counts, unless the vocabulary is byte-level: then they are an error
 * @return CBE_OK; CBE_ERR_FORMAT if a merge names no tokens (the message names it);
 * CBE_ERR_UNSUPPORTED (too many merges); CBE_ERR_NOMEM */
cbe_status cbe_bpe_create(cbe_bpe **out, const char *path, const cbe_vocabulary *vocabulary,
                          const cbe_bpe_options *options, size_t n_merges,
                          const cbe_span (*merges)[2], cbe_error *err);
/** Creates an encoder by scores (SentencePiece's BPE): any two tokens whose texts make up a third
 * token are merged into it, the third token of the highest score first.
 * @param scores  a finite score for each token
 * @param kinds   as for cbe_vocabulary_create; control, unknown and byte tokens take no part
 * @return CBE_OK; CBE_ERR_UNSUPPORTED (too many merges); CBE_ERR_NOMEM */
cbe_status cbe_bpe_create_scored(cbe_bpe **out, const cbe_vocabulary *vocabulary,
                                 const cbe_bpe_options *options, const float *scores,
                                 const int64_t *kinds, cbe_error *err);
void cbe_bpe_free(cbe_bpe *bpe); /* NULL is allowed */

/** Appends the tokens of one word, well-formed UTF-8 unless the vocabulary is byte-level, to ids.
 * Thread-safe. Cost: quadratic in the length of short words, for which that is fastest; O(n log n)
 * for longer words.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED (too long a word, a character without a token where the
 * unknown token lacks); CBE_ERR_NOMEM */
cbe_status cbe_bpe_encode(const cbe_bpe *bpe, const char *word, size_t length, cbe_id_list *ids,
                          cbe_error *err);

/* The two algorithms, which give the same tokens. The short one, for words of at most CBE_BPE_SHORT
 * bytes, scans all pairs for each merge; the long one keeps pairs in a heap. */
enum { CBE_BPE_SHORT = 32 };
cbe_status cbe_bpe_encode_short(const cbe_bpe *bpe, const char *word, size_t length,
                                cbe_id_list *ids, cbe_error *err);
cbe_status cbe_bpe_encode_long(const cbe_bpe *bpe, const char *word, size_t length,
                               cbe_id_list *ids, cbe_error *err);

#endif
