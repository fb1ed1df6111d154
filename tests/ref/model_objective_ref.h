/*
 * model_objective_ref.h - the energy of a direction in the whole model, in float64, by its
 * definition.
 *
 * The plain twin of src/objective/model and divergence.c: hidden states are ablated, the twin of
 * the forward pass runs the blocks behind, and both distributions are computed in full. Gradients
 * are left to finite differences.
 */
#ifndef CBE_TESTS_MODEL_OBJECTIVE_REF_H
#define CBE_TESTS_MODEL_OBJECTIVE_REF_H

#include "objective/model/objective.h"

/** Computes the energy of a direction, in the scope of the options.
 * @param hidden   hidden_states.first of all tokens (B S, d)
 * @param read, write  r and w of h' = h - (D . r - a) w
 * @param constant a of c_n = D_n . v - a, with D_n = h_n, for CBE_ABLATE_OPTIMAL; else 0
 * @param which    rows of held-out sequences (true) or of the other sequences
 * @param per_token [out] energies of these rows; NULL skips them
 * @return the energy in nats */
double cbe_model_energy_ref(const cbe_model *model, const cbe_model_objective_options *options,
                            size_t first, const double *hidden, const double *read,
                            const double *write, double constant, bool which, double *per_token);

#endif
