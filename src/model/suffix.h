/*
 * suffix.h - the blocks from one on to the last, forward and back with respect to the stream.
 *
 * hidden_states.first goes in, hidden_states.L comes out; then d/d hidden_states.L goes in and d/d
 * hidden_states.first comes out. There are no gradients of weights. Batches are whole sequences, up
 * to a fixed number of them.
 *
 * Between the two passes either everything that the way back needs is kept (cbe_block_kept), or the
 * stream before each block alone: then each block is run anew on the way back, which costs one
 * forward pass and takes about a tenth of the memory.
 */
#ifndef CBE_MODEL_SUFFIX_H
#define CBE_MODEL_SUFFIX_H

#include "model/model.h"
#include "math/bf16.h"

typedef struct cbe_suffix cbe_suffix;

/** What is kept for the way back. */
typedef enum {
    CBE_SUFFIX_ALL = 0, /* everything that it needs */
    CBE_SUFFIX_INPUTS,  /* the stream before each block alone */
    CBE_SUFFIX_FORWARD  /* nothing: there will be none */
} cbe_suffix_way_back;

typedef struct {
    size_t first;          /* the first block that will be run, at the least; up to L */
    size_t context_length; /* S */
    size_t n_sequences;    /* of a batch, at most */
    cbe_suffix_way_back way_back;
} cbe_suffix_options;

/** Bytes that cbe_suffix_create will allocate; SIZE_MAX when that overflows. Nothing is allocated
 * later. */
size_t cbe_suffix_bytes(const cbe_model *model, const cbe_suffix_options *options);
/** The model is borrowed until free. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_suffix_create(cbe_suffix **out, const cbe_model *model,
                             const cbe_suffix_options *options, cbe_error *err);
void cbe_suffix_free(cbe_suffix *suffix); /* NULL is allowed */

/** From here on products with weights are made by bf16 where it has parts (math/bf16.h), which is
 * borrowed until free. Allocates cbe_bf16_blocks_bytes from options.first on.
 * @return CBE_OK; CBE_ERR_ARG (the model's weights are not all in memory); CBE_ERR_NOMEM */
cbe_status cbe_suffix_use_bf16(cbe_suffix *suffix, cbe_bf16 *bf16, cbe_error *err);

/** The stream of the batch in work (n_sequences S, d): filled in before cbe_suffix_forward,
 * hidden_states.L after it. */
float *cbe_suffix_hidden(cbe_suffix *suffix);
/** Its gradient, likewise: d/d hidden_states.L, and after cbe_suffix_backward d/d
 * hidden_states.first. NULL with CBE_SUFFIX_FORWARD. */
float *cbe_suffix_grad(cbe_suffix *suffix);

/** Runs blocks first .. L - 1 on n_sequences.
 * @param keep  cbe_suffix_backward will follow; false with CBE_SUFFIX_FORWARD
 * @return CBE_OK; CBE_ERR_NUMERIC (a tensor that was expanded only now); CBE_ERR_NOMEM (of products
 * in bfloat16) */
cbe_status cbe_suffix_forward(cbe_suffix *suffix, size_t first, size_t n_sequences, bool keep,
                              cbe_error *err);
/** Back through the blocks of the last cbe_suffix_forward, which kept what it takes. */
cbe_status cbe_suffix_backward(cbe_suffix *suffix, cbe_error *err);

#endif
