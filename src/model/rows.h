/*
 * rows.h - elementwise functions of rows of floats.
 */
#ifndef CBE_MODEL_ROWS_H
#define CBE_MODEL_ROWS_H

#include <stddef.h>

/** x = exp(x - max x), for a row of n >= 1 numbers; returns their sum. */
double cbe_exp_row(size_t n, float *x);

/** out = scale * x; out may be x. */
void cbe_scale_row(size_t n, float scale, const float *x, float *out);

/** out += x. */
void cbe_add_row(size_t n, const float *x, float *out);

/** x = cap tanh(x / cap), cap > 0. */
void cbe_softcap_row(size_t n, float cap, float *x);

#endif
