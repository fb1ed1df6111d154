/*
 * decoder.h - from a hidden state to logits: final norm, unembedding, cap.
 *
 *   logits = cap(W norm(x) + bias),   cap(z) = c tanh(z / c), or identity when c = 0
 */
#ifndef CBE_MODEL_DECODER_H
#define CBE_MODEL_DECODER_H

#include <stddef.h>

#include "files/inputs.h"
#include "math/norm.h"
#include "cbe/status.h"

/** Plain, readable by all; owns its arrays. */
typedef struct cbe_decoder {
    size_t hidden_size, vocab_size; /* d, V */
    cbe_norm norm;
    double norm_eps;
    double logit_softcap; /* c; 0: none */
    float *gamma;         /* (d) */
    float *beta;          /* (d); NULL: zero */
    float *unembedding;   /* W (V, d) */
    float *bias;          /* (V); NULL: zero */
} cbe_decoder;

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
