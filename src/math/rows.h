/*
 * rows.h - elementwise functions of rows of floats.
 */
#ifndef CBE_MATH_ROWS_H
#define CBE_MATH_ROWS_H

#include <stddef.h>

/** Largest of n >= 1 numbers; NaN is ignored except in x[0]. */
float cbe_max_row(size_t n, const float *x);

/** x = exp(x - max x), for a row of n >= 1 numbers; returns their sum. */
double cbe_exp_row(size_t n, float *x);
/** x = exp(x - shift), for a row of n numbers; returns their sum. */
double cbe_exp_shifted_row(size_t n, float shift, float *x);

/** out = scale * x; out may be x. */
void cbe_scale_row(size_t n, float scale, const float *x, float *out);

/** out += x. */
void cbe_add_row(size_t n, const float *x, float *out);

/** x = cap tanh(x / cap), cap > 0. */
void cbe_softcap_row(size_t n, float cap, float *x);

#endif
