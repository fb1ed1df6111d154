/*
 * activation.h - the activation functions of an MLP, and their backward passes.
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

/** The activation of a name in config.json ("gelu_new"); CBE_N_ACTIVATIONS if it is unknown. */
cbe_activation cbe_activation_find(const char *name);

/** out = f(a) for a row of n numbers; out may be a. */
void cbe_activate(cbe_activation activation, size_t n, const float *a, float *out);
/** out = f(a) * b; out may be a. */
void cbe_activate_gated(cbe_activation activation, size_t n, const float *a, const float *b,
                        float *out);

/* Backward passes: from the gradient grad_out in `out` to the gradients in a and b; grad_a may be
 * grad_out. */
void cbe_activate_back(cbe_activation activation, size_t n, const float *a, const float *grad_out,
                       float *grad_a);
void cbe_activate_gated_back(cbe_activation activation, size_t n, const float *a, const float *b,
                             const float *grad_out, float *grad_a, float *grad_b);

#endif
