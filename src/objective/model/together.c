/*
 * together.c - see together.h.
 *
 *   h'_n = h_n - sum over i of c_{n,i} w_i      c_{n,i} = D_n . r_i
 *
 * One backward pass has the gradients in all directions, as columns.c tells of one: with G_n = d
 * energy / d h'_n, that by r_i is -sum (G_n . w_i) D_n / rows, that by w_i -sum c_{n,i} G_n / rows.
 */
#include "objective/model/together.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "objective/model/pairs.h"
#include "objective/model/tokens.h"
#include "processes/long_sums.h"

void cbe_model_together_free(cbe_model_together *t)
{
    cbe_free(t->read);
    cbe_free(t->write);
    cbe_free(t->mean_dot);
    cbe_free(t->pair_grad);
    cbe_free(t->sums);
    *t = (cbe_model_together){0};
}

static cbe_status make_room(cbe_model_objective *o, size_t n, cbe_error *err)
{
    static const char what[] = "directions removed together";
    cbe_model_together *t = &o->together;
    const size_t d = o->setup.hidden_size, size = cbe_times(n, 2 * d, 1);
    cbe_status st = CBE_OK;
    if (n > t->room) {
        cbe_model_together_free(t);
        t->read = cbe_alloc(n, d * sizeof *t->read, what, err);
        t->write = cbe_alloc(n, d * sizeof *t->write, what, err);
        t->mean_dot = cbe_alloc(n, sizeof *t->mean_dot, what, err);
        t->pair_grad =
            cbe_alloc(cbe_times(o->setup.plan.n_sequences, size, 1), sizeof(double), what, err);
        t->sums = cbe_alloc(size, sizeof *t->sums, what, err);
        t->room = n;
        if (!t->read || !t->write || !t->mean_dot || !t->pair_grad || !t->sums) {
            cbe_model_together_free(t);
            st = CBE_ERR_NOMEM;
        }
    }
    return cbe_processes_agree(o->setup.processes, st, err);
}

/* What ablation leaves of a state is measured from: means in the place of optimal constants. */
static cbe_ablation replacement_of(const cbe_model_objective *o)
{
    return o->setup.ablation == CBE_ABLATE_OPTIMAL ? CBE_ABLATE_MEAN : o->setup.ablation;
}

/* c_n of direction i. */
static double coefficient(const cbe_model_objective *o, size_t token, size_t i)
{
    const size_t d = o->setup.hidden_size;
    const double *read = o->together.read + i * d;
    double c = cbe_model_dot(d, cbe_model_token(&o->setup, &o->layer, token), read);
    if (replacement_of(o) == CBE_ABLATE_MEAN) c -= o->together.mean_dot[i];
    if (replacement_of(o) == CBE_ABLATE_RESAMPLE)
        c -= cbe_model_dot(d, cbe_model_other(&o->setup, &o->layer, token), read);
    return c;
}

static void ablate(cbe_model_objective *o, size_t column, size_t sequence, size_t place,
                   float *rows)
{
    (void)column;
    (void)place;
    const size_t d = o->setup.hidden_size, each = o->setup.tokens_each;
    for (size_t t = 0; t < each; t++) {
        float *row = rows + (o->setup.skip + t) * d;
        for (size_t i = 0; i < o->together.n; i++) {
            const double c = coefficient(o, sequence * each + t, i),
                         *write = o->together.write + i * d;
            for (size_t k = 0; k < d; k++) row[k] = (float)((double)row[k] - c * write[k]);
        }
    }
}

/* By r and by w of direction i, (2 d), from a sequence at a place of the batch. */
static void pair_gradient(const cbe_model_objective *o, size_t sequence, size_t place, size_t i,
                          double *out)
{
    const size_t d = o->setup.hidden_size, each = o->setup.tokens_each;
    const double *write = o->together.write + i * d;
    const float *grads =
        cbe_suffix_grad(o->setup.suffix) + (place * o->setup.context_length + o->setup.skip) * d;
    double *by_write = out + d, total = 0;
    memset(out, 0, 2 * d * sizeof *out);
    for (size_t t = 0; t < each; t++) {
        const size_t token = sequence * each + t;
        const float *g = grads + t * d, *h = cbe_model_token(&o->setup, &o->layer, token);
        const double along = cbe_model_dot(d, g, write), c = coefficient(o, token, i);
        total += along;
        for (size_t k = 0; k < d; k++) {
            out[k] -= along * (double)h[k];
            by_write[k] -= c * (double)g[k];
        }
        if (replacement_of(o) != CBE_ABLATE_RESAMPLE) continue;
        const float *other = cbe_model_other(&o->setup, &o->layer, token);
        for (size_t k = 0; k < d; k++) out[k] += along * (double)other[k];
    }
    for (size_t k = 0; k < d && replacement_of(o) == CBE_ABLATE_MEAN; k++)
        out[k] += total * o->layer.mean[k];
}

/* Active sequences first .. first + n - 1. */
static cbe_status run_batch(cbe_model_objective *o, size_t first, size_t n, bool grad,
                            cbe_long_sum *energy, cbe_error *err)
{
    cbe_model_together *t = &o->together;
    const size_t size = t->n * 2 * o->setup.hidden_size;
    cbe_status st = cbe_model_run_pairs(o, first, n, ablate, grad, err);
    if (st != CBE_OK) return st;
    for (size_t p = 0, i = 0; p < n; p++) {
        const size_t b = o->sample.active[first + p];
        double sum = 0;
        for (size_t r = o->setup.first_row[b]; r < o->setup.first_row[b + 1]; r++)
            sum += o->work.row_energy[i++];
        cbe_long_add(energy, sum);
    }
    if (!grad) return CBE_OK;
    if ((st = cbe_suffix_backward(o->setup.suffix, err)) != CBE_OK) return st;
#pragma omp parallel for schedule(dynamic) collapse(2)
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < t->n; i++)
            pair_gradient(o, o->sample.active[first + p], p, i,
                          t->pair_grad + p * size + i * 2 * o->setup.hidden_size);
    for (size_t p = 0; p < n; p++)
        for (size_t k = 0; k < size; k++) cbe_long_add(&t->sums[k], t->pair_grad[p * size + k]);
    return CBE_OK;
}

static void set_directions(cbe_model_objective *o, size_t n, const double *v)
{
    cbe_model_together *t = &o->together;
    const size_t d = o->setup.hidden_size;
    t->n = n;
    cbe_metric_read(o->layer.metric, d, n, v, t->read);
    cbe_metric_write(o->layer.metric, d, n, v, t->write);
    for (size_t i = 0; i < n; i++) {
        t->mean_dot[i] = 0;
        for (size_t k = 0; k < d; k++) t->mean_dot[i] += o->layer.mean[k] * t->read[i * d + k];
    }
}

cbe_status cbe_model_eval_together(cbe_objective *self, size_t n, const double *v, double *energy,
                                   double *grad, cbe_error *err)
{
    cbe_model_objective *o = (cbe_model_objective *)self;
    cbe_model_together *t = &o->together;
    const size_t d = o->setup.hidden_size;
    const double rows = o->sample.all_rows;
    cbe_long_sum sum = {0};
    if (!o->layer.hidden || n == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "there is no layer set, or no direction to remove");
    cbe_status st = make_room(o, n, err);
    if (st != CBE_OK) return st;
    set_directions(o, n, v);
    memset(t->sums, 0, n * 2 * d * sizeof *t->sums);
    const size_t at_once = o->setup.plan.n_sequences;
    for (size_t first = 0; first < o->sample.n_active && st == CBE_OK; first += at_once)
        st = run_batch(o, first, cbe_min_size(at_once, o->sample.n_active - first), grad != NULL,
                       &sum, err);
    if ((st = cbe_processes_agree(o->setup.processes, st, err)) != CBE_OK) return st;
    cbe_processes_add_up(o->setup.processes, 1, &sum);
    *energy = cbe_long_value(&sum) / rows;
    if (!grad) return CBE_OK;
    cbe_processes_add_up(o->setup.processes, n * 2 * d, t->sums);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < d; k++) {
            o->work.by_read[k] = cbe_long_value(&t->sums[i * 2 * d + k]) / rows;
            o->work.by_write[k] = cbe_long_value(&t->sums[(i * 2 + 1) * d + k]) / rows;
        }
        cbe_metric_gradient(o->layer.metric, d, o->work.by_read, o->work.by_write, o->work.turned,
                            grad + i * d);
    }
    return CBE_OK;
}
