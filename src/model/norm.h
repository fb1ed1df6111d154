/*
 * norm.h - RMSNorm and LayerNorm of rows.
 */
#ifndef CBE_MODEL_NORM_H
#define CBE_MODEL_NORM_H

#include <stddef.h>

#include "cbe/decoder.h"

/** out = norm(x) * gamma + beta for each row of d numbers; sums in float64 (a hidden state may have
 * entries in the thousands beside ordinary ones).
 * @param x, out (n, d), the same or apart  @param beta (d) or NULL */
void cbe_norm_rows(cbe_norm norm, double eps, size_t n, size_t d, const float *x,
                   const float *gamma, const float *beta, float *out);

#endif
