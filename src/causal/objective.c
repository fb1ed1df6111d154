/* objective.c - calls that go to whichever kind of objective it is, and the names of the choices. */
#include "causal/objective.h"

#include "core/fail.h"

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
    objective->set_sample(objective, n);
}

cbe_status cbe_objective_eval(cbe_objective *objective, size_t m, const double *v, double *energy,
                              double *grad, double *per_token, cbe_error *err)
{
    if (m == 0 || m > objective->max_batch)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%zu directions in one evaluation; 1 to %zu can be given",
                        m, objective->max_batch);
    return objective->eval(objective, m, v, energy, grad, per_token, err);
}

const char *cbe_ablation_name(cbe_ablation ablation)
{
    static const char *const names[] = {"mean", "resample", "zero"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_ABLATIONS, "one name for each ablation");
    return names[ablation];
}

const char *cbe_objective_name(cbe_objective_kind kind)
{
    static const char *const names[] = {"kl", "ce"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_OBJECTIVES, "one name for each objective");
    return names[kind];
}
