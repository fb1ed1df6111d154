/*
 * private.h - what a cbe_model holds, for the forward pass and what is built on it.
 */
#ifndef CBE_MODEL_PRIVATE_H
#define CBE_MODEL_PRIVATE_H

#include "model/model.h"
#include "math/bf16.h"
#include "model/config.h"
#include "model/source.h"

/** gamma NULL: there is no such norm. Gains are the factors themselves. */
typedef struct {
    const float *gamma, *beta; /* beta may be NULL */
} cbe_norm_weights;

/** W (outputs, inputs) and its bias, which may be NULL. Rows are outputs. */
typedef struct {
    const float *weight, *bias;
    /* W' and W for products in bfloat16 (bf16_blocks.h); NULL: there are none */
    const cbe_bf16_matrix *forward, *back;
} cbe_linear;

/** One block's weights in float32. q, k, v and gate, up are stacked, for fewer and larger
 * products. What is computed with them: block.h. */
typedef struct {
    cbe_norm_weights attention_norm, mlp_norm;             /* (d) */
    cbe_norm_weights after_attention_norm, after_mlp_norm; /* (d) */
    cbe_norm_weights query_norm, key_norm;                 /* (head size), or all heads together */
    cbe_linear qkv; /* ((n_heads + 2 n_kv_heads) head_size, d); rotary pairs (i, i + half) */
    cbe_linear attention_out; /* (d, n_heads head_size) */
    cbe_linear up;            /* (2 mlp_size, d): gate, up; (mlp_size, d) when not gated */
    cbe_linear down;          /* (d, mlp_size) */
} cbe_block;

/** What files of a family may have in one way or another, as the first block has it. */
typedef struct {
    const cbe_tensor_names *names;
    const char *prefix; /* before every name but the unembedding's */
    bool fused_qkv, fused_gate_up;
    bool qkv_bias, attention_out_bias, mlp_bias;
} cbe_block_plan;

struct cbe_model {
    char *path; /* as it was opened */
    cbe_config config;
    cbe_decoder *decoder;
    /* (V, d), projected if need be; the decoder's unembedding when the two are one; NULL: rows are
     * read from embedding_rows as they are asked for. */
    float *embedding;
    cbe_tensor embedding_rows;
    float *positions;                        /* (max_context, d) or NULL */
    float *embedding_gamma, *embedding_beta; /* (d) or NULL: the norm before block 0 */

    cbe_block_plan plan;
    size_t block_floats;  /* what one block takes in float32 */
    size_t n_resident;    /* the first blocks, expanded; the others wait in their files */
    cbe_block *blocks;    /* (n_resident) */
    float **block_memory; /* (n_resident): what blocks point into */
    cbe_source *source;   /* NULL once everything is expanded */
};

#endif
