/*
 * norm.h - RMSNorm and LayerNorm of rows.
 */
#ifndef CBE_MATH_NORM_H
#define CBE_MATH_NORM_H

#include <stdbool.h>
#include <stddef.h>

typedef enum {
    CBE_NORM_RMS = 0, /* x / sqrt(mean(x^2) + eps) * gamma + beta; "rmsnorm" in files */
    CBE_NORM_LAYER,   /* (x - mean) / sqrt(mean((x - mean)^2) + eps) * gamma + beta; "layernorm" */
    CBE_N_NORMS
} cbe_norm;

/** Name of a norm in files: "rmsnorm", "layernorm". */
const char *cbe_norm_name(cbe_norm norm);

/** out = norm(x) * gamma + beta for each row of d numbers; sums in float64 (a hidden state may have
 * entries in the thousands beside ordinary ones).
 * @param x, out (n, d), the same array or apart  @param beta (d) or NULL */
void cbe_norm_rows(cbe_norm norm, double eps, size_t n, size_t d, const float *x,
                   const float *gamma, const float *beta, float *out);

/** Backward pass of cbe_norm_rows: grad = (or += if add) the gradient in x of a function whose
 * gradient in the norm's output is grad_out. With y = (x - mean) / s, g = grad_out gamma:  (g -
 * mean(g) - y mean(g y)) / s, where mean(g) is for LayerNorm alone.
 * @param x  (n, d), the norm's input  @param grad (n, d); may be grad_out unless add */
void cbe_norm_rows_back(cbe_norm norm, double eps, size_t n, size_t d, const float *x,
                        const float *gamma, const float *grad_out, bool add, float *grad);

#endif
