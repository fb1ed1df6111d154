/*
 * tokenizer.h - text to token ids and back, as the model's own tokenizer does it.
 *
 * Kinds read from a GGUF file, by tokenizer.ggml.model: "gpt2" (byte-level BPE, with the
 * pre-tokenisation that tokenizer.ggml.pre names: the table in text/splits.c), "llama"
 * (SentencePiece's BPE by scores with byte fallback) and "t5" (unigram, without a table of
 * normalisation). Kinds read from a tokenizer.json: models BPE and Unigram with normalizers,
 * pre_tokenizers, post_processors and decoders as listed in docs/formats.md.
 */
#ifndef CBE_TEXT_TOKENIZER_H
#define CBE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/gguf.h"
#include "cbe/status.h"

typedef struct cbe_tokenizer cbe_tokenizer;

/** Makes the tokenizer of a GGUF file. Everything is copied: the file may be closed afterwards.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED for another kind of tokenizer or of a part of it (named in
 *         the message); CBE_ERR_FORMAT for a vocabulary or merges that contradict each other;
 *         CBE_ERR_NOMEM */
cbe_status cbe_tokenizer_from_gguf(cbe_tokenizer **out, const cbe_gguf *file, cbe_error *err);
/** Makes a tokenizer from a tokenizer.json, which does not say which token ends a text: eos is -1.
 * @param inputs  the file is added to this list; NULL skips it
 * @return as cbe_tokenizer_from_gguf, and CBE_ERR_IO */
cbe_status cbe_tokenizer_from_json(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                                   cbe_error *err);
/** Makes a tokenizer from the tokenizer.json of a Hugging Face folder. bos and eos are named by the
 * first of tokenizer_config.json, special_tokens_map.json and config.json that names them.
 * @param inputs  files read are added to this list as CBE_INPUT_MODEL_BESIDE; NULL skips it
 * @return as cbe_tokenizer_from_json */
cbe_status cbe_tokenizer_from_folder(cbe_tokenizer **out, const char *folder, cbe_inputs *inputs,
                                     cbe_error *err);
/** Makes the tokenizer of a model, a GGUF file or a Hugging Face folder.
 * @param inputs  files read are added to this list; NULL skips it
 * @return as cbe_tokenizer_from_json; if CBE_ERR_UNSUPPORTED, the user can give token ids
 * instead */
cbe_status cbe_tokenizer_open(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                              cbe_error *err);
void cbe_tokenizer_free(cbe_tokenizer *tokenizer); /* NULL is allowed */

size_t cbe_tokenizer_vocab_size(const cbe_tokenizer *tokenizer);
/** Ids of the tokens that begin and end a text; -1: the file names none. */
int64_t cbe_tokenizer_bos(const cbe_tokenizer *tokenizer);
int64_t cbe_tokenizer_eos(const cbe_tokenizer *tokenizer);

/** Encodes a text. Special tokens written in the text are recognised. Each maximal ill-formed part
 * becomes one U+FFFD, as Unicode recommends. Characters or bytes without a token become the unknown
 * token; if the vocabulary names none they are left out, as by the model's own tokenizer (SmolLM2:
 * 0x04 and 20 other bytes, none of which printed text contains). Thread-safe.
 * @param text         length bytes; may contain 0
 * @param add_special  add the tokens that the tokenizer puts at the ends of a text (bos if the file
 * says so)
 * @param ids          [out] (n_ids), freed with cbe_tokenizer_free_ids
 * @param n_replaced   [out] number of parts replaced; NULL skips it
 * @return CBE_OK; CBE_ERR_UNSUPPORTED (a text that the tokenizer cannot encode); CBE_ERR_NOMEM */
cbe_status cbe_tokenizer_encode(const cbe_tokenizer *tokenizer, const char *text, size_t length,
                                bool add_special, int64_t **ids, size_t *n_ids, size_t *n_replaced,
                                cbe_error *err);
void cbe_tokenizer_free_ids(int64_t *ids);

/** Decodes ids to text, special tokens included; ill-formed bytes become U+FFFD. A 0, which *length
 * does not count, ends the text; it is freed with cbe_tokenizer_free_text.
 * @return CBE_OK; CBE_ERR_ARG for an id out of range; CBE_ERR_UNSUPPORTED (a step of decoding that
 * is not supported); CBE_ERR_NOMEM */
cbe_status cbe_tokenizer_decode(const cbe_tokenizer *tokenizer, const int64_t *ids, size_t n_ids,
                                char **text, size_t *length, cbe_error *err);
void cbe_tokenizer_free_text(char *text);

#endif
