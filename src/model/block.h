/*
 * block.h - what a block computes, for a panel of tokens.
 *
 * h is the residual stream. With the norms, biases and rotations that the traits name:
 *
 *   q, k, v = Wqkv norm(h)         a = Wo attention(q, k, v)       m = Wd f(Wu norm(h))
 *   sequential: h += norm(a), then h += norm(m), m computed from the new h
 *   parallel:   h += norm(a) + norm(m), both from the old h
 *   norms of sums: no norm before the branches, but h = norm(h) after each addition
 */
#ifndef CBE_MODEL_BLOCK_H
#define CBE_MODEL_BLOCK_H

#include "model/attention.h"
#include "model/private.h"

/** What does not change between the blocks and panels of a forward pass. */
typedef struct {
    const cbe_config *config;
    size_t context_length;
    size_t max_panel;           /* tokens in a panel, at most */
    size_t q_size, qkv_size;    /* n_heads head_size, (n_heads + 2 n_kv_heads) head_size */
    float *rope[CBE_N_REACHES]; /* (context_length, 2, rotary_size / 2); NULL: no rotation;
                                         both may be the same */
    float *slopes;              /* (n_heads) or NULL */
    size_t mlp_at, attention_at, scratch_size; /* of a thread's scratch, in floats */
} cbe_block_context;

/** Fills in all but rope and slopes.
 * @return CBE_OK; CBE_ERR_NOMEM when sizes overflow */
cbe_status cbe_block_context_init(cbe_block_context *context, const cbe_config *config,
                                  size_t context_length, size_t max_panel, cbe_error *err);

/** Queries, keys and values of n tokens, ready for attention.
 * @param position  of the first token in its sequence
 * @param hidden    (n, d)   @param scratch  scratch_size floats   @param qkv [out] (n, qkv_size) */
void cbe_block_qkv(const cbe_block_context *context, const cbe_block *block, cbe_reach reach,
                   size_t position, size_t n, const float *hidden, float *scratch, float *qkv);

/** The rest of block number `index` for the tokens first .. first + n - 1 of a batch of whole
 * sequences.
 * @param qkv     (all tokens of the batch, qkv_size)
 * @param hidden  [in, out] (n, d) of the panel: the stream before the block, then after it */
void cbe_block_rest(const cbe_block_context *context, const cbe_block *block, size_t index,
                    size_t first, size_t n, const float *qkv, float *hidden, float *scratch);

#endif
