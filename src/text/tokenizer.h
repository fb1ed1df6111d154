/*
 * tokenizer.h - text to token ids and back, as the model's own tokenizer does it.
 *
 * Read from a GGUF file, by tokenizer.ggml.model: "gpt2" (byte-level BPE, with the pre-tokenisation
 * that tokenizer.ggml.pre names: the table in text/splits.c), "llama" (BPE by scores with byte
 * fallback, as SentencePiece has it) and "t5" (unigram, without a table of normalisation). Read
 * from a tokenizer.json: models BPE and Unigram with normalizers, pre_tokenizers, post_processors
 * and decoders as listed in docs/formats.md.
 */
#ifndef CBE_TEXT_TOKENIZER_H
#define CBE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/gguf.h"
#include "cbe/status.h"

typedef struct cbe_tokenizer cbe_tokenizer;

/** Copies what it needs: the file may be closed afterwards.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED for another kind of tokenizer or of a part of one (named);
 *         CBE_ERR_FORMAT for a vocabulary or merges that contradict each other; CBE_ERR_NOMEM */
cbe_status cbe_tokenizer_from_gguf(cbe_tokenizer **out, const cbe_gguf *file, cbe_error *err);
/** From a tokenizer.json. It does not say which token ends a text: there is no eos.
 * @param inputs  the file is added to; NULL: not wanted
 * @return as above, and CBE_ERR_IO */
cbe_status cbe_tokenizer_from_json(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                                   cbe_error *err);
/** From the tokenizer.json of a Hugging Face folder; bos and eos are those of its
 * tokenizer_config.json, special_tokens_map.json or config.json, the first of them that names one.
 * @param inputs  files that are read are added to, as CBE_INPUT_MODEL_BESIDE; NULL: not wanted */
cbe_status cbe_tokenizer_from_folder(cbe_tokenizer **out, const char *folder, cbe_inputs *inputs,
                                     cbe_error *err);
/** The tokenizer of a model: a GGUF file, or a Hugging Face folder.
 * @param inputs  files that are read are added to; NULL: not wanted
 * @return as above; for CBE_ERR_UNSUPPORTED, ids can be given instead (--tokens) */
cbe_status cbe_tokenizer_open(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                              cbe_error *err);
void cbe_tokenizer_free(cbe_tokenizer *tokenizer); /* NULL is allowed */

size_t cbe_tokenizer_vocab_size(const cbe_tokenizer *tokenizer);
/** Ids of the tokens that begin and end a text; -1 when the file names none. */
int64_t cbe_tokenizer_bos(const cbe_tokenizer *tokenizer);
int64_t cbe_tokenizer_eos(const cbe_tokenizer *tokenizer);

/** Ids of a text. Special tokens written in the text are recognised as such. Bytes that are not
 * UTF-8 become U+FFFD, each maximal invalid part one, as Unicode recommends. What the vocabulary
 * has no token for becomes its unknown token; where it names none it is left out, as the model's
 * own tokenizer does (SmolLM2: 0x04 and 20 other bytes, none of which printed text contains).
 * Thread-safe.
 * @param text         length bytes; may contain 0
 * @param add_special  add what the tokenizer puts at the ends (begin of text, where the file says
 * so)
 * @param ids          [out] n_ids of them, to cbe_tokenizer_free_ids
 * @param n_replaced   [out] invalid parts replaced; NULL: not wanted */
cbe_status cbe_tokenizer_encode(const cbe_tokenizer *tokenizer, const char *text, size_t length,
                                bool add_special, int64_t **ids, size_t *n_ids, size_t *n_replaced,
                                cbe_error *err);
void cbe_tokenizer_free_ids(int64_t *ids);

/** Text of ids, special tokens kept; bytes that do not form UTF-8 become U+FFFD. Ended by a 0 that
 * length does not count; to cbe_tokenizer_free_text. Error CBE_ERR_ARG for an id out of range. */
cbe_status cbe_tokenizer_decode(const cbe_tokenizer *tokenizer, const int64_t *ids, size_t n_ids,
                                char **text, size_t *length, cbe_error *err);
void cbe_tokenizer_free_text(char *text);

#endif
