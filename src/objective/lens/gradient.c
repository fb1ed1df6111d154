/*
 * gradient.c - the gradients of an evaluation, from what its rows left: sums over V and over
 * tokens.
 *
 * Sums go in fixed blocks. Sums over blocks, units and processes have enough digits
 * (math/long_sum.h) that their order does not matter. If processes share memory, each makes the
 * products with W~ of some of the vocabulary, for the rows of all processes. Names and formulas:
 * state.h, docs/maths.md. Called by columns.c after pass.c.
 */
#include <string.h>

#include "objective/lens/gradient.h"
#include "core/pulse.h"
#include "core/sizes.h"
#include "processes/long_sums.h"

/* Parts of g for n entries of a column, from `start` on, added up. */
static void add_parts(const cbe_lens_setup *setup, const cbe_lens_sample *sample,
                      const cbe_lens_work *work, size_t m, size_t j, bool exact, size_t start,
                      size_t n, double *total)
{
    for (size_t part = 0; part <= CBE_LENS_PARTS; part++) {
        if (part < CBE_LENS_PARTS ? part >= sample->n_parts : !exact) continue;
        const size_t at = part * m + j;
        if (work->g_summed[at]) {
            const double *sum = work->g_sum + at * setup->stride + start;
            for (size_t t = 0; t < n; t++) total[t] += sum[t];
        }
        if (work->g_used[at]) {
            const float *g = work->g + at * setup->stride + start;
            for (size_t t = 0; t < n; t++) total[t] += (double)g[t];
        }
    }
}

/* Where processes share memory: their sums of g, (m, stride) of each. */
static double *shared_g(const cbe_lens_objective *o, size_t process)
{
    return (double *)(void *)((float *)o->setup.shared[process] +
                              o->head.max_batch * o->setup.stride);
}

/* Puts the process's own g into its shared memory. */
static void show_g(cbe_lens_objective *o, size_t m, bool exact)
{
    const size_t v = o->sample.view->vocab;
    double *to = shared_g(o, cbe_processes_rank(o->setup.processes));
#pragma omp parallel for schedule(dynamic) num_threads(o->setup.n_threads)
    for (size_t start = 0; start < v; start += CBE_LENS_VOCAB_BLOCK)
        for (size_t j = 0; j < m; j++) {
            const size_t n = cbe_min_size(CBE_LENS_VOCAB_BLOCK, v - start);
            double total[CBE_LENS_VOCAB_BLOCK] = {0};
            add_parts(&o->setup, &o->sample, &o->work, m, j, exact, start, n, total);
            memcpy(to + j * o->setup.stride + start, total, n * sizeof *total);
        }
    cbe_processes_barrier(o->setup.processes);
}

/* sums (count) += scale times each of n rows, `step` numbers apart, in their order. */
static void fold_rows(const cbe_lens_setup *setup, size_t count, size_t n, size_t step,
                      const double *rows, double scale, cbe_long_sum *sums)
{
#pragma omp parallel for schedule(static) num_threads(setup->n_threads)
    for (size_t i = 0; i < count; i++)
        for (size_t r = 0; r < n; r++) cbe_long_add(&sums[i], scale * rows[r * step + i]);
}

/* lens (m, d) less W~' G of each direction: parts added, then products, in blocks of the
 * vocabulary. Of processes that share memory each takes some of the blocks, of the rows of all;
 * else all blocks, of its own. */
static void vocab_gradient(cbe_lens_objective *o, size_t m, bool exact, cbe_long_sum *lens)
{
    const size_t v = o->sample.vocab_end, d = o->setup.hidden_size,
                 size = cbe_processes_size(o->setup.processes);
    const size_t blocks =
        (v - o->sample.vocab_begin + CBE_LENS_VOCAB_BLOCK - 1) / CBE_LENS_VOCAB_BLOCK;
    if (o->setup.shared) show_g(o, m, exact);
#pragma omp parallel for schedule(dynamic) num_threads(o->setup.n_threads)
    for (size_t b = 0; b < blocks; b++) {
        const size_t start = o->sample.vocab_begin + b * CBE_LENS_VOCAB_BLOCK,
                     n = cbe_min_size(CBE_LENS_VOCAB_BLOCK, v - start);
        cbe_pulse();
        for (size_t j = 0; j < m; j++) {
            double total[CBE_LENS_VOCAB_BLOCK] = {0};
            if (!o->setup.shared)
                add_parts(&o->setup, &o->sample, &o->work, m, j, exact, start, n, total);
            for (size_t r = 0; o->setup.shared && r < size; r++) {
                const double *g = shared_g(o, r) + j * o->setup.stride + start;
                for (size_t t = 0; t < n; t++) total[t] += g[t];
            }
            for (size_t t = 0; t < n; t++)
                o->work.g_total[j * o->setup.stride + start + t] = (float)total[t];
        }
        double *out = o->work.block_sums + b * m * d;
        memset(out, 0, m * d * sizeof *out);
        o->setup.kernels->rows_sum(n, d, o->layer.w + start * d, d, m, o->work.g_total + start,
                                   o->setup.stride, out);
    }
    fold_rows(&o->setup, m * d, blocks, m * d, o->work.block_sums, -1 / CBE_LENS_G_SCALE, lens);
}

enum { ROWS_AT_ONCE = 16 }; /* hidden states added up by one call */

/* One unit's sums of hidden states by c_coeff, and of lens states and expected unembeddings by
 * theirs: out (2, m, d). */
static void unit_gradient(const cbe_lens_objective *o, size_t m, size_t unit,
                          const double *by_hidden, double *minus, double *out)
{
    const cbe_kernels *kernels = o->setup.kernels;
    const size_t d = o->setup.hidden_size, active = o->sample.n_active,
                 end = o->sample.unit_begin[unit + 1];
    const double *by_x = by_hidden + m * active, *by_e = by_x + m * active;
    const bool resample = o->work.replacement == CBE_ABLATE_RESAMPLE;
    memset(out, 0, 2 * m * d * sizeof *out);
    for (size_t start = o->sample.unit_begin[unit], n; start < end; start += n) {
        const float *hidden[ROWS_AT_ONCE] = {NULL}, *x[ROWS_AT_ONCE] = {NULL},
                    *e[ROWS_AT_ONCE] = {NULL}, *other[ROWS_AT_ONCE] = {NULL};
        n = cbe_min_size(ROWS_AT_ONCE, end - start);
        for (size_t i = 0; i < n; i++) {
            const size_t row = o->sample.active[start + i], token = o->setup.row_token[row];
            hidden[i] = o->layer.hidden + token * d;
            x[i] = o->layer.x + token * d;
            if (o->setup.has_probs) e[i] = o->sample.view->e + row * d;
            if (resample) other[i] = cbe_lens_other(&o->setup, &o->layer, token);
            for (size_t j = 0; j < m && resample; j++)
                minus[j * active + start + i] = -by_hidden[j * active + start + i];
        }
        kernels->rows_sum_f64(n, d, hidden, m, by_hidden + start, active, out);
        kernels->rows_sum_f64(n, d, x, m, by_x + start, active, out + m * d);
        if (o->setup.has_probs)
            kernels->rows_sum_f64(n, d, e, m, by_e + start, active, out + m * d);
        /* D_n = h_n - h_other */
        if (resample) kernels->rows_sum_f64(n, d, other, m, minus + start, active, out);
    }
}

/* Sums over tokens, by the rows' factors: of lens states and expected unembeddings onto lens, of
 * hidden states onto hidden; each (m, d). */
static void token_gradient(cbe_lens_objective *o, size_t m, cbe_long_sum *lens,
                           cbe_long_sum *hidden)
{
    const size_t d = o->setup.hidden_size, active = o->sample.n_active, step = 2 * m * d;
    double *by_hidden = o->work.coeff, *by_x = by_hidden + m * active, *by_e = by_x + m * active,
           *minus = by_e + m * active;
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < active; i++) {
            const cbe_lens_row *r = &o->work.rows[j * active + i];
            by_hidden[j * active + i] = r->c_coeff;
            by_x[j * active + i] = o->work.shifts[j * active + i].exact ? 0 : r->xc_coeff;
            by_e[j * active + i] = r->weight;
        }
    for (size_t first = 0; first < o->sample.n_units; first += CBE_LENS_UNITS_AT_ONCE) {
        const size_t n = cbe_min_size(CBE_LENS_UNITS_AT_ONCE, o->sample.n_units - first);
#pragma omp parallel for schedule(dynamic) num_threads(o->setup.n_threads)
        for (size_t i = 0; i < n; i++)
            unit_gradient(o, m, first + i, by_hidden, minus, o->work.block_sums + i * step);
        fold_rows(&o->setup, m * d, n, step, o->work.block_sums, 1, hidden);
        fold_rows(&o->setup, m * d, n, step, o->work.block_sums + m * d, 1, lens);
        cbe_pulse();
    }
}

void cbe_lens_add_gradients(cbe_lens_objective *o, size_t m, bool exact, const cbe_lens_totals *t)
{
    vocab_gradient(o, m, exact, t->lens);
    token_gradient(o, m, t->lens, t->hidden);
    for (size_t i = 0; i < m * o->setup.hidden_size && exact; i++)
        cbe_long_add_sum(&t->lens[i], &o->work.exact.grad[i]);
}

/* From the sums: (I + A)' C (sum w E - W~' G + sum xc_coeff x + ac sum ac_coeff), the gradient in
 * what is written, and sum c_coeff D, in what is read. */
void cbe_lens_finish_gradient(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                              cbe_lens_work *work, size_t m, const cbe_lens_totals *t, double *grad)
{
    const size_t d = setup->hidden_size;
    const bool plain = cbe_metric_is_plain(&layer->metric);
    for (size_t j = 0; j < m; j++) {
        const double ac_total = cbe_long_value(&t->ac[j]);
        double centre = 0, *out = grad + j * d, *lens = work->lens_grad;
        for (size_t k = 0; k < d; k++) {
            lens[k] = cbe_long_value(&t->lens[j * d + k]) +
                      ac_total * work->ac[work->direction[j] * d + k];
            centre += lens[k];
        }
        centre = setup->layernorm ? centre / (double)d : 0;
        for (size_t k = 0; k < d; k++) lens[k] -= centre;
        memcpy(out, lens, d * sizeof *out);
        for (size_t row = 0; row < d && layer->translator.weight; row++) {
            const float *weight = layer->translator.weight + row * d;
            setup->kernels->rows_sum_f64(1, d, &weight, 1, &lens[row], 1, out);
        }
        double *by_read = plain ? out : work->metric_grad;
        for (size_t k = 0; k < d; k++) {
            const double mean =
                work->replacement == CBE_ABLATE_MEAN ? layer->mean[k] * work->c_total[j] : 0;
            by_read[k] = (plain ? out[k] : 0) + (cbe_long_value(&t->hidden[j * d + k]) - mean);
        }
        if (!plain) cbe_metric_gradient(&layer->metric, d, by_read, out, by_read + d, out);
    }
}
