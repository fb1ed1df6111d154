/*
 * tokenizer.h - tokenizers of files (cbe/tokens.h has what is done with them).
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
#include "cbe/tokens.h"

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
/** cbe_tokenizer_open (cbe/tokens.h), with the files that are read added to the inputs of a run;
 * NULL: not wanted. */
cbe_status cbe_tokenizer_read(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                              cbe_error *err);

#endif
