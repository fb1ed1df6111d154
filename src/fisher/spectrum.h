/*
 * spectrum.h - what one layer's states carry to the output: eigenvalues of S^(1/2) M S^(1/2).
 *
 * S is the covariance of the states (no inverse is taken, so without a ridge), M the mean of g g'
 * of label-sampled gradients. Half an eigenvalue is the energy, in nats per token, of oblique
 * ablation of its eigenvector to second order, of each token alone: their sum is what replacing all
 * states by their mean would cost if the model were linear. Source: docs/maths.md.
 */
#ifndef CBE_FISHER_SPECTRUM_H
#define CBE_FISHER_SPECTRUM_H

#include <stddef.h>

#include "cbe/status.h"

/** Computes the spectrum.
 * @param variances, components  eigenvalues (d), falling, none below 0, and eigenvectors (d, d) in
 * rows, of S
 * @param m      [in, out] (d, d) M; then eigenvectors in rows, at unit length in whitened
 * coordinates: S^(-1/2) u is read, S^(1/2) u is written (covariance/metric.h)
 * @param work   (d, d)
 * @param energies [out] (d) half the eigenvalues, falling, none below 0: nats per token
 * @return CBE_OK, CBE_ERR_NOMEM, CBE_ERR_NUMERIC (LAPACK did not converge) */
cbe_status cbe_spectrum_solve(size_t d, const double *variances, const double *components,
                              double *m, double *work, double *energies, cbe_error *err);

/** How many dimensions share a sum. */
typedef struct {
    double sum, largest;
    size_t half, ninety, ninety_nine; /* least number of values that have 50, 90, 99% of the sum */
    double participation;             /* (sum)^2 / sum of squares; 0 for a sum of 0 */
} cbe_spectrum_summary;

/** @param values  (n), falling, none below 0 */
void cbe_spectrum_summarise(size_t n, const double *values, cbe_spectrum_summary *out);

#endif
