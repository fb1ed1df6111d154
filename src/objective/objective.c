/* objective.c - passes each call on to the kind of objective that it is. */
#include "objective/calls.h"

#include "core/pulse.h"
#include "core/fail.h"
#include "math/loss.h"

void cbe_objective_free(cbe_objective *objective)
{
    if (objective) objective->destroy(objective);
}

size_t cbe_objective_hidden_size(const cbe_objective *objective)
{
    return objective->hidden_size;
}

size_t cbe_objective_max_batch(const cbe_objective *objective)
{
    return objective->max_batch;
}

size_t cbe_objective_n_tokens(const cbe_objective *objective)
{
    return objective->n_tokens(objective);
}

void cbe_objective_set_sample(cbe_objective *objective, size_t n)
{
    objective->set_sample(objective, n, 0);
}

void cbe_objective_set_part(cbe_objective *objective, size_t n, size_t part)
{
    objective->set_sample(objective, n, part);
}

size_t cbe_objective_n_parts(const cbe_objective *objective, size_t n)
{
    return objective->n_parts(objective, n);
}

bool cbe_objective_set_rough(cbe_objective *objective, bool rough)
{
    return objective->set_rough && objective->set_rough(objective, rough);
}

void cbe_objective_set_held_out(cbe_objective *objective)
{
    objective->set_held_out(objective);
}

/* Begins an evaluation. */
static cbe_status begin(const cbe_objective *objective, size_t m, cbe_error *err)
{
    if (m == 0 || m > objective->max_batch)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu directions in one evaluation; 1 to %zu can be given", m,
                        objective->max_batch);
    cbe_pulse();
    return CBE_OK;
}

/* Rounding leaves the divergence of two distributions that are alike on either side of 0. */
static void bound_energies(const cbe_objective *objective, cbe_status st, size_t m, double *energy)
{
    for (size_t j = 0; j < m && st == CBE_OK && objective->divergence; j++)
        energy[j] = cbe_not_below_zero(energy[j]);
}

cbe_status cbe_objective_eval(cbe_objective *objective, size_t m, const double *v, double *energy,
                              double *grad, double *per_token, cbe_error *err)
{
    cbe_status st = begin(objective, m, err);
    if (st != CBE_OK) return st;
    st = objective->eval(objective, m, v, energy, grad, per_token, err);
    bound_energies(objective, st, m, energy);
    return st;
}

cbe_status cbe_objective_eval_together(cbe_objective *objective, size_t n, const double *v,
                                       double *energy, double *grad, cbe_error *err)
{
    if (!objective->eval_together)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "this objective removes one direction at a time");
    cbe_pulse();
    const cbe_status st = objective->eval_together(objective, n, v, energy, grad, err);
    bound_energies(objective, st, 1, energy);
    return st;
}

cbe_status cbe_objective_eval_optimal(cbe_objective *objective, size_t m, const double *v,
                                      double *energy, double *constant, double *grad,
                                      double *per_token, cbe_error *err)
{
    cbe_status st = begin(objective, m, err);
    if (st != CBE_OK) return st;
    st = objective->eval_optimal(objective, m, v, energy, constant, grad, per_token, err);
    bound_energies(objective, st, m, energy);
    return st;
}

cbe_status cbe_objective_eval_constant(cbe_objective *objective, size_t m, const double *v,
                                       const double *constant, double *energy, double *slope,
                                       double *grad, double *per_token, cbe_error *err)
{
    cbe_status st = begin(objective, m, err);
    if (st != CBE_OK) return st;
    st = objective->eval_constant(objective, m, v, constant, energy, slope, grad, per_token, err);
    bound_energies(objective, st, m, energy);
    return st;
}
