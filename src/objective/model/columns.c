/*
 * columns.c - energies and gradients of a batch of directions in the whole model.
 *
 * Each column's sequences, ablated, run behind the layer in batches of plan.n_sequences pairs:
 * blocks, output and loss, and back. With G_n = d energy / d h'_n,
 *
 *   d energy / d r = -sum (G_n . w) D_n / rows      d energy / d w = -sum c_n G_n / rows
 *   d energy / d a = sum (G_n . w) / rows
 *
 * The metric turns both into d energy / d v. In the plain metric r = w = v, and one sum has both.
 *
 * Sums are taken in double for each pair by itself, then over pairs in their order: bits do not
 * depend on the number of threads. Names: state.h.
 */
#include <string.h>

#include "objective/model/columns.h"
#include "core/sizes.h"
#include "objective/model/pairs.h"
#include "objective/model/tokens.h"
#include "processes/long_sums.h"

void cbe_model_set_directions(const cbe_model_setup *setup, const cbe_model_layer *layer,
                              cbe_model_work *work, size_t m, const double *v)
{
    const size_t d = setup->hidden_size;
    work->read = work->write = v;
    if (layer->metric) {
        cbe_metric_read(layer->metric, d, m, v, work->own_read);
        cbe_metric_write(layer->metric, d, m, v, work->own_write);
        work->read = work->own_read;
        work->write = work->own_write;
    }
    for (size_t j = 0; j < m; j++) {
        work->mean_dot[j] = 0;
        for (size_t k = 0; k < d; k++) work->mean_dot[j] += layer->mean[k] * work->read[j * d + k];
    }
}

/* c_n of token n in a column. */
static double coefficient(const cbe_model_setup *setup, const cbe_model_layer *layer,
                          const cbe_model_work *work, size_t n, size_t column)
{
    const size_t d = setup->hidden_size;
    const double *read = work->read + work->direction[column] * d;
    double c = cbe_model_dot(d, cbe_model_token(setup, layer, n), read) - work->constant[column];
    if (work->replacement == CBE_ABLATE_MEAN) c -= work->mean_dot[work->direction[column]];
    if (work->replacement == CBE_ABLATE_RESAMPLE)
        c -= cbe_model_dot(d, cbe_model_other(setup, layer, n), read);
    return c;
}

/* Takes its direction out of the sequence of a pair. */
static void ablate_pair(cbe_model_objective *o, size_t column, size_t sequence, size_t place,
                        float *rows)
{
    const size_t d = o->setup.hidden_size, each = o->setup.tokens_each;
    const double *write = o->work.write + o->work.direction[column] * d;
    for (size_t i = 0; i < each; i++) {
        const double c = coefficient(&o->setup, &o->layer, &o->work, sequence * each + i, column);
        float *row = rows + (o->setup.skip + i) * d;
        o->work.coeff[place * each + i] = c;
        for (size_t k = 0; k < d; k++) row[k] = (float)((double)row[k] - c * write[k]);
    }
}

/* Numbers of a column's gradient: by v; by r and then by w where they differ. */
static size_t grad_width(const cbe_model_objective *o)
{
    return (o->layer.metric ? 2 : 1) * o->setup.hidden_size;
}

/* What the pair at place p of its batch adds to the gradient of its column. */
static void pair_gradient(cbe_model_objective *o, size_t first, size_t p)
{
    const size_t d = o->setup.hidden_size, each = o->setup.tokens_each;
    const size_t column = (first + p) / o->sample.n_active,
                 b = o->sample.active[(first + p) % o->sample.n_active];
    const double *write = o->work.write + o->work.direction[column] * d;
    const float *grads =
        cbe_suffix_grad(o->setup.suffix) + (p * o->setup.context_length + o->setup.skip) * d;
    const size_t width = grad_width(o);
    double *out = o->work.pair_grad + p * width, *by_write = out + d, total = 0;
    memset(out, 0, width * sizeof *out);
    for (size_t i = 0; i < each; i++) {
        const size_t n = b * each + i;
        const float *g = grads + i * d, *h = cbe_model_token(&o->setup, &o->layer, n);
        const double along = cbe_model_dot(d, g, write), c = o->work.coeff[p * each + i];
        total += along;
        for (size_t k = 0; k < d && !o->layer.metric; k++)
            out[k] -= c * (double)g[k] + along * (double)h[k];
        for (size_t k = 0; k < d && o->layer.metric; k++) {
            out[k] -= along * (double)h[k];
            by_write[k] -= c * (double)g[k];
        }
        if (o->work.replacement != CBE_ABLATE_RESAMPLE) continue;
        const float *other = cbe_model_other(&o->setup, &o->layer, n);
        for (size_t k = 0; k < d; k++) out[k] += along * (double)other[k];
    }
    for (size_t k = 0; k < d && o->work.replacement == CBE_ABLATE_MEAN; k++)
        out[k] += total * o->layer.mean[k];
    o->work.pair_slope[p] = total;
}

/* Sums of m columns in o->work.sums: energies (m), slopes (m), gradients (m, grad_width). */
typedef struct {
    cbe_long_sum *energy, *slope, *grad;
} column_sums;

/* Gradients of the pairs in the suffix, from the gradients in their hidden_states.L. */
static cbe_status batch_gradients(cbe_model_objective *o, size_t first, size_t n,
                                  const column_sums *sums, cbe_error *err)
{
    const size_t width = grad_width(o);
    const cbe_status st = cbe_suffix_backward(o->setup.suffix, err);
    if (st != CBE_OK) return st;
#pragma omp parallel for schedule(dynamic)
    for (size_t p = 0; p < n; p++) pair_gradient(o, first, p);
    for (size_t p = 0; p < n; p++) {
        const size_t column = (first + p) / o->sample.n_active;
        cbe_long_add(&sums->slope[column], o->work.pair_slope[p]);
        for (size_t k = 0; k < width; k++)
            cbe_long_add(&sums->grad[column * width + k], o->work.pair_grad[p * width + k]);
    }
    return CBE_OK;
}

/* Pairs first .. first + n - 1: what they add to their columns. */
static cbe_status run_batch(cbe_model_objective *o, cbe_model_want want, size_t first, size_t n,
                            const column_sums *sums, double *per_token, size_t *row, cbe_error *err)
{
    const bool want_grad = want == CBE_MODEL_GRADIENTS;
    const cbe_status st = cbe_model_run_pairs(o, first, n, ablate_pair, want_grad, err);
    if (st != CBE_OK) return st;
    for (size_t p = 0, i = 0; p < n; p++) {
        const size_t b = o->sample.active[(first + p) % o->sample.n_active],
                     column = (first + p) / o->sample.n_active;
        double energy = 0;
        for (size_t r = o->setup.first_row[b]; r < o->setup.first_row[b + 1]; r++, i++) {
            energy += o->work.row_energy[i];
            if (per_token) per_token[*row] = o->work.row_energy[i];
            (*row)++;
        }
        cbe_long_add(&sums->energy[column], energy);
    }
    return want_grad ? batch_gradients(o, first, n, sums, err) : CBE_OK;
}

/* The gradient of a column (d), from its sums. */
static void column_gradient(cbe_model_objective *o, const cbe_long_sum *sums, double *grad)
{
    const size_t d = o->setup.hidden_size;
    const double rows = o->sample.all_rows;
    if (!o->layer.metric) {
        for (size_t k = 0; k < d; k++) grad[k] = cbe_long_value(&sums[k]) / rows;
        return;
    }
    for (size_t k = 0; k < d; k++) {
        o->work.by_read[k] = cbe_long_value(&sums[k]) / rows;
        o->work.by_write[k] = cbe_long_value(&sums[d + k]) / rows;
    }
    cbe_metric_gradient(o->layer.metric, d, o->work.by_read, o->work.by_write, o->work.turned,
                        grad);
}

cbe_status cbe_model_eval_columns(cbe_model_objective *o, size_t m, cbe_model_want want,
                                  double *energy, double *slope, double *grad, double *per_token,
                                  cbe_error *err)
{
    const size_t d = o->setup.hidden_size, width = grad_width(o), pairs = m * o->sample.n_active,
                 count = want == CBE_MODEL_GRADIENTS ? m * (width + 2) : m;
    const column_sums sums = {o->work.sums, o->work.sums + m, o->work.sums + 2 * m};
    const double rows = o->sample.all_rows;
    cbe_status st = CBE_OK;
    memset(o->work.sums, 0, count * sizeof *o->work.sums);
    size_t row = 0; /* per_token is in the order of the pairs */
    for (size_t first = 0; first < pairs && st == CBE_OK; first += o->setup.plan.n_sequences)
        st = run_batch(o, want, first, cbe_min_size(o->setup.plan.n_sequences, pairs - first),
                       &sums, per_token, &row, err);
    if ((st = cbe_processes_agree(o->setup.processes, st, err)) != CBE_OK) return st;
    cbe_processes_add_up(o->setup.processes, count, o->work.sums);
    for (size_t j = 0; j < m; j++) {
        energy[j] = cbe_long_value(&sums.energy[j]) / rows;
        if (slope) slope[j] = cbe_long_value(&sums.slope[j]) / rows;
        if (grad) column_gradient(o, sums.grad + j * width, grad + j * d);
    }
    return st;
}
