/* affine_sums.h - the struct cbe_affine_sums; see lens/fit.h. */
#ifndef CBE_LENS_AFFINE_SUMS_H
#define CBE_LENS_AFFINE_SUMS_H

#include "lens/fit.h"

/** Sums of one layer: x are its hidden states, r = hidden_states.L - x, w the weights. */
typedef struct {
    double *x, *r;    /* (d) sum w^2 x, sum w^2 r */
    double *xx;       /* (d, d) sum w^2 x x', the upper triangle */
    double *xr;       /* (d, d) sum w^2 x r' */
    double r_squared; /* sum w^2 |r|^2 */
} cbe_layer_sums;

struct cbe_affine_sums {
    size_t n_layers, hidden_size, n_tokens;
    double weight; /* sum w^2 */
    cbe_layer_sums *layers;
};

/** Computes the weights w = 1 / rms of n rows (n, d): 0 for a row of zeros, NaN for a row with a
 * number that is not finite. */
void cbe_rms_weights(size_t n, size_t d, const float *rows, double *weights);

/** Computes a layer's xx about the weighted mean, the whole matrix (d, d). Variances that are only
 * rounding become 0. */
void cbe_affine_covariance(const cbe_affine_sums *sums, size_t layer, double *out);

#endif
