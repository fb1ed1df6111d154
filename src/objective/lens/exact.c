/*
 * exact.c - see exact.h.
 *
 * Pairs of a column and a row, CBE_LENS_EXACT_ROWS at a time: their states xc - c ac, in double;
 * their logits, W~ (xc - c ac) / s' and the offset; their energies and factors; their gradients.
 * Names and formulas: state.h, docs/maths.md.
 */
#include "objective/lens/exact.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/pulse.h"
#include "core/sizes.h"
#include "objective/lens/row.h"
#include "objective/lens/rows.h"

enum {
    COLUMNS = 256, /* rows of W~ that stay in the second cache for all pairs of a batch */
    VECTORS = 8    /* pairs whose states stay in the first cache meanwhile */
};

/* Some of the pairs. */
typedef struct {
    size_t n;            /* at most CBE_LENS_EXACT_ROWS */
    const size_t *pairs; /* (n): column * n_active + active row */
} batch;

static size_t column_of(const cbe_lens_objective *o, size_t pair)
{
    return pair / o->sample.n_active;
}

static size_t token_of(const cbe_lens_objective *o, size_t pair)
{
    return o->setup.row_token[o->sample.active[pair % o->sample.n_active]];
}

/* Where results of pair q of a batch lie: exponentials, and with a cap clean probabilities behind
 * them. */
static float *results_of(const cbe_lens_objective *o, size_t q)
{
    const size_t buffers = o->setup.capped ? 2 : 1;
    return o->work.exact.rows + (CBE_LENS_EXACT_ROWS + q * buffers) * o->setup.stride;
}

/* xc - c ac of a row that cancels, from h - c w in double; |.|^2 returned. */
static double exact_state(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                          cbe_lens_work *work, size_t token, double c, const double *w,
                          double *left)
{
    const size_t d = setup->hidden_size;
    double *h = work->lens_grad, centre = 0, norm2 = 0; /* lens_grad is free until the gradient */
    for (size_t k = 0; k < d; k++) left[k] = h[k] = (double)layer->hidden[token * d + k] - c * w[k];
    if (layer->translator.weight) {
        cbe_lens_translate_vector(setup, layer, h, left);
        for (size_t k = 0; k < d; k++)
            left[k] += h[k] + (layer->translator.bias ? (double)layer->translator.bias[k] : 0);
    }
    if (setup->layernorm)
        for (size_t k = 0; k < d; k++) centre += left[k] / (double)d;
    for (size_t k = 0; k < d; k++) {
        left[k] -= centre;
        norm2 += left[k] * left[k];
    }
    return norm2;
}

/* 1. States xc - c ac, and the shifts of their rows. */
static void make_states(cbe_lens_objective *o, const batch *b)
{
    const size_t d = o->setup.hidden_size;
    for (size_t q = 0; q < b->n; q++) {
        const size_t direction = o->work.direction[column_of(o, b->pairs[q])];
        cbe_lens_shift *shift = &o->work.shifts[b->pairs[q]];
        double *left = o->work.exact.left + q * d;
        const double norm2 = exact_state(&o->setup, &o->layer, &o->work, token_of(o, b->pairs[q]),
                                         shift->c, o->work.write + direction * d, left);
        const double s2 = norm2 / (double)d + o->setup.decoder->norm_eps;
        shift->s = sqrt(s2 > 1e-300 ? s2 : 1e-300);
        shift->inverse_s = 1 / shift->s;
        shift->left_ac = 0;
        for (size_t k = 0; k < d; k++) {
            shift->left_ac += left[k] * o->work.ac[direction * d + k];
            o->work.exact.x[q * d + k] = (float)(left[k] * shift->inverse_s);
        }
    }
}

/* 2. Logits' - offset. By the kernel, since BLAS would round by the number of rows. */
static void make_logits(cbe_lens_objective *o, const batch *b)
{
    const size_t v = o->sample.view->vocab, d = o->setup.hidden_size, stride = o->setup.stride;
#pragma omp parallel for schedule(dynamic) num_threads(o->setup.n_threads)
    for (size_t t = 0; t < v; t += COLUMNS) {
        for (size_t q = 0; q < b->n; q += VECTORS)
            o->setup.kernels->rows_dot(cbe_min_size(COLUMNS, v - t), d, o->layer.w + t * d, d,
                                       cbe_min_size(VECTORS, b->n - q), o->work.exact.x + q * d,
                                       o->work.exact.rows + q * stride + t, stride);
        cbe_pulse();
    }
}

/* 3. Energies and factors: work.rows, and what gradients need in results_of.
 * @param sums  [out] (n) of exponentials */
static void make_rows(cbe_lens_objective *o, const batch *b, cbe_lens_want want, double *sums)
{
    const size_t v = o->sample.view->vocab, stride = o->setup.stride;
#pragma omp parallel for schedule(dynamic) num_threads(o->setup.n_threads)
    for (size_t q = 0; q < b->n; q++) {
        const size_t j = column_of(o, b->pairs[q]), i = b->pairs[q] % o->sample.n_active;
        float *e = want == CBE_LENS_GRADIENTS ? results_of(o, q) : NULL;
        cbe_lens_row_source source = {.z = o->work.exact.rows + q * stride,
                                      .scale = 1,
                                      .left = o->work.exact.left + q * o->setup.hidden_size};
        o->setup.kernels->range(v, source.z, &source.low, &source.high);
        if (o->setup.capped) {
            cbe_lens_get_rows(&o->setup, &o->layer, &o->work.threads, (size_t)omp_get_thread_num(),
                              1, &o->sample.active[i], &source.clean);
            sums[q] = cbe_lens_capped_row(o, j, i, source, e, e ? e + stride : NULL);
        } else {
            sums[q] = cbe_lens_plain_row(o, j, i, &source, want != CBE_LENS_ENERGIES, e);
        }
    }
}

/* g (V) += the share of a pair, or becomes it. */
static void add_share(const cbe_lens_objective *o, const float *results, double e_weight,
                      double p_weight, bool fresh, double *g)
{
    const size_t v = o->sample.view->vocab;
    const float *e = results, *p = results + o->setup.stride;
#pragma omp parallel for schedule(static) num_threads(o->setup.n_threads)
    for (size_t t = 0; t < v; t += CBE_LENS_VOCAB_BLOCK) {
        const size_t end = t + cbe_min_size(CBE_LENS_VOCAB_BLOCK, v - t);
        for (size_t i = t; i < end; i++) {
            const double share =
                e_weight * (double)e[i] - (o->setup.capped ? p_weight * (double)p[i] : 0);
            g[i] = fresh ? share : g[i] + share;
        }
    }
}

/* 4. Gradients: over V in the last of work.g_sum, and the terms in xc and ac, which cancel as well,
 * as one. */
static void add_gradients(cbe_lens_objective *o, const batch *b, size_t m, const double *sums)
{
    const size_t d = o->setup.hidden_size;
    for (size_t q = 0; q < b->n; q++) {
        const size_t pair = b->pairs[q], j = column_of(o, pair), token = token_of(o, pair);
        const size_t at = (size_t)CBE_LENS_PARTS * m + j;
        const double weight = CBE_LENS_G_SCALE * o->work.rows[pair].weight;
        double *g = o->work.g_sum + at * o->setup.stride;
        add_share(o, results_of(o, q), weight / sums[q], weight, !o->work.g_summed[at], g);
        if (!o->setup.capped && o->setup.labels) g[o->setup.labels[token]] -= weight;
        o->work.g_summed[at] = true;
        for (size_t k = 0; k < d; k++)
            cbe_long_add(&o->work.exact.grad[j * d + k],
                         o->work.rows[pair].xc_coeff * o->work.exact.left[q * d + k]);
    }
}

void cbe_lens_exact_pass(cbe_lens_objective *o, size_t m, size_t n_pairs, cbe_lens_want want)
{
    const size_t last = (size_t)CBE_LENS_PARTS * m;
    memset(o->work.g_summed + last, 0, m * sizeof *o->work.g_summed);
    memset(o->work.g_used + last, 0, m * sizeof *o->work.g_used);
    for (size_t first = 0; first < n_pairs; first += CBE_LENS_EXACT_ROWS) {
        const batch b = {cbe_min_size(CBE_LENS_EXACT_ROWS, n_pairs - first),
                         o->work.exact.pairs + first};
        double sums[CBE_LENS_EXACT_ROWS];
        make_states(o, &b);
        make_logits(o, &b);
        make_rows(o, &b, want, sums);
        if (want == CBE_LENS_GRADIENTS) add_gradients(o, &b, m, sums);
    }
}
