/*
 * subspace_ref.h - removing a subspace from hidden states, in float64, by its definition: the
 * normal equations of the given vectors, solved by elimination. The plain twin of
 * src/ablate/subspace.c, which makes the vectors orthonormal first.
 */
#ifndef CBE_TESTS_SUBSPACE_REF_H
#define CBE_TESTS_SUBSPACE_REF_H

#include <stddef.h>
#include <stdint.h>

#include "objective/ablation.h"

/** Computes h' = h - W (R'W)^-1 R' D.
 * @param read, write  (m, d), the columns of R and of W as rows; the same vectors where the
 * projector is orthogonal
 * @param hidden, out  (n, d), not the same array */
void cbe_subspace_ref(size_t m, size_t d, const double *read, const double *write,
                      cbe_ablation ablation, size_t n, const double *hidden,
                      const int64_t *derangement, double *out);

#endif
