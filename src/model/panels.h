/*
 * panels.h - a block's forward and backward pass for a batch of whole sequences, panel by panel in
 * threads.
 *
 * Tokens go through a block in panels of fixed size, one thread each: a panel's rows stay in cache
 * between norm, products and activation, and BLAS runs single-threaded on large matrices. Panels
 * depend on the number of tokens alone, so the bits are the same for any number of threads. No
 * panel has tokens of two sequences unless they are short: BLAS may round a row's products by the
 * panel's shape and the row's place in it, and so a sequence has the same bits whatever runs beside
 * it, also if sequences are divided over processes.
 */
#ifndef CBE_MODEL_PANELS_H
#define CBE_MODEL_PANELS_H

#include "model/bf16_blocks.h"
#include "model/block.h"

/** Number of tokens of a panel, for n_tokens > 0 in one piece. */
size_t cbe_panel_size(size_t n_tokens);
/** Whether each panel has tokens of one sequence only, for sequences of that length. */
bool cbe_panels_cut_by_sequence(size_t context_length);

/** State that all blocks share. */
typedef struct {
    const cbe_model *model;
    cbe_block_context block;
    size_t context_length, batch_tokens, panel, n_threads;
    /* number of tokens that are cut into panels together: a sequence, or a whole batch */
    size_t piece;
    bool back;
    float *scratch;      /* (n_threads, scratch of a thread) */
    float *block_memory; /* weights of a block that is not resident; NULL: all blocks are */
    /* Blocks to run in place of the model's, borrowed; NULL: none. Set by the caller. */
    const cbe_bf16_blocks *bf16;
    /* What the tokens of the next block see in place of each other, borrowed; NULL: each other. Set
     * by the caller. */
    const cbe_block_clean *clean;
} cbe_panels;

/** Prepares for batches of up to batch_tokens tokens in sequences of context_length.
 * @param back  whether the backward pass will be run too
 * @return CBE_OK, CBE_ERR_NOMEM; also on failure the caller calls cbe_panels_free */
cbe_status cbe_panels_init(cbe_panels *panels, const cbe_model *model, size_t context_length,
                           size_t batch_tokens, bool back, cbe_error *err);
void cbe_panels_free(cbe_panels *panels); /* a zeroed struct is allowed */
/** Bytes that cbe_panels_init allocates; SIZE_MAX on overflow. */
size_t cbe_panels_bytes(const cbe_model *model, size_t context_length, size_t batch_tokens,
                        bool back);

/** Runs block number `index`, after expanding it if it is not resident.
 * @param hidden  [in, out] (n_tokens, d)
 * @param qkv     [out] (n_tokens, qkv_size)
 * @param kept    [out] filled in except input and qkv, which is an argument; NULL: no backward pass
 * follows
 * @return CBE_OK; CBE_ERR_NUMERIC (a tensor that was expanded only now) */
cbe_status cbe_panels_block(const cbe_panels *panels, size_t index, size_t n_tokens, float *hidden,
                            float *qkv, const cbe_block_kept *kept, cbe_error *err);

/** Runs the first half of block number `index` alone: queries, keys and values.
 * @param hidden  (n_tokens, d)
 * @param qkv     [out] (n_tokens, qkv_size)
 * @return as cbe_panels_block */
cbe_status cbe_panels_qkv(const cbe_panels *panels, size_t index, size_t n_tokens, float *hidden,
                          float *qkv, cbe_error *err);

/** Runs the backward pass of a block.
 * @param grad  [in, out] (n_tokens, d): the gradient in the stream after the block, then before it
 * @param grad_mixed (n_tokens, q_size), grad_qkv (n_tokens, qkv_size)  scratch
 * @return as cbe_panels_block */
cbe_status cbe_panels_block_back(const cbe_panels *panels, size_t index, size_t n_tokens,
                                 const cbe_block_kept *kept, float *grad, float *grad_mixed,
                                 float *grad_qkv, cbe_error *err);

#endif
