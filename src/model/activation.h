/*
 * activation.h - what stands between the two products of an MLP.
 */
#ifndef CBE_MODEL_ACTIVATION_H
#define CBE_MODEL_ACTIVATION_H

#include <stddef.h>

typedef enum {
    CBE_SILU = 0,   /* z / (1 + exp(-z)) */
    CBE_GELU,       /* z times the normal distribution function at z */
    CBE_GELU_TANH,  /* z / 2 (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) */
    CBE_QUICK_GELU, /* z / (1 + exp(-1.702 z)) */
    CBE_RELU,
    CBE_N_ACTIVATIONS
} cbe_activation;

/** The activation of that name in config.json ("gelu_new"); CBE_N_ACTIVATIONS when unknown. */
cbe_activation cbe_activation_find(const char *name);

/** a = f(a) for a row of n numbers. */
void cbe_activate(cbe_activation activation, size_t n, float *a);
/** a = f(a) * b. */
void cbe_activate_gated(cbe_activation activation, size_t n, float *a, const float *b);

#endif
