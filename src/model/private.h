/*
 * private.h - the struct cbe_model and its weights, for the forward pass and the files built on it.
 */
#ifndef CBE_MODEL_PRIVATE_H
#define CBE_MODEL_PRIVATE_H

#include "model/model.h"
#include "math/bf16.h"
#include "model/config.h"
#include "model/source.h"

/** Weights of a norm; gamma NULL: there is no such norm. Gains are the factors themselves. */
typedef struct {
    const float *gamma, *beta; /* beta may be NULL */
} cbe_norm_weights;

/** A linear map W (outputs, inputs) and its bias, which may be NULL. */
typedef struct {
    const float *weight, *bias;
    /* W' and W for products in bfloat16 (bf16_blocks.h); NULL: there are none. */
    const cbe_bf16_matrix *forward, *back;
} cbe_linear;

/** One block's weights in float32. q, k, v and gate, up are stacked, for fewer and larger products.
 * block.h tells what a block computes. */
typedef struct {
    cbe_norm_weights attention_norm, mlp_norm;             /* (d) */
    cbe_norm_weights after_attention_norm, after_mlp_norm; /* (d) */
    cbe_norm_weights query_norm, key_norm;                 /* (head size), or all heads together */
    cbe_linear qkv; /* ((n_heads + 2 n_kv_heads) head_size, d); rotary pairs (i, i + half) */
    cbe_linear attention_out; /* (d, n_heads head_size) */
    cbe_linear up;            /* (2 mlp_size, d): gate, up; (mlp_size, d) if not gated */
    cbe_linear down;          /* (d, mlp_size) */
} cbe_block;

/** Choices that a family leaves to the file, as found in the first block. */
typedef struct {
    const cbe_tensor_names *names;
    const char *prefix;        /* stands before every name but the unembedding's */
    const char *unembedding;   /* the unembedding's name, without its ending */
    cbe_tensor_role embedding; /* under whose name the files have the embedding (tied.h) */
    bool fused_qkv, fused_gate_up;
    bool qkv_bias, attention_out_bias, mlp_bias;
} cbe_block_plan;

struct cbe_model {
    char *path;          /* path as it was opened */
    cbe_remarks remarks; /* of cbe_model_open, whose caller has no list */
    cbe_config config;
    cbe_decoder *decoder;
    /* (V, d), projected to d if needed; the decoder's unembedding if the two are tied; NULL: rows
     * are read from embedding_rows when they are needed. */
    float *embedding;
    cbe_tensor embedding_rows;
    float *positions;                        /* (max_context, d) or NULL */
    float *embedding_gamma, *embedding_beta; /* (d) or NULL: the norm before block 0 */

    cbe_block_plan plan;
    size_t block_floats; /* number of floats of one block */
    /* number of first blocks that are expanded; later blocks stay in their files */
    size_t n_resident;
    cbe_block *blocks;    /* (n_resident) */
    float **block_memory; /* (n_resident): memory that blocks point into */
    cbe_source *source;   /* NULL if all weights are expanded */
};

#endif
