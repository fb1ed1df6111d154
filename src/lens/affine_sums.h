/* affine_sums.h - what cbe_affine_sums holds; see lens/fit.h. */
#ifndef CBE_LENS_AFFINE_SUMS_H
#define CBE_LENS_AFFINE_SUMS_H

#include "lens/fit.h"

/** Of one layer; x its hidden states, r what they lack of the last ones, each times w. */
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

/** Of n rows (n, d): 1 / rms, 0 for a row of zeros, NaN where a number is not finite. */
void cbe_rms_weights(size_t n, size_t d, const float *rows, double *weights);

/** xx of a layer about the weighted mean: the whole matrix, (d, d). Variances that are rounding
 * alone become 0. */
void cbe_affine_covariance(const cbe_affine_sums *sums, size_t layer, double *out);

#endif
