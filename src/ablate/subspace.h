/*
 * subspace.h - removing a subspace from hidden states.
 *
 * With the vectors as the columns of A (d, m), orthonormal or not, h'_n = h_n - P D_n, P = A
 * (A'A)^-1 A' the orthogonal projector onto their span, and D_n given by the ablation
 * (objective/objective.h). The computation takes an orthonormal basis Q of the span, P = Q Q',
 * whose first r vectors have the span of the first r columns of A, so one subspace serves all ranks
 * 1 .. m.
 *
 * An oblique subspace reads other directions than it writes: h'_n = h_n - sum_j w_j (r_j . D_n),
 * r_i . w_j = 1 for i = j, else 0. The projector is W (R'W)^-1 R'. In the covariance metric
 * (covariance/metric.h) R = S^-1 W.
 *
 * Source: Belrose et al. 2023, arXiv:2303.08112, section 4; docs/ablation.md. Plain twin:
 * tests/ref/subspace_ref.c.
 */
#ifndef CBE_ABLATE_SUBSPACE_H
#define CBE_ABLATE_SUBSPACE_H

#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"
#include "covariance/metric.h"
#include "objective/ablation.h"

typedef struct cbe_subspace cbe_subspace;

/** Makes the span of m vectors.
 * @param vectors (m, d), a vector a row, of any length and at any angle; copied
 * @return CBE_OK; CBE_ERR_ARG (m is 0 or above d; a vector that is, to 6 digits, 0 or a combination
 * of the vectors before it: named); CBE_ERR_NUMERIC (NaN or infinity: the vector named);
 * CBE_ERR_NOMEM */
cbe_status cbe_subspace_create(cbe_subspace **out, size_t m, size_t d, const double *vectors,
                               cbe_error *err);
/** Makes the oblique subspace that writes the span of m vectors and reads what the metric does:
 * u_j = S^(-1/2) v_j, made orthonormal in their order, r_j = S^(-1/2) u_j and w_j = S^(1/2) u_j.
 * @param metric  of a covariance, at strength 1
 * @return as cbe_subspace_create */
cbe_status cbe_subspace_whitened(cbe_subspace **out, size_t m, size_t d, const double *vectors,
                                 const cbe_metric *metric, cbe_error *err);
/** Makes the oblique subspace of m pairs. Pairs that are not dual are made so in their order, which
 * changes neither the span of the first r vectors read nor that of the first r written.
 * @param read, write  (m, d), copied
 * @return CBE_OK; CBE_ERR_ARG (m is 0 or above d; a pair that, to 6 digits, reads nothing of what
 * it writes beside the pairs before it: named); CBE_ERR_NUMERIC; CBE_ERR_NOMEM */
cbe_status cbe_subspace_oblique(cbe_subspace **out, size_t m, size_t d, const double *read,
                                const double *write, cbe_error *err);
/** Makes the span of m random directions, the same for the same seed.
 * @return CBE_OK; CBE_ERR_ARG (m is 0 or above d); CBE_ERR_NOMEM */
cbe_status cbe_subspace_random(cbe_subspace **out, size_t m, size_t d, uint64_t seed,
                               cbe_error *err);
/** Makes the span of the m leading principal components of D: of all subspaces of rank m the one
 * with the largest mean square of P D_n. Arguments and errors as of cbe_subspace_coefficients. */
cbe_status cbe_subspace_principal(cbe_subspace **out, size_t m, size_t d, cbe_ablation ablation,
                                  size_t n_tokens, const float *hidden, const int64_t *derangement,
                                  cbe_error *err);
void cbe_subspace_free(cbe_subspace *subspace); /* NULL is allowed */

/** Number m of vectors. */
size_t cbe_subspace_rank(const cbe_subspace *subspace);
/** Q (m, d), orthonormal rows; of an oblique subspace w_j. Borrowed until free. */
const double *cbe_subspace_basis(const cbe_subspace *subspace);

/** Computes D_n . q_j for every token and vector of Q, D_n . r_j of an oblique subspace.
 * @param ablation    mean, resample or zero; the constants of optimal ablation are not known for
 * subspaces
 * @param hidden      (n_tokens, d); the mean is over all tokens
 * @param derangement (n_tokens), for each token another one; for resample only
 * @param coeff       [out] (n_tokens, m); undefined after a failure
 * @return CBE_OK; CBE_ERR_ARG (derangement; mean or resample of fewer than 2 tokens);
 * CBE_ERR_UNSUPPORTED (optimal); CBE_ERR_NUMERIC (hidden states that are not finite: token named);
 * CBE_ERR_NOMEM */
cbe_status cbe_subspace_coefficients(const cbe_subspace *subspace, cbe_ablation ablation,
                                     size_t n_tokens, const float *hidden,
                                     const int64_t *derangement, double *coeff, cbe_error *err);
/** out = hidden minus the components along the first `rank` vectors of Q, or along w_j, on the
 * calling thread alone.
 * @param coeff (n_tokens, m) of cbe_subspace_coefficients  @param out (n_tokens, d), may be
 * hidden */
void cbe_subspace_subtract(const cbe_subspace *subspace, size_t rank, size_t n_tokens,
                           const double *coeff, const float *hidden, float *out);
/** Removes the span of the first `rank` vectors from hidden states. Arguments and errors as of
 * cbe_subspace_coefficients; also CBE_ERR_ARG for a rank above m. The same bits for any number of
 * threads.
 * @param out [out] (n_tokens, d), may be hidden; untouched on failure */
cbe_status cbe_subspace_remove(const cbe_subspace *subspace, size_t rank, cbe_ablation ablation,
                               size_t n_tokens, const float *hidden, const int64_t *derangement,
                               float *out, cbe_error *err);

#endif
