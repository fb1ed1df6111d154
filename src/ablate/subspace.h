/*
 * subspace.h - taking a subspace out of hidden states.
 *
 * With the vectors as the columns of A (d, m), orthonormal or not, h'_n = h_n - P D_n, P = A
 * (A'A)^-1 A' the orthogonal projector onto their span, and D_n what the ablation says
 * (objective/objective.h). It is done in an orthonormal basis Q of the same span, P = Q Q', whose
 * first r vectors span what the first r of A do: so one subspace serves all ranks 1 .. m. Source:
 * Belrose et al. 2023, arXiv:2303.08112, section 4; docs/ablation.md. Plain twin:
 * tests/ref/subspace_ref.c.
 */
#ifndef CBE_ABLATE_SUBSPACE_H
#define CBE_ABLATE_SUBSPACE_H

#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"
#include "objective/ablation.h"

typedef struct cbe_subspace cbe_subspace;

/** The span of m vectors.
 * @param vectors (m, d), a vector a row, of any length and at any angle; copied
 * @return CBE_OK; CBE_ERR_ARG (m is 0 or above d; a vector that is, to 6 digits, 0 or a combination
 * of those before it: which); CBE_ERR_NUMERIC (NaN or infinity: in which); CBE_ERR_NOMEM */
cbe_status cbe_subspace_create(cbe_subspace **out, size_t m, size_t d, const double *vectors,
                               cbe_error *err);
/** The span of m random directions, the same for the same seed.
 * @return CBE_OK; CBE_ERR_ARG (m is 0 or above d); CBE_ERR_NOMEM */
cbe_status cbe_subspace_random(cbe_subspace **out, size_t m, size_t d, uint64_t seed,
                               cbe_error *err);
/** The span of the m leading principal components of D: of all subspaces of that rank the one whose
 * removal changes the hidden states most, in the mean square of P D_n. Arguments as those of
 * cbe_subspace_coefficients. */
cbe_status cbe_subspace_principal(cbe_subspace **out, size_t m, size_t d, cbe_ablation ablation,
                                  size_t n_tokens, const float *hidden, const int64_t *derangement,
                                  cbe_error *err);
void cbe_subspace_free(cbe_subspace *subspace); /* NULL is allowed */

size_t cbe_subspace_rank(const cbe_subspace *subspace);
/** Q (m, d), orthonormal rows; borrowed until free. */
const double *cbe_subspace_basis(const cbe_subspace *subspace);

/** D_n . q_j of every token and vector of Q.
 * @param ablation    mean, resample or zero: the constants of optimal ablation are not known for
 * subspaces
 * @param hidden      (n_tokens, d): the mean is that of all of them
 * @param derangement (n_tokens), each another token; resample only
 * @param coeff       [out] (n_tokens, m); not to be relied on after a failure
 * @return CBE_OK; CBE_ERR_ARG (derangement; mean or resample of fewer than 2 tokens);
 * CBE_ERR_UNSUPPORTED (optimal); CBE_ERR_NUMERIC (hidden states that are not finite: token named);
 * CBE_ERR_NOMEM */
cbe_status cbe_subspace_coefficients(const cbe_subspace *subspace, cbe_ablation ablation,
                                     size_t n_tokens, const float *hidden,
                                     const int64_t *derangement, double *coeff, cbe_error *err);
/** out = hidden less the components along the first `rank` vectors, on the calling thread alone.
 * @param coeff (n_tokens, m) of cbe_subspace_coefficients  @param out (n_tokens, d), may be
 * hidden */
void cbe_subspace_subtract(const cbe_subspace *subspace, size_t rank, size_t n_tokens,
                           const double *coeff, const float *hidden, float *out);
/** Both: takes the span of the first `rank` vectors out of hidden states. Arguments and errors as
 * of cbe_subspace_coefficients; besides CBE_ERR_ARG for a rank above m. The same bits for any
 * number of threads.
 * @param out [out] (n_tokens, d), may be hidden; untouched on failure */
cbe_status cbe_subspace_remove(const cbe_subspace *subspace, size_t rank, cbe_ablation ablation,
                               size_t n_tokens, const float *hidden, const int64_t *derangement,
                               float *out, cbe_error *err);

#endif
