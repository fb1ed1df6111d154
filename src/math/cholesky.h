/* cholesky.h - systems with a symmetric positive definite matrix, by LAPACK, on the calling
 * thread. */
#ifndef CBE_MATH_CHOLESKY_H
#define CBE_MATH_CHOLESKY_H

#include <stdbool.h>
#include <stddef.h>

/** Replaces a (n, n) by its Cholesky factor.
 * @return false if a is not positive definite or n is too large for LAPACK */
bool cbe_cholesky(size_t n, double *a);
/** Solves A y = b for m vectors b, the rows of (m, n), in place; factor is the result of
 * cbe_cholesky. */
void cbe_cholesky_solve(size_t n, const double *factor, size_t m, double *rows);

#endif
