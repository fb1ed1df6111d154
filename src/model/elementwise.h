/*
 * elementwise.h - what a block does between its matrix products, on rows of floats.
 */
#ifndef CBE_MODEL_ELEMENTWISE_H
#define CBE_MODEL_ELEMENTWISE_H

#include <stddef.h>

#include "cbe/decoder.h"

/** out = norm(x) * gamma + beta for each row of d numbers; sums in float64 (a hidden state may have
 * entries in the thousands beside ordinary ones).
 * @param x, out (n, d), the same or apart  @param beta (d) or NULL */
void cbe_norm_rows(cbe_norm norm, double eps, size_t n, size_t d, const float *x,
                   const float *gamma, const float *beta, float *out);

/** a = silu(a) * b, silu(z) = z / (1 + exp(-z)), for a row of n numbers. */
void cbe_silu_product(size_t n, float *a, const float *b);

/** x = exp(x - max x), for a row of n >= 1 numbers; returns their sum. */
double cbe_exp_row(size_t n, float *x);

/** out = scale * x. */
void cbe_scale_row(size_t n, float scale, const float *x, float *out);

#endif
