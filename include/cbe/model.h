/*
 * model.h - language models: weights from a file, and the hidden states of token sequences.
 *
 * hidden_states.i, i = 0 .. L, is the residual stream that enters block i; hidden_states.L leaves
 * the last block and is taken before the final norm.
 */
#ifndef CBE_MODEL_H
#define CBE_MODEL_H

#include "cbe/cbe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cbe_model cbe_model;

/** Opens a .gguf file, or a Hugging Face folder (config.json and *.safetensors), and reads its
 * weights to float32.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT; CBE_ERR_SHAPE (tensor named); CBE_ERR_UNSUPPORTED
 * (architecture, rotary scaling or tensor type named); CBE_ERR_NUMERIC (tensor named);
 * CBE_ERR_NOMEM */
CBE_API cbe_status cbe_model_open(cbe_model **out, const char *path, cbe_error *err);
CBE_API void cbe_model_close(cbe_model *model);

/** A warning of cbe_model_open: what the files say was taken in a way that a user should know. A
 * run of a given model (cbe_run_set_model) tells it too.
 * @param i  from 0
 * @return a line, borrowed until close; NULL: there are no more, or the model is NULL */
CBE_API const char *cbe_model_warning(const cbe_model *model, size_t i);
/** The path as it was given; borrowed until close. */
CBE_API const char *cbe_model_path(const cbe_model *model);
/** A size of the model: "n_layers" (L), "hidden_size" (d), "vocab_size" (V), "n_heads",
 * "n_kv_heads", "head_size", "mlp_size", or "max_context", the number of positions that the model
 * was made for.
 * @return 0: it is not known, or there is no size of that name */
CBE_API size_t cbe_model_size(const cbe_model *model, const char *name);
/** Final norm and unembedding; borrowed until close. */
CBE_API const cbe_decoder *cbe_model_decoder(const cbe_model *model);

/** Runs the model on token sequences and keeps hidden states of them, with the ids.
 * @param ids       (n_sequences, context_length), each below V; copied
 * @param states    (L + 1): which hidden_states.i to keep; NULL: all
 * @param callback  told of progress, and may cancel; NULL: none
 * @return CBE_OK; CBE_ERR_ARG (NULL, an id, too long a sequence for learned
 * positions); CBE_ERR_NOMEM; CBE_ERR_NUMERIC;
 * CBE_ERR_CANCELLED */
CBE_API cbe_status cbe_model_capture(cbe_hidden_states **out, const cbe_model *model,
                                     size_t n_sequences, size_t context_length, const int64_t *ids,
                                     const bool *states, cbe_callback *callback, void *context,
                                     cbe_error *err);

#ifdef __cplusplus
}
#endif
#endif
