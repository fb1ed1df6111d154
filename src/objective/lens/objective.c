/*
 * objective.c - the lens objective's arrays: their sizes and their owner.
 *
 * See state.h for the names.
 */
#include "objective/lens/objective.h"

#include <omp.h>
#include <string.h>

#include "core/arrays.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "objective/lens/eval.h"
#include "objective/lens/optimal.h"
#include "objective/lens/sample.h"
#include "objective/lens/state.h"
#include "objective/lens/vocabulary.h"

static size_t blocks_of(size_t n, size_t block)
{
    return (n + block - 1) / block;
}

enum { MAX_ARRAYS = 80 };

/* Every array, its size by the fields that are set; returns their number. */
static size_t list_arrays(cbe_lens_objective *o, cbe_array *list)
{
    const size_t n = o->n_tokens, d = o->hidden_size, v = o->vocab_size, rows = o->n_rows,
                 m = o->head.max_batch;
    const size_t longest = rows > n ? rows : n, parts = CBE_LENS_PARTS + 1, stride = o->stride;
    const size_t threads = (size_t)o->n_threads, buffers = o->capped ? 2 : 1;
    const size_t vocab_blocks = blocks_of(v, CBE_LENS_VOCAB_BLOCK),
                 sums = cbe_max_size(2 * CBE_LENS_UNITS_AT_ONCE, vocab_blocks);
    const bool f32 = o->storage == CBE_LOGITS_FLOAT32, f16 = o->storage == CBE_LOGITS_FLOAT16;
    const bool resample = o->ablation == CBE_ABLATE_RESAMPLE;
    const size_t processes = cbe_processes_size(o->processes);
    const bool rough = cbe_lens_may_be_rough(o);
    const size_t with_p = o->has_probs ? cbe_times(rows, d, 1) : 0;
    cbe_lens_view *exact = &o->views[CBE_LENS_EXACT], *likely = &o->views[CBE_LENS_ROUGH];
    const cbe_array arrays[] = {
        {&o->order, rough ? v : 0, sizeof *o->order, "order of the vocabulary"},
        {&o->ranks, rough ? v : 0, sizeof *o->ranks, "order of the vocabulary"},
        {&exact->e, with_p, sizeof(float), "expected unembedding"},
        {&exact->log_sum, rows, sizeof(double), "logsumexp"},
        {&exact->p_z, rows, sizeof(double), "expected logits"},
        {&likely->e, rough ? with_p : 0, sizeof(float), "expected unembedding"},
        {&likely->log_sum, rough ? rows : 0, sizeof(double), "logsumexp"},
        {&likely->p_z, rough ? rows : 0, sizeof(double), "expected logits"},
        {&o->row_token, n, sizeof(size_t), "rows"},
        {&o->labels, o->kind == CBE_OBJECTIVE_CE ? n : 0, sizeof(int64_t), "labels"},
        {&o->derangement, resample ? n : 0, sizeof(int64_t), "derangement"},
        {&o->other, resample && processes > 1 ? cbe_times(n, d, 1) : 0, sizeof(float),
         "hidden states of other processes"},
        {&o->first_tokens, processes > 1 ? processes + 1 : 0, sizeof(size_t), "processes"},
        {&o->held_out, o->some_held_out ? n : 0, sizeof(bool), "tokens held out"},
        {&o->w, cbe_times(v, d, 1), sizeof(float), "unembedding with the norm's gain"},
        {&o->offset, o->decoder->beta || o->decoder->bias ? v : 0, sizeof(float), "logit offset"},
        {&o->mean, d, sizeof(double), "mean hidden state"},
        {&o->z, f32 ? cbe_times(rows, stride, 1) : 0, sizeof(float), "logits of all tokens"},
        {&o->z16, f16 ? cbe_times(rows, stride, 1) : 0, sizeof(uint16_t), "logits of all tokens"},
        {&o->norm2, rows, sizeof(double), "norms"},
        {&o->inverse_s, rows, sizeof(double), "norms"},
        {&o->shift, rows, sizeof(double), "logsumexp"},
        {&o->z_low, rows, sizeof(float), "ranges of logits"},
        {&o->z_high, rows, sizeof(float), "ranges of logits"},
        {&o->block_begin, rows + 1, sizeof(size_t), "blocks of rows"},
        {&o->active, rows, sizeof(size_t), "sample"},
        {&o->unit_begin, rows + 1, sizeof(size_t), "sample"},
        {&o->row_work, f32 ? 0 : cbe_times(threads, CBE_LENS_BLOCK, stride), sizeof(float),
         "rows in work"},
        {&o->xc_work, cbe_times(threads, CBE_LENS_BLOCK, d), sizeof(float), "rows in work"},
        {&o->p_work, o->has_probs ? cbe_times(threads, CBE_LENS_BLOCK, CBE_LENS_P_COLUMNS) : 0,
         sizeof(float), "probabilities"},
        {&o->exp_work, cbe_times(threads, cbe_lens_exp_rows(o), stride), sizeof(float),
         "rows in work"},
        {&o->direction, m, sizeof(size_t), "directions"},
        {&o->constant, m, sizeof(double), "directions"},
        {&o->a, cbe_times(m, d, 1), sizeof(double), "directions"},
        {&o->ac, cbe_times(m, d, 1), sizeof(double), "directions"},
        {&o->mean_dot, m, sizeof(double), "directions"},
        {&o->ac_norm2, m, sizeof(double), "directions"},
        {&o->ac32, cbe_times(m, d, 1), sizeof(float), "directions"},
        {&o->h_dot, cbe_times(m, longest, 1), sizeof(double), "coefficients"},
        {&o->other_dot, resample ? cbe_times(m, longest, 1) : 0, sizeof(double), "coefficients"},
        {&o->x_dot, cbe_times(m, longest, 1), sizeof(double), "coefficients"},
        {&o->e_dot, cbe_times(m, longest, 1), sizeof(double), "coefficients"},
        {&o->u, o->shared ? 0 : cbe_times(m, stride, 1), sizeof(float), "logit directions"},
        {&o->u_low, m, sizeof(float), "ranges of logits"},
        {&o->u_high, m, sizeof(float), "ranges of logits"},
        {&o->g, cbe_times(CBE_LENS_PARTS, m, stride), sizeof(float), "gradient of the logits"},
        {&o->g_sum, cbe_times(parts, m, stride), sizeof(double), "gradient of the logits"},
        {&o->g_used, parts * m, sizeof(bool), "gradient of the logits"},
        {&o->g_summed, parts * m, sizeof(bool), "gradient of the logits"},
        {&o->g_total, cbe_times(m, stride, 1), sizeof(float), "gradient of the logits"},
        {&o->shifts, cbe_times(m, longest, 1), sizeof(cbe_lens_shift), "row results"},
        {&o->rows, cbe_times(m, longest, 1), sizeof(cbe_lens_row), "row results"},
        {&o->exact_pairs, cbe_times(m, longest, 1), sizeof(size_t), "row results"},
        {&o->exact_x, CBE_LENS_EXACT_ROWS * d, sizeof(float), "exact rows"},
        {&o->exact_rows, cbe_times(CBE_LENS_EXACT_ROWS, 1 + buffers, stride), sizeof(float),
         "exact rows"},
        {&o->exact_left, CBE_LENS_EXACT_ROWS * d, sizeof(double), "exact rows"},
        {&o->exact_grad, cbe_times(m, d, 1), sizeof(cbe_long_sum), "exact rows"},
        {&o->coeff, cbe_times(m, longest, 4), sizeof(double), "coefficients"},
        {&o->block_sums, cbe_times(sums, m, d), sizeof(double), "partial sums"},
        {&o->sums, cbe_times(m, 2 * d + 3, 1), sizeof(cbe_long_sum), "gradient sums"},
        {&o->c_total, m, sizeof(double), "gradient sums"},
        {&o->lens_grad, d, sizeof(double), "gradient sums"},
        {&o->tracks, cbe_times(m, CBE_CONSTANT_TRACKS, 1), sizeof(cbe_constant_track), "constants"},
        {&o->column_energy, m, sizeof(double), "constants"},
        {&o->column_slope, m, sizeof(double), "constants"},
        {&o->column_range, m, sizeof(double), "constants"},
        {&o->pending, m, sizeof(size_t), "constants"},
        {&o->sorted, o->all_rows, sizeof(double), "constants"},
        {&o->column_grad, cbe_times(m, d, 1), sizeof(double), "constants"},
    };
    _Static_assert(sizeof arrays / sizeof *arrays <= MAX_ARRAYS, "room for the list");
    memcpy(list, arrays, sizeof arrays);
    return sizeof arrays / sizeof *arrays;
}

static void lens_destroy(cbe_objective *self)
{
    cbe_lens_objective *o = (cbe_lens_objective *)self;
    cbe_array arrays[MAX_ARRAYS];
    const size_t count = list_arrays(o, arrays);
    if (o->shared) o->u = NULL;
    cbe_processes_unshare(o->processes, o->shared);
    cbe_arrays_free(count, arrays);
    cbe_free(o->x_buffer);
    cbe_free(o);
}

static bool is_row(const cbe_lens_options *options, size_t token)
{
    return options->kind != CBE_OBJECTIVE_CE || options->labels[token] >= 0;
}

/* Sizes and choices, as far as they follow from the options alone. */
static void describe(cbe_lens_objective *o, const cbe_decoder *decoder,
                     const cbe_lens_options *options)
{
    const size_t d = decoder->hidden_size, m = options->max_batch ? options->max_batch : 8;
    o->head = (cbe_objective){d,
                              m,
                              cbe_lens_eval,
                              cbe_lens_n_tokens,
                              cbe_lens_set_sample,
                              cbe_lens_set_held_out,
                              cbe_lens_eval_optimal,
                              cbe_lens_eval_constant,
                              lens_destroy,
                              cbe_lens_set_rough};
    o->decoder = decoder;
    o->ablation = options->ablation;
    o->kind = options->kind;
    o->storage = options->storage;
    o->n_tokens = options->n_tokens;
    o->hidden_size = d;
    o->vocab_size = o->views[CBE_LENS_EXACT].vocab = o->views[CBE_LENS_ROUGH].vocab =
        decoder->vocab_size;
    o->stride =
        blocks_of(o->vocab_size, CBE_ALIGNMENT / sizeof(float)) * (CBE_ALIGNMENT / sizeof(float)) +
        CBE_LENS_PADDING;
    o->capped = decoder->logit_softcap > 0;
    o->layernorm = decoder->norm == CBE_NORM_LAYER;
    o->has_probs = o->kind == CBE_OBJECTIVE_KL && !o->capped;
    o->n_threads = omp_get_max_threads();
    o->sequence_tokens = options->sequence_tokens;
    o->processes = options->processes;
    o->first_token = options->first_token;
    o->some_held_out = options->held_out != NULL;
    for (size_t n = 0; n < o->n_tokens; n++) {
        const bool out = options->held_out && options->held_out[o->first_token + n];
        o->n_mean += !out;
        if (!is_row(options, n)) continue;
        o->n_rows++;
        o->n_held_out += out;
    }
    /* About, until the others have told theirs. */
    o->all_rows = o->n_rows * cbe_processes_size(o->processes);
    o->all_held_out = o->n_held_out;
}

/* Adds up what the processes have. */
static void count_all(cbe_lens_objective *o)
{
    size_t searched, before;
    cbe_processes_place(o->processes, o->n_rows - o->n_held_out, &o->rows_before[0], &searched);
    cbe_processes_place(o->processes, o->n_held_out, &o->rows_before[1], &o->all_held_out);
    cbe_processes_place(o->processes, o->n_mean, &before, &o->n_mean);
    cbe_processes_place(o->processes, o->n_tokens, &before, &o->all_tokens);
    o->all_rows = searched + o->all_held_out;
}

size_t cbe_lens_objective_bytes(const cbe_decoder *decoder, const cbe_lens_options *options)
{
    cbe_lens_objective o = {0};
    cbe_array arrays[MAX_ARRAYS];
    describe(&o, decoder, options);
    const size_t count = list_arrays(&o, arrays);
    return cbe_arrays_bytes(count, arrays, sizeof o);
}

/* Where processes can see each other's memory, u and g come to lie there. */
static cbe_status share_memory(cbe_lens_objective *o, cbe_error *err)
{
    const size_t rank = cbe_processes_rank(o->processes);
    const size_t bytes = cbe_times(o->head.max_batch, o->stride, sizeof(float) + sizeof(double));
    if (!o->processes) return CBE_OK;
    const cbe_status st = cbe_processes_share(o->processes, bytes, &o->shared, err);
    if (st != CBE_OK || !o->shared) return st;
    o->u = o->shared[0];
    memset(o->shared[rank], 0, bytes); /* what lies between rows is read along */
    cbe_processes_barrier(o->processes);
    return CBE_OK;
}

/* Rows are the tokens that have an energy, those held out last. */
static cbe_status choose_rows(cbe_lens_objective *o, const cbe_lens_options *options,
                              cbe_error *err)
{
    size_t next[2] = {0, o->n_rows - o->n_held_out};
    for (size_t n = 0; n < o->n_tokens; n++) {
        if (o->kind == CBE_OBJECTIVE_CE) {
            const int64_t label = options->labels[n];
            if (label >= 0 && (uint64_t)label >= o->vocab_size)
                return cbe_fail(err, CBE_ERR_ARG, -1,
                                "label %lld of token %zu is not below the vocabulary size %zu",
                                (long long)label, n, o->vocab_size);
            o->labels[n] = label;
        }
        const bool out = options->held_out && options->held_out[o->first_token + n];
        if (o->held_out) o->held_out[n] = out;
        if (is_row(options, n)) o->row_token[next[out]++] = n;
    }
    return CBE_OK;
}

/* @param n of all processes */
static cbe_status copy_derangement(cbe_lens_objective *o, size_t n, const int64_t *derangement,
                                   const bool *held_out, cbe_error *err)
{
    bool *taken = cbe_alloc_zero(n, sizeof *taken, "derangement check", err);
    if (!taken) return CBE_ERR_NOMEM;
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const int64_t to = derangement[i];
        if (to >= 0 && (uint64_t)to < n && held_out && held_out[i] != held_out[to])
            st = cbe_fail(err, CBE_ERR_ARG, -1,
                          "derangement[%zu] = %lld mixes tokens held out with others", i,
                          (long long)to);
        else if (to < 0 || (uint64_t)to >= n || (size_t)to == i || taken[to])
            st = cbe_fail(err, CBE_ERR_ARG, -1,
                          "derangement[%zu] = %lld: resample needs a permutation of the %zu tokens "
                          "without fixed points",
                          i, (long long)to, n);
        else
            taken[to] = true;
    }
    if (st == CBE_OK)
        memcpy(o->derangement, derangement + o->first_token, o->n_tokens * sizeof *derangement);
    cbe_free(taken);
    return st;
}

static cbe_status check_options(const cbe_lens_options *options, const cbe_lens_objective *o,
                                cbe_error *err)
{
    const size_t n = o->n_mean;
    if (options->n_tokens == 0 && !o->processes)
        return cbe_fail(err, CBE_ERR_ARG, -1, "there are no tokens");
    if (n == 0) return cbe_fail(err, CBE_ERR_ARG, -1, "all tokens are held out");
    if (options->ablation != CBE_ABLATE_ZERO && n < 2)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s ablation needs at least 2 tokens, there is 1",
                        cbe_ablation_name(options->ablation));
    if (options->ablation == CBE_ABLATE_RESAMPLE && !options->derangement)
        return cbe_fail(err, CBE_ERR_ARG, -1, "resample ablation needs a derangement");
    if (o->all_rows == o->all_held_out)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "objective ce: no token has a next token; sequences of 2 or more are needed");
    return CBE_OK;
}

cbe_status cbe_lens_objective_create(cbe_objective **out, const cbe_decoder *decoder,
                                     const cbe_lens_options *options, cbe_error *err)
{
    const cbe_kernels *kernels = cbe_kernels_choose(options->kernels);
    cbe_lens_objective *o = cbe_alloc_zero(1, sizeof *o, "lens objective", err);
    cbe_status st = o ? CBE_OK : CBE_ERR_NOMEM;
    size_t n_all = 0;
    if (options->kind == CBE_OBJECTIVE_CE && !options->labels)
        st = cbe_fail(err, CBE_ERR_ARG, -1, "objective ce needs labels, the next tokens");
    else if (!kernels)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "kernels '%s' are not built in or not usable on this CPU", options->kernels);
    if ((st = cbe_processes_agree(options->processes, st, err)) != CBE_OK) {
        cbe_free(o);
        return st;
    }
    describe(o, decoder, options);
    o->kernels = kernels;
    count_all(o);
    if ((st = check_options(options, o, err)) != CBE_OK) goto done;
    if ((st = share_memory(o, err)) != CBE_OK) goto done;
    cbe_array arrays[MAX_ARRAYS];
    const size_t count = list_arrays(o, arrays);
    st = cbe_arrays_allocate(count, arrays, err);
    if (st == CBE_OK) st = choose_rows(o, options, err);
    if ((st = cbe_processes_agree(o->processes, st, err)) != CBE_OK) goto done;
    if (o->first_tokens) {
        cbe_processes_list(o->processes, o->n_tokens, o->first_tokens + 1);
        o->first_tokens[0] = 0;
        for (size_t r = 0; r < cbe_processes_size(o->processes); r++)
            o->first_tokens[r + 1] += o->first_tokens[r];
    }
    n_all = o->first_tokens ? o->first_tokens[cbe_processes_size(o->processes)] : o->n_tokens;
    if (o->derangement)
        st = copy_derangement(o, n_all, options->derangement, options->held_out, err);
    if ((st = cbe_processes_agree(o->processes, st, err)) != CBE_OK) goto done;
    cbe_lens_order_as_decoder(o);
    if (o->offset) kernels->range(o->vocab_size, o->offset, &o->offset_low, &o->offset_high);
    cbe_lens_set_sample(&o->head, 0);
    cbe_lens_set_rough(&o->head, false);
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

const char *cbe_logit_storage_name(cbe_logit_storage storage)
{
    static const char *const names[] = {"float32", "float16", "recomputed"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_LOGIT_STORAGES,
                   "one name for each storage");
    return names[storage];
}
