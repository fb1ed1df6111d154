/*
 * bpe.h - byte-level byte-pair encoding: a vocabulary of byte strings and the merges that lead to them.
 *
 * Files write a byte as one printable character (GPT-2's table): 0x21-0x7e, 0xa1-0xac and 0xae-0xff as
 * the character of that number, the others in order as U+0100, U+0101, ...: a space is "Ġ" (U+0120).
 * Here tokens are kept as the bytes that they stand for.
 */
#ifndef CBE_TEXT_BPE_H
#define CBE_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbe/gguf.h"
#include "cbe/status.h"

/* What a token is for: values of tokenizer.ggml.token_type. */
typedef enum {
    CBE_TOKEN_UNDEFINED = 0,
    CBE_TOKEN_NORMAL,
    CBE_TOKEN_UNKNOWN,
    CBE_TOKEN_CONTROL,      /* written in a text it is itself, and is not cut or merged */
    CBE_TOKEN_USER_DEFINED, /* the same */
    CBE_TOKEN_UNUSED,       /* fills a gap in the numbering: no text gives it */
    CBE_TOKEN_BYTE,
    CBE_N_TOKEN_KINDS
} cbe_token_kind;

/** A list that grows, of token ids; begins as zeros, ends by cbe_free(ids). */
typedef struct {
    int64_t *ids;
    size_t count, capacity;
} cbe_id_list;

cbe_status cbe_id_list_push(cbe_id_list *list, int64_t id, cbe_error *err);

typedef struct cbe_bpe cbe_bpe;

/** @param path    the file that the vocabulary is from, for messages
 * @param tokens  n_tokens texts as files write them; control and user-defined ones as they are
 * @param kinds   n_tokens values below CBE_N_TOKEN_KINDS; NULL: all are normal
 * @param merges  n_merges texts "LEFT RIGHT", the one to be done first first
 * @return CBE_OK; CBE_ERR_FORMAT when two tokens are the same, a merge names no tokens or comes twice,
 *         or a byte of printable ASCII has no token (each named); CBE_ERR_NOMEM */
cbe_status cbe_bpe_create(cbe_bpe **out, const char *path, size_t n_tokens, const cbe_span *tokens,
                          const int64_t *kinds, size_t n_merges, const cbe_span *merges,
                          cbe_error *err);
void cbe_bpe_free(cbe_bpe *bpe); /* NULL is allowed */

/** Bytes that token id stands for, borrowed; id is one of the vocabulary. */
cbe_span cbe_bpe_bytes(const cbe_bpe *bpe, size_t id);
/** Id of the token that stands for these bytes, -1 when none does. */
int64_t cbe_bpe_find(const cbe_bpe *bpe, const char *bytes, size_t length);

/** Appends the tokens of one word to ids. A byte that has no token is left out, as the models' own
 * tokenizers do (SmolLM2 has none for some control characters). Thread-safe.
 * Cost: quadratic for short words, where that is fastest; O(n log n) for the others. */
cbe_status cbe_bpe_encode(const cbe_bpe *bpe, const char *word, size_t length, cbe_id_list *ids,
                          cbe_error *err);

/* The two ways, which give the same tokens: the plain one, for words of CBE_BPE_SHORT bytes at most,
 * scans all pairs for each merge; the other keeps them in a heap. */
enum { CBE_BPE_SHORT = 32 };
cbe_status cbe_bpe_encode_short(const cbe_bpe *bpe, const char *word, size_t length,
                                cbe_id_list *ids, cbe_error *err);
cbe_status cbe_bpe_encode_long(const cbe_bpe *bpe, const char *word, size_t length,
                               cbe_id_list *ids, cbe_error *err);

#endif
