/*
 * pass.c - see pass.h.
 *
 * Parts of the rows run in parallel, each with its own gradient vector over V for every column:
 * float for a unit of rows, double over units. Rows set aside are in exact.c; gradients go on in
 * gradient.c. Names and formulas: state.h, docs/maths.md.
 */
#include "objective/lens/pass.h"

#include <omp.h>
#include <string.h>

#include "core/pulse.h"
#include "core/clones.h"
#include "core/sizes.h"
#include "objective/lens/row.h"
#include "objective/lens/rows.h"

/* Exponentials of some rows of one column that are still to be added to its gradient vector over V.
 * They wait for the next rows, whatever their column: the kernel adds them up between
 * exponentials. */
typedef struct {
    size_t n;                         /* rows that wait */
    float *e[CBE_EXP_ROWS];           /* exponentials, in the thread's buffer */
    float w[CBE_EXP_ROWS];            /* their factors */
    float label_weight[CBE_EXP_ROWS]; /* ce: subtracted from the label's entry */
    int64_t label[CBE_EXP_ROWS];      /* -1: the objective is not ce */
    float *g;                         /* the gradient vector */
    bool *used;                       /* whether g holds something already */
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

/* Exponentials of rows of one column, which wait to be added to g; rows that waited before are
 * added up meanwhile. */
static void rows_together(cbe_lens_objective *o, size_t j, size_t n, const size_t *rows,
                          const cbe_lens_row_source *sources, waiting_rows *waiting, bool *used,
                          float *g)
{
    const size_t direction = o->work.direction[j];
    cbe_exp_row in[CBE_EXP_ROWS];
    cbe_row_sums sums[CBE_EXP_ROWS];
    cbe_lens_exp_factors by[CBE_EXP_ROWS];
    if (waiting->n && (!*waiting->used || waiting->n != n))
        waiting_flush(&o->setup, &o->sample, waiting);
    for (size_t r = 0; r < n; r++) {
        by[r] = cbe_lens_factors(o->sample.view, &o->work, direction, &sources[r]);
        in[r] = (cbe_exp_row){sources[r].z, by[r].a,       by[r].c,
                              by[r].level,  by[r].bounded, waiting->e[r]};
    }
    o->setup.kernels->rows_exp(n, o->sample.view->vocab, in,
                               o->work.u + direction * o->setup.stride, o->sample.view->offset,
                               waiting->n ? waiting->w : NULL, waiting->g, sums);
    if (waiting->n) waiting_done(waiting);
    for (size_t r = 0; r < n; r++) {
        const double log_sum =
            cbe_lens_settle_sums(o, direction, &sources[r], &by[r], true, waiting->e[r], &sums[r]);
        cbe_lens_plain_result(o, j, rows[r], &sources[r], &sums[r], log_sum);
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
                       const cbe_lens_row_source *sources, bool slopes, waiting_rows *waiting,
                       bool *used, float *g)
{
    for (size_t r = 0; r < n && !waiting; r++)
        cbe_lens_plain_row(o, j, rows[r], &sources[r], slopes, NULL);
    for (size_t r = 0; r < n && waiting; r += CBE_EXP_ROWS)
        rows_together(o, j, cbe_min_size(CBE_EXP_ROWS, n - r), rows + r, sources + r, waiting, used,
                      g);
}

/* As plain_rows, for at most CBE_ROW_GROUP rows. work: 2 CBE_ROW_GROUP rows of V. */
static void capped_rows(cbe_lens_objective *o, size_t j, size_t n, const size_t *rows,
                        const cbe_lens_row_source *sources, float *work, bool *used, float *g)
{
    const size_t v = o->sample.view->vocab;
    float *e[CBE_ROW_GROUP], weights[CBE_ROW_GROUP], p_weights[CBE_ROW_GROUP], *p[CBE_ROW_GROUP];
    for (size_t r = 0; r < n; r++) {
        e[r] = work ? work + r * o->setup.stride : NULL;
        p[r] = work ? work + (CBE_ROW_GROUP + r) * o->setup.stride : NULL;
        const double sum = cbe_lens_capped_row(o, j, rows[r], sources[r], e[r], p[r]);
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
        cbe_lens_row_source sources[CBE_LENS_BLOCK];
        bool *used = &o->work.g_used[part * m + j];
        float *g = o->work.g + (part * m + j) * stride;
        for (size_t i = begin; i < end; i++) {
            const cbe_lens_shift *shift = &o->work.shifts[j * o->sample.n_active + i];
            if (shift->exact) continue;
            const size_t row = o->sample.active[i];
            const float *zi = z[i - begin];
            sources[n] = (cbe_lens_row_source){
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
            cbe_pulse();
            for (size_t start = o->sample.unit_begin[unit]; start < end; start += at_once)
                pass_rows(o, m, part, start, cbe_min_size(end, start + at_once), j_begin, j_end,
                          want, &waiting);
            if (waiting.n) waiting_flush(&o->setup, &o->sample, &waiting);
            if (unit < last && want == CBE_LENS_GRADIENTS) finish_unit(o, m, part, j_begin, j_end);
        }
    }
}
