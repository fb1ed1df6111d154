/*
 * vocabulary.h - the tokens of a tokenizer: the bytes of a token, and the token of given bytes.
 */
#ifndef CBE_TOKENIZER_VOCABULARY_H
#define CBE_TOKENIZER_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/remarks.h"
#include "formats/gguf.h"
#include "cbe/status.h"

/* Kinds of tokens: values of tokenizer.ggml.token_type. */
typedef enum {
    CBE_TOKEN_UNDEFINED = 0,
    CBE_TOKEN_NORMAL,
    CBE_TOKEN_UNKNOWN,
    CBE_TOKEN_CONTROL,      /* is found in a text before cutting and merging */
    CBE_TOKEN_USER_DEFINED, /* is found in a text before cutting and merging */
    CBE_TOKEN_UNUSED,       /* fills a gap in the numbering; no text becomes it */
    CBE_TOKEN_BYTE,
    CBE_N_TOKEN_KINDS
} cbe_token_kind;

typedef struct cbe_vocabulary cbe_vocabulary;

/** Creates a vocabulary.
 * @param path        the vocabulary's file, for messages
 * @param tokens      n_tokens texts as files write them; copied
 * @param kinds       n_tokens values below CBE_N_TOKEN_KINDS; NULL: all tokens are normal
 * @param byte_level  texts are characters that stand for bytes (byte_characters.h), except those of
 * control and user-defined tokens; a token with other characters is kept as it is, and never found
 * @param remarks     of tokens that are the same the last counts, and one of them is named here;
 * NULL: nobody listens
 * @return CBE_OK; CBE_ERR_FORMAT for no tokens; CBE_ERR_UNSUPPORTED for more than 2^31 - 1 tokens;
 * CBE_ERR_NOMEM */
cbe_status cbe_vocabulary_create(cbe_vocabulary **out, const char *path, size_t n_tokens,
                                 const cbe_span *tokens, const int64_t *kinds, bool byte_level,
                                 cbe_remarks *remarks, cbe_error *err);
/** An entry of a vocabulary that lists texts with their ids. */
typedef struct {
    cbe_span text; /* copied */
    int64_t id;    /* below n_tokens */
} cbe_vocabulary_entry;

/** Creates a vocabulary of texts as they are, from entries as tokenizer.json lists them: of equal
 * texts the last one is found, several texts may have one id, which stands for the last of them,
 * and an id without an entry stands for nothing.
 * @param n_tokens  the highest id + 1; 0: there are no entries
 * @return CBE_OK; CBE_ERR_UNSUPPORTED for more than 2^31 - 1 tokens or entries; CBE_ERR_NOMEM */
cbe_status cbe_vocabulary_create_listed(cbe_vocabulary **out, const char *path, size_t n_tokens,
                                        size_t n_entries, const cbe_vocabulary_entry *entries,
                                        cbe_error *err);
void cbe_vocabulary_free(cbe_vocabulary *vocabulary); /* NULL is allowed */

size_t cbe_vocabulary_size(const cbe_vocabulary *vocabulary);
bool cbe_vocabulary_is_byte_level(const cbe_vocabulary *vocabulary);
/** Fails with CBE_ERR_FORMAT: the file has no tokens. */
cbe_status cbe_vocabulary_is_empty(const char *path, cbe_error *err);
/** Number of different texts that are found. */
size_t cbe_vocabulary_n_texts(const cbe_vocabulary *vocabulary);
/** Bytes of the longest token. */
size_t cbe_vocabulary_longest(const cbe_vocabulary *vocabulary);
/** Bytes that token id stands for, borrowed; id is below cbe_vocabulary_size. None
 * for an id that no entry has. */
cbe_span cbe_vocabulary_bytes(const cbe_vocabulary *vocabulary, size_t id);
/** Id of the token that stands for these bytes; -1: there is none. If a control or user-defined
 * token has the bytes of another token, the other token is found. */
int64_t cbe_vocabulary_find(const cbe_vocabulary *vocabulary, const char *bytes, size_t length);

/** Arguments of "%.*s" that print at most 48 bytes of a span in a message. */
#define CBE_SHOWN_SPAN(span) (int)((span).length < 48 ? (span).length : 48), (span).data

/** Hash of a number, for tables whose size is a power of two. */
static inline uint64_t cbe_mix(uint64_t value)
{
    value *= UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio, odd */
    return value ^ value >> 32;
}
uint64_t cbe_hash_bytes(const char *bytes, size_t length);
/** The least power of two that is at least twice count; count is at most 2^31 - 1. */
size_t cbe_table_size(size_t count);

#endif
