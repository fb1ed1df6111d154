/*
 * tokens.h - text to token ids and back, as the model's own tokenizer does it.
 */
#ifndef CBE_TOKENS_H
#define CBE_TOKENS_H

#include "cbe/cbe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cbe_tokenizer cbe_tokenizer;

/** The tokenizer of a model: of a .gguf file, or of a Hugging Face folder (tokenizer.json).
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT (a vocabulary or merges that contradict each other);
 * CBE_ERR_UNSUPPORTED (a kind of tokenizer, or of a part of one, that is not read: named);
 * CBE_ERR_NOMEM */
CBE_API cbe_status cbe_tokenizer_open(cbe_tokenizer **out, const char *path, cbe_error *err);
CBE_API void cbe_tokenizer_free(cbe_tokenizer *tokenizer);

/** A warning of cbe_tokenizer_open: a key that is not obeyed, or tokens that another reader would
 * make.
 * @param i  from 0
 * @return a line, borrowed until the tokenizer is freed; NULL: there are no more, or the tokenizer
 * is NULL */
CBE_API const char *cbe_tokenizer_warning(const cbe_tokenizer *tokenizer, size_t i);
/** Number of tokens. */
CBE_API size_t cbe_tokenizer_vocab_size(const cbe_tokenizer *tokenizer);
/** Id of the token that begins a text, and of the token that ends one; -1: the model names none. */
CBE_API int64_t cbe_tokenizer_bos(const cbe_tokenizer *tokenizer);
CBE_API int64_t cbe_tokenizer_eos(const cbe_tokenizer *tokenizer);

/** Ids of a text. Special tokens that are written in the text are recognised. Each maximal invalid
 * part of UTF-8 becomes U+FFFD, as Unicode recommends. What the vocabulary has no token for becomes
 * the unknown token; if the model names none it is left out, as the model's own tokenizer does.
 * Several threads may call this at once.
 * @param text         length bytes; may contain 0
 * @param add_special  whether to add what the tokenizer puts at the ends of a text
 * @param ids          [out] n_ids of them, owned; to cbe_tokenizer_free_ids
 * @param n_replaced   [out] number of invalid parts; NULL: not wanted
 * @return CBE_OK; CBE_ERR_ARG (NULL); CBE_ERR_UNSUPPORTED (a text that the tokenizer cannot
 * encode); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_tokenizer_encode(const cbe_tokenizer *tokenizer, const char *text,
                                        size_t length, bool add_special, int64_t **ids,
                                        size_t *n_ids, size_t *n_replaced, cbe_error *err);
CBE_API void cbe_tokenizer_free_ids(int64_t *ids);

/** Text of ids, special tokens kept; bytes that do not form UTF-8 become U+FFFD.
 * @param text  [out] length bytes and a 0 behind them, owned; to cbe_tokenizer_free_text
 * @return CBE_OK; CBE_ERR_ARG (NULL, an id out of range); CBE_ERR_UNSUPPORTED (a step of decoding
 * that is not supported); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_tokenizer_decode(const cbe_tokenizer *tokenizer, const int64_t *ids,
                                        size_t n_ids, char **text, size_t *length, cbe_error *err);
CBE_API void cbe_tokenizer_free_text(char *text);

#ifdef __cplusplus
}
#endif
#endif
