/*
 * block.h - a block's forward pass for a panel of tokens, and its backward pass.
 *
 * h is the residual stream. The traits (family.h) name the norms, biases and rotations.
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

/** Values that all blocks and panels of a forward pass share. */
typedef struct {
    const cbe_config *config;
    size_t context_length;
    size_t max_panel;        /* most tokens of a panel */
    size_t q_size, qkv_size; /* n_heads head_size, (n_heads + 2 n_kv_heads) head_size */
    /* (context_length, 2, rotary_size / 2); NULL: no rotation. Both reaches may share a table. */
    float *rope[CBE_N_REACHES];
    float *slopes; /* (n_heads) of ALiBi; NULL: none */
    /* Places in a thread's scratch and its size, in floats. */
    size_t mlp_at, attention_at, scratch_size;
    size_t back_scratch_size; /* size of the backward pass's scratch, in floats */
} cbe_block_context;

/** Values of a block's forward pass that its backward pass needs, for a batch of whole sequences.
 * Rows are tokens; an array that the model does not need is NULL. */
typedef struct {
    float *input;     /* (n, d) the stream before the block */
    float *qkv;       /* (n, qkv_size) queries, keys and values, ready for attention */
    float *qk;        /* (n, ..) queries and keys before their norms */
    float *attention; /* (n, d) output of the attention branch, before its norm */
    float *middle;    /* (n, d) the stream between the branches, before a norm of the sum */
    float *up;        /* (n, up_size): gate, up; before the activation */
    float *mlp;       /* (n, d) output of the MLP branch, before its norm */
    float *output;    /* (n, d) the stream after the block, before a norm of the sum */
} cbe_block_kept;

/** Keys and values of clean sequences in one block, which the tokens of a batch see in place of
 * each other's (own scope, model/attention_own.h). */
typedef struct {
    const float *rows;      /* (clean sequences, context_length, k | v), ready for attention */
    const size_t *sequence; /* index of the clean sequence of each of the batch's sequences */
} cbe_block_clean;

/** Number of floats kept for each token. */
size_t cbe_block_kept_size(const cbe_config *config);
/** Sets the arrays of *kept inside memory (n_tokens cbe_block_kept_size floats). */
void cbe_block_kept_init(cbe_block_kept *kept, const cbe_config *config, size_t n_tokens,
                         float *memory);

/** Fills in *context except rope and slopes.
 * @return CBE_OK; CBE_ERR_NOMEM if sizes overflow */
cbe_status cbe_block_context_init(cbe_block_context *context, const cbe_config *config,
                                  size_t context_length, size_t max_panel, cbe_error *err);

/** Computes queries, keys and values of n tokens, ready for attention.
 * @param position  of the first token in its sequence
 * @param hidden    (n, d)   @param scratch  scratch_size floats   @param qkv [out] (n, qkv_size)
 * @param kept_qk   [out] queries and keys before their norms; NULL skips them */
void cbe_block_qkv(const cbe_block_context *context, const cbe_block *block, cbe_reach reach,
                   size_t position, size_t n, const float *hidden, float *scratch, float *qkv,
                   float *kept_qk);

/** Runs the rest of block number `index` for tokens first .. first + n - 1 of a batch of whole
 * sequences.
 * @param qkv     (all tokens of the batch, qkv_size)
 * @param clean   NULL: tokens see the batch's own keys and values
 * @param hidden  [in, out] (n, d), the panel's stream: before the block, then after it
 * @param kept    [out] the batch's arrays, whose rows of attention, middle, up, mlp, output are
 *                filled in; NULL: no backward pass follows */
void cbe_block_rest(const cbe_block_context *context, const cbe_block *block, size_t index,
                    size_t first, size_t n, const float *qkv, const cbe_block_clean *clean,
                    float *hidden, float *scratch, const cbe_block_kept *kept);

/* Backward pass, for gradients in the stream alone, not in weights. Its three functions are called
 * in this order, each for all panels (or sequences and heads) before the next. Scratch:
 * back_scratch_size floats. */

/** Backward pass of cbe_block_rest without attention.
 * @param grad        [in, out] (n, d) of the panel: the gradient in the stream after the block;
 *                    then the gradient in the stream before it, without the part that comes through
 *                    queries, keys and values
 * @param grad_mixed  [out] (n, q_size) of the panel: the gradient in attention's output */
void cbe_block_rest_back(const cbe_block_context *context, const cbe_block *block, size_t first,
                         size_t n, const cbe_block_kept *kept, float *grad, float *scratch,
                         float *grad_mixed);
/** Backward pass of attention, for one sequence and one head of keys and values.
 * @param qkv, grad_mixed, grad_qkv  of the whole batch
 * @param clean  as in cbe_block_rest */
void cbe_block_attention_back(const cbe_block_context *context, size_t index, size_t sequence,
                              size_t head, const float *qkv, const cbe_block_clean *clean,
                              const float *grad_mixed, float *scratch, float *grad_qkv);
/** Backward pass of cbe_block_qkv for tokens first .. first + n - 1.
 * @param grad_qkv  (n, qkv_size) of the panel; overwritten
 * @param grad      [in, out] (n, d) of the panel: the gradient in the stream is added */
void cbe_block_qkv_back(const cbe_block_context *context, const cbe_block *block, cbe_reach reach,
                        size_t first, size_t n, const cbe_block_kept *kept, float *grad_qkv,
                        float *scratch, float *grad);

#endif
