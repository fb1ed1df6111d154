/*
 * vocabulary.h - the tokens of a tokenizer: what each stands for, and which stands for given bytes.
 */
#ifndef CBE_TEXT_VOCABULARY_H
#define CBE_TEXT_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/gguf.h"
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

typedef struct cbe_vocabulary cbe_vocabulary;

/** @param path        the file that the vocabulary is from, for messages
 * @param tokens      n_tokens texts as files write them; copied
 * @param kinds       n_tokens values below CBE_N_TOKEN_KINDS; NULL: all are normal
 * @param byte_level  texts are of characters that stand for bytes (byte_characters.h), except
 * control and user-defined ones; a token whose characters do not is kept as it is, and never found
 * @return CBE_OK; CBE_ERR_FORMAT when two tokens are the same (named); CBE_ERR_UNSUPPORTED for more
 * than 2^31 - 1 tokens; CBE_ERR_NOMEM */
cbe_status cbe_vocabulary_create(cbe_vocabulary **out, const char *path, size_t n_tokens,
                                 const cbe_span *tokens, const int64_t *kinds, bool byte_level,
                                 cbe_error *err);
void cbe_vocabulary_free(cbe_vocabulary *vocabulary); /* NULL is allowed */

size_t cbe_vocabulary_size(const cbe_vocabulary *vocabulary);
bool cbe_vocabulary_is_byte_level(const cbe_vocabulary *vocabulary);
/** Bytes that token id stands for, borrowed; id is one of the vocabulary. */
cbe_span cbe_vocabulary_bytes(const cbe_vocabulary *vocabulary, size_t id);
/** Id of the token that stands for these bytes, -1 when none does. Where a control or user-defined
 * token is written like another, the other is meant. */
int64_t cbe_vocabulary_find(const cbe_vocabulary *vocabulary, const char *bytes, size_t length);

/** Printing a part of a file in a message: not too much of it. */
#define CBE_SHOWN_SPAN(span) (int)((span).length < 48 ? (span).length : 48), (span).data

/** A spread-out number for hash tables whose size is a power of two. */
static inline uint64_t cbe_mix(uint64_t value)
{
    value *= UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio, odd */
    return value ^ value >> 32;
}
/** A power of two with room for twice as many; count is 2^31 - 1 at most. */
size_t cbe_table_size(size_t count);

#endif
