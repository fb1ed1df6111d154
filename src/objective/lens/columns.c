/*
 * columns.c - energies and gradients of a batch of directions, in one pass over N x V.
 *
 * A column is a direction with a constant a: c_n = D_n . r - a. Only optimal ablation has constants
 * other than 0, and then there may be several columns of one direction.
 *
 * 1. for each direction: r, w, ac, u = W~ ac; for each token: h.r, x.ac; for each row: E.ac
 * 2. for each row and column the rank-1 change; rows that cancel too much are set aside
 * 3. the pass over the rows, each read once for all columns: row.c, pass.c; then rows set aside:
 *    exact.c
 * 4. the gradient, from sums over V, over tokens and over processes: gradient.c
 *
 * Sums within a unit of rows and a block of the vocabulary have a fixed order. Sums over units,
 * blocks and processes have enough digits (math/long_sum.h) that their order does not matter. So
 * bits depend on threads not at all, and on the division next to never. Names and formulas:
 * state.h, docs/maths.md.
 */
#include "objective/lens/columns.h"

#include <math.h>
#include <string.h>

#include "core/pulse.h"
#include "core/sizes.h"
#include "objective/lens/exact.h"
#include "objective/lens/gradient.h"
#include "objective/lens/pass.h"
#include "processes/long_sums.h"

/* Below this share of |xc|^2 + c^2 |ac|^2 left, Z - c u has lost the digits that are asked for. */
static const double EXACT_BELOW = 0.02;

/* 1 a. r and w, a = w + A w, ac = C a, for each direction. */
static void lens_directions(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                            cbe_lens_work *work, size_t m, const double *v)
{
    const size_t d = setup->hidden_size;
    const bool plain = cbe_metric_is_plain(&layer->metric);
    work->read = plain ? v : work->read_rows;
    work->write = plain ? v : work->write_rows;
    if (!plain) cbe_metric_read(&layer->metric, d, m, v, work->read_rows);
    if (!plain) cbe_metric_write(&layer->metric, d, m, v, work->write_rows);
    memcpy(work->a, work->write, m * d * sizeof *work->a);
    if (layer->translator.weight) /* out[j] = A w_j */
        for (size_t j = 0; j < m; j++) {
            cbe_lens_translate_vector(setup, layer, work->write + j * d, work->ac + j * d);
            for (size_t k = 0; k < d; k++) work->a[j * d + k] += work->ac[j * d + k];
        }
    for (size_t j = 0; j < m; j++) {
        double centre = 0, norm2 = 0, mean_dot = 0;
        if (setup->layernorm) {
            for (size_t k = 0; k < d; k++) centre += work->a[j * d + k];
            centre /= (double)d;
        }
        for (size_t k = 0; k < d; k++) {
            const double ac = work->a[j * d + k] - centre;
            work->ac[j * d + k] = ac;
            work->ac32[j * d + k] = (float)ac;
            norm2 += ac * ac;
            mean_dot += layer->mean[k] * work->read[j * d + k];
        }
        work->ac_norm2[j] = norm2;
        work->mean_dot[j] = mean_dot;
    }
}

/* Products of n rows, at most CBE_LENS_TOKEN_CHUNK, with the directions; that of row i and
 * direction j goes to out[j * ldo + at[i]]. */
static void row_products(const cbe_kernels *k, size_t n, size_t d, const float *const *rows,
                         size_t m, const double *v, const size_t *at, double *out, size_t ldo)
{
    enum { VECTORS = 8 };
    double products[VECTORS * CBE_LENS_TOKEN_CHUNK];
    for (size_t j = 0; j < m; j += VECTORS) {
        const size_t vectors = cbe_min_size(VECTORS, m - j);
        k->rows_dot_f64(n, d, rows, vectors, v + j * d, products, n);
        for (size_t c = 0; c < vectors; c++)
            for (size_t i = 0; i < n; i++) out[(j + c) * ldo + at[i]] = products[c * n + i];
    }
}

/* Products of the directions with n rows in force, and with the tokens that their tokens are
 * ablated with. */
static void token_products(cbe_lens_objective *o, size_t m, bool same, size_t n,
                           const size_t *active)
{
    const cbe_kernels *k = o->setup.kernels;
    const size_t d = o->setup.hidden_size, all = o->setup.n_tokens;
    const float *rows[CBE_LENS_TOKEN_CHUNK] = {NULL};
    size_t token[CBE_LENS_TOKEN_CHUNK] = {0};
    for (size_t i = 0; i < n; i++) token[i] = o->setup.row_token[active[i]];
    for (size_t i = 0; i < n; i++) rows[i] = o->layer.hidden + token[i] * d;
    row_products(k, n, d, rows, m, o->work.read, token, o->work.h_dot, all);
    if (o->work.replacement == CBE_ABLATE_RESAMPLE) {
        for (size_t i = 0; i < n; i++) rows[i] = cbe_lens_other(&o->setup, &o->layer, token[i]);
        row_products(k, n, d, rows, m, o->work.read, token, o->work.other_dot, all);
    }
    for (size_t i = 0; i < n; i++) rows[i] = o->layer.x + token[i] * d;
    if (!same) row_products(k, n, d, rows, m, o->work.ac, token, o->work.x_dot, all);
    for (size_t j = 0; j < m && same; j++)
        for (size_t i = 0; i < n; i++)
            o->work.x_dot[j * all + token[i]] = o->work.h_dot[j * all + token[i]];
    for (size_t i = 0; i < n && o->setup.has_probs; i++)
        rows[i] = o->sample.view->e + active[i] * d;
    if (o->setup.has_probs)
        row_products(k, n, d, rows, m, o->work.ac, active, o->work.e_dot, o->setup.n_rows);
}

/* 1 b. Products of the directions with the vocabulary and with the tokens. */
static void direction_products(cbe_lens_objective *o, size_t m)
{
    const cbe_kernels *k = o->setup.kernels;
    const size_t d = o->setup.hidden_size, vocab = o->sample.vocab_end;
    /* Then x.ac = h.r. */
    const bool same =
        o->layer.x == o->layer.hidden && !o->setup.layernorm && o->work.read == o->work.write;
#pragma omp parallel num_threads(o->setup.n_threads)
    {
#pragma omp for schedule(dynamic) nowait
        for (size_t t = o->sample.vocab_begin; t < vocab; t += CBE_LENS_VOCAB_BLOCK) {
            k->rows_dot(cbe_min_size(CBE_LENS_VOCAB_BLOCK, vocab - t), d, o->layer.w + t * d, d, m,
                        o->work.ac32, o->work.u + t, o->setup.stride);
            cbe_pulse();
        }
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < o->sample.n_active; i += CBE_LENS_TOKEN_CHUNK)
            token_products(o, m, same, cbe_min_size(CBE_LENS_TOKEN_CHUNK, o->sample.n_active - i),
                           o->sample.active + i);
#pragma omp master
        if (o->setup.shared) cbe_processes_barrier(o->setup.processes); /* then all of u is there */
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (size_t j = 0; j < m; j++)
            k->range(o->sample.view->vocab, o->work.u + j * o->setup.stride, &o->work.u_low[j],
                     &o->work.u_high[j]);
    }
}

/* 2. The rank-1 change of each active row; returns the number of pairs set aside. */
static size_t row_shifts(cbe_lens_objective *o, size_t m)
{
    const size_t n = o->setup.n_tokens, active = o->sample.n_active;
    const double d = (double)o->setup.hidden_size, eps = o->setup.decoder->norm_eps;
#pragma omp parallel for collapse(2) schedule(static) num_threads(o->setup.n_threads)
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < active; i++) {
            const size_t row = o->sample.active[i], token = o->setup.row_token[row],
                         direction = o->work.direction[j];
            const double *h_dot = o->work.h_dot + direction * n;
            double c = h_dot[token] - o->work.constant[j];
            if (o->work.replacement == CBE_ABLATE_MEAN)
                c -= o->work.mean_dot[direction];
            else if (o->work.replacement == CBE_ABLATE_RESAMPLE)
                c -= o->work.other_dot[direction * n + token];
            const double whole = o->layer.norm2[row] + c * c * o->work.ac_norm2[direction];
            const double left = whole - 2 * c * o->work.x_dot[direction * n + token];
            const double s2 = left / d + eps;
            cbe_lens_shift *shift = &o->work.shifts[j * active + i];
            shift->c = c;
            shift->s = sqrt(s2 > 1e-300 ? s2 : isnan(s2) ? s2 : 1e-300);
            shift->inverse_s = 1 / shift->s;
            shift->exact = left < EXACT_BELOW * whole;
        }
    size_t pairs = 0;
    for (size_t i = 0; i < m * active; i++)
        if (o->work.shifts[i].exact) o->work.exact.pairs[pairs++] = i;
    return pairs;
}

static cbe_lens_totals divide_sums(const cbe_lens_setup *setup, cbe_lens_work *work, size_t m,
                                   bool grad)
{
    const size_t d = setup->hidden_size;
    cbe_lens_totals t = {.energy = work->sums, .c = work->sums + m, .ac = work->sums + 2 * m};
    t.lens = t.ac + m;
    t.hidden = t.lens + m * d;
    t.count = grad ? 3 * m + 2 * m * d : 2 * m;
    return t;
}

/* Of the process's own rows: each unit in double. */
static void add_rows(const cbe_lens_sample *sample, const cbe_lens_work *work, size_t m,
                     const cbe_lens_totals *t, bool grad, double *per_token)
{
    const size_t active = sample->n_active;
    for (size_t j = 0; j < m; j++)
        for (size_t unit = 0; unit < sample->n_units; unit++) {
            double energy = 0, c = 0, ac = 0;
            for (size_t i = sample->unit_begin[unit]; i < sample->unit_begin[unit + 1]; i++) {
                const cbe_lens_row *row = &work->rows[j * active + i];
                energy += row->energy;
                c += row->c_coeff;
                ac += row->ac_coeff;
                if (per_token) per_token[j * active + i] = row->energy;
            }
            cbe_long_add(&t->energy[j], energy);
            cbe_long_add(&t->c[j], c);
            if (grad) cbe_long_add(&t->ac[j], ac);
        }
}

void cbe_lens_set_directions(cbe_lens_objective *o, size_t m, const double *v)
{
    lens_directions(&o->setup, &o->layer, &o->work, m, v);
    direction_products(o, m);
}

void cbe_lens_eval_columns(cbe_lens_objective *o, size_t m, cbe_lens_want want, double *energy,
                           double *slope, double *grad, double *per_token)
{
    const size_t n_pairs = row_shifts(o, m), d = o->setup.hidden_size;
    const bool with_grad = want == CBE_LENS_GRADIENTS;
    const double rows = (double)o->sample.all_active;
    const cbe_lens_totals totals = divide_sums(&o->setup, &o->work, m, with_grad);
    memset(o->work.sums, 0, totals.count * sizeof *o->work.sums);
    cbe_lens_pass(o, m, want);
    memset(o->work.exact.grad, 0, m * d * sizeof *o->work.exact.grad);
    if (n_pairs) cbe_lens_exact_pass(o, m, n_pairs, want);
    add_rows(&o->sample, &o->work, m, &totals, with_grad, per_token);
    if (with_grad) cbe_lens_add_gradients(o, m, n_pairs > 0, &totals);
    cbe_processes_add_up(o->setup.processes, totals.count, o->work.sums);
    for (size_t j = 0; j < m; j++) {
        energy[j] = cbe_long_value(&totals.energy[j]) / rows;
        o->work.c_total[j] = cbe_long_value(&totals.c[j]);
        if (slope) slope[j] = -o->work.c_total[j] / rows; /* dc_n / da = -1 */
    }
    if (!with_grad) return;
    cbe_lens_finish_gradient(&o->setup, &o->layer, &o->work, m, &totals, grad);
    for (size_t i = 0; i < m * d; i++) grad[i] /= rows;
}
