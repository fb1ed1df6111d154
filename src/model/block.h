/*
 * block.h - what a block computes, for a panel of tokens, and the way back through it.
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
    size_t max_panel;        /* tokens in a panel, at most */
    size_t q_size, qkv_size; /* n_heads head_size, (n_heads + 2 n_kv_heads) head_size */
    /* (context_length, 2, rotary_size / 2); NULL: no rotation; both may be the same */
    float *rope[CBE_N_REACHES];
    float *slopes;                             /* (n_heads) or NULL */
    size_t mlp_at, attention_at, scratch_size; /* of a thread's scratch, in floats */
    size_t back_scratch_size;                  /* of the backward pass */
} cbe_block_context;

/** What the backward pass of a block needs from its forward pass, for a batch of whole sequences;
 * rows are tokens, NULL is what the model has no use for. */
typedef struct {
    float *input;     /* (n, d) the stream before the block */
    float *qkv;       /* (n, qkv_size) ready for attention */
    float *qk;        /* (n, ..) queries and keys before their norms */
    float *attention; /* (n, d) of the attention's branch, before its norm */
    float *middle;    /* (n, d) the stream between the branches, before a norm of the sum */
    float *up;        /* (n, up_size): gate, up; before the activation */
    float *mlp;       /* (n, d) of the MLP's branch, before its norm */
    float *output;    /* (n, d) the stream after the block, before a norm of the sum */
} cbe_block_kept;

/** Floats a token. */
size_t cbe_block_kept_size(const cbe_config *config);
/** Divides n_tokens cbe_block_kept_size floats. */
void cbe_block_kept_init(cbe_block_kept *kept, const cbe_config *config, size_t n_tokens,
                         float *memory);

/** Fills in all but rope and slopes.
 * @return CBE_OK; CBE_ERR_NOMEM when sizes overflow */
cbe_status cbe_block_context_init(cbe_block_context *context, const cbe_config *config,
                                  size_t context_length, size_t max_panel, cbe_error *err);

/** Queries, keys and values of n tokens, ready for attention.
 * @param position  of the first token in its sequence
 * @param hidden    (n, d)   @param scratch  scratch_size floats   @param qkv [out] (n, qkv_size)
 * @param kept_qk   [out] queries and keys before their norms; NULL: not wanted */
void cbe_block_qkv(const cbe_block_context *context, const cbe_block *block, cbe_reach reach,
                   size_t position, size_t n, const float *hidden, float *scratch, float *qkv,
                   float *kept_qk);

/** The rest of block number `index` for the tokens first .. first + n - 1 of a batch of whole
 * sequences.
 * @param qkv     (all tokens of the batch, qkv_size)
 * @param hidden  [in, out] (n, d) of the panel: the stream before the block, then after it
 * @param kept    [out] the batch's; its rows of attention, middle, up, mlp, output are filled in;
 *                NULL: there will be no backward pass */
void cbe_block_rest(const cbe_block_context *context, const cbe_block *block, size_t index,
                    size_t first, size_t n, const float *qkv, float *hidden, float *scratch,
                    const cbe_block_kept *kept);

/* The way back, with respect to the stream; no gradients of weights. In this order, each of the
 * three for all panels, or sequences and heads, before the next. Scratch: back_scratch_size
 * floats. */

/** Of cbe_block_rest without attention.
 * @param grad        [in, out] (n, d) of the panel: d/d stream after the block; then what of d/d
 *                    stream before it does not come through queries, keys and values
 * @param grad_mixed  [out] (n, q_size) of the panel: d/d what attention gives */
void cbe_block_rest_back(const cbe_block_context *context, const cbe_block *block, size_t first,
                         size_t n, const cbe_block_kept *kept, float *grad, float *scratch,
                         float *grad_mixed);
/** Of attention, for one sequence and one head of keys and values.
 * @param qkv, grad_mixed, grad_qkv  of the whole batch */
void cbe_block_attention_back(const cbe_block_context *context, size_t index, size_t sequence,
                              size_t head, const float *qkv, const float *grad_mixed,
                              float *scratch, float *grad_qkv);
/** Of cbe_block_qkv for the tokens first .. first + n - 1.
 * @param grad_qkv  (n, qkv_size) of the panel; overwritten
 * @param grad      [in, out] (n, d) of the panel: added to */
void cbe_block_qkv_back(const cbe_block_context *context, const cbe_block *block, cbe_reach reach,
                        size_t first, size_t n, const cbe_block_kept *kept, float *grad_qkv,
                        float *scratch, float *grad);

#endif
