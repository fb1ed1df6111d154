/*
 * columns.c - energies and gradients of a batch of directions, in one pass over N x V.
 *
 * A column is a direction with a constant a: c_n = D_n . v - a. Only optimal ablation has constants
 * other than 0, and then there may be several columns of one direction.
 *
 * 1. for each direction: ac, u = W~ ac; for each token: h.v, x.ac; for each row: E.ac
 * 2. for each row and column the rank-1 change; rows that cancel too much are set aside
 * 3. the pass over the rows, each read once for all columns; then the rows set aside: pass.c
 * 4. the gradient, from sums over V, over tokens and over processes: gradient.c
 * Sums within a unit of rows and a block of the vocabulary have a fixed order, and those over
 * units, blocks and processes so many digits (math/long_sum.h) that theirs does not matter: bits
 * depend on threads not at all, and on the division next to never. Names and formulas:
 * state.h, docs/maths.md.
 */
#include "objective/lens/columns.h"

#include <math.h>
#include <string.h>

#include "core/sizes.h"
#include "objective/lens/gradient.h"
#include "objective/lens/pass.h"
#include "processes/long_sums.h"

/* Below this share of |xc|^2 + c^2 |ac|^2 left, Z - c u has lost the digits that are asked for. */
static const double EXACT_BELOW = 0.02;

/* 1 a. a = v + A v, ac = C a, for each direction. */
static void lens_directions(cbe_lens_objective *o, size_t m, const double *v)
{
    const size_t d = o->hidden_size;
    memcpy(o->a, v, m * d * sizeof *v);
    if (o->translator.weight) /* out[j] = A v_j */
        for (size_t j = 0; j < m; j++) {
            cbe_lens_translate_vector(o, v + j * d, o->ac + j * d);
            for (size_t k = 0; k < d; k++) o->a[j * d + k] += o->ac[j * d + k];
        }
    for (size_t j = 0; j < m; j++) {
        double centre = 0, norm2 = 0, mean_dot = 0;
        if (o->layernorm) {
            for (size_t k = 0; k < d; k++) centre += o->a[j * d + k];
            centre /= (double)d;
        }
        for (size_t k = 0; k < d; k++) {
            const double ac = o->a[j * d + k] - centre;
            o->ac[j * d + k] = ac;
            o->ac32[j * d + k] = (float)ac;
            norm2 += ac * ac;
            mean_dot += o->mean[k] * v[j * d + k];
        }
        o->ac_norm2[j] = norm2;
        o->mean_dot[j] = mean_dot;
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

/* Products of the directions with n rows in force, and with the tokens that these are ablated
 * with. */
static void token_products(cbe_lens_objective *o, size_t m, const double *v, bool same, size_t n,
                           const size_t *active)
{
    const cbe_kernels *k = o->kernels;
    const size_t d = o->hidden_size, all = o->n_tokens;
    const float *rows[CBE_LENS_TOKEN_CHUNK] = {NULL};
    size_t token[CBE_LENS_TOKEN_CHUNK] = {0};
    for (size_t i = 0; i < n; i++) token[i] = o->row_token[active[i]];
    for (size_t i = 0; i < n; i++) rows[i] = o->hidden + token[i] * d;
    row_products(k, n, d, rows, m, v, token, o->h_dot, all);
    if (o->replacement == CBE_ABLATE_RESAMPLE) {
        for (size_t i = 0; i < n; i++) rows[i] = cbe_lens_other(o, token[i]);
        row_products(k, n, d, rows, m, v, token, o->other_dot, all);
    }
    for (size_t i = 0; i < n; i++) rows[i] = o->x + token[i] * d;
    if (!same) row_products(k, n, d, rows, m, o->ac, token, o->x_dot, all);
    for (size_t j = 0; j < m && same; j++)
        for (size_t i = 0; i < n; i++) o->x_dot[j * all + token[i]] = o->h_dot[j * all + token[i]];
    for (size_t i = 0; i < n && o->has_probs; i++) rows[i] = o->view->e + active[i] * d;
    if (o->has_probs) row_products(k, n, d, rows, m, o->ac, active, o->e_dot, o->n_rows);
}

/* 1 b. Products of the directions with the vocabulary and with the tokens. */
static void direction_products(cbe_lens_objective *o, size_t m, const double *v)
{
    const cbe_kernels *k = o->kernels;
    const size_t d = o->hidden_size, vocab = o->vocab_end;
    const bool same = o->x == o->hidden && !o->layernorm; /* then x.ac = h.v */
#pragma omp parallel num_threads(o->n_threads)
    {
#pragma omp for schedule(dynamic) nowait
        for (size_t t = o->vocab_begin; t < vocab; t += CBE_LENS_VOCAB_BLOCK)
            k->rows_dot(cbe_min_size(CBE_LENS_VOCAB_BLOCK, vocab - t), d, o->w + t * d, d, m,
                        o->ac32, o->u + t, o->stride);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < o->n_active; i += CBE_LENS_TOKEN_CHUNK)
            token_products(o, m, v, same, cbe_min_size(CBE_LENS_TOKEN_CHUNK, o->n_active - i),
                           o->active + i);
#pragma omp master
        if (o->shared) cbe_processes_barrier(o->processes); /* then all of u is there */
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (size_t j = 0; j < m; j++)
            k->range(o->view->vocab, o->u + j * o->stride, &o->u_low[j], &o->u_high[j]);
    }
}

/* 2. The rank-1 change of each active row; returns the number of pairs set aside. */
static size_t row_shifts(cbe_lens_objective *o, size_t m)
{
    const size_t n = o->n_tokens, active = o->n_active;
    const double d = (double)o->hidden_size, eps = o->decoder->norm_eps;
#pragma omp parallel for collapse(2) schedule(static) num_threads(o->n_threads)
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < active; i++) {
            const size_t row = o->active[i], token = o->row_token[row], direction = o->direction[j];
            const double *h_dot = o->h_dot + direction * n;
            double c = h_dot[token] - o->constant[j];
            if (o->replacement == CBE_ABLATE_MEAN)
                c -= o->mean_dot[direction];
            else if (o->replacement == CBE_ABLATE_RESAMPLE)
                c -= o->other_dot[direction * n + token];
            const double whole = o->norm2[row] + c * c * o->ac_norm2[direction];
            const double left = whole - 2 * c * o->x_dot[direction * n + token];
            const double s2 = left / d + eps;
            cbe_lens_shift *shift = &o->shifts[j * active + i];
            shift->c = c;
            shift->s = sqrt(s2 > 1e-300 ? s2 : isnan(s2) ? s2 : 1e-300);
            shift->inverse_s = 1 / shift->s;
            shift->exact = left < EXACT_BELOW * whole;
        }
    size_t pairs = 0;
    for (size_t i = 0; i < m * active; i++)
        if (o->shifts[i].exact) o->exact_pairs[pairs++] = i;
    return pairs;
}

static cbe_lens_totals divide_sums(const cbe_lens_objective *o, size_t m, bool grad)
{
    const size_t d = o->hidden_size;
    cbe_lens_totals t = {.energy = o->sums, .c = o->sums + m, .ac = o->sums + 2 * m};
    t.lens = t.ac + m;
    t.hidden = t.lens + m * d;
    t.count = grad ? 3 * m + 2 * m * d : 2 * m;
    return t;
}

/* Of the process's own rows: each unit in double. */
static void add_rows(const cbe_lens_objective *o, size_t m, const cbe_lens_totals *t, bool grad,
                     double *per_token)
{
    const size_t active = o->n_active;
    for (size_t j = 0; j < m; j++)
        for (size_t unit = 0; unit < o->n_units; unit++) {
            double energy = 0, c = 0, ac = 0;
            for (size_t i = o->unit_begin[unit]; i < o->unit_begin[unit + 1]; i++) {
                const cbe_lens_row *row = &o->rows[j * active + i];
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
    lens_directions(o, m, v);
    direction_products(o, m, v);
}

void cbe_lens_eval_columns(cbe_lens_objective *o, size_t m, const double *v, cbe_lens_want want,
                           double *energy, double *slope, double *grad, double *per_token)
{
    const size_t n_pairs = row_shifts(o, m), d = o->hidden_size;
    const bool with_grad = want == CBE_LENS_GRADIENTS;
    const double rows = (double)o->all_active;
    const cbe_lens_totals totals = divide_sums(o, m, with_grad);
    memset(o->sums, 0, totals.count * sizeof *o->sums);
    cbe_lens_pass(o, m, want);
    memset(o->exact_grad, 0, m * d * sizeof *o->exact_grad);
    if (n_pairs) cbe_lens_exact_pass(o, m, v, n_pairs, want);
    add_rows(o, m, &totals, with_grad, per_token);
    if (with_grad) cbe_lens_add_gradients(o, m, n_pairs > 0, &totals);
    cbe_processes_add_up(o->processes, totals.count, o->sums);
    for (size_t j = 0; j < m; j++) {
        energy[j] = cbe_long_value(&totals.energy[j]) / rows;
        o->c_total[j] = cbe_long_value(&totals.c[j]);
        if (slope) slope[j] = -o->c_total[j] / rows; /* dc_n / da = -1 */
    }
    if (!with_grad) return;
    cbe_lens_finish_gradient(o, m, &totals, grad);
    for (size_t i = 0; i < m * d; i++) grad[i] /= rows;
}
