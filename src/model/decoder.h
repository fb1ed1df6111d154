/*
 * decoder.h - from a hidden state to logits: final norm, unembedding, cap.
 *
 * logits = cap(W norm(x) + bias),   cap(z) = c tanh(z / c), or identity if c = 0
 */
#ifndef CBE_MODEL_DECODER_H
#define CBE_MODEL_DECODER_H

#include <stddef.h>

#include "cbe/cbe.h"
#include "files/inputs.h"
#include "math/norm.h"

/** A plain struct, readable by all of the library, which owns its arrays. */
struct cbe_decoder {
    size_t hidden_size, vocab_size; /* d, V */
    cbe_norm norm;
    double norm_eps;
    double logit_softcap; /* c; 0: none */
    float *gamma;         /* (d) */
    float *beta;          /* (d); NULL: zero */
    float *unembedding;   /* W (V, d) */
    float *bias;          /* (V); NULL: zero */
};

/** cbe_decoder_load (cbe/cbe.h), which adds the file to the inputs of a run (NULL skips it). */
cbe_status cbe_decoder_read(cbe_decoder **out, const char *path, cbe_inputs *inputs,
                            cbe_error *err);

/** What all logits have in common through their bias: a number that no softmax sees, but beside
 * which float32 cannot tell logits apart. It is the largest bias, rounded to a multiple of 256: 0
 * for the biases of ordinary models, and subtracting it from a bias near it rounds nothing. A cap
 * sees it, so with a cap it is 0. */
float cbe_decoder_common(const cbe_decoder *decoder);

#endif
