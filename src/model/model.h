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
#include "core/remarks.h"
#include "files/inputs.h"
#include "cbe/model.h"

typedef struct {
    char architecture[32]; /* "llama" */
    size_t hidden_size, n_layers, vocab_size;
    size_t n_heads, n_kv_heads, head_size, mlp_size;
    size_t max_context; /* number of positions that the model was made for; 0: not known */
    double norm_eps, rope_base;
    bool gated_mlp; /* activation(gate) * up, with three matrices; else two matrices */
} cbe_model_config;

/** Options of opening a model; start with {0}. */
typedef struct {
    /* Most bytes of float32 copies of weights; 0: no limit. Weights that do not fit stay in the
     * mapped file in their own type and are expanded a block at a time in each forward pass, with
     * the same bits of results. The unembedding and one block must fit. */
    size_t memory;
    cbe_inputs *inputs;   /* files are added to this list; NULL skips it */
    cbe_remarks *remarks; /* what is to be told of the files; NULL: nobody listens */
    /* Called before each block is read to float32; false cancels; NULL: none. */
    bool (*progress)(void *context, size_t done, size_t total);
    void *context;
} cbe_model_options;

/** cbe_model_open (cbe/model.h) with options. @return besides: CBE_ERR_ARG, memory is too small for
 * the least */
cbe_status cbe_model_open_with(cbe_model **out, const char *path, const cbe_model_options *options,
                               cbe_error *err);

/** Reads a model's configuration without its weights, from a model or from a config.json alone.
 * @param file_bytes [out] bytes of the model's files; 0 for a config.json
 * @return the statuses of cbe_model_open that concern the configuration */
cbe_status cbe_model_read_config(cbe_model_config *out, size_t *file_bytes, const char *path,
                                 cbe_error *err);

const cbe_model_config *cbe_model_get_config(const cbe_model *model); /* borrowed */
/** Multiplications of a token with the weights behind hidden_states.<state>, those of the
 * unembedding among them. */
double cbe_model_multiplications(const cbe_model_config *config, size_t state);

/** Receives logits (n_tokens, V) of tokens first .. first + n_tokens - 1, in order. Any status but
 * CBE_OK ends the forward pass, which returns it. */
typedef cbe_status cbe_logits_fn(void *context, size_t first, size_t n_tokens, const float *logits,
                                 cbe_error *err);

/** Receives hidden_states.<layer> (n_tokens, d) of tokens first .. first + n_tokens - 1; borrowed
 * for the call. Layers come in rising order within a batch of sequences, batches in order. */
typedef cbe_status cbe_hidden_fn(void *context, size_t layer, size_t first, size_t n_tokens,
                                 const float *hidden, cbe_error *err);

typedef struct {
    const bool *layers;    /* (L + 1): whether to hand over hidden_states.i; NULL: none */
    cbe_hidden_fn *hidden; /* may be NULL if layers is NULL */
    cbe_logits_fn *logits; /* NULL: the unembedding is not run */
    void *context;         /* passed to the functions */
    /* Called with tokens times blocks done; false cancels; NULL: no calls. */
    bool (*progress)(void *context, size_t done, size_t total);
} cbe_forward_sink;

/** Runs n_sequences of context_length tokens through the model (causal attention, no padding).
 * Blocks past the last layer asked for are not run. Memory: hidden state, query, key and value of
 * each token of a batch (up to 8,192 tokens or 256 MB, or one sequence), a few MB a thread, 32 MB
 * of logits; nothing is allocated after the start. Threads: OpenMP; the result has the same bits
 * for any number of threads. Sequences may be longer than max_context, except with learned
 * positions.
 * @param ids (n_sequences, context_length), each below vocab_size
 * @return CBE_OK, CBE_ERR_ARG (id named, or too long a sequence), CBE_ERR_NOMEM, CBE_ERR_NUMERIC (a
 *         tensor that was expanded only now), CBE_ERR_CANCELLED, or the status of a sink's
 * function */
cbe_status cbe_model_forward(const cbe_model *model, size_t n_sequences, size_t context_length,
                             const int64_t *ids, const cbe_forward_sink *sink, cbe_error *err);
/** Whether results of a sequence of context_length tokens have the same bits for any other
 * sequences beside it. They do not if it is short, since short sequences share matrix products. */
bool cbe_forward_is_by_sequence(size_t context_length);

#endif
