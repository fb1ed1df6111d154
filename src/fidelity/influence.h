/*
 * influence.h - whether a lens ranks directions as the model does: Spearman's correlation of
 * energies, with a bootstrap interval.
 *
 * Energies of ablating directions through the lens and in the model are replaced by their ranks, 1
 * for the least, equal energies by the mean of their ranks; the correlation of ranks is Spearman's.
 * Directions are drawn again with replacement for the interval (Efron 1979,
 * doi:10.1214/aos/1176344552): from the 2.5th to the 97.5th percentile. Random numbers are
 * functions of a fixed seed, the draw and the place, so that the interval is a function of the
 * energies alone. Source: Belrose et al. 2023, arXiv:2303.08112, section 4.1.
 */
#ifndef CBE_FIDELITY_INFLUENCE_H
#define CBE_FIDELITY_INFLUENCE_H

#include <stddef.h>

#include "cbe/status.h"

typedef struct {
    size_t n;                   /* directions */
    double spearman, low, high; /* NaN: not known, as of fewer than 3 directions */
} cbe_influence;

/** Ranks of n numbers, which are not NaN: 1 .. n, rising; equal numbers have the mean of theirs.
 * @param order  (n) scratch */
void cbe_ranks(size_t n, const double *x, size_t *order, double *ranks);
/** Correlation of n pairs; NaN where one side does not vary. */
double cbe_correlation(size_t n, const double *x, const double *y);
/** Spearman's correlation of two lists of n numbers and its interval.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_influence_measure(cbe_influence *out, size_t n, const double *lens,
                                 const double *model, cbe_error *err);

#endif
