/*
 * pass.c - the rows of an evaluation: from logits to energies, to the factors of gradients and
 * to gradient vectors over V.
 *
 * Parts of the rows run in parallel, each with its own gradient vector for every column: float for
 * a unit of rows, double over units. Rows that cancel too much, whose stored logits have lost their
 * digits, are made anew from x - c a. Names and formulas: state.h, docs/maths.md. Called
 * by columns.c; gradients go on in gradient.c.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "objective/lens/pass.h"
#include "core/clones.h"
#include "core/sizes.h"
#include "objective/lens/rows.h"

/* Rows of W~ that stay in the second cache for all rows set aside, of which so many stay in the
 * first. */
enum { EXACT_COLUMNS = 256, EXACT_VECTORS = 8 };
/* Sums of e within these bounds have neither overflowed nor lost terms. */
static const double SUM_MIN = 1e-20, SUM_MAX = 1e20;
/* Exponents of two between which kernels need not clamp: 2^126 may still be added up in float, and
 * a kernel's own products with 2^-115 are still normal. Rows that begin below RAISE_BELOW are
 * raised by a level, since sums have smaller products. */
static const double LOW_EXPONENT = -115, HIGH_EXPONENT = 100, RAISE_BELOW = -90,
                    HIGH_RAISED_EXPONENT = 90;

/* From the sums over V of one row to its energy and the factors of its gradient. p_*, q_*:
 * expectations of y = Z - c u and of u under p and q, times the cap's slope when capped. */
static void finish_row(const cbe_lens_setup *setup, const cbe_lens_work *work, size_t direction,
                       size_t token, const cbe_lens_shift *shift, double energy, double p_y,
                       double q_y, double p_u, double q_u, cbe_lens_row *out)
{
    const double d = (double)setup->hidden_size, c = shift->c, r = shift->inverse_s;
    const double by_s = (p_y - q_y) * r * r; /* d KL / d s' */
    out->energy = energy;
    out->weight = c * r;
    out->xc_coeff = -by_s * c * r / d;
    if (shift->exact) {
        out->ac_coeff = 0; /* xc_coeff multiplies xc - c ac itself, see cbe_lens_exact_pass */
        out->c_coeff = (p_u - q_u) * r - by_s * shift->left_ac * r / d;
    } else {
        const double left_ac =
            work->x_dot[direction * setup->n_tokens + token] - c * work->ac_norm2[direction];
        out->ac_coeff = -out->xc_coeff * c;
        out->c_coeff = (p_u - q_u) * r - by_s * left_ac * r / d;
    }
}

/* A row of logits to work on, y = z - c u: the stored one with its rank-1 change, or one
 * recomputed. */
typedef struct {
    const float *clean; /* stored row */
    const float *z;     /* the same, or recomputed ablated logits less offset */
    float low, high;    /* its smallest and largest entry */
    double scale, c;    /* logits' = scale y + offset */
    const double *left; /* recomputed: xc - c ac; NULL for a stored row */
} row_source;

/* A row's factors as kernels take them, and whether its exponents are known to need no clamping at
 * that level. */
typedef struct {
    float a, c, level;
    bool bounded;
} exp_factors;

static exp_factors factors_of(const cbe_lens_layer *layer, const cbe_lens_work *work,
                              size_t direction, const row_source *source)
{
    const float a = (float)(source->scale * CBE_LOG2E), c = (float)source->c;
    const double by_low = (double)c * work->u_low[direction],
                 by_high = (double)c * work->u_high[direction];
    const double highest = a * (source->high - fmin(by_low, by_high)) + layer->offset_high;
    const double lowest = a * (source->low - fmax(by_low, by_high)) + layer->offset_low;
    const double wanted = ceil(RAISE_BELOW - lowest), room = floor(HIGH_RAISED_EXPONENT - highest);
    const double level = fmax(0, fmin(wanted, room)); /* logits of SmolLM2 go 100 nats down */
    if (lowest + level > LOW_EXPONENT && highest + level < HIGH_EXPONENT)
        return (exp_factors){a, c, (float)level, true};
    return (exp_factors){a, c, 0, false};
}

/* Takes sums that may have overflowed or vanished again, at the level of the largest exponent.
 * Returns logsumexp of logits'. */
static double settle_sums(const cbe_lens_objective *o, size_t direction, const row_source *source,
                          const exp_factors *by, bool slopes, float *e, cbe_row_sums *sums)
{
    const cbe_kernels *k = o->setup.kernels;
    const size_t v = o->sample.view->vocab;
    const float *u = o->work.u + direction * o->setup.stride;
    if (sums->e > SUM_MIN && (by->bounded || sums->e < SUM_MAX))
        return log(sums->e) - (double)by->level * CBE_LN2;
    const float level = -(float)k->row_max(v, source->z, u, o->layer.offset, by->a, by->c);
    if (slopes)
        *sums = k->row_exp(v, source->z, u, o->layer.offset, by->a, by->c, level, false, e);
    else
        sums->e = k->row_sum(v, source->z, u, o->layer.offset, by->a, by->c, level, false);
    return log(sums->e) - (double)level * CBE_LN2;
}

/* Uncapped: from a row's sums to its energy and the factors of its gradient. */
static void plain_result(cbe_lens_objective *o, size_t j, size_t i, const row_source *source,
                         const cbe_row_sums *sums, double log_sum)
{
    const size_t row = o->sample.active[i], token = o->setup.row_token[row],
                 direction = o->work.direction[j];
    const cbe_lens_shift *shift = &o->work.shifts[j * o->sample.n_active + i];
    const float *z = source->z, *u = o->work.u + direction * o->setup.stride;
    double p_y, p_u, energy, q_y = sums->ey / sums->e;
    if (shift->exact) {
        /* z holds logits' - offset: expectations of y are s' times those of z. */
        double p_logit = 0;
        if (o->setup.has_probs) {
            const float *expected = o->sample.view->e + row * o->setup.hidden_size;
            for (size_t t = 0; t < o->setup.hidden_size; t++)
                p_logit += (double)expected[t] * source->left[t];
            p_logit *= shift->inverse_s;
            p_u = o->work.e_dot[direction * o->setup.n_rows + row];
        } else {
            p_logit = (double)z[o->setup.labels[token]];
            p_u = (double)u[o->setup.labels[token]];
        }
        energy = log_sum - o->sample.view->log_sum[row] - p_logit +
                 o->sample.view->p_z[row] * o->layer.inverse_s[row];
        p_y = shift->s * p_logit;
        q_y *= shift->s;
    } else {
        p_u = o->setup.has_probs ? o->work.e_dot[direction * o->setup.n_rows + row]
                                 : (double)u[o->setup.labels[token]];
        /* The factors as the kernel applied them: see cbe_lens_round. */
        const double scale = cbe_lens_round(source->scale), c = (double)(float)source->c;
        p_y = o->sample.view->p_z[row] - c * p_u;
        energy = log_sum - o->sample.view->log_sum[row] -
                 (p_y * scale - o->sample.view->p_z[row] * o->layer.inverse_s[row]);
    }
    finish_row(&o->setup, &o->work, direction, token, shift, energy, p_y, q_y, p_u,
               sums->eu / sums->e, &o->work.rows[j * o->sample.n_active + i]);
}

/* One row: sums, energy, and when e is not NULL the exponentials; returns the sum of e. */
static double plain_row(cbe_lens_objective *o, size_t j, size_t i, const row_source *source,
                        bool slopes, float *e)
{
    const cbe_kernels *k = o->setup.kernels;
    const size_t v = o->sample.view->vocab, direction = o->work.direction[j];
    const float *u = o->work.u + direction * o->setup.stride;
    const exp_factors by = factors_of(&o->layer, &o->work, direction, source);
    cbe_row_sums sums = {0, 0, 0};
    if (slopes)
        sums = k->row_exp(v, source->z, u, o->layer.offset, by.a, by.c, by.level, by.bounded, e);
    else
        sums.e = k->row_sum(v, source->z, u, o->layer.offset, by.a, by.c, by.level, by.bounded);
    plain_result(o, j, i, source, &sums, settle_sums(o, direction, source, &by, slopes, e, &sums));
    return sums.e;
}

/* Exponentials of some rows that lie in a thread's e and are still to be added to their column's
 * gradient vector over V, which is new unless *used. They wait for the next rows, whatever their
 * column: the kernel adds them up between exponentials. */
typedef struct {
    size_t n; /* 0: none */
    float w[CBE_EXP_ROWS];
    float label_weight[CBE_EXP_ROWS]; /* ce: what the label's entry is to be less by; */
    int64_t label[CBE_EXP_ROWS];      /* -1: it is not ce */
    float *g;
    bool *used;
    float *e[CBE_EXP_ROWS];
} waiting_rows;

/* Once they are in g. */
static void waiting_done(waiting_rows *waiting)
{
    for (size_t r = 0; r < waiting->n; r++)
        if (waiting->label[r] >= 0) waiting->g[waiting->label[r]] -= waiting->label_weight[r];
    *waiting->used = true;
    waiting->n = 0;
}

/* Adds them up by themselves, as where no rows follow. */
static void waiting_flush(const cbe_lens_setup *setup, const cbe_lens_sample *sample,
                          waiting_rows *waiting)
{
    setup->kernels->accumulate(sample->view->vocab, waiting->n, (const float *const *)waiting->e,
                               waiting->w, !*waiting->used, waiting->g);
    waiting_done(waiting);
}

/* Exponentials of rows of one column, which wait to be added to g; those that waited before are
 * added up meanwhile. */
static void rows_together(cbe_lens_objective *o, size_t j, size_t n, const size_t *rows,
                          const row_source *sources, waiting_rows *waiting, bool *used, float *g)
{
    const size_t direction = o->work.direction[j];
    cbe_exp_row in[CBE_EXP_ROWS];
    cbe_row_sums sums[CBE_EXP_ROWS];
    exp_factors by[CBE_EXP_ROWS];
    if (waiting->n && (!*waiting->used || waiting->n != n))
        waiting_flush(&o->setup, &o->sample, waiting);
    for (size_t r = 0; r < n; r++) {
        by[r] = factors_of(&o->layer, &o->work, direction, &sources[r]);
        in[r] = (cbe_exp_row){sources[r].z, by[r].a,       by[r].c,
                              by[r].level,  by[r].bounded, waiting->e[r]};
    }
    o->setup.kernels->rows_exp(n, o->sample.view->vocab, in,
                               o->work.u + direction * o->setup.stride, o->layer.offset,
                               waiting->n ? waiting->w : NULL, waiting->g, sums);
    if (waiting->n) waiting_done(waiting);
    for (size_t r = 0; r < n; r++) {
        const double log_sum =
            settle_sums(o, direction, &sources[r], &by[r], true, waiting->e[r], &sums[r]);
        plain_result(o, j, rows[r], &sources[r], &sums[r], log_sum);
        const double weight =
            CBE_LENS_G_SCALE * o->work.rows[j * o->sample.n_active + rows[r]].weight;
        waiting->w[r] = (float)(weight / sums[r].e);
        waiting->label_weight[r] = (float)weight;
        waiting->label[r] =
            o->setup.labels ? o->setup.labels[o->setup.row_token[o->sample.active[rows[r]]]] : -1;
    }
    waiting->n = n;
    waiting->g = g;
    waiting->used = used;
}

/* Rows of one column: their results, and their share of its gradient vector g, which is new unless
 * *used. waiting: NULL when no gradient is wanted. */
static void plain_rows(cbe_lens_objective *o, size_t j, size_t n, const size_t *rows,
                       const row_source *sources, bool slopes, waiting_rows *waiting, bool *used,
                       float *g)
{
    for (size_t r = 0; r < n && !waiting; r++) plain_row(o, j, rows[r], &sources[r], slopes, NULL);
    for (size_t r = 0; r < n && waiting; r += CBE_EXP_ROWS)
        rows_together(o, j, cbe_min_size(CBE_EXP_ROWS, n - r), rows + r, sources + r, waiting, used,
                      g);
}

/* Capped: also needs the clean probabilities, recomputed from the stored row. */
static double capped_row(cbe_lens_objective *o, size_t j, size_t i, row_source source, float *ef,
                         float *pf)
{
    const cbe_kernels *k = o->setup.kernels;
    const size_t v = o->sample.view->vocab, row = o->sample.active[i],
                 token = o->setup.row_token[row], direction = o->work.direction[j];
    const cbe_lens_shift *shift = &o->work.shifts[j * o->sample.n_active + i];
    const float *u = o->work.u + direction * o->setup.stride, *clean = source.clean, *z = source.z;
    const double cap = o->setup.decoder->logit_softcap, lse = o->sample.view->log_sum[row];
    cbe_cap_row in = {o->layer.inverse_s[row], lse, source.scale, source.c, lse, cap};
    cbe_cap_sums sums = {0, 0, 0, 0, 0, 0};
    for (int attempt = 0; attempt < 2; attempt++) {
        sums = k->row_cap(v, clean, z, u, o->layer.offset, &in, ef, pf);
        if (sums.e > SUM_MIN && sums.e < SUM_MAX) break;
        const double top =
            k->row_max(v, z, u, o->layer.offset, (float)source.scale, (float)source.c);
        in.shift = cap * tanh(top / cap);
    }
    const double log_sum = log(sums.e) + in.shift;
    const double factor = shift->exact ? shift->s : 1;
    double energy, p_y, p_u;
    if (o->setup.labels) {
        const size_t label = (size_t)o->setup.labels[token];
        const double base = o->layer.offset ? (double)o->layer.offset[label] : 0;
        /* The factors in float, as the kernel applies them. */
        const double scale0 = (double)(float)o->layer.inverse_s[row],
                     scale = (double)(float)source.scale, c = (double)(float)source.c;
        const double y = (double)z[label] - c * (double)u[label];
        const double before = cap * tanh((scale0 * (double)clean[label] + base) / cap);
        const double tangent = tanh((scale * y + base) / cap);
        energy = (log_sum - cap * tangent) - (lse - before);
        p_y = (1 - tangent * tangent) * y;
        p_u = (1 - tangent * tangent) * (double)u[label];
        if (pf) { /* p is one-hot */
            memset(pf, 0, v * sizeof *pf);
            pf[label] = (float)(1 - tangent * tangent);
        }
    } else {
        energy = log_sum - lse - sums.p_change;
        p_y = sums.pfy;
        p_u = sums.pfu;
    }
    finish_row(&o->setup, &o->work, direction, token, shift, energy, factor * p_y,
               factor * sums.efy / sums.e, p_u, sums.efu / sums.e,
               &o->work.rows[j * o->sample.n_active + i]);
    return sums.e;
}

/* As plain_rows, for at most CBE_ROW_GROUP rows. work: 2 CBE_ROW_GROUP rows of V. */
static void capped_rows(cbe_lens_objective *o, size_t j, size_t n, const size_t *rows,
                        const row_source *sources, float *work, bool *used, float *g)
{
    const size_t v = o->sample.view->vocab;
    float *e[CBE_ROW_GROUP], weights[CBE_ROW_GROUP], p_weights[CBE_ROW_GROUP], *p[CBE_ROW_GROUP];
    for (size_t r = 0; r < n; r++) {
        e[r] = work ? work + r * o->setup.stride : NULL;
        p[r] = work ? work + (CBE_ROW_GROUP + r) * o->setup.stride : NULL;
        const double sum = capped_row(o, j, rows[r], sources[r], e[r], p[r]);
        const double weight =
            CBE_LENS_G_SCALE * o->work.rows[j * o->sample.n_active + rows[r]].weight;
        weights[r] = (float)(weight / sum);
        p_weights[r] = (float)-weight;
    }
    if (!work) return;
    o->setup.kernels->accumulate(v, n, (const float *const *)e, weights, !*used, g);
    o->setup.kernels->accumulate(v, n, (const float *const *)p, p_weights, 0, g);
    *used = true;
}

/* The rows of V that this thread keeps exponentials in. */
static float *thread_exponentials(const cbe_lens_setup *setup, cbe_lens_threads *threads)
{
    return threads->e + (size_t)omp_get_thread_num() * cbe_lens_exp_rows(setup) * setup->stride;
}

/* Active rows begin .. end - 1, fetched together, and columns j_begin .. j_end - 1. */
static void pass_rows(cbe_lens_objective *o, size_t m, size_t part, size_t begin, size_t end,
                      size_t j_begin, size_t j_end, cbe_lens_want want, waiting_rows *waiting)
{
    const size_t thread = (size_t)omp_get_thread_num(), stride = o->setup.stride;
    float *work =
        want == CBE_LENS_GRADIENTS ? thread_exponentials(&o->setup, &o->work.threads) : NULL;
    const float *z[CBE_LENS_BLOCK];
    cbe_lens_get_rows(&o->setup, &o->layer, &o->work.threads, thread, end - begin,
                      o->sample.active + begin, z);
    for (size_t j = j_begin; j < j_end; j++) {
        size_t n = 0, rows[CBE_LENS_BLOCK];
        row_source sources[CBE_LENS_BLOCK];
        bool *used = &o->work.g_used[part * m + j];
        float *g = o->work.g + (part * m + j) * stride;
        for (size_t i = begin; i < end; i++) {
            const cbe_lens_shift *shift = &o->work.shifts[j * o->sample.n_active + i];
            if (shift->exact) continue;
            const size_t row = o->sample.active[i];
            const float *zi = z[i - begin];
            sources[n] = (row_source){
                zi,       zi,  o->layer.z_low[row], o->layer.z_high[row], shift->inverse_s,
                shift->c, NULL};
            rows[n++] = i;
        }
        if (!o->setup.capped)
            plain_rows(o, j, n, rows, sources, want != CBE_LENS_ENERGIES, work ? waiting : NULL,
                       used, g);
        for (size_t r = 0; r < n && o->setup.capped; r += CBE_ROW_GROUP)
            capped_rows(o, j, cbe_min_size(CBE_ROW_GROUP, n - r), rows + r, sources + r, work, used,
                        g);
    }
}

/* sum += g, or what it is at first. */
CBE_CLONES static void add_unit(size_t n, const float *g, bool first, double *sum)
{
    for (size_t t = 0; t < n && first; t++) sum[t] = (double)g[t];
    for (size_t t = 0; t < n && !first; t++) sum[t] += (double)g[t];
}

/* What a unit left in g goes to g_sum: another one follows. */
static void finish_unit(cbe_lens_objective *o, size_t m, size_t part, size_t j_begin, size_t j_end)
{
    for (size_t j = j_begin; j < j_end; j++) {
        const size_t at = part * m + j;
        if (!o->work.g_used[at]) continue;
        add_unit(o->sample.view->vocab, o->work.g + at * o->setup.stride, !o->work.g_summed[at],
                 o->work.g_sum + at * o->setup.stride);
        o->work.g_used[at] = false;
        o->work.g_summed[at] = true;
    }
}

/* Parts of the rows in parallel, and where there are more threads than parts, the columns too. */
void cbe_lens_pass(cbe_lens_objective *o, size_t m, cbe_lens_want want)
{
    const size_t at_once = cbe_lens_rows_at_once(&o->setup), threads = (size_t)o->setup.n_threads;
    if (o->sample.n_units == 0) return; /* all rows in force are other processes' */
    const size_t shares = cbe_min_size(m, (threads + o->sample.n_parts - 1) / o->sample.n_parts),
                 tasks = o->sample.n_parts * shares;
#pragma omp parallel for schedule(dynamic) num_threads(o->setup.n_threads)
    for (size_t task = 0; task < tasks; task++) {
        const size_t part = task / shares, share = task % shares;
        const size_t first = o->sample.n_units * part / o->sample.n_parts,
                     last = o->sample.n_units * (part + 1) / o->sample.n_parts - 1;
        const size_t j_begin = m * share / shares, j_end = m * (share + 1) / shares;
        memset(o->work.g_used + part * m + j_begin, 0, (j_end - j_begin) * sizeof *o->work.g_used);
        memset(o->work.g_summed + part * m + j_begin, 0,
               (j_end - j_begin) * sizeof *o->work.g_summed);
        waiting_rows waiting = {.n = 0};
        for (size_t r = 0; r < CBE_EXP_ROWS; r++)
            waiting.e[r] = thread_exponentials(&o->setup, &o->work.threads) + r * o->setup.stride;
        for (size_t unit = first; unit <= last; unit++) {
            const size_t end = o->sample.unit_begin[unit + 1];
            for (size_t start = o->sample.unit_begin[unit]; start < end; start += at_once)
                pass_rows(o, m, part, start, cbe_min_size(end, start + at_once), j_begin, j_end,
                          want, &waiting);
            if (waiting.n) waiting_flush(&o->setup, &o->sample, &waiting);
            if (unit < last && want == CBE_LENS_GRADIENTS) finish_unit(o, m, part, j_begin, j_end);
        }
    }
}

/* xc - c ac of a row that cancels, from h - c v in double; |.|^2 returned. */
static double exact_state(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                          cbe_lens_work *work, size_t token, double c, const double *v,
                          double *left)
{
    const size_t d = setup->hidden_size;
    double *h = work->lens_grad, centre = 0, norm2 = 0; /* lens_grad is free until the gradient */
    for (size_t k = 0; k < d; k++) left[k] = h[k] = (double)layer->hidden[token * d + k] - c * v[k];
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

/* CBE_LENS_EXACT_ROWS at a time: logits' - offset = W~ (xc - c ac) / s'. Their terms in xc and ac,
 * which cancel as well, go to o->work.exact.grad (m, d) as one. */
void cbe_lens_exact_pass(cbe_lens_objective *o, size_t m, const double *v_m, size_t n_pairs,
                         cbe_lens_want want)
{
    const bool want_grad = want == CBE_LENS_GRADIENTS;
    const size_t v = o->sample.view->vocab, stride = o->setup.stride, d = o->setup.hidden_size,
                 active = o->sample.n_active;
    bool *summed = o->work.g_summed + (size_t)CBE_LENS_PARTS * m;
    memset(summed, 0, m * sizeof *summed);
    memset(o->work.g_used + (size_t)CBE_LENS_PARTS * m, 0, m * sizeof *o->work.g_used);
    for (size_t first = 0; first < n_pairs; first += CBE_LENS_EXACT_ROWS) {
        const size_t count = cbe_min_size(CBE_LENS_EXACT_ROWS, n_pairs - first);
        const size_t *pairs = o->work.exact.pairs + first;
        for (size_t q = 0; q < count; q++) {
            const size_t j = pairs[q] / active,
                         token = o->setup.row_token[o->sample.active[pairs[q] % active]];
            cbe_lens_shift *shift = &o->work.shifts[pairs[q]];
            double *left = o->work.exact.left + q * d;
            const double s2 = exact_state(&o->setup, &o->layer, &o->work, token, shift->c,
                                          v_m + o->work.direction[j] * d, left) /
                                  (double)d +
                              o->setup.decoder->norm_eps;
            shift->s = sqrt(s2 > 1e-300 ? s2 : 1e-300);
            shift->inverse_s = 1 / shift->s;
            shift->left_ac = 0;
            for (size_t k = 0; k < d; k++) {
                shift->left_ac += left[k] * o->work.ac[o->work.direction[j] * d + k];
                o->work.exact.x[q * d + k] = (float)(left[k] * shift->inverse_s);
            }
        }
#pragma omp parallel for schedule(dynamic) num_threads(o->setup.n_threads)
        /* BLAS would round by how many rows there are */
        for (size_t t = 0; t < v; t += EXACT_COLUMNS)
            for (size_t q = 0; q < count; q += EXACT_VECTORS)
                o->setup.kernels->rows_dot(
                    cbe_min_size(EXACT_COLUMNS, v - t), d, o->layer.w + t * d, d,
                    cbe_min_size(EXACT_VECTORS, count - q), o->work.exact.x + q * d,
                    o->work.exact.rows + q * stride + t, stride);
        float *results = o->work.exact.rows + (size_t)CBE_LENS_EXACT_ROWS * stride;
        const size_t buffers = o->setup.capped ? 2 : 1;
        double sums[CBE_LENS_EXACT_ROWS];
#pragma omp parallel for schedule(dynamic) num_threads(o->setup.n_threads)
        for (size_t q = 0; q < count; q++) {
            const size_t j = pairs[q] / active, i = pairs[q] % active;
            float *e = want_grad ? results + q * buffers * stride : NULL;
            row_source source = {NULL, o->work.exact.rows + q * stride, 0, 0, 1,
                                 0,    o->work.exact.left + q * d};
            o->setup.kernels->range(v, source.z, &source.low, &source.high);
            if (o->setup.capped)
                cbe_lens_get_rows(&o->setup, &o->layer, &o->work.threads,
                                  (size_t)omp_get_thread_num(), 1, &o->sample.active[i],
                                  &source.clean);
            sums[q] = o->setup.capped ? capped_row(o, j, i, source, e, e ? e + stride : NULL)
                                      : plain_row(o, j, i, &source, want != CBE_LENS_ENERGIES, e);
        }
        for (size_t q = 0; q < count && want_grad; q++) {
            const size_t j = pairs[q] / active,
                         token = o->setup.row_token[o->sample.active[pairs[q] % active]];
            const float *e = results + q * buffers * stride, *p = e + stride;
            const double weight = CBE_LENS_G_SCALE * o->work.rows[pairs[q]].weight,
                         e_weight = weight / sums[q];
            const bool fresh = !summed[j];
            double *g = o->work.g_sum + ((size_t)CBE_LENS_PARTS * m + j) * stride;
#pragma omp parallel for schedule(static) num_threads(o->setup.n_threads)
            for (size_t t = 0; t < v; t += CBE_LENS_VOCAB_BLOCK) {
                const size_t n = cbe_min_size(CBE_LENS_VOCAB_BLOCK, v - t);
                for (size_t i = t; i < t + n; i++) {
                    const double share =
                        e_weight * (double)e[i] - (o->setup.capped ? weight * (double)p[i] : 0);
                    g[i] = fresh ? share : g[i] + share;
                }
            }
            if (!o->setup.capped && o->setup.labels) g[o->setup.labels[token]] -= weight;
            summed[j] = true;
            for (size_t k = 0; k < d; k++)
                cbe_long_add(&o->work.exact.grad[j * d + k],
                             o->work.rows[pairs[q]].xc_coeff * o->work.exact.left[q * d + k]);
        }
    }
}
