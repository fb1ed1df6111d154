/* eval.c - see eval.h. */
#include "objective/model/eval.h"

#include "core/fail.h"
#include "objective/model/columns.h"
#include "objective/model/optimal.h"

static cbe_status eval(cbe_model_objective *o, cbe_ablation replacement, size_t m, const double *v,
                       const double *constant, double *energy, double *slope, double *grad,
                       double *per_token, cbe_error *err)
{
    if (!o->layer.hidden)
        return cbe_fail(err, CBE_ERR_ARG, -1, "the model objective has no layer set");
    o->work.replacement = replacement;
    for (size_t j = 0; j < m; j++) {
        o->work.direction[j] = j;
        o->work.constant[j] = constant ? constant[j] : 0;
    }
    cbe_model_set_directions(&o->setup, &o->layer, &o->work, m, v);
    return cbe_model_eval_columns(o, m, slope || grad ? CBE_MODEL_GRADIENTS : CBE_MODEL_ENERGIES,
                                  energy, slope, grad, per_token, err);
}

cbe_status cbe_model_eval(cbe_objective *self, size_t m, const double *v, double *energy,
                          double *grad, double *per_token, cbe_error *err)
{
    cbe_model_objective *o = (cbe_model_objective *)self;
    if (o->setup.ablation == CBE_ABLATE_OPTIMAL)
        return cbe_model_eval_optimal(self, m, v, energy, NULL, grad, per_token, err);
    return eval(o, o->setup.ablation, m, v, NULL, energy, NULL, grad, per_token, err);
}

cbe_status cbe_model_eval_constant(cbe_objective *self, size_t m, const double *v,
                                   const double *constant, double *energy, double *slope,
                                   double *grad, double *per_token, cbe_error *err)
{
    return eval((cbe_model_objective *)self, CBE_ABLATE_OPTIMAL, m, v, constant, energy, slope,
                grad, per_token, err);
}
