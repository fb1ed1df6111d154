/*
 * decoder.h - from a hidden state to logits: final norm, unembedding, cap.
 *
 *   logits = cap(W norm(x) + bias),   cap(z) = c tanh(z / c), or identity when c = 0
 */
#ifndef CBE_MODEL_DECODER_H
#define CBE_MODEL_DECODER_H

#include <stddef.h>

#include "files/inputs.h"
#include "cbe/status.h"

typedef enum {
    CBE_NORM_RMS = 0, /* x / sqrt(mean(x^2) + eps) * gamma + beta; "rmsnorm" in files */
    CBE_NORM_LAYER,   /* the same of x - mean(x); "layernorm" */
    CBE_N_NORMS
} cbe_norm;

/** Plain, readable by all; owns its arrays. */
typedef struct {
    size_t hidden_size, vocab_size; /* d, V */
    cbe_norm norm;
    double norm_eps;
    double logit_softcap; /* c; 0: none */
    float *gamma;         /* (d) */
    float *beta;          /* (d); NULL: zero */
    float *unembedding;   /* W (V, d) */
    float *bias;          /* (V); NULL: zero */
} cbe_decoder;

/** Name of a norm in files: "rmsnorm", "layernorm". */
const char *cbe_norm_name(cbe_norm norm);

/** Reads a decoder file (docs/formats.md).
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_FORMAT, CBE_ERR_SHAPE, CBE_ERR_NUMERIC (NaN or infinity:
 * tensor named) */
cbe_status cbe_decoder_load(cbe_decoder **out, const char *path, cbe_inputs *inputs,
                            cbe_error *err);
cbe_status cbe_decoder_save(const cbe_decoder *decoder, const char *path, cbe_error *err);
void cbe_decoder_free(cbe_decoder *decoder); /* NULL is allowed */

/** Logits of n hidden states, plainly: norm, product, bias, cap.
 * @param hidden (n, d)  @param logits [out] (n, V)
 * @return CBE_OK, CBE_ERR_NOMEM (a normalised copy of hidden is needed) */
cbe_status cbe_decoder_logits(const cbe_decoder *decoder, size_t n, const float *hidden,
                              float *logits, cbe_error *err);

#endif
