/*
 * subspace_ref.h - taking a subspace out of hidden states, in float64, as its definition reads: the
 * normal equations of the vectors as they are, by elimination. The plain twin of
 * src/ablate/subspace.c, which makes them orthonormal first.
 */
#ifndef CBE_TESTS_SUBSPACE_REF_H
#define CBE_TESTS_SUBSPACE_REF_H

#include <stddef.h>
#include <stdint.h>

#include "objective/ablation.h"

/** h' = h - A (A'A)^-1 A' D. vectors (m, d): the columns of A as rows; hidden, out (n, d), not the
 * same. */
void cbe_subspace_ref(size_t m, size_t d, const double *vectors, cbe_ablation ablation, size_t n,
                      const double *hidden, const int64_t *derangement, double *out);

#endif
