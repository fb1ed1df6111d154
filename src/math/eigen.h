/* eigen.h - eigenvectors of symmetric matrices, by LAPACK. */
#ifndef CBE_MATH_EIGEN_H
#define CBE_MATH_EIGEN_H

#include <stddef.h>

#include "cbe/status.h"

/** Computes the eigenvalues (n) of a symmetric matrix a (n, n), falling, and replaces a by its
 * eigenvectors: row i belongs to values[i].
 * @return CBE_OK, CBE_ERR_NOMEM, CBE_ERR_NUMERIC (LAPACK did not converge) */
cbe_status cbe_eigen_symmetric(size_t n, double *a, double *values, cbe_error *err);

#endif
