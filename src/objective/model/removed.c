/* removed.c - see removed.h. */
#include "objective/model/removed.h"

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "objective/model/tokens.h"

void cbe_model_removed_free(cbe_model_removed *removed)
{
    cbe_free(removed->read);
    *removed = (cbe_model_removed){0};
}

cbe_status cbe_model_set_removed(cbe_objective *self, size_t n, const double *v, cbe_error *err)
{
    cbe_model_objective *o = (cbe_model_objective *)self;
    cbe_model_removed *r = &o->removed;
    const size_t d = o->setup.hidden_size;
    r->n = 0;
    if (n && o->setup.ablation == CBE_ABLATE_OPTIMAL)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "optimal ablation removes one direction at a time");
    if (n > r->room) {
        cbe_model_removed_free(r);
        r->read = cbe_alloc(cbe_times(n, 2 * d + 1, 1), sizeof(double), "directions removed", err);
        r->room = r->read ? n : 0;
    }
    const cbe_status st =
        cbe_processes_agree(o->setup.processes, r->room >= n ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st != CBE_OK || n == 0) return st;
    r->write = r->read + n * d;
    r->mean_dot = r->write + n * d;
    cbe_metric_read(o->layer.metric, d, n, v, r->read);
    cbe_metric_write(o->layer.metric, d, n, v, r->write);
    for (size_t j = 0; j < n; j++) {
        r->mean_dot[j] = 0;
        for (size_t k = 0; k < d; k++) r->mean_dot[j] += o->layer.mean[k] * r->read[j * d + k];
    }
    r->n = n;
    return CBE_OK;
}

void cbe_model_take_out(const cbe_model_objective *o, size_t n, float *row)
{
    const cbe_model_removed *r = &o->removed;
    const size_t d = o->setup.hidden_size;
    for (size_t j = 0; j < r->n; j++) {
        const double *read = r->read + j * d, *write = r->write + j * d;
        double c = cbe_model_dot(d, cbe_model_token(&o->setup, &o->layer, n), read);
        if (o->setup.ablation == CBE_ABLATE_MEAN) c -= r->mean_dot[j];
        if (o->setup.ablation == CBE_ABLATE_RESAMPLE)
            c -= cbe_model_dot(d, cbe_model_other(&o->setup, &o->layer, n), read);
        for (size_t k = 0; k < d; k++) row[k] = (float)((double)row[k] - c * write[k]);
    }
}
