/*
 * model.h - language models (cbe/model.h): loading within a budget of memory, configuration, and
 * the forward pass with its residual stream laid open.
 */
#ifndef CBE_MODEL_MODEL_H
#define CBE_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/decoder.h"
#include "files/inputs.h"
#include "cbe/model.h"

typedef struct {
    char architecture[32]; /* "llama" */
    size_t hidden_size, n_layers, vocab_size;
    size_t n_heads, n_kv_heads, head_size, mlp_size;
    size_t max_context; /* positions the model was made for; 0: not known */
    double norm_eps, rope_base;
    bool gated_mlp; /* activation(gate) * up, three matrices; else two */
} cbe_model_config;

/** Start with {0}. */
typedef struct {
    /* Bytes that float32 copies of weights may take; 0: no limit. What does not fit stays in its
     * own type in the mapped file and is expanded a block at a time in each forward pass, with the
     * same results to the bit. The unembedding and one block are the least. */
    size_t memory;
    cbe_inputs *inputs; /* files are added to; NULL: not wanted */
    /* Called before each block is read to float32; false cancels; NULL: none. */
    bool (*progress)(void *context, size_t done, size_t total);
    void *context;
} cbe_model_options;

/** cbe_model_open (cbe/model.h) with options. @return besides: CBE_ERR_ARG, memory is too small for
 * the least */
cbe_status cbe_model_open_with(cbe_model **out, const char *path, const cbe_model_options *options,
                               cbe_error *err);

/** What a model is, without its weights: of a model as above, or of a config.json alone.
 * @param file_bytes [out] of its files; 0 for a config.json
 * @return as cbe_model_open, of what concerns the configuration */
cbe_status cbe_model_read_config(cbe_model_config *out, size_t *file_bytes, const char *path,
                                 cbe_error *err);

const cbe_model_config *cbe_model_get_config(const cbe_model *model); /* borrowed */

/** Receives logits (n_tokens, V) of the tokens first .. first + n_tokens - 1, in order. Anything
 * but CBE_OK ends the forward pass with that status. */
typedef cbe_status cbe_logits_fn(void *context, size_t first, size_t n_tokens, const float *logits,
                                 cbe_error *err);

/** Receives hidden_states.<layer> (n_tokens, d) of the tokens first .. first + n_tokens - 1;
 * borrowed for the call. Layers come in rising order within a batch of sequences, batches in
 * order. */
typedef cbe_status cbe_hidden_fn(void *context, size_t layer, size_t first, size_t n_tokens,
                                 const float *hidden, cbe_error *err);

typedef struct {
    const bool *layers;    /* (L + 1): which hidden_states.i to hand over; NULL: none */
    cbe_hidden_fn *hidden; /* may be NULL when layers is */
    cbe_logits_fn *logits; /* NULL: the unembedding is not run */
    void *context;         /* passed to both */
    /* Of tokens times blocks; false cancels; NULL: none. */
    bool (*progress)(void *context, size_t done, size_t total);
} cbe_forward_sink;

/** Runs n_sequences of context_length tokens through the model (causal attention, no padding).
 * Blocks past the last layer asked for are not run. Memory: hidden state, query, key and value
 * of each token of a batch (up to 8,192 tokens or 256 MB, or one sequence), a few MB a thread,
 * 32 MB of logits; nothing is allocated after the start. Threads: OpenMP; the result has the
 * same bits for any number of them. Sequences may be longer than max_context, except
 * with learned positions.
 * @param ids (n_sequences, context_length), each below vocab_size
 * @return CBE_OK, CBE_ERR_ARG (id named, or too long a sequence), CBE_ERR_NOMEM,
 *         CBE_ERR_NUMERIC (a tensor that was expanded only now), CBE_ERR_CANCELLED, or what a sink
 *         returned */
cbe_status cbe_model_forward(const cbe_model *model, size_t n_sequences, size_t context_length,
                             const int64_t *ids, const cbe_forward_sink *sink, cbe_error *err);
/** Whether sequences of that length have the same bits whichever others are run beside them; short
 * ones share matrix products. */
bool cbe_forward_is_by_sequence(size_t context_length);

#endif
