/*
 * suffix.h - the last blocks of a model, forward, and backward to gradients in the stream.
 *
 * The forward pass takes hidden_states.first to hidden_states.L; the backward pass takes the
 * gradient in hidden_states.L to the gradient in hidden_states.first. There are no gradients in
 * weights. A batch is a number of whole sequences, up to a fixed maximum.
 *
 * In own scope each token is read as if it alone had been changed: its row runs by itself, and sees
 * the keys and values of clean sequences, which cbe_suffix_set_clean keeps for every block. A batch
 * of clean sequences comes out as it does without own scope, but for rounding. Design of the
 * measure: docs/maths.md, own scope.
 *
 * Between the passes either all values that the backward pass needs are kept (cbe_block_kept), or
 * only the stream before each block: the backward pass then runs each block anew, which costs one
 * forward pass and takes about a tenth of the memory.
 */
#ifndef CBE_MODEL_SUFFIX_H
#define CBE_MODEL_SUFFIX_H

#include "model/model.h"
#include "math/bf16.h"

typedef struct cbe_suffix cbe_suffix;

/** Values kept for the backward pass. */
typedef enum {
    CBE_SUFFIX_ALL = 0, /* all values that the backward pass needs */
    CBE_SUFFIX_INPUTS,  /* only the stream before each block */
    CBE_SUFFIX_FORWARD  /* nothing: there is no backward pass */
} cbe_suffix_way_back;

typedef struct {
    size_t first;          /* the lowest block that will be run; up to L */
    size_t context_length; /* S */
    size_t n_sequences;    /* most sequences of a batch */
    cbe_suffix_way_back way_back;
    size_t n_clean; /* own scope: most clean sequences, up to n_sequences; 0: no own scope */
} cbe_suffix_options;

/** Bytes that cbe_suffix_create allocates; SIZE_MAX on overflow. Nothing is allocated later. */
size_t cbe_suffix_bytes(const cbe_model *model, const cbe_suffix_options *options);
/** Prepares for the last blocks of a model, which is borrowed until free. @return CBE_OK,
 * CBE_ERR_NOMEM */
cbe_status cbe_suffix_create(cbe_suffix **out, const cbe_model *model,
                             const cbe_suffix_options *options, cbe_error *err);
void cbe_suffix_free(cbe_suffix *suffix); /* NULL is allowed */

/** Makes products with weights by bf16 from now on, if its number of parts is not 0 (math/bf16.h).
 * bf16 is borrowed until free. Allocates cbe_bf16_blocks_bytes for blocks from options.first on.
 * @return CBE_OK; CBE_ERR_ARG (the model's weights are not all in memory); CBE_ERR_NOMEM */
cbe_status cbe_suffix_use_bf16(cbe_suffix *suffix, cbe_bf16 *bf16, cbe_error *err);

/** The batch's stream (n_sequences S, d): the caller fills in hidden_states.first before
 * cbe_suffix_forward, which leaves hidden_states.L in it. */
float *cbe_suffix_hidden(cbe_suffix *suffix);
/** The gradient in the stream (n_sequences S, d): the caller fills in that in hidden_states.L
 * before cbe_suffix_backward, which leaves that in hidden_states.first. NULL with
 * CBE_SUFFIX_FORWARD. */
float *cbe_suffix_grad(cbe_suffix *suffix);

/** Own scope: what the next batch is read against; without own scope nothing. Runs the clean
 * sequences through blocks first .. L - 1, unless they are those of the call before, and keeps
 * their keys and values. It costs one forward pass, and leaves other numbers in cbe_suffix_hidden.
 * @param hidden     hidden_states.first of clean sequences, (.., S, d)
 * @param sequences  (count) their indices in `hidden`; NULL: 0 .. count - 1
 * @param begin, n   sequence p of the batch, p < n, is changed from sequences[(begin + p) % count]
 * @return as cbe_suffix_forward */
cbe_status cbe_suffix_set_clean(cbe_suffix *suffix, size_t first, const float *hidden, size_t count,
                                const size_t *sequences, size_t begin, size_t n, cbe_error *err);
/** Own scope: hidden states or the number of parts of products are others from here on. */
void cbe_suffix_forget_clean(cbe_suffix *suffix);

/** Runs blocks first .. L - 1 on n_sequences. In own scope cbe_suffix_set_clean comes before, with
 * the same `first`.
 * @param keep  whether cbe_suffix_backward follows; false with CBE_SUFFIX_FORWARD
 * @return CBE_OK; CBE_ERR_NUMERIC (a tensor that was expanded only now); CBE_ERR_NOMEM (in products
 * in bfloat16) */
cbe_status cbe_suffix_forward(cbe_suffix *suffix, size_t first, size_t n_sequences, bool keep,
                              cbe_error *err);
/** Runs the backward pass of the last cbe_suffix_forward, whose `keep` was true.
 * @return as cbe_suffix_forward */
cbe_status cbe_suffix_backward(cbe_suffix *suffix, cbe_error *err);

#endif
