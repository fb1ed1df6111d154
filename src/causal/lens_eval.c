/*
 * lens_eval.c - energies and gradients of a batch of directions, in one pass over N x V.
 *
 * A column is a direction with a constant a: c_n = D_n . v - a. Only optimal ablation has constants other than 0, and then
 * there may be several columns of one direction.
 *
 * 1. for each direction: ac, u = W~ ac; for each token: h.v, x.ac; for each row: E.ac
 * 2. for each row and column the rank-1 change; rows that cancel too much are set aside
 * 3. the pass: each row of Z is read once for all columns; parts of the rows run in parallel,
 *    each with its own gradient vector over V: float for a unit of rows, double over units
 * 4. rows set aside: their logits anew from x - c a
 * 5. the gradient from sums over V and over tokens, in fixed blocks, and over processes, where tokens are divided
 * Sums within a unit of rows and a block of the vocabulary have a fixed order, and those over units, blocks and processes so many
 * digits (core/long_sum.h) that theirs does not matter: bits depend on threads not at all, and on the division next to never.
 * Names and formulas: lens_objective.h, docs/maths.md.
 */
#include "causal/lens_objective.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/clones.h"
#include "core/fail.h"
#include "core/sizes.h"
#include "dist/long_sums.h"

/* Rows of W~ that stay in the second cache for all rows set aside, of which so many stay in the first. */
enum { EXACT_COLUMNS = 256, EXACT_VECTORS = 8 };
/* Below this share of |xc|^2 + c^2 |ac|^2 left, Z - c u has lost the digits that are asked for. */
static const double EXACT_BELOW = 0.02;
/* Sums of e within these bounds have neither overflowed nor lost terms. */
static const double SUM_MIN = 1e-20, SUM_MAX = 1e20;
/* Exponents of two between which kernels need not clamp; 2^126 may still be added up in float. Rows that begin below
 * RAISE_BELOW are raised by a level, for what is near to subnormal becomes that in products. */
static const double LOW_EXPONENT = -125, HIGH_EXPONENT = 100, RAISE_BELOW = -90, HIGH_RAISED_EXPONENT = 90;

/* What gradient vectors over V are larger by, until they are added up in double: probabilities of 2^-140, which rows of
 * SmolLM2 have, would be subnormal floats, for which some CPUs take 100 times as long. */
static const double G_SCALE = 0x1p40;

/* 1 a. a = v + A v, ac = C a, for each direction. */
static void lens_directions(cbe_lens_objective *o, size_t m, const double *v)
{
    const size_t d = o->hidden_size;
    memcpy(o->a, v, m * d * sizeof *v);
    if (o->translator.weight) /* out[j] = A v_j */
        for (size_t j = 0; j < m; j++) {
            o->kernels->rows_dot_f64(d, d, o->translator.weight, d, 1, v + j * d, o->ac + j * d, d);
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

/* Products of the directions with one row in force, and with the token that it is ablated with. */
static void token_products(cbe_lens_objective *o, size_t m, const double *v, bool same, size_t row)
{
    const cbe_kernels *k = o->kernels;
    const size_t d = o->hidden_size, n = o->n_tokens, token = o->row_token[row];
    k->rows_dot_f64(1, d, o->hidden + token * d, d, m, v, o->h_dot + token, n);
    if (o->replacement == CBE_ABLATE_RESAMPLE) {
        k->rows_dot_f64(1, d, cbe_lens_other(o, token), d, m, v, o->other_dot + token, n);
    }
    if (same)
        for (size_t j = 0; j < m; j++) o->x_dot[j * n + token] = o->h_dot[j * n + token];
    else
        k->rows_dot_f64(1, d, o->x + token * d, d, m, o->ac, o->x_dot + token, n);
    if (o->has_probs) k->rows_dot_f64(1, d, o->view->e + row * d, d, m, o->ac, o->e_dot + row, o->n_rows);
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
            k->rows_dot(cbe_min_size(CBE_LENS_VOCAB_BLOCK, vocab - t), d, o->w + t * d, d, m, o->ac32,
                        o->u + t, o->stride);
#pragma omp for schedule(dynamic, CBE_LENS_TOKEN_CHUNK)
        for (size_t i = 0; i < o->n_active; i++) token_products(o, m, v, same, o->active[i]);
#pragma omp master
        if (o->shared) cbe_processes_barrier(o->processes); /* then all of u is there */
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (size_t j = 0; j < m; j++) k->range(o->view->vocab, o->u + j * o->stride, &o->u_low[j], &o->u_high[j]);
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

/* From the sums over V of one row to its energy and the factors of its gradient.
 * p_*, q_*: expectations of y = Z - c u and of u under p and q, times the cap's slope when capped. */
static void finish_row(const cbe_lens_objective *o, size_t direction, size_t token, const cbe_lens_shift *shift,
                       double energy, double p_y, double q_y, double p_u, double q_u,
                       cbe_lens_row *out)
{
    const double d = (double)o->hidden_size, c = shift->c, r = shift->inverse_s;
    const double by_s = (p_y - q_y) * r * r; /* d KL / d s' */
    out->energy = energy;
    out->weight = c * r;
    out->xc_coeff = -by_s * c * r / d;
    if (shift->exact) {
        out->ac_coeff = 0; /* xc_coeff multiplies xc - c ac itself, see exact_pass */
        out->c_coeff = (p_u - q_u) * r - by_s * shift->left_ac * r / d;
    } else {
        const double left_ac = o->x_dot[direction * o->n_tokens + token] - c * o->ac_norm2[direction];
        out->ac_coeff = -out->xc_coeff * c;
        out->c_coeff = (p_u - q_u) * r - by_s * left_ac * r / d;
    }
}

/* A row of logits to work on, y = z - c u: the stored one with its rank-1 change, or one recomputed. */
typedef struct {
    const float *clean; /* stored row */
    const float *z;     /* the same, or recomputed ablated logits less offset */
    float low, high;    /* its smallest and largest entry */
    double scale, c;    /* logits' = scale y + offset */
    const double *left; /* recomputed: xc - c ac; NULL for a stored row */
} row_source;

/* A row's factors as kernels take them, and whether its exponents are known to need no clamping at that level. */
typedef struct {
    float a, c, level;
    bool bounded;
} exp_factors;

static exp_factors factors_of(const cbe_lens_objective *o, size_t direction, const row_source *source)
{
    const float a = (float)(source->scale * CBE_LOG2E), c = (float)source->c;
    const double by_low = (double)c * o->u_low[direction], by_high = (double)c * o->u_high[direction];
    const double highest = a * (source->high - fmin(by_low, by_high)) + o->offset_high;
    const double lowest = a * (source->low - fmax(by_low, by_high)) + o->offset_low;
    const double wanted = ceil(RAISE_BELOW - lowest), room = floor(HIGH_RAISED_EXPONENT - highest);
    const double level = fmax(0, fmin(wanted, room)); /* logits of SmolLM2 go 100 nats down */
    if (lowest + level > LOW_EXPONENT && highest + level < HIGH_EXPONENT) return (exp_factors){a, c, (float)level, true};
    return (exp_factors){a, c, 0, false};
}

/* Takes sums that may have overflowed or vanished again, at the level of the largest exponent. Returns logsumexp of logits'. */
static double settle_sums(const cbe_lens_objective *o, size_t direction, const row_source *source, const exp_factors *by,
                          bool slopes, float *e, cbe_row_sums *sums)
{
    const cbe_kernels *k = o->kernels;
    const size_t v = o->view->vocab;
    const float *u = o->u + direction * o->stride;
    if (sums->e > SUM_MIN && (by->bounded || sums->e < SUM_MAX)) return log(sums->e) - (double)by->level * CBE_LN2;
    const float level = -(float)k->row_max(v, source->z, u, o->offset, by->a, by->c);
    if (slopes)
        *sums = k->row_exp(v, source->z, u, o->offset, by->a, by->c, level, false, e);
    else
        sums->e = k->row_sum(v, source->z, u, o->offset, by->a, by->c, level, false);
    return log(sums->e) - (double)level * CBE_LN2;
}

/* 3, uncapped. From a row's sums to its energy and the factors of its gradient. */
static void plain_result(const cbe_lens_objective *o, size_t j, size_t i, const row_source *source, const cbe_row_sums *sums,
                         double log_sum)
{
    const size_t row = o->active[i], token = o->row_token[row], direction = o->direction[j];
    const cbe_lens_shift *shift = &o->shifts[j * o->n_active + i];
    const float *z = source->z, *u = o->u + direction * o->stride;
    double p_y, p_u, energy, q_y = sums->ey / sums->e;
    if (shift->exact) {
        /* z holds logits' - offset: expectations of y are s' times those of z. */
        double p_logit = 0;
        if (o->has_probs) {
            const float *expected = o->view->e + row * o->hidden_size;
            for (size_t t = 0; t < o->hidden_size; t++) p_logit += (double)expected[t] * source->left[t];
            p_logit *= shift->inverse_s;
            p_u = o->e_dot[direction * o->n_rows + row];
        } else {
            p_logit = (double)z[o->labels[token]];
            p_u = (double)u[o->labels[token]];
        }
        energy = log_sum - o->view->log_sum[row] - p_logit + o->view->p_z[row] * o->inverse_s[row];
        p_y = shift->s * p_logit;
        q_y *= shift->s;
    } else {
        p_u = o->has_probs ? o->e_dot[direction * o->n_rows + row] : (double)u[o->labels[token]];
        /* The factors as the kernel applied them: see cbe_lens_round. */
        const double scale = cbe_lens_round(source->scale), c = (double)(float)source->c;
        p_y = o->view->p_z[row] - c * p_u;
        energy = log_sum - o->view->log_sum[row] - (p_y * scale - o->view->p_z[row] * o->inverse_s[row]);
    }
    finish_row(o, direction, token, shift, energy, p_y, q_y, p_u, sums->eu / sums->e, &o->rows[j * o->n_active + i]);
}

/* One row: sums, energy, and when e is not NULL the exponentials; returns the sum of e. */
static double plain_row(const cbe_lens_objective *o, size_t j, size_t i, const row_source *source, bool slopes, float *e)
{
    const cbe_kernels *k = o->kernels;
    const size_t v = o->view->vocab, direction = o->direction[j];
    const float *u = o->u + direction * o->stride;
    const exp_factors by = factors_of(o, direction, source);
    cbe_row_sums sums = {0, 0, 0};
    if (slopes)
        sums = k->row_exp(v, source->z, u, o->offset, by.a, by.c, by.level, by.bounded, e);
    else
        sums.e = k->row_sum(v, source->z, u, o->offset, by.a, by.c, by.level, by.bounded);
    plain_result(o, j, i, source, &sums, settle_sums(o, direction, source, &by, slopes, e, &sums));
    return sums.e;
}

/* Some rows, whose weights in the gradient replace w; what their e held before is added to g with the weights that w had,
 * unless that is not `pending`. */
static void rows_together(const cbe_lens_objective *o, size_t j, size_t n, const size_t *rows, const row_source *sources,
                          bool pending, float *w, float *const *e, float *g)
{
    const size_t direction = o->direction[j];
    cbe_exp_row in[CBE_EXP_ROWS];
    cbe_row_sums sums[CBE_EXP_ROWS];
    exp_factors by[CBE_EXP_ROWS];
    for (size_t r = 0; r < n; r++) {
        by[r] = factors_of(o, direction, &sources[r]);
        in[r] = (cbe_exp_row){sources[r].z, by[r].a, by[r].c, by[r].level, by[r].bounded, e[r]};
    }
    o->kernels->rows_exp(n, o->view->vocab, in, o->u + direction * o->stride, o->offset, pending ? w : NULL, g, sums);
    for (size_t r = 0; r < n; r++) {
        const double log_sum = settle_sums(o, direction, &sources[r], &by[r], true, e[r], &sums[r]);
        plain_result(o, j, rows[r], &sources[r], &sums[r], log_sum);
        w[r] = (float)(G_SCALE * o->rows[j * o->n_active + rows[r]].weight / sums[r].e);
    }
}

/* Rows of one column: their results, and their share g of the gradient over V, which is new unless *used. Rows go in groups,
 * whose exponentials are added up while those of the next are taken. work: CBE_EXP_ROWS rows of V; NULL when no gradient is
 * wanted. */
static void plain_rows(const cbe_lens_objective *o, size_t j, size_t n, const size_t *rows, const row_source *sources,
                       bool slopes, float *work, bool *used, float *g)
{
    const size_t v = o->view->vocab;
    const cbe_lens_row *results = o->rows + j * o->n_active;
    if (!work) {
        for (size_t r = 0; r < n; r++) plain_row(o, j, rows[r], &sources[r], slopes, NULL);
        return;
    }
    float *e[CBE_EXP_ROWS], w[CBE_EXP_ROWS];
    for (size_t r = 0; r < CBE_EXP_ROWS; r++) e[r] = work + r * o->stride;
    size_t pending = 0;
    for (size_t r = 0, count; r < n; r += count) {
        count = cbe_min_size(CBE_EXP_ROWS, n - r);
        if (pending && (!*used || count != pending)) {
            o->kernels->accumulate(v, pending, (const float *const *)e, w, !*used, g);
            *used = true;
            pending = 0;
        }
        rows_together(o, j, count, rows + r, sources + r, pending > 0, w, e, g);
        pending = count;
    }
    o->kernels->accumulate(v, pending, (const float *const *)e, w, !*used, g);
    *used = true;
    for (size_t r = 0; r < n && o->labels; r++)
        g[o->labels[o->row_token[o->active[rows[r]]]]] -= (float)(G_SCALE * results[rows[r]].weight);
}

/* 3, capped: also needs the clean probabilities, recomputed from the stored row. */
static double capped_row(const cbe_lens_objective *o, size_t j, size_t i, row_source source, float *ef,
                         float *pf)
{
    const cbe_kernels *k = o->kernels;
    const size_t v = o->view->vocab, row = o->active[i], token = o->row_token[row], direction = o->direction[j];
    const cbe_lens_shift *shift = &o->shifts[j * o->n_active + i];
    const float *u = o->u + direction * o->stride, *clean = source.clean, *z = source.z;
    const double cap = o->decoder->logit_softcap, lse = o->view->log_sum[row];
    cbe_cap_row in = {o->inverse_s[row], lse, source.scale, source.c, lse, cap};
    cbe_cap_sums sums = {0, 0, 0, 0, 0, 0};
    for (int attempt = 0; attempt < 2; attempt++) {
        sums = k->row_cap(v, clean, z, u, o->offset, &in, ef, pf);
        if (sums.e > SUM_MIN && sums.e < SUM_MAX) break;
        const double top = k->row_max(v, z, u, o->offset, (float)source.scale, (float)source.c);
        in.shift = cap * tanh(top / cap);
    }
    const double log_sum = log(sums.e) + in.shift;
    const double factor = shift->exact ? shift->s : 1;
    double energy, p_y, p_u;
    if (o->labels) {
        const size_t label = (size_t)o->labels[token];
        const double base = o->offset ? (double)o->offset[label] : 0;
        /* The factors in float, as the kernel applies them. */
        const double scale0 = (double)(float)o->inverse_s[row], scale = (double)(float)source.scale,
                     c = (double)(float)source.c;
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
    finish_row(o, direction, token, shift, energy, factor * p_y, factor * sums.efy / sums.e, p_u, sums.efu / sums.e,
               &o->rows[j * o->n_active + i]);
    return sums.e;
}

/* As plain_rows, for at most CBE_ROW_GROUP rows. work: 2 CBE_ROW_GROUP rows of V. */
static void capped_rows(const cbe_lens_objective *o, size_t j, size_t n, const size_t *rows, const row_source *sources,
                        float *work, bool *used, float *g)
{
    const size_t v = o->view->vocab;
    float *e[CBE_ROW_GROUP], weights[CBE_ROW_GROUP], p_weights[CBE_ROW_GROUP], *p[CBE_ROW_GROUP];
    for (size_t r = 0; r < n; r++) {
        e[r] = work ? work + r * o->stride : NULL;
        p[r] = work ? work + (CBE_ROW_GROUP + r) * o->stride : NULL;
        const double sum = capped_row(o, j, rows[r], sources[r], e[r], p[r]);
        const double weight = G_SCALE * o->rows[j * o->n_active + rows[r]].weight;
        weights[r] = (float)(weight / sum);
        p_weights[r] = (float)-weight;
    }
    if (!work) return;
    o->kernels->accumulate(v, n, (const float *const *)e, weights, !*used, g);
    o->kernels->accumulate(v, n, (const float *const *)p, p_weights, 0, g);
    *used = true;
}

/* Active rows begin .. end - 1, fetched together, and columns j_begin .. j_end - 1. */
static void pass_rows(cbe_lens_objective *o, size_t m, size_t part, size_t begin, size_t end, size_t j_begin, size_t j_end,
                      cbe_lens_want want)
{
    const size_t thread = (size_t)omp_get_thread_num(), stride = o->stride;
    float *work = want == CBE_LENS_GRADIENTS ? o->exp_work + thread * cbe_lens_exp_rows(o) * stride : NULL;
    const float *z[CBE_LENS_BLOCK];
    cbe_lens_get_rows(o, thread, end - begin, o->active + begin, z);
    for (size_t j = j_begin; j < j_end; j++) {
        size_t n = 0, rows[CBE_LENS_BLOCK];
        row_source sources[CBE_LENS_BLOCK];
        bool *used = &o->g_used[part * m + j];
        float *g = o->g + (part * m + j) * stride;
        for (size_t i = begin; i < end; i++) {
            const cbe_lens_shift *shift = &o->shifts[j * o->n_active + i];
            if (shift->exact) continue;
            const size_t row = o->active[i];
            const float *zi = z[i - begin];
            sources[n] = (row_source){zi, zi, o->z_low[row], o->z_high[row], shift->inverse_s, shift->c, NULL};
            rows[n++] = i;
        }
        if (n && !o->capped) plain_rows(o, j, n, rows, sources, want != CBE_LENS_ENERGIES, work, used, g);
        for (size_t r = 0; r < n && o->capped; r += CBE_ROW_GROUP)
            capped_rows(o, j, cbe_min_size(CBE_ROW_GROUP, n - r), rows + r, sources + r, work, used, g);
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
        if (!o->g_used[at]) continue;
        add_unit(o->view->vocab, o->g + at * o->stride, !o->g_summed[at], o->g_sum + at * o->stride);
        o->g_used[at] = false;
        o->g_summed[at] = true;
    }
}

/* 3. The pass over Z: parts of the rows in parallel, and where there are more threads than parts, the columns too. */
static void pass(cbe_lens_objective *o, size_t m, cbe_lens_want want)
{
    const size_t at_once = cbe_lens_rows_at_once(o), threads = (size_t)o->n_threads;
    if (o->n_units == 0) return; /* all rows in force are other processes' */
    const size_t shares = cbe_min_size(m, (threads + o->n_parts - 1) / o->n_parts), tasks = o->n_parts * shares;
#pragma omp parallel for schedule(dynamic) num_threads(o->n_threads)
    for (size_t task = 0; task < tasks; task++) {
        const size_t part = task / shares, share = task % shares;
        const size_t first = o->n_units * part / o->n_parts, last = o->n_units * (part + 1) / o->n_parts - 1;
        const size_t j_begin = m * share / shares, j_end = m * (share + 1) / shares;
        memset(o->g_used + part * m + j_begin, 0, (j_end - j_begin) * sizeof *o->g_used);
        memset(o->g_summed + part * m + j_begin, 0, (j_end - j_begin) * sizeof *o->g_summed);
        for (size_t unit = first; unit <= last; unit++) {
            const size_t end = o->unit_begin[unit + 1];
            for (size_t start = o->unit_begin[unit]; start < end; start += at_once)
                pass_rows(o, m, part, start, cbe_min_size(end, start + at_once), j_begin, j_end, want);
            if (unit < last && want == CBE_LENS_GRADIENTS) finish_unit(o, m, part, j_begin, j_end);
        }
    }
}

/* xc - c ac of a row that cancels, from h - c v in double; |.|^2 returned. */
static double exact_state(cbe_lens_objective *o, size_t token, double c, const double *v, double *left)
{
    const size_t d = o->hidden_size;
    double *h = o->lens_grad, centre = 0, norm2 = 0; /* lens_grad is free until the gradient */
    for (size_t k = 0; k < d; k++) left[k] = h[k] = (double)o->hidden[token * d + k] - c * v[k];
    if (o->translator.weight) {
        o->kernels->rows_dot_f64(d, d, o->translator.weight, d, 1, h, left, d);
        for (size_t k = 0; k < d; k++)
            left[k] += h[k] + (o->translator.bias ? (double)o->translator.bias[k] : 0);
    }
    if (o->layernorm)
        for (size_t k = 0; k < d; k++) centre += left[k] / (double)d;
    for (size_t k = 0; k < d; k++) {
        left[k] -= centre;
        norm2 += left[k] * left[k];
    }
    return norm2;
}

/* 4. Rows set aside, CBE_LENS_EXACT_ROWS at a time: logits' - offset = W~ (xc - c ac) / s'. Their terms
 * in xc and ac, which cancel as well, go to o->exact_grad (m, d) as one. */
static void exact_pass(cbe_lens_objective *o, size_t m, const double *v_m, size_t n_pairs, cbe_lens_want want)
{
    const bool want_grad = want == CBE_LENS_GRADIENTS;
    const size_t v = o->view->vocab, stride = o->stride, d = o->hidden_size, active = o->n_active;
    bool *summed = o->g_summed + (size_t)CBE_LENS_PARTS * m;
    memset(summed, 0, m * sizeof *summed);
    memset(o->g_used + (size_t)CBE_LENS_PARTS * m, 0, m * sizeof *o->g_used);
    for (size_t first = 0; first < n_pairs; first += CBE_LENS_EXACT_ROWS) {
        const size_t count = cbe_min_size(CBE_LENS_EXACT_ROWS, n_pairs - first);
        const size_t *pairs = o->exact_pairs + first;
        for (size_t q = 0; q < count; q++) {
            const size_t j = pairs[q] / active, token = o->row_token[o->active[pairs[q] % active]];
            cbe_lens_shift *shift = &o->shifts[pairs[q]];
            double *left = o->exact_left + q * d;
            const double s2 =
                exact_state(o, token, shift->c, v_m + o->direction[j] * d, left) / (double)d + o->decoder->norm_eps;
            shift->s = sqrt(s2 > 1e-300 ? s2 : 1e-300);
            shift->inverse_s = 1 / shift->s;
            shift->left_ac = 0;
            for (size_t k = 0; k < d; k++) {
                shift->left_ac += left[k] * o->ac[o->direction[j] * d + k];
                o->exact_x[q * d + k] = (float)(left[k] * shift->inverse_s);
            }
        }
#pragma omp parallel for schedule(dynamic) num_threads(o->n_threads)
        for (size_t t = 0; t < v; t += EXACT_COLUMNS) /* BLAS would round by how many rows there are */
            for (size_t q = 0; q < count; q += EXACT_VECTORS)
                o->kernels->rows_dot(cbe_min_size(EXACT_COLUMNS, v - t), d, o->w + t * d, d, cbe_min_size(EXACT_VECTORS, count - q),
                                     o->exact_x + q * d, o->exact_rows + q * stride + t, stride);
        float *results = o->exact_rows + (size_t)CBE_LENS_EXACT_ROWS * stride;
        const size_t buffers = o->capped ? 2 : 1;
        double sums[CBE_LENS_EXACT_ROWS];
#pragma omp parallel for schedule(dynamic) num_threads(o->n_threads)
        for (size_t q = 0; q < count; q++) {
            const size_t j = pairs[q] / active, i = pairs[q] % active;
            float *e = want_grad ? results + q * buffers * stride : NULL;
            row_source source = {NULL, o->exact_rows + q * stride, 0, 0, 1, 0, o->exact_left + q * d};
            o->kernels->range(v, source.z, &source.low, &source.high);
            if (o->capped)
                cbe_lens_get_rows(o, (size_t)omp_get_thread_num(), 1, &o->active[i], &source.clean);
            sums[q] = o->capped ? capped_row(o, j, i, source, e, e ? e + stride : NULL)
                                : plain_row(o, j, i, &source, want != CBE_LENS_ENERGIES, e);
        }
        for (size_t q = 0; q < count && want_grad; q++) {
            const size_t j = pairs[q] / active, token = o->row_token[o->active[pairs[q] % active]];
            const float *e = results + q * buffers * stride, *p = e + stride;
            const double weight = G_SCALE * o->rows[pairs[q]].weight, e_weight = weight / sums[q];
            const bool fresh = !summed[j];
            double *g = o->g_sum + ((size_t)CBE_LENS_PARTS * m + j) * stride;
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
            for (size_t t = 0; t < v; t += CBE_LENS_VOCAB_BLOCK) {
                const size_t n = cbe_min_size(CBE_LENS_VOCAB_BLOCK, v - t);
                for (size_t i = t; i < t + n; i++) {
                    const double share = e_weight * (double)e[i] - (o->capped ? weight * (double)p[i] : 0);
                    g[i] = fresh ? share : g[i] + share;
                }
            }
            if (!o->capped && o->labels) g[o->labels[token]] -= weight;
            summed[j] = true;
            for (size_t k = 0; k < d; k++)
                cbe_long_add(&o->exact_grad[j * d + k], o->rows[pairs[q]].xc_coeff * o->exact_left[q * d + k]);
        }
    }
}

/* Parts of g for n entries of a column, from `start` on, added up. */
static void add_parts(const cbe_lens_objective *o, size_t m, size_t j, bool exact, size_t start, size_t n, double *total)
{
    for (size_t part = 0; part <= CBE_LENS_PARTS; part++) {
        if (part < CBE_LENS_PARTS ? part >= o->n_parts : !exact) continue;
        const size_t at = part * m + j;
        if (o->g_summed[at]) {
            const double *sum = o->g_sum + at * o->stride + start;
            for (size_t t = 0; t < n; t++) total[t] += sum[t];
        }
        if (o->g_used[at]) {
            const float *g = o->g + at * o->stride + start;
            for (size_t t = 0; t < n; t++) total[t] += (double)g[t];
        }
    }
}

/* Where processes share memory: their sums of g, (m, stride) of each. */
static double *shared_g(const cbe_lens_objective *o, size_t process)
{
    return (double *)(void *)((float *)o->shared[process] + o->head.max_batch * o->stride);
}

/* Puts the process's own g there for the others. */
static void show_g(const cbe_lens_objective *o, size_t m, bool exact)
{
    const size_t v = o->view->vocab;
    double *to = shared_g(o, cbe_processes_rank(o->processes));
#pragma omp parallel for schedule(dynamic) num_threads(o->n_threads)
    for (size_t start = 0; start < v; start += CBE_LENS_VOCAB_BLOCK)
        for (size_t j = 0; j < m; j++) {
            const size_t n = cbe_min_size(CBE_LENS_VOCAB_BLOCK, v - start);
            double total[CBE_LENS_VOCAB_BLOCK] = {0};
            add_parts(o, m, j, exact, start, n, total);
            memcpy(to + j * o->stride + start, total, n * sizeof *total);
        }
    cbe_processes_barrier(o->processes);
}

/* sums += (or -=) the first of n rows of m d numbers, and the others in their order. */
static void fold_rows(const cbe_lens_objective *o, size_t count, size_t n, size_t step, const double *rows, double scale,
                      cbe_long_sum *sums)
{
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
    for (size_t i = 0; i < count; i++)
        for (size_t r = 0; r < n; r++) cbe_long_add(&sums[i], scale * rows[r * step + i]);
}

/* 5 a. lens (m, d) less W~' G of each direction: parts added, then products, in blocks of the vocabulary. Of processes that share
 * memory each takes some of the blocks, of the rows of all; else all blocks, of its own. */
static void vocab_gradient(cbe_lens_objective *o, size_t m, bool exact, cbe_long_sum *lens)
{
    const size_t v = o->vocab_end, d = o->hidden_size, size = cbe_processes_size(o->processes);
    const size_t blocks = (v - o->vocab_begin + CBE_LENS_VOCAB_BLOCK - 1) / CBE_LENS_VOCAB_BLOCK;
    if (o->shared) show_g(o, m, exact);
#pragma omp parallel for schedule(dynamic) num_threads(o->n_threads)
    for (size_t b = 0; b < blocks; b++) {
        const size_t start = o->vocab_begin + b * CBE_LENS_VOCAB_BLOCK, n = cbe_min_size(CBE_LENS_VOCAB_BLOCK, v - start);
        for (size_t j = 0; j < m; j++) {
            double total[CBE_LENS_VOCAB_BLOCK] = {0};
            if (!o->shared) add_parts(o, m, j, exact, start, n, total);
            for (size_t r = 0; o->shared && r < size; r++) {
                const double *g = shared_g(o, r) + j * o->stride + start;
                for (size_t t = 0; t < n; t++) total[t] += g[t];
            }
            for (size_t t = 0; t < n; t++) o->g_total[j * o->stride + start + t] = (float)total[t];
        }
        double *out = o->block_sums + b * m * d;
        memset(out, 0, m * d * sizeof *out);
        o->kernels->rows_sum(n, d, o->w + start * d, d, m, o->g_total + start, o->stride, out);
    }
    fold_rows(o, m * d, blocks, m * d, o->block_sums, -1 / G_SCALE, lens);
}

/* One unit's sums of hidden states by c_coeff, and of lens states and expected unembeddings by theirs: out (2, m, d). */
static void unit_gradient(const cbe_lens_objective *o, size_t m, size_t unit, const double *by_hidden, double *minus, double *out)
{
    const cbe_kernels *kernels = o->kernels;
    const size_t d = o->hidden_size, active = o->n_active, end = o->unit_begin[unit + 1];
    const double *by_x = by_hidden + m * active, *by_e = by_x + m * active;
    memset(out, 0, 2 * m * d * sizeof *out);
    for (size_t i = o->unit_begin[unit]; i < end; i++) {
        const size_t row = o->active[i], token = o->row_token[row];
        kernels->rows_sum_f64(1, d, o->hidden + token * d, d, m, by_hidden + i, active, out);
        kernels->rows_sum_f64(1, d, o->x + token * d, d, m, by_x + i, active, out + m * d);
        if (o->has_probs) kernels->rows_sum_f64(1, d, o->view->e + row * d, d, m, by_e + i, active, out + m * d);
        if (o->replacement != CBE_ABLATE_RESAMPLE) continue; /* D_n = h_n - h_other */
        for (size_t j = 0; j < m; j++) minus[j * active + i] = -by_hidden[j * active + i];
        kernels->rows_sum_f64(1, d, cbe_lens_other(o, token), d, m, minus + i, active, out);
    }
}

/* 5 b. Sums over tokens, by the rows' factors: of lens states and expected unembeddings onto lens, of hidden states onto hidden;
 * each (m, d). */
static void token_gradient(cbe_lens_objective *o, size_t m, cbe_long_sum *lens, cbe_long_sum *hidden)
{
    const size_t d = o->hidden_size, active = o->n_active, step = 2 * m * d;
    double *by_hidden = o->coeff, *by_x = by_hidden + m * active, *by_e = by_x + m * active, *minus = by_e + m * active;
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < active; i++) {
            const cbe_lens_row *r = &o->rows[j * active + i];
            by_hidden[j * active + i] = r->c_coeff;
            by_x[j * active + i] = o->shifts[j * active + i].exact ? 0 : r->xc_coeff;
            by_e[j * active + i] = r->weight;
        }
    for (size_t first = 0; first < o->n_units; first += CBE_LENS_UNITS_AT_ONCE) {
        const size_t n = cbe_min_size(CBE_LENS_UNITS_AT_ONCE, o->n_units - first);
#pragma omp parallel for schedule(dynamic) num_threads(o->n_threads)
        for (size_t i = 0; i < n; i++) unit_gradient(o, m, first + i, by_hidden, minus, o->block_sums + i * step);
        fold_rows(o, m * d, n, step, o->block_sums, 1, hidden);
        fold_rows(o, m * d, n, step, o->block_sums + m * d, 1, lens);
    }
}

/* Sums over the rows of all processes. */
typedef struct {
    cbe_long_sum *energy, *c;     /* (m): of energies and c_coeff */
    cbe_long_sum *ac;             /* (m): of ac_coeff */
    cbe_long_sum *lens, *hidden;  /* (m, d): sum w E - W~' G + sum xc_coeff x, and sum c_coeff h */
    size_t count;                 /* all together, one behind the other in o->sums */
} row_totals;

static row_totals divide_sums(const cbe_lens_objective *o, size_t m, bool grad)
{
    const size_t d = o->hidden_size;
    row_totals t = {.energy = o->sums, .c = o->sums + m, .ac = o->sums + 2 * m};
    t.lens = t.ac + m;
    t.hidden = t.lens + m * d;
    t.count = grad ? 3 * m + 2 * m * d : 2 * m;
    return t;
}

/* Of the process's own rows: each unit in double. */
static void add_rows(const cbe_lens_objective *o, size_t m, const row_totals *t, bool grad, double *per_token)
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

/* 5. From the sums: (I + A)' C (sum w E - W~' G + sum xc_coeff x + ac sum ac_coeff) + sum c_coeff D. */
static void finish_gradient(cbe_lens_objective *o, size_t m, const row_totals *t, double *grad)
{
    const size_t d = o->hidden_size;
    for (size_t j = 0; j < m; j++) {
        const double ac_total = cbe_long_value(&t->ac[j]);
        double centre = 0, *out = grad + j * d, *lens = o->lens_grad;
        for (size_t k = 0; k < d; k++) {
            lens[k] = cbe_long_value(&t->lens[j * d + k]) + ac_total * o->ac[o->direction[j] * d + k];
            centre += lens[k];
        }
        centre = o->layernorm ? centre / (double)d : 0;
        for (size_t k = 0; k < d; k++) lens[k] -= centre;
        memcpy(out, lens, d * sizeof *out);
        if (o->translator.weight)
            o->kernels->rows_sum_f64(d, d, o->translator.weight, d, 1, lens, d, out);
        for (size_t k = 0; k < d; k++) {
            const double mean = o->replacement == CBE_ABLATE_MEAN ? o->mean[k] * o->c_total[j] : 0;
            out[k] += cbe_long_value(&t->hidden[j * d + k]) - mean;
        }
    }
}

void cbe_lens_set_directions(cbe_lens_objective *o, size_t m, const double *v)
{
    lens_directions(o, m, v);
    direction_products(o, m, v);
}

void cbe_lens_eval_columns(cbe_lens_objective *o, size_t m, const double *v, cbe_lens_want want, double *energy,
                           double *slope, double *grad, double *per_token)
{
    const size_t n_pairs = row_shifts(o, m), d = o->hidden_size;
    const bool with_grad = want == CBE_LENS_GRADIENTS;
    const double rows = (double)o->all_active;
    const row_totals totals = divide_sums(o, m, with_grad);
    memset(o->sums, 0, totals.count * sizeof *o->sums);
    pass(o, m, want);
    memset(o->exact_grad, 0, m * d * sizeof *o->exact_grad);
    if (n_pairs) exact_pass(o, m, v, n_pairs, want);
    add_rows(o, m, &totals, with_grad, per_token);
    if (with_grad) {
        vocab_gradient(o, m, n_pairs > 0, totals.lens);
        token_gradient(o, m, totals.lens, totals.hidden);
        for (size_t i = 0; i < m * d && n_pairs; i++) cbe_long_add_sum(&totals.lens[i], &o->exact_grad[i]);
    }
    cbe_processes_add_up(o->processes, totals.count, o->sums);
    for (size_t j = 0; j < m; j++) {
        energy[j] = cbe_long_value(&totals.energy[j]) / rows;
        o->c_total[j] = cbe_long_value(&totals.c[j]);
        if (slope) slope[j] = -o->c_total[j] / rows; /* dc_n / da = -1 */
    }
    if (!with_grad) return;
    finish_gradient(o, m, &totals, grad);
    for (size_t i = 0; i < m * d; i++) grad[i] /= rows;
}

/* Column j is direction j with the constant given, NULL: 0. */
static void one_column_each(cbe_lens_objective *o, size_t m, const double *constant)
{
    for (size_t j = 0; j < m; j++) {
        o->direction[j] = j;
        o->constant[j] = constant ? constant[j] : 0;
    }
}

static cbe_status no_layer(cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_ARG, -1, "the lens objective has no layer set");
}

cbe_status cbe_lens_eval(cbe_objective *self, size_t m, const double *v, double *energy, double *grad,
                         double *per_token, cbe_error *err)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    if (o->ablation == CBE_ABLATE_OPTIMAL) return cbe_lens_eval_optimal(self, m, v, energy, NULL, grad, per_token, err);
    if (!o->layer_set) return no_layer(err);
    o->replacement = o->ablation;
    one_column_each(o, m, NULL);
    cbe_lens_set_directions(o, m, v);
    cbe_lens_eval_columns(o, m, v, grad ? CBE_LENS_GRADIENTS : CBE_LENS_ENERGIES, energy, NULL, grad, per_token);
    return CBE_OK;
}

cbe_status cbe_lens_eval_constant(cbe_objective *self, size_t m, const double *v, const double *constant, double *energy,
                                  double *slope, double *grad, double *per_token, cbe_error *err)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    if (!o->layer_set) return no_layer(err);
    o->replacement = CBE_ABLATE_OPTIMAL;
    one_column_each(o, m, constant);
    cbe_lens_set_directions(o, m, v);
    cbe_lens_eval_columns(o, m, v, grad ? CBE_LENS_GRADIENTS : slope ? CBE_LENS_SLOPES : CBE_LENS_ENERGIES, energy, slope,
                          grad, per_token);
    return CBE_OK;
}
