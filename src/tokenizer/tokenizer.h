/*
 * tokenizer.h - tokenizers of files (cbe/tokens.h has what is done with them).
 *
 * Kinds read from a GGUF file, by tokenizer.ggml.model: "gpt2" (byte-level BPE, with the
 * pre-tokenisation that tokenizer.ggml.pre names: the table in text/splits.c), "llama"
 * (SentencePiece's BPE by scores with byte fallback) and "t5" (unigram, without a table of
 * normalisation). Kinds read from a tokenizer.json: models BPE, Unigram, WordPiece and WordLevel
 * with normalizers, pre_tokenizers, post_processors and decoders as listed in docs/formats.md.
 */
#ifndef CBE_TOKENIZER_TOKENIZER_H
#define CBE_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/remarks.h"
#include "formats/gguf.h"
#include "cbe/tokens.h"

/** Makes the tokenizer of a GGUF file. Everything is copied: the file may be closed afterwards.
 * @param remarks  what is to be told of the file is added; NULL: nobody listens
 * @return CBE_OK; CBE_ERR_UNSUPPORTED for another kind of tokenizer or of a part of it (named in
 *         the message); CBE_ERR_FORMAT for a vocabulary or merges that contradict each other;
 *         CBE_ERR_NOMEM */
cbe_status cbe_tokenizer_from_gguf(cbe_tokenizer **out, const cbe_gguf *file, cbe_remarks *remarks,
                                   cbe_error *err);
/** Makes a tokenizer from a tokenizer.json, which does not say which token ends a text: eos is -1.
 * @param inputs   the file is added to this list; NULL skips it
 * @param remarks  what is to be told of the file is added; NULL: nobody listens
 * @return as cbe_tokenizer_from_gguf, and CBE_ERR_IO */
cbe_status cbe_tokenizer_from_json(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                                   cbe_remarks *remarks, cbe_error *err);
/** Makes a tokenizer from the tokenizer.json of a Hugging Face folder and the files beside it, as
 * transformers does: they may know further added tokens. bos and eos are named by the first of
 * tokenizer_config.json, special_tokens_map.json and config.json that names them; if
 * tokenizer_config.json lists no added tokens, special_tokens_map.json comes before it.
 * @param inputs  files read are added to this list as CBE_INPUT_MODEL_BESIDE; NULL skips it
 * @return as cbe_tokenizer_from_json */
cbe_status cbe_tokenizer_from_folder(cbe_tokenizer **out, const char *folder, cbe_inputs *inputs,
                                     cbe_remarks *remarks, cbe_error *err);
/** cbe_tokenizer_open (cbe/tokens.h), with the files that are read added to the inputs of a run,
 * and what is to be told of them to the remarks; NULL: not wanted. */
cbe_status cbe_tokenizer_read(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                              cbe_remarks *remarks, cbe_error *err);

#endif
