/*
 * panels.h - a block for a batch of whole sequences, panel by panel in threads, forward and back.
 *
 * Tokens go through a block in panels of fixed size, one thread each: a panel's rows stay in cache
 * between norm, products and activation, and BLAS runs single-threaded on large matrices. Panels
 * depend on the number of tokens alone, never on that of threads: the bits are the same for any. Of
 * sequences that are not short no panel has tokens of two: BLAS may round a row's products by the
 * shape and the place that it has in a panel, and so a sequence has the same bits whatever runs
 * beside it, as when sequences are divided over processes.
 */
#ifndef CBE_MODEL_PANELS_H
#define CBE_MODEL_PANELS_H

#include "model/bf16_blocks.h"
#include "model/block.h"

/** Tokens of a panel when there are n_tokens > 0 in one piece. */
size_t cbe_panel_size(size_t n_tokens);
/** Whether no panel has tokens of two sequences of that length. */
bool cbe_panels_cut_by_sequence(size_t context_length);

/** Everything that all blocks share. */
typedef struct {
    const cbe_model *model;
    cbe_block_context block;
    size_t context_length, batch_tokens, panel, n_threads;
    size_t piece; /* tokens that are cut into panels: a sequence, or all of a batch */
    bool back;
    float *scratch;      /* (n_threads, scratch of a thread) */
    float *block_memory; /* of a block that is not resident; NULL: all are */
    /* borrowed: blocks to run in place of the model's; NULL: none. Set by the user */
    const cbe_bf16_blocks *bf16;
} cbe_panels;

/** For batches of up to batch_tokens tokens in sequences of context_length.
 * @param back  the backward pass will be run too
 * @return CBE_OK, CBE_ERR_NOMEM; on failure what was filled in is left for cbe_panels_free */
cbe_status cbe_panels_init(cbe_panels *panels, const cbe_model *model, size_t context_length,
                           size_t batch_tokens, bool back, cbe_error *err);
void cbe_panels_free(cbe_panels *panels); /* a zeroed one is allowed */
/** Bytes that cbe_panels_init allocates; SIZE_MAX when that overflows. */
size_t cbe_panels_bytes(const cbe_model *model, size_t context_length, size_t batch_tokens,
                        bool back);

/** Block number `index`, expanded first if need be.
 * @param hidden  [in, out] (n_tokens, d)
 * @param qkv     [out] (n_tokens, qkv_size)
 * @param kept    [out] all but input, and qkv, which is the argument; NULL: no backward pass
 * follows
 * @return CBE_OK; CBE_ERR_NUMERIC (a tensor that was expanded only now) */
cbe_status cbe_panels_block(const cbe_panels *panels, size_t index, size_t n_tokens, float *hidden,
                            float *qkv, const cbe_block_kept *kept, cbe_error *err);

/** Back through it. @param grad  [in, out] (n_tokens, d): d/d stream after the block, then before
 * it
 * @param grad_mixed (n_tokens, q_size), grad_qkv (n_tokens, qkv_size)  room */
cbe_status cbe_panels_block_back(const cbe_panels *panels, size_t index, size_t n_tokens,
                                 const cbe_block_kept *kept, float *grad, float *grad_mixed,
                                 float *grad_qkv, cbe_error *err);

#endif
