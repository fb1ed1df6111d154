/*
 * objective.h - the energy of ablating directions, and its gradient.
 *
 * Ablating v replaces each hidden state h_n by h_n - c_n v, c_n = D_n . v. The energy is what that
 * does to the next-token distribution, on average over tokens, in nats:
 *
 *   kl  mean of KL(p || q), p clean, q ablated; 0 where rounding leaves it below
 *   ce  mean of CE(q, next token) - CE(p, next token)
 *
 * An objective is one layer of one run. It knows nothing of the search that asks it. Source:
 * Belrose et al. 2023, arXiv:2303.08112, section 4 (causal basis extraction).
 */
#ifndef CBE_OBJECTIVE_OBJECTIVE_H
#define CBE_OBJECTIVE_OBJECTIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

typedef struct cbe_objective cbe_objective;

void cbe_objective_free(cbe_objective *objective); /* NULL is allowed */

/** d of the directions, and the largest m that one call of cbe_objective_eval takes. */
size_t cbe_objective_hidden_size(const cbe_objective *objective);
size_t cbe_objective_max_batch(const cbe_objective *objective);
/** Number of tokens over which the energy is a mean: all, or for ce the tokens with a label. */
size_t cbe_objective_n_tokens(const cbe_objective *objective);

/** Restricts energies to about n tokens, evenly spread, for cheap comparisons; 0: all that are not
 * held out. The ablation stays the same: mean and resampling go over all tokens. */
void cbe_objective_set_sample(cbe_objective *objective, size_t n);
/** The same, n above 0, with another sample for each part. Parts 0 .. cbe_objective_n_parts - 1
 * have no token in common, part 0 is the sample of cbe_objective_set_sample, and a further part is
 * one of these again. */
void cbe_objective_set_part(cbe_objective *objective, size_t n, size_t part);
size_t cbe_objective_n_parts(const cbe_objective *objective, size_t n);
/** Says whether energies and gradients may be rough from here on, for searches that compare
 * directions. Through a lens, kl is then the energy of a model that knows only the likely entries
 * of its vocabulary, and gradients fit that energy. Likely entries have 0.99 of the probability
 * over the layer's tokens. Their number is a power of two, at least 4,096 and at most a quarter of
 * the vocabulary; if that is not enough, evaluations stay exact. Setting a layer makes evaluations
 * exact again.
 * @return whether evaluations are rough now */
bool cbe_objective_set_rough(cbe_objective *objective, bool rough);
/** Restricts energies to the tokens held out, until cbe_objective_set_sample is called. There must
 * be tokens held out. */
void cbe_objective_set_held_out(cbe_objective *objective);

/** Energies of m directions, each ablated alone. Not for several threads at once (it runs its own).
 * @param v         shape (m, d); norms need not be 1
 * @param energy    [out] shape (m), nats; not finite when v or the result is not
 * @param grad      [out] d energy / d v as a free vector, shape (m, d); NULL skips its cost
 * @param per_token [out] shape (m, n_tokens of the sample in force), nats; NULL: not wanted
 * @return CBE_OK, CBE_ERR_ARG (m is 0 or above the batch). The result has the same bits for any
 * number of threads. */
cbe_status cbe_objective_eval(cbe_objective *objective, size_t m, const double *v, double *energy,
                              double *grad, double *per_token, cbe_error *err);

/** Energy of n directions removed together, which are orthonormal. Under optimal ablation, which
 * has a constant for each direction, means take the constants' place.
 * @param v      (n, d), n at least 1
 * @param energy [out] one number, nats
 * @param grad   [out] (n, d) d energy / d v, as free vectors; NULL skips its cost
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_UNSUPPORTED (through a lens) */
cbe_status cbe_objective_eval_together(cbe_objective *objective, size_t n, const double *v,
                                       double *energy, double *grad, cbe_error *err);

/** Optimal ablation, whatever the objective's own: for each direction the constant a that makes the
 * energy with c_n = h_n . v - a least, and that energy. There may be several minima, so there are
 * several starts. The constant is the best for the tokens in force. For held-out tokens at the
 * constants of searched tokens call cbe_objective_eval_constant.
 * @param constant [out] (m)
 * @see Li and Janson 2024, arXiv:2409.09951 */
cbe_status cbe_objective_eval_optimal(cbe_objective *objective, size_t m, const double *v,
                                      double *energy, double *constant, double *grad,
                                      double *per_token, cbe_error *err);
/** The same with the constants given. @param slope [out] d energy / d a (m); NULL: not wanted */
cbe_status cbe_objective_eval_constant(cbe_objective *objective, size_t m, const double *v,
                                       const double *constant, double *energy, double *slope,
                                       double *grad, double *per_token, cbe_error *err);

#endif
