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
    const size_t n = o->setup.n_tokens, d = o->setup.hidden_size, v = o->setup.vocab_size,
                 rows = o->setup.n_rows, m = o->head.max_batch;
    const size_t longest = rows > n ? rows : n, parts = CBE_LENS_PARTS + 1,
                 stride = o->setup.stride;
    const size_t threads = (size_t)o->setup.n_threads, buffers = o->setup.capped ? 2 : 1;
    const size_t vocab_blocks = blocks_of(v, CBE_LENS_VOCAB_BLOCK),
                 sums = cbe_max_size(2 * CBE_LENS_UNITS_AT_ONCE, vocab_blocks);
    const bool f32 = o->setup.storage == CBE_LOGITS_FLOAT32,
               f16 = o->setup.storage == CBE_LOGITS_FLOAT16;
    const bool resample = o->setup.ablation == CBE_ABLATE_RESAMPLE;
    const size_t processes = cbe_processes_size(o->setup.processes);
    const bool rough = cbe_lens_may_be_rough(&o->setup);
    const size_t with_p = o->setup.has_probs ? cbe_times(rows, d, 1) : 0;
    cbe_lens_view *exact = &o->layer.views[CBE_LENS_EXACT],
                  *likely = &o->layer.views[CBE_LENS_ROUGH];
    const cbe_array arrays[] = {
        {&o->layer.order, rough ? v : 0, sizeof *o->layer.order, "order of the vocabulary"},
        {&o->layer.ranks, rough ? v : 0, sizeof *o->layer.ranks, "order of the vocabulary"},
        {&exact->e, with_p, sizeof(float), "expected unembedding"},
        {&exact->log_sum, rows, sizeof(double), "logsumexp"},
        {&exact->p_z, rows, sizeof(double), "expected logits"},
        {&likely->e, rough ? with_p : 0, sizeof(float), "expected unembedding"},
        {&likely->log_sum, rough ? rows : 0, sizeof(double), "logsumexp"},
        {&likely->p_z, rough ? rows : 0, sizeof(double), "expected logits"},
        {&o->setup.row_token, n, sizeof(size_t), "rows"},
        {&o->setup.labels, o->setup.kind == CBE_LOSS_CE ? n : 0, sizeof(int64_t), "labels"},
        {&o->setup.derangement, resample ? n : 0, sizeof(int64_t), "derangement"},
        {&o->layer.other, resample && processes > 1 ? cbe_times(n, d, 1) : 0, sizeof(float),
         "hidden states of other processes"},
        {&o->setup.first_tokens, processes > 1 ? processes + 1 : 0, sizeof(size_t), "processes"},
        {&o->setup.held_out, o->setup.some_held_out ? n : 0, sizeof(bool), "tokens held out"},
        {&o->layer.w, cbe_times(v, d, 1), sizeof(float), "unembedding with the norm's gain"},
        {&o->layer.offset, o->setup.decoder->beta || o->setup.decoder->bias ? v : 0, sizeof(float),
         "logit offset"},
        {&o->layer.rough_offset, rough && !o->setup.capped ? v / CBE_LENS_LIKELY_SHARE : 0,
         sizeof(float), "logit offset"},
        {&o->layer.mean, d, sizeof(double), "mean hidden state"},
        {&o->layer.z, f32 ? cbe_times(rows, stride, 1) : 0, sizeof(float), "logits of all tokens"},
        {&o->layer.z16, f16 ? cbe_times(rows, stride, 1) : 0, sizeof(uint16_t),
         "logits of all tokens"},
        {&o->layer.norm2, rows, sizeof(double), "norms"},
        {&o->layer.inverse_s, rows, sizeof(double), "norms"},
        {&o->layer.shift, rows, sizeof(double), "logsumexp"},
        {&o->layer.z_low, rows, sizeof(float), "ranges of logits"},
        {&o->layer.z_high, rows, sizeof(float), "ranges of logits"},
        {&o->layer.block_begin, rows + 1, sizeof(size_t), "blocks of rows"},
        {&o->sample.active, rows, sizeof(size_t), "sample"},
        {&o->sample.unit_begin, rows + 1, sizeof(size_t), "sample"},
        {&o->work.threads.rows, f32 ? 0 : cbe_times(threads, CBE_LENS_BLOCK, stride), sizeof(float),
         "rows in work"},
        {&o->work.threads.xc, cbe_times(threads, CBE_LENS_BLOCK, d), sizeof(float), "rows in work"},
        {&o->work.threads.p,
         o->setup.has_probs ? cbe_times(threads, CBE_LENS_BLOCK, CBE_LENS_P_COLUMNS) : 0,
         sizeof(float), "probabilities"},
        {&o->work.threads.e, cbe_times(threads, cbe_lens_exp_rows(&o->setup), stride),
         sizeof(float), "rows in work"},
        {&o->work.direction, m, sizeof(size_t), "directions"},
        {&o->work.constant, m, sizeof(double), "directions"},
        {&o->work.read_rows, cbe_times(m, d, 1), sizeof(double), "directions"},
        {&o->work.write_rows, cbe_times(m, d, 1), sizeof(double), "directions"},
        {&o->work.a, cbe_times(m, d, 1), sizeof(double), "directions"},
        {&o->work.ac, cbe_times(m, d, 1), sizeof(double), "directions"},
        {&o->work.mean_dot, m, sizeof(double), "directions"},
        {&o->work.ac_norm2, m, sizeof(double), "directions"},
        {&o->work.ac32, cbe_times(m, d, 1), sizeof(float), "directions"},
        {&o->work.h_dot, cbe_times(m, longest, 1), sizeof(double), "coefficients"},
        {&o->work.other_dot, resample ? cbe_times(m, longest, 1) : 0, sizeof(double),
         "coefficients"},
        {&o->work.x_dot, cbe_times(m, longest, 1), sizeof(double), "coefficients"},
        {&o->work.e_dot, cbe_times(m, longest, 1), sizeof(double), "coefficients"},
        {&o->work.u, o->setup.shared ? 0 : cbe_times(m, stride, 1), sizeof(float),
         "logit directions"},
        {&o->work.u_low, m, sizeof(float), "ranges of logits"},
        {&o->work.u_high, m, sizeof(float), "ranges of logits"},
        {&o->work.g, cbe_times(CBE_LENS_PARTS, m, stride), sizeof(float), "gradient of the logits"},
        {&o->work.g_sum, cbe_times(parts, m, stride), sizeof(double), "gradient of the logits"},
        {&o->work.g_used, parts * m, sizeof(bool), "gradient of the logits"},
        {&o->work.g_summed, parts * m, sizeof(bool), "gradient of the logits"},
        {&o->work.g_total, cbe_times(m, stride, 1), sizeof(float), "gradient of the logits"},
        {&o->work.shifts, cbe_times(m, longest, 1), sizeof(cbe_lens_shift), "row results"},
        {&o->work.rows, cbe_times(m, longest, 1), sizeof(cbe_lens_row), "row results"},
        {&o->work.exact.pairs, cbe_times(m, longest, 1), sizeof(size_t), "row results"},
        {&o->work.exact.x, CBE_LENS_EXACT_ROWS * d, sizeof(float), "exact rows"},
        {&o->work.exact.rows, cbe_times(CBE_LENS_EXACT_ROWS, 1 + buffers, stride), sizeof(float),
         "exact rows"},
        {&o->work.exact.left, CBE_LENS_EXACT_ROWS * d, sizeof(double), "exact rows"},
        {&o->work.exact.grad, cbe_times(m, d, 1), sizeof(cbe_long_sum), "exact rows"},
        {&o->work.coeff, cbe_times(m, longest, 4), sizeof(double), "coefficients"},
        {&o->work.block_sums, cbe_times(sums, m, d), sizeof(double), "partial sums"},
        {&o->work.sums, cbe_times(m, 2 * d + 3, 1), sizeof(cbe_long_sum), "gradient sums"},
        {&o->work.c_total, m, sizeof(double), "gradient sums"},
        {&o->work.lens_grad, d, sizeof(double), "gradient sums"},
        {&o->work.metric_grad, cbe_times(2, d, 1), sizeof(double), "gradient sums"},
        {&o->work.constants.tracks, cbe_times(m, CBE_CONSTANT_TRACKS, 1),
         sizeof(cbe_constant_track), "constants"},
        {&o->work.constants.energy, m, sizeof(double), "constants"},
        {&o->work.constants.slope, m, sizeof(double), "constants"},
        {&o->work.constants.range, m, sizeof(double), "constants"},
        {&o->work.constants.pending, m, sizeof(size_t), "constants"},
        {&o->work.constants.sorted, o->setup.all_rows, sizeof(double), "constants"},
        {&o->work.constants.grad, cbe_times(m, d, 1), sizeof(double), "constants"},
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
    if (o->setup.shared) o->work.u = NULL;
    cbe_processes_unshare(o->setup.processes, o->setup.shared);
    cbe_arrays_free(count, arrays);
    cbe_free(o->layer.x_buffer);
    cbe_free(o);
}

static bool is_row(const cbe_lens_options *options, size_t token)
{
    return options->kind != CBE_LOSS_CE || options->labels[token] >= 0;
}

/* Sizes and choices, as far as they follow from the options alone. */
static void describe(cbe_lens_objective *o, const cbe_decoder *decoder,
                     const cbe_lens_options *options)
{
    const size_t d = decoder->hidden_size, m = options->max_batch ? options->max_batch : 8;
    o->head = (cbe_objective){d,
                              m,
                              options->kind == CBE_LOSS_KL,
                              cbe_lens_eval,
                              cbe_lens_n_tokens,
                              cbe_lens_set_sample,
                              cbe_lens_n_parts,
                              cbe_lens_set_held_out,
                              cbe_lens_eval_optimal,
                              cbe_lens_eval_constant,
                              lens_destroy,
                              cbe_lens_set_rough,
                              NULL};
    o->setup.decoder = decoder;
    o->setup.ablation = options->ablation;
    o->setup.kind = options->kind;
    o->setup.storage = options->storage;
    o->setup.n_tokens = options->n_tokens;
    o->setup.hidden_size = d;
    o->setup.vocab_size = o->layer.views[CBE_LENS_EXACT].vocab =
        o->layer.views[CBE_LENS_ROUGH].vocab = decoder->vocab_size;
    o->setup.stride = blocks_of(o->setup.vocab_size, CBE_ALIGNMENT / sizeof(float)) *
                          (CBE_ALIGNMENT / sizeof(float)) +
                      CBE_LENS_PADDING;
    o->setup.capped = decoder->logit_softcap > 0;
    o->setup.layernorm = decoder->norm == CBE_NORM_LAYER;
    o->setup.has_probs = o->setup.kind == CBE_LOSS_KL && !o->setup.capped;
    o->setup.n_threads = omp_get_max_threads();
    o->setup.sequence_tokens = options->sequence_tokens;
    o->setup.processes = options->processes;
    o->setup.first_token = options->first_token;
    o->setup.some_held_out = options->held_out != NULL;
    for (size_t n = 0; n < o->setup.n_tokens; n++) {
        const bool out = options->held_out && options->held_out[o->setup.first_token + n];
        o->setup.n_mean += !out;
        if (!is_row(options, n)) continue;
        o->setup.n_rows++;
        o->setup.n_held_out += out;
    }
    /* An estimate until all processes have told their numbers: count_all. */
    o->setup.all_rows = o->setup.n_rows * cbe_processes_size(o->setup.processes);
    o->setup.all_held_out = o->setup.n_held_out;
}

/* Adds up what the processes have. */
static void count_all(cbe_lens_setup *setup)
{
    size_t searched, before;
    cbe_processes_place(setup->processes, setup->n_rows - setup->n_held_out, &setup->rows_before[0],
                        &searched);
    cbe_processes_place(setup->processes, setup->n_held_out, &setup->rows_before[1],
                        &setup->all_held_out);
    cbe_processes_place(setup->processes, setup->n_mean, &before, &setup->n_mean);
    cbe_processes_place(setup->processes, setup->n_tokens, &before, &setup->all_tokens);
    setup->all_rows = searched + setup->all_held_out;
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
    const size_t rank = cbe_processes_rank(o->setup.processes);
    const size_t bytes =
        cbe_times(o->head.max_batch, o->setup.stride, sizeof(float) + sizeof(double));
    if (!o->setup.processes) return CBE_OK;
    const cbe_status st = cbe_processes_share(o->setup.processes, bytes, &o->setup.shared, err);
    if (st != CBE_OK || !o->setup.shared) return st;
    o->work.u = o->setup.shared[0];
    memset(o->setup.shared[rank], 0, bytes); /* what lies between rows is read along */
    cbe_processes_barrier(o->setup.processes);
    return CBE_OK;
}

/* Rows are the tokens that have an energy; rows held out come last. */
static cbe_status choose_rows(cbe_lens_setup *setup, const cbe_lens_options *options,
                              cbe_error *err)
{
    size_t next[2] = {0, setup->n_rows - setup->n_held_out};
    for (size_t n = 0; n < setup->n_tokens; n++) {
        if (setup->kind == CBE_LOSS_CE) {
            const int64_t label = options->labels[n];
            if (label >= 0 && (uint64_t)label >= setup->vocab_size)
                return cbe_fail(err, CBE_ERR_ARG, -1,
                                "label %lld of token %zu is not below the vocabulary size %zu",
                                (long long)label, n, setup->vocab_size);
            setup->labels[n] = label;
        }
        const bool out = options->held_out && options->held_out[setup->first_token + n];
        if (setup->held_out) setup->held_out[n] = out;
        if (is_row(options, n)) setup->row_token[next[out]++] = n;
    }
    return CBE_OK;
}

/* @param n of all processes */
static cbe_status copy_derangement(cbe_lens_setup *setup, size_t n, const int64_t *derangement,
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
        memcpy(setup->derangement, derangement + setup->first_token,
               setup->n_tokens * sizeof *derangement);
    cbe_free(taken);
    return st;
}

static cbe_status check_options(const cbe_lens_options *options, const cbe_lens_setup *setup,
                                cbe_error *err)
{
    const size_t n = setup->n_mean;
    if (options->n_tokens == 0 && !setup->processes)
        return cbe_fail(err, CBE_ERR_ARG, -1, "there are no tokens");
    if (n == 0) return cbe_fail(err, CBE_ERR_ARG, -1, "all tokens are held out");
    if (options->ablation != CBE_ABLATE_ZERO && n < 2)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s ablation needs at least 2 tokens, there is 1",
                        cbe_ablation_name(options->ablation));
    if (options->ablation == CBE_ABLATE_RESAMPLE && !options->derangement)
        return cbe_fail(err, CBE_ERR_ARG, -1, "resample ablation needs a derangement");
    if (setup->all_rows == setup->all_held_out)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "objective ce: no token has a next token; sequences of 2 or more are needed");
    return CBE_OK;
}

static void set_exact_offset(const cbe_lens_setup *setup, cbe_lens_layer *layer)
{
    cbe_lens_view *exact = &layer->views[CBE_LENS_EXACT];
    exact->offset = layer->offset;
    if (layer->offset)
        setup->kernels->range(setup->vocab_size, layer->offset, &exact->offset_low,
                              &exact->offset_high);
}

cbe_status cbe_lens_objective_create(cbe_objective **out, const cbe_decoder *decoder,
                                     const cbe_lens_options *options, cbe_error *err)
{
    const cbe_kernels *kernels = cbe_kernels_choose(options->kernels);
    cbe_lens_objective *o = cbe_alloc_zero(1, sizeof *o, "lens objective", err);
    cbe_status st = o ? CBE_OK : CBE_ERR_NOMEM;
    size_t n_all = 0;
    if (options->kind == CBE_LOSS_CE && !options->labels)
        st = cbe_fail(err, CBE_ERR_ARG, -1, "objective ce needs labels, the next tokens");
    else if (!kernels)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "kernels '%s' are not built in or not usable on this CPU", options->kernels);
    if ((st = cbe_processes_agree(options->processes, st, err)) != CBE_OK) {
        cbe_free(o);
        return st;
    }
    describe(o, decoder, options);
    o->setup.kernels = kernels;
    count_all(&o->setup);
    if ((st = check_options(options, &o->setup, err)) != CBE_OK) goto done;
    if ((st = share_memory(o, err)) != CBE_OK) goto done;
    cbe_array arrays[MAX_ARRAYS];
    const size_t count = list_arrays(o, arrays);
    st = cbe_arrays_allocate(count, arrays, err);
    if (st == CBE_OK) st = choose_rows(&o->setup, options, err);
    if ((st = cbe_processes_agree(o->setup.processes, st, err)) != CBE_OK) goto done;
    if (o->setup.first_tokens) {
        cbe_processes_list(o->setup.processes, o->setup.n_tokens, o->setup.first_tokens + 1);
        o->setup.first_tokens[0] = 0;
        for (size_t r = 0; r < cbe_processes_size(o->setup.processes); r++)
            o->setup.first_tokens[r + 1] += o->setup.first_tokens[r];
    }
    n_all = o->setup.first_tokens ? o->setup.first_tokens[cbe_processes_size(o->setup.processes)]
                                  : o->setup.n_tokens;
    if (o->setup.derangement)
        st = copy_derangement(&o->setup, n_all, options->derangement, options->held_out, err);
    if ((st = cbe_processes_agree(o->setup.processes, st, err)) != CBE_OK) goto done;
    cbe_lens_order_as_decoder(&o->setup, &o->layer);
    set_exact_offset(&o->setup, &o->layer);
    cbe_lens_set_sample(&o->head, 0, 0);
    cbe_lens_set_rough(&o->head, false);
    *out = &o->head;
    return CBE_OK;
done:
    lens_destroy(&o->head);
    return st;
}

const char *cbe_lens_objective_kernels(const cbe_objective *objective)
{
    return ((const cbe_lens_objective *)objective)->setup.kernels->name;
}

const char *cbe_logit_storage_name(cbe_logit_storage storage)
{
    static const char *const names[] = {"float32", "float16", "recomputed"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_LOGIT_STORAGES,
                   "one name for each storage");
    return names[storage];
}
