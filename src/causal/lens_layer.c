/*
 * lens_layer.c - the lens objective's arrays, and all of a layer that no direction changes.
 *
 * Cost of a layer: products N x V x d, one for Z and, for kl without cap, one for E = W~' p.
 * See lens_objective.h for the names.
 */
#include "causal/lens_objective.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/fail.h"
#include "core/gemm.h"
#include "core/memory.h"

enum { LAYER_ROWS = 256, PROB_ROWS = 128, PROB_COLUMNS = 4096 };

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t blocks_of(size_t n, size_t block)
{
    return (n + block - 1) / block;
}

static size_t lens_n_tokens(const cbe_objective *self)
{
    return ((const cbe_lens_objective *)self)->n_active;
}

static void lens_set_sample(cbe_objective *self, size_t n)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    const size_t rows = n == 0 ? o->n_rows : min_size(n, o->n_rows);
    for (size_t i = 0; i < rows; i++) o->active[i] = (size_t)((double)i * (double)o->n_rows / (double)rows);
    o->n_active = rows;
    const size_t part = blocks_of(rows, CBE_LENS_PARTS);
    o->n_parts = blocks_of(rows, part > CBE_LENS_MIN_PART ? part : CBE_LENS_MIN_PART);
}

static void lens_destroy(cbe_objective *self)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    void *owned[] = {
        o->row_token, o->derangement, o->labels,  o->w,           o->offset,      o->x_buffer,
        o->mean,      o->z,           o->e,       o->norm2,       o->inverse_s,   o->log_sum,
        o->p_z,       o->z_low,       o->z_high,    o->u_low,      o->u_high,    o->active,      o->a,       o->ac,          o->mean_dot,    o->ac_norm2,
        o->ac32,      o->h_dot,       o->x_dot,   o->e_dot,       o->u,           o->g,
        o->g_used,    o->g_total,     o->row_buffer, o->shifts,   o->rows,        o->exact_pairs,
        o->exact_x,   o->exact_rows,  o->coeff,   o->block_sums,  o->sum_scratch,
        o->grad_sums, o->c_total,     o->lens_grad, o->exact_left,  o->exact_grad,
    };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    cbe_free(o);
}

/* Rows are the tokens that have an energy. */
static cbe_status choose_rows(cbe_lens_objective *o, const cbe_lens_options *options, cbe_error *err)
{
    for (size_t n = 0; n < o->n_tokens; n++) {
        if (o->kind == CBE_OBJECTIVE_CE) {
            const int64_t label = options->labels[n];
            if (label >= 0 && (uint64_t)label >= o->vocab_size)
                return cbe_fail(err, CBE_ERR_ARG, -1,
                                "label %lld of token %zu is not below the vocabulary size %zu",
                                (long long)label, n, o->vocab_size);
            o->labels[n] = label;
            if (label < 0) continue;
        }
        o->row_token[o->n_rows++] = n;
    }
    if (o->n_rows == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "objective ce: no token has a next token; sequences of 2 or more are needed");
    return CBE_OK;
}

static cbe_status copy_derangement(cbe_lens_objective *o, const int64_t *derangement, cbe_error *err)
{
    const size_t n = o->n_tokens;
    bool *taken = cbe_alloc_zero(n, sizeof *taken, "derangement check", err);
    if (!taken) return CBE_ERR_NOMEM;
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const int64_t to = derangement[i];
        if (to < 0 || (uint64_t)to >= n || (size_t)to == i || taken[to])
            st = cbe_fail(err, CBE_ERR_ARG, -1,
                          "derangement[%zu] = %lld: resample needs a permutation of the %zu tokens "
                          "without fixed points",
                          i, (long long)to, n);
        else
            taken[to] = true, o->derangement[i] = to;
    }
    cbe_free(taken);
    return st;
}

/* W~ and the offset W beta + bias: the decoder's share, the same for all layers. */
static void fold_decoder(cbe_lens_objective *o)
{
    const cbe_decoder *decoder = o->decoder;
    const size_t d = o->hidden_size;
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
    for (size_t t = 0; t < o->vocab_size; t++) {
        const float *row = decoder->unembedding + t * d;
        double dot = decoder->bias ? (double)decoder->bias[t] : 0;
        for (size_t k = 0; k < d; k++) {
            o->w[t * d + k] = row[k] * decoder->gamma[k];
            if (decoder->beta) dot += (double)row[k] * (double)decoder->beta[k];
        }
        if (o->offset) o->offset[t] = (float)(o->capped ? dot : dot * CBE_LOG2E);
    }
}

cbe_status cbe_lens_objective_create(cbe_objective **out, const cbe_decoder *decoder,
                                     const cbe_lens_options *options, cbe_error *err)
{
    const size_t n = options->n_tokens, d = decoder->hidden_size, v = decoder->vocab_size;
    const size_t m = options->max_batch ? options->max_batch : 8;
    cbe_status st = CBE_ERR_NOMEM;
    if (options->ablation != CBE_ABLATE_ZERO && n < 2)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s ablation needs at least 2 tokens, there %s %zu",
                        cbe_ablation_name(options->ablation), n == 1 ? "is" : "are", n);
    if (n == 0) return cbe_fail(err, CBE_ERR_ARG, -1, "there are no tokens");
    if (options->ablation == CBE_ABLATE_RESAMPLE && !options->derangement)
        return cbe_fail(err, CBE_ERR_ARG, -1, "resample ablation needs a derangement");
    if (options->kind == CBE_OBJECTIVE_CE && !options->labels)
        return cbe_fail(err, CBE_ERR_ARG, -1, "objective ce needs labels, the next tokens");
    const cbe_kernels *kernels = cbe_kernels_choose(options->kernels);
    if (!kernels)
        return cbe_fail(err, CBE_ERR_ARG, -1, "kernels '%s' are not built in or not usable on this CPU",
                        options->kernels);

    cbe_lens_objective *o = cbe_alloc_zero(1, sizeof *o, "lens objective", err);
    if (!o) return CBE_ERR_NOMEM;
    o->head = (cbe_objective){d, m, cbe_lens_eval, lens_n_tokens, lens_set_sample, lens_destroy};
    o->decoder = decoder;
    o->kernels = kernels;
    o->ablation = options->ablation;
    o->kind = options->kind;
    o->n_tokens = n;
    o->hidden_size = d;
    o->vocab_size = v;
    o->capped = decoder->logit_softcap > 0;
    o->layernorm = decoder->norm == CBE_NORM_LAYER;
    o->has_probs = o->kind == CBE_OBJECTIVE_KL && !o->capped;
    o->n_threads = omp_get_max_threads();

    o->row_token = cbe_alloc(n, sizeof *o->row_token, "rows", err);
    o->labels = o->kind == CBE_OBJECTIVE_CE ? cbe_alloc(n, sizeof *o->labels, "labels", err) : NULL;
    o->derangement = o->ablation == CBE_ABLATE_RESAMPLE
                         ? cbe_alloc(n, sizeof *o->derangement, "derangement", err)
                         : NULL;
    if (!o->row_token || (o->kind == CBE_OBJECTIVE_CE && !o->labels) ||
        (o->ablation == CBE_ABLATE_RESAMPLE && !o->derangement))
        goto done;
    if ((st = choose_rows(o, options, err)) != CBE_OK) goto done;
    if (o->derangement && (st = copy_derangement(o, options->derangement, err)) != CBE_OK) goto done;
    st = CBE_ERR_NOMEM;

    const size_t rows = o->n_rows, longest = rows > n ? rows : n, parts = CBE_LENS_PARTS + 1;
    const size_t threads = (size_t)o->n_threads, buffers = o->capped ? 2 : 1;
    const size_t token_blocks = blocks_of(n, CBE_LENS_TOKEN_BLOCK);
    const size_t vocab_blocks = blocks_of(v, CBE_LENS_VOCAB_BLOCK);
    const size_t sums = 3 * token_blocks > vocab_blocks ? 3 * token_blocks : vocab_blocks;
    size_t row_entries, token_pairs, part_entries, direction_entries;
    if (!cbe_mul_size(rows, v, &row_entries) || !cbe_mul_size(m, longest, &token_pairs) ||
        !cbe_mul_size(m, v, &direction_entries) ||
        !cbe_mul_size(parts, direction_entries, &part_entries)) {
        cbe_fail(err, CBE_ERR_NOMEM, -1, "%zu tokens x %zu vocabulary entries do not fit memory", rows, v);
        goto done;
    }
    struct {
        void *slot; /* address of the pointer to fill */
        size_t count, size;
        const char *what;
    } arrays[] = {
        {&o->w, v * d, sizeof(float), "unembedding with the norm's gain"},
        {&o->offset, decoder->beta || decoder->bias ? v : 0, sizeof(float), "logit offset"},
        {&o->mean, d, sizeof(double), "mean hidden state"},
        {&o->z, row_entries, sizeof(float), "logits of all tokens"},
        {&o->e, o->has_probs ? rows * d : 0, sizeof(float), "expected unembedding"},
        {&o->norm2, rows, sizeof(double), "norms"},
        {&o->inverse_s, rows, sizeof(double), "norms"},
        {&o->log_sum, rows, sizeof(double), "logsumexp"},
        {&o->p_z, rows, sizeof(double), "expected logits"},
        {&o->z_low, rows, sizeof(float), "ranges of logits"},
        {&o->z_high, rows, sizeof(float), "ranges of logits"},
        {&o->u_low, m, sizeof(float), "ranges of logits"},
        {&o->u_high, m, sizeof(float), "ranges of logits"},
        {&o->active, rows, sizeof(size_t), "sample"},
        {&o->a, m * d, sizeof(double), "directions"},
        {&o->ac, m * d, sizeof(double), "directions"},
        {&o->mean_dot, m, sizeof(double), "directions"},
        {&o->ac_norm2, m, sizeof(double), "directions"},
        {&o->ac32, m * d, sizeof(float), "directions"},
        {&o->h_dot, token_pairs, sizeof(double), "coefficients"},
        {&o->x_dot, token_pairs, sizeof(double), "coefficients"},
        {&o->e_dot, token_pairs, sizeof(double), "coefficients"},
        {&o->u, direction_entries, sizeof(float), "logit directions"},
        {&o->g, part_entries, sizeof(float), "gradient of the logits"},
        {&o->g_used, parts * m, sizeof(bool), "gradient of the logits"},
        {&o->g_total, direction_entries, sizeof(float), "gradient of the logits"},
        {&o->row_buffer, threads * CBE_ROW_GROUP * buffers * v, sizeof(float), "rows in work"},
        {&o->shifts, token_pairs, sizeof(cbe_lens_shift), "row results"},
        {&o->rows, token_pairs, sizeof(cbe_lens_row), "row results"},
        {&o->exact_pairs, token_pairs, sizeof(size_t), "row results"},
        {&o->exact_x, CBE_LENS_EXACT_ROWS * d, sizeof(float), "exact rows"},
        {&o->exact_rows, CBE_LENS_EXACT_ROWS * (1 + buffers) * v, sizeof(float), "exact rows"},
        {&o->exact_left, CBE_LENS_EXACT_ROWS * d, sizeof(double), "exact rows"},
        {&o->exact_grad, m * d, sizeof(double), "exact rows"},
        {&o->coeff, 3 * token_pairs, sizeof(double), "coefficients"},
        {&o->block_sums, sums * m * d, sizeof(double), "partial sums"},
        {&o->sum_scratch, threads * d, sizeof(float), "partial sums"},
        {&o->grad_sums, 4 * m * d, sizeof(double), "gradient sums"},
        {&o->c_total, m, sizeof(double), "gradient sums"},
        {&o->lens_grad, d, sizeof(double), "gradient sums"},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        if (arrays[i].count == 0) continue;
        void *memory = cbe_alloc(arrays[i].count, arrays[i].size, arrays[i].what, err);
        if (!memory) goto done;
        memcpy(arrays[i].slot, &memory, sizeof memory);
    }
    fold_decoder(o);
    if (o->offset) kernels->range(v, o->offset, &o->offset_low, &o->offset_high);
    lens_set_sample(&o->head, 0);
    *out = &o->head;
    return CBE_OK;
done:
    lens_destroy(&o->head);
    return st;
}

const char *cbe_lens_objective_kernels(const cbe_objective *objective)
{
    return ((const cbe_lens_objective *)objective)->kernels->name;
}

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

/* Mean over fixed blocks, so that its bits do not depend on the number of threads. */
static void set_mean(cbe_lens_objective *o)
{
    const size_t n = o->n_tokens, d = o->hidden_size, blocks = blocks_of(n, CBE_LENS_TOKEN_BLOCK);
#pragma omp parallel for schedule(dynamic) num_threads(o->n_threads)
    for (size_t b = 0; b < blocks; b++) {
        double *sum = o->block_sums + b * d;
        memset(sum, 0, d * sizeof *sum);
        const size_t end = min_size(n, (b + 1) * CBE_LENS_TOKEN_BLOCK);
        for (size_t i = b * CBE_LENS_TOKEN_BLOCK; i < end; i++)
            for (size_t k = 0; k < d; k++) sum[k] += (double)o->hidden[i * d + k];
    }
    memset(o->mean, 0, d * sizeof *o->mean);
    for (size_t b = 0; b < blocks; b++)
        for (size_t k = 0; k < d; k++) o->mean[k] += o->block_sums[b * d + k];
    for (size_t k = 0; k < d; k++) o->mean[k] /= (double)n;
}

/* x = h + A h + b. */
static cbe_status set_lens_states(cbe_lens_objective *o, cbe_error *err)
{
    o->x = o->hidden;
    if (!o->translator.weight) return CBE_OK;
    const size_t n = o->n_tokens, d = o->hidden_size;
    if (!o->x_buffer) {
        size_t count;
        if (!cbe_mul_size(n, d, &count))
            return cbe_fail(err, CBE_ERR_NOMEM, -1, "%zu tokens x %zu do not fit memory", n, d);
        o->x_buffer = cbe_alloc(count, sizeof(float), "hidden states behind the translator", err);
        if (!o->x_buffer) return CBE_ERR_NOMEM;
    }
    memcpy(o->x_buffer, o->hidden, n * d * sizeof(float));
    cbe_gemm(false, true, n, d, d, 1, o->hidden, d, o->translator.weight, d, 1, o->x_buffer, d);
    if (o->translator.bias)
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < d; k++) o->x_buffer[i * d + k] += o->translator.bias[k];
    o->x = o->x_buffer;
    return CBE_OK;
}

/* xc of one row in float; returns |xc|^2 in double. */
static double centred_row(const cbe_lens_objective *o, size_t row, float *xc)
{
    const size_t d = o->hidden_size;
    const float *x = o->x + o->row_token[row] * d;
    double mean = 0, norm2 = 0;
    if (o->layernorm) {
        for (size_t k = 0; k < d; k++) mean += (double)x[k];
        mean /= (double)d;
    }
    for (size_t k = 0; k < d; k++) {
        const double c = (double)x[k] - mean;
        norm2 += c * c;
        xc[k] = (float)c;
    }
    return norm2;
}

/* Z = xc W~', norms. */
static cbe_status set_logits(cbe_lens_objective *o, cbe_error *err)
{
    const size_t d = o->hidden_size, v = o->vocab_size;
    float *xc = cbe_alloc(LAYER_ROWS * d, sizeof *xc, "centred hidden states", err);
    if (!xc) return CBE_ERR_NOMEM;
    for (size_t start = 0; start < o->n_rows; start += LAYER_ROWS) {
        const size_t rows = min_size(LAYER_ROWS, o->n_rows - start);
#pragma omp parallel for schedule(static) num_threads(o->n_threads)
        for (size_t i = 0; i < rows; i++) {
            const double norm2 = centred_row(o, start + i, xc + i * d);
            const double s2 = norm2 / (double)d + o->decoder->norm_eps;
            o->norm2[start + i] = norm2;
            o->inverse_s[start + i] = cbe_lens_round(1 / sqrt(s2 > 1e-300 ? s2 : 1e-300));
        }
        cbe_gemm(false, true, rows, v, d, 1, xc, d, o->w, d, 0, o->z + start * v, v);
    }
    cbe_free(xc);
    return CBE_OK;
}

/* logsumexp and expectation of each row. Rows are shifted so that their logsumexp is about 0: then the
 * entries that matter are small numbers, and float rounds them finely. The shift is taken out exactly
 * alike from clean and ablated rows. */
static cbe_status set_row_sums(cbe_lens_objective *o, cbe_error *err)
{
    const cbe_kernels *k = o->kernels;
    const size_t v = o->vocab_size;
    size_t bad_row = o->n_rows;
#pragma omp parallel for schedule(dynamic, 4) num_threads(o->n_threads) reduction(min : bad_row)
    for (size_t row = 0; row < o->n_rows; row++) {
        float *z = o->z + row * v;
        const double r = o->inverse_s[row];
        const int64_t label = o->labels ? o->labels[o->row_token[row]] : 0;
        if (o->capped) {
            const double cap = o->decoder->logit_softcap;
            const double top = cap * tanh(k->row_max(v, z, z, o->offset, (float)r, 0) / cap);
            const cbe_cap_row clean = {r, top, r, 0, top, cap};
            o->log_sum[row] = top + log(k->row_cap(v, z, z, z, o->offset, &clean, NULL, NULL).e);
        } else {
            const float a = (float)(r * CBE_LOG2E);
            const double top = k->row_max(v, z, z, o->offset, a, 0);
            const double sum = k->row_sum(v, z, z, o->offset, a, 0, (float)-top, false);
            const double shift = (top * CBE_LN2 + log(sum)) / r;
            for (size_t i = 0; i < v; i++) z[i] = (float)((double)z[i] - shift);
            float *e = o->row_buffer + (size_t)omp_get_thread_num() * CBE_ROW_GROUP * v;
            const cbe_row_sums sums = k->row_exp(v, z, z, o->offset, a, 0, 0, false, e);
            o->log_sum[row] = log(sums.e);
            o->p_z[row] = o->labels ? (double)z[label] : sums.ey / sums.e;
        }
        k->range(v, z, &o->z_low[row], &o->z_high[row]);
        if (!isfinite(o->log_sum[row]) && row < bad_row) bad_row = row;
    }
    if (bad_row < o->n_rows)
        return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                        "token %zu has logits that are not finite; check the decoder and the hidden states",
                        o->row_token[bad_row]);
    return CBE_OK;
}

/* E = W~' p, a block of rows a task: probabilities of a few thousand entries, then their product. */
static cbe_status set_expected_unembedding(cbe_lens_objective *o, cbe_error *err)
{
    const size_t v = o->vocab_size, d = o->hidden_size, blocks = blocks_of(o->n_rows, PROB_ROWS);
    float *buffers = cbe_alloc((size_t)o->n_threads * PROB_ROWS * PROB_COLUMNS, sizeof *buffers,
                               "probabilities", err);
    if (!buffers) return CBE_ERR_NOMEM;
#pragma omp parallel for schedule(dynamic) num_threads(o->n_threads)
    for (size_t b = 0; b < blocks; b++) {
        const size_t first = b * PROB_ROWS, rows = min_size(PROB_ROWS, o->n_rows - first);
        float *p = buffers + (size_t)omp_get_thread_num() * PROB_ROWS * PROB_COLUMNS;
        for (size_t start = 0; start < v; start += PROB_COLUMNS) {
            const size_t columns = min_size(PROB_COLUMNS, v - start);
            for (size_t i = 0; i < rows; i++) {
                const size_t row = first + i;
                const float *z = o->z + row * v + start;
                o->kernels->row_exp(columns, z, z, o->offset ? o->offset + start : NULL,
                                    (float)(o->inverse_s[row] * CBE_LOG2E), 0,
                                    (float)(-o->log_sum[row] * CBE_LOG2E), false, p + i * PROB_COLUMNS);
            }
            cbe_gemm(false, false, rows, d, columns, 1, p, PROB_COLUMNS, o->w + start * d, d,
                     start ? 1 : 0, o->e + first * d, d);
        }
    }
    cbe_free(buffers);
    return CBE_OK;
}

cbe_status cbe_lens_objective_set_layer(cbe_objective *objective, const float *hidden,
                                        cbe_translator translator, cbe_error *err)
{
    cbe_lens_objective *o = (cbe_lens_objective *)objective;
    o->layer_set = false;
    const size_t bad = first_not_finite(hidden, o->n_tokens, o->hidden_size);
    if (bad < o->n_tokens)
        return cbe_fail(err, CBE_ERR_NUMERIC, -1, "the hidden state of token %zu has NaN or infinity in it",
                        bad);
    o->hidden = hidden;
    o->translator = translator;
    set_mean(o);
    cbe_status st = set_lens_states(o, err);
    if (st == CBE_OK) st = set_logits(o, err);
    if (st == CBE_OK) st = set_row_sums(o, err);
    if (st == CBE_OK && o->has_probs) st = set_expected_unembedding(o, err);
    o->layer_set = st == CBE_OK;
    return st;
}
