/*
 * layer.c - all of a layer that no direction changes: Z, norms, logsumexps, expectations.
 *
 * Blocks of rows in parallel, each from hidden states to its share of E. Cost of a layer: products
 * N x V x d, one for Z and, for kl without cap, one for E = W~' p. See state.h for the
 * names.
 */
#include "objective/lens/objective.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/fail.h"
#include "math/gemm.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "processes/long_sums.h"
#include "lens/translate.h"
#include "objective/lens/rows.h"
#include "objective/lens/sample.h"
#include "objective/lens/state.h"
#include "objective/lens/vocabulary.h"

/* First token with NaN or infinity in it, N when all are finite. */
static size_t first_not_finite(const float *rows, size_t n, size_t d)
{
    size_t first = n;
#pragma omp parallel for schedule(static) reduction(min : first)
    for (size_t i = 0; i < n; i++) {
        bool finite = true;
        for (size_t k = 0; k < d; k++) finite = finite && isfinite(rows[i * d + k]);
        if (!finite && i < first) first = i;
    }
    return first;
}

/* Mean of the tokens not held out. */
static void set_mean(const cbe_lens_setup *setup, cbe_lens_layer *layer, cbe_lens_work *work)
{
    const size_t n = setup->n_tokens, d = setup->hidden_size;
    memset(work->sums, 0, d * sizeof *work->sums);
#pragma omp parallel for schedule(static) num_threads(setup->n_threads)
    for (size_t k = 0; k < d; k++)
        for (size_t i = 0; i < n; i++)
            if (!(setup->held_out && setup->held_out[i]))
                cbe_long_add(&work->sums[k], (double)layer->hidden[i * d + k]);
    cbe_processes_add_up(setup->processes, d, work->sums);
    for (size_t k = 0; k < d; k++)
        layer->mean[k] = cbe_long_value(&work->sums[k]) / (double)setup->n_mean;
}

/* x = h + A h + b. */
static cbe_status set_lens_states(const cbe_lens_setup *setup, cbe_lens_layer *layer,
                                  cbe_error *err)
{
    layer->x = layer->hidden;
    if (!layer->translator.weight) return CBE_OK;
    const size_t n = setup->n_tokens, d = setup->hidden_size;
    if (!layer->x_buffer) {
        size_t count;
        if (!cbe_mul_size(n, d, &count))
            return cbe_fail(err, CBE_ERR_NOMEM, -1, "%zu tokens x %zu do not fit memory", n, d);
        layer->x_buffer =
            cbe_alloc(count, sizeof(float), "hidden states behind the translator", err);
        if (!layer->x_buffer) return CBE_ERR_NOMEM;
    }
    /* see set_rows */
    const size_t each =
        setup->sequence_tokens >= CBE_LENS_LONG_SEQUENCE ? setup->sequence_tokens : n;
    for (size_t first = 0; first < n; first += each)
        cbe_translate(layer->translator, cbe_min_size(each, n - first), d,
                      layer->hidden + first * d, layer->x_buffer + first * d);
    layer->x = layer->x_buffer;
    return CBE_OK;
}

/* Shifts a row, so that its logsumexp is about 0: then the entries that matter are small numbers,
 * and float rounds them finely. The shift is taken out exactly alike from clean and ablated rows.
 * Then it is put away. */
static void shift_row(const cbe_lens_setup *setup, cbe_lens_layer *layer, size_t row, float *z)
{
    const cbe_kernels *k = setup->kernels;
    const size_t v = setup->vocab_size;
    const double r = layer->inverse_s[row];
    layer->shift[row] = 0;
    if (!setup->capped) {
        const float a = (float)(r * CBE_LOG2E);
        const double top = k->row_max(v, z, z, layer->offset, a, 0);
        const double sum = k->row_sum(v, z, z, layer->offset, a, 0, (float)-top, false);
        layer->shift[row] = (top * CBE_LN2 + log(sum)) / r;
        k->subtract(v, z, layer->shift[row]);
    }
    cbe_lens_keep_row(setup, layer, row, z);
    k->range(v, z, &layer->z_low[row], &layer->z_high[row]);
}

/* logsumexp and expectation of a row, over the entries of a view. */
static void row_sums(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                     cbe_lens_threads *threads, const cbe_lens_view *view, size_t thread,
                     size_t row, const float *z)
{
    const cbe_kernels *k = setup->kernels;
    const size_t v = view->vocab;
    const double r = layer->inverse_s[row];
    float *e = threads->e + thread * cbe_lens_exp_rows(setup) * setup->stride;
    if (setup->capped) {
        const double cap = setup->decoder->logit_softcap;
        const double top = cap * tanh(k->row_max(v, z, z, view->offset, (float)r, 0) / cap);
        const cbe_cap_row clean = {r, top, r, 0, top, cap};
        view->log_sum[row] = top + log(k->row_cap(v, z, z, z, view->offset, &clean, NULL, NULL).e);
        return;
    }
    const float a = (float)(r * CBE_LOG2E);
    /* Of all entries the logsumexp is about 0; of some it may be anywhere below. */
    const double top = v < setup->vocab_size ? k->row_max(v, z, z, view->offset, a, 0) : 0;
    const cbe_row_sums sums = k->row_exp(v, z, z, view->offset, a, 0, (float)-top, false, e);
    view->log_sum[row] = log(sums.e) + top * CBE_LN2;
    view->p_z[row] =
        setup->labels ? (double)z[setup->labels[setup->row_token[row]]] : sums.ey / sums.e;
}

/* Rows first .. first + n - 1 of E = W~' p: probabilities of a few thousand entries, then their
 * product. z (n, stride). */
static void expected_unembedding(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                                 cbe_lens_threads *threads, const cbe_lens_view *view,
                                 size_t thread, size_t first, size_t n, const float *z)
{
    const size_t v = view->vocab, d = setup->hidden_size;
    float *p = threads->p + thread * CBE_LENS_BLOCK * CBE_LENS_P_COLUMNS;
    for (size_t start = 0; start < v; start += CBE_LENS_P_COLUMNS) {
        const size_t columns = cbe_min_size(CBE_LENS_P_COLUMNS, v - start);
        for (size_t i = 0; i < n; i++) {
            const size_t row = first + i;
            const float *zs = z + i * setup->stride + start;
            setup->kernels->row_exp(columns, zs, zs, view->offset ? view->offset + start : NULL,
                                    (float)(layer->inverse_s[row] * CBE_LOG2E), 0,
                                    (float)(-view->log_sum[row] * CBE_LOG2E), false,
                                    p + i * CBE_LENS_P_COLUMNS);
        }
        cbe_gemm(false, false, n, d, columns, 1, p, CBE_LENS_P_COLUMNS, layer->w + start * d, d,
                 start ? 1 : 0, view->e + first * d, d);
    }
}

/* What a view has of rows first .. first + n - 1. */
static void set_view(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                     cbe_lens_threads *threads, const cbe_lens_view *view, size_t thread,
                     size_t first, size_t n, const float *z)
{
    for (size_t i = 0; i < n; i++)
        row_sums(setup, layer, threads, view, thread, first + i, z + i * setup->stride);
    if (setup->has_probs) expected_unembedding(setup, layer, threads, view, thread, first, n, z);
}

/* Z and all that is taken from its rows. */
static cbe_status set_rows(const cbe_lens_setup *setup, cbe_lens_layer *layer,
                           cbe_lens_threads *threads, cbe_error *err)
{
    size_t bad_row = setup->n_rows;
    /* BLAS may round a row's products by the shape and the place that it has in a block: blocks are
     * the same in every process. */
    const size_t blocks =
        cbe_lens_divide(setup, setup->n_rows, NULL, setup->all_rows, CBE_LENS_LONG_SEQUENCE,
                        CBE_LENS_BLOCK, layer->block_begin);
#pragma omp parallel for schedule(dynamic) num_threads(setup->n_threads) reduction(min : bad_row)
    for (size_t b = 0; b < blocks; b++) {
        const size_t first = layer->block_begin[b], n = layer->block_begin[b + 1] - first;
        const size_t thread = (size_t)omp_get_thread_num();
        float *z = setup->storage == CBE_LOGITS_FLOAT32
                       ? layer->z + first * setup->stride
                       : threads->rows + thread * CBE_LENS_BLOCK * setup->stride;
        size_t rows[CBE_LENS_BLOCK];
        for (size_t i = 0; i < n; i++) rows[i] = first + i;
        cbe_lens_make_rows(setup, layer, threads, thread, n, rows, false, z);
        for (size_t i = 0; i < n; i++) shift_row(setup, layer, first + i, z + i * setup->stride);
        for (int kind = 0; kind < cbe_lens_n_views(setup, layer); kind++) {
            const cbe_lens_view *view = &layer->views[kind];
            set_view(setup, layer, threads, view, thread, first, n, z);
            for (size_t i = first; i < first + n; i++)
                if (!isfinite(view->log_sum[i]) && i < bad_row) bad_row = i;
        }
    }
    if (bad_row < setup->n_rows)
        return cbe_fail(
            err, CBE_ERR_NUMERIC, -1,
            "token %zu has logits that are not finite; check the decoder and the hidden states",
            setup->first_token + setup->row_token[bad_row]);
    return CBE_OK;
}

/* The hidden states that ours are ablated with, wherever they are. */
static cbe_status fetch_others(const cbe_lens_setup *setup, cbe_lens_layer *layer, cbe_error *err)
{
    const size_t n = setup->n_tokens;
    size_t *wanted = cbe_alloc(n, sizeof *wanted, "hidden states of other processes", err);
    cbe_status st = cbe_processes_agree(setup->processes, wanted ? CBE_OK : CBE_ERR_NOMEM, err);
    if (st == CBE_OK) {
        for (size_t i = 0; i < n; i++) wanted[i] = (size_t)setup->derangement[i];
        st = cbe_processes_fetch_rows(setup->processes, setup->first_tokens, setup->hidden_size,
                                      layer->hidden, n, wanted, layer->other, err);
    }
    cbe_free(wanted);
    return st;
}

cbe_status cbe_lens_objective_set_layer(cbe_objective *objective, const float *hidden,
                                        cbe_translator translator, const cbe_metric *metric,
                                        cbe_error *err)
{
    cbe_lens_objective *o = (cbe_lens_objective *)objective;
    o->layer.set = false;
    const size_t bad = first_not_finite(hidden, o->setup.n_tokens, o->setup.hidden_size);
    cbe_status st = CBE_OK;
    if (bad < o->setup.n_tokens)
        st = cbe_fail(err, CBE_ERR_NUMERIC, -1,
                      "the hidden state of token %zu has NaN or infinity in it",
                      o->setup.first_token + bad);
    o->layer.hidden = hidden;
    o->layer.translator = translator;
    o->layer.metric = metric ? *metric : cbe_metric_plain;
    if (st == CBE_OK) st = set_lens_states(&o->setup, &o->layer, err);
    if ((st = cbe_processes_agree(o->setup.processes, st, err)) != CBE_OK) return st;
    cbe_lens_order_vocabulary(o);
    cbe_lens_set_rough(objective, false);
    st = set_rows(&o->setup, &o->layer, &o->work.threads, err);
    if ((st = cbe_processes_agree(o->setup.processes, st, err)) != CBE_OK) return st;
    set_mean(&o->setup, &o->layer, &o->work);
    if (o->layer.other) st = fetch_others(&o->setup, &o->layer, err);
    o->layer.set = st == CBE_OK;
    return st;
}
