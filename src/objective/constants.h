/*
 * constants.h - the constants of optimal ablation at which the energy of a direction is
 * evaluated first (objective/lens/optimal.c, objective/model/optimal.c).
 */
#ifndef CBE_OBJECTIVE_CONSTANTS_H
#define CBE_OBJECTIVE_CONSTANTS_H

#include <stddef.h>

enum { CBE_CONSTANT_GRID = 40 /* most constants of a wide grid */ };

/** Sorts n numbers, rising. */
void cbe_constants_order(size_t n, double *a);

/** A few constants, rising: quantiles (0 to 1) of n sorted coefficients, their mean, and 0.
 * @param a  [out] (n_quantiles + 2)
 * @return the number of constants */
size_t cbe_constants_few(size_t n_quantiles, const double *quantiles, size_t n,
                         const double *sorted, double mean, double *a);

/** A wide grid of constants, rising: evenly over the range of n sorted coefficients, some of their
 * quantiles, their mean, 0, and to both sides as far as 16 ranges. The energy of ce can have minima
 * far out, and can go on falling for ever, since any constant output may be better than the
 * model's.
 * @param a  [out] (CBE_CONSTANT_GRID)
 * @return the number of constants */
size_t cbe_constants_grid(size_t n, const double *sorted, double mean, double *a);

#endif
