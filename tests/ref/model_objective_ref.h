/*
 * model_objective_ref.h - the energy of a direction in the whole model, in float64, as its
 * definition reads.
 *
 * The plain twin of src/objective/model and divergence.c: hidden states are ablated, the twin of
 * the forward pass runs on from there, and both distributions are written out. Gradients are left
 * to finite differences.
 */
#ifndef CBE_TESTS_MODEL_OBJECTIVE_REF_H
#define CBE_TESTS_MODEL_OBJECTIVE_REF_H

#include "objective/model/objective.h"

/** @param hidden  hidden_states.first of all tokens (B S, d)
 * @param constant a of c_n = D_n . v - a, with D_n = h_n for CBE_ABLATE_OPTIMAL; 0 otherwise
 * @param which    rows of sequences held out (true), or of the others
 * @param per_token [out] of these rows; NULL: not wanted
 * @return the energy in nats */
double cbe_model_energy_ref(const cbe_model *model, const cbe_model_objective_options *options,
                            size_t first, const double *hidden, const double *v, double constant,
                            bool which, double *per_token);

#endif
