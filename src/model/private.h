/*
 * private.h - what a cbe_model holds, for the forward pass and what is built on it.
 */
#ifndef CBE_MODEL_PRIVATE_H
#define CBE_MODEL_PRIVATE_H

#include "cbe/model.h"
#include "model/config.h"

/** One block: h += Wo attention(rope(Wqkv norm(h))), then
 * h += Wd (silu(Wg norm(h)) * (Wu norm(h))). Rows are outputs, as files store them; q, k, v and
 * gate, up are stacked, for fewer and larger products. */
typedef struct {
    float *attention_norm; /* (d) */
    float *qkv;            /* ((n_heads + 2 n_kv_heads) head_size, d); rotary pairs (i, i + half) */
    float *attention_out;  /* (d, n_heads head_size) */
    float *mlp_norm;       /* (d) */
    float *gate_up;        /* (2 mlp_size, d) */
    float *down;           /* (d, mlp_size) */
} cbe_block;

struct cbe_model {
    cbe_config config;
    double *rope_frequencies; /* (head_size / 2), radians a position */
    float *embedding;         /* (V, d); the decoder's unembedding when config.tied */
    cbe_block *blocks;        /* (n_layers) */
    cbe_decoder *decoder;
};

#endif
