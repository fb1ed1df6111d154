/* eval.c - see eval.h. */
#include "objective/lens/eval.h"

#include "core/fail.h"
#include "objective/lens/columns.h"
#include "objective/lens/optimal.h"

/* Column j is direction j with the constant given, NULL: 0. */
static void one_column_each(cbe_lens_work *work, size_t m, const double *constant)
{
    for (size_t j = 0; j < m; j++) {
        work->direction[j] = j;
        work->constant[j] = constant ? constant[j] : 0;
    }
}

static cbe_status no_layer(cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_ARG, -1, "the lens objective has no layer set");
}

cbe_status cbe_lens_eval(cbe_objective *self, size_t m, const double *v, double *energy,
                         double *grad, double *per_token, cbe_error *err)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    if (o->setup.ablation == CBE_ABLATE_OPTIMAL)
        return cbe_lens_eval_optimal(self, m, v, energy, NULL, grad, per_token, err);
    if (!o->layer.set) return no_layer(err);
    o->work.replacement = o->setup.ablation;
    one_column_each(&o->work, m, NULL);
    cbe_lens_set_directions(o, m, v);
    cbe_lens_eval_columns(o, m, grad ? CBE_LENS_GRADIENTS : CBE_LENS_ENERGIES, energy, NULL, grad,
                          per_token);
    return CBE_OK;
}

cbe_status cbe_lens_eval_constant(cbe_objective *self, size_t m, const double *v,
                                  const double *constant, double *energy, double *slope,
                                  double *grad, double *per_token, cbe_error *err)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    if (!o->layer.set) return no_layer(err);
    o->work.replacement = CBE_ABLATE_OPTIMAL;
    one_column_each(&o->work, m, constant);
    cbe_lens_set_directions(o, m, v);
    cbe_lens_eval_columns(o, m,
                          grad    ? CBE_LENS_GRADIENTS
                          : slope ? CBE_LENS_SLOPES
                                  : CBE_LENS_ENERGIES,
                          energy, slope, grad, per_token);
    return CBE_OK;
}
