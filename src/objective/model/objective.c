/*
 * objective.c - the whole-model objective's arrays: their sizes and their owner.
 *
 * See state.h for the names.
 */
#include "objective/model/objective.h"

#include <string.h>

#include "core/arrays.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "model/bf16_blocks.h"
#include "objective/model/eval.h"
#include "objective/model/optimal.h"
#include "objective/model/sample.h"
#include "objective/model/state.h"
#include "objective/model/together.h"

enum {
    /* that run at once, where memory allows it: enough panels for several threads */
    BATCH_TOKENS = 4096,
    KEPT_TOKENS = 1024, /* fewer at once are not worth keeping all activations */
    N_ARRAYS = 30
};

/* Most clean sequences whose keys and values are at hand at once. */
static size_t clean_sequences(const cbe_model_setup *setup)
{
    return setup->scope == CBE_SCOPE_OWN ? cbe_min_size(setup->plan.n_sequences, setup->n_sequences)
                                         : 0;
}

/* Every array, its size by the fields that are set. */
static void list_arrays(cbe_model_objective *o, size_t n_rows, cbe_array list[N_ARRAYS])
{
    const size_t d = o->setup.hidden_size, m = o->head.max_batch, b = o->setup.n_sequences,
                 at_once = o->setup.plan.n_sequences;
    const size_t processes = cbe_processes_size(o->setup.processes), all = o->setup.all_sequences;
    const bool resample = o->setup.ablation == CBE_ABLATE_RESAMPLE;
    const cbe_array arrays[N_ARRAYS] = {
        {&o->setup.derangement, resample ? o->setup.n_tokens : 0, sizeof(int64_t), "derangement"},
        {&o->layer.other, resample && processes > 1 ? cbe_times(o->setup.n_tokens, d, 1) : 0,
         sizeof(float), "hidden states of other processes"},
        {&o->setup.first_states, processes > 1 ? processes + 1 : 0, sizeof(size_t), "processes"},
        {&o->setup.first_row, b + 1, sizeof(size_t), "rows"},
        {&o->setup.row_token, n_rows, sizeof(size_t), "rows"},
        {&o->setup.order, all, sizeof(size_t), "sequences"},
        {&o->setup.sequence_rows, all, sizeof(double), "sequences"},
        {&o->sample.active, b, sizeof(size_t), "sample"},
        {&o->layer.mean, d, sizeof(double), "mean hidden state"},
        {&o->work.direction, m, sizeof(size_t), "directions"},
        {&o->work.constant, m, sizeof(double), "directions"},
        {&o->work.mean_dot, m, sizeof(double), "directions"},
        {&o->work.coeff, cbe_times(at_once, o->setup.tokens_each, 1), sizeof(double),
         "coefficients"},
        {&o->work.items, cbe_times(at_once, o->setup.tokens_each, 1), sizeof(cbe_divergence_item),
         "rows"},
        {&o->work.row_energy, cbe_times(at_once, o->setup.tokens_each, 1), sizeof(double),
         "energies"},
        {&o->work.pair_grad, cbe_times(at_once, d, 2), sizeof(double), "gradient sums"},
        {&o->work.pair_slope, at_once, sizeof(double), "gradient sums"},
        {&o->work.constants.energy, m, sizeof(double), "constants"},
        {&o->work.constants.slope, m, sizeof(double), "constants"},
        {&o->work.constants.range, m, sizeof(double), "constants"},
        {&o->work.constants.grad, cbe_times(m, d, 1), sizeof(double), "constants"},
        {&o->work.constants.tracks, m, sizeof(cbe_constant_track), "constants"},
        {&o->work.constants.sorted, cbe_times(all, o->setup.tokens_each, 1), sizeof(double),
         "constants"},
        {&o->work.sums, cbe_times(m, 2 * d + 2, 1), sizeof(cbe_long_sum), "sums over sequences"},
        {&o->work.own_read, cbe_times(m, d, 1), sizeof(double), "directions"},
        {&o->work.own_write, cbe_times(m, d, 1), sizeof(double), "directions"},
        {&o->work.by_read, d, sizeof(double), "gradient sums"},
        {&o->work.by_write, d, sizeof(double), "gradient sums"},
        {&o->work.turned, d, sizeof(double), "gradient sums"},
        {&o->work.constants.pending, m, sizeof(size_t), "constants"},
    };
    memcpy(list, arrays, sizeof arrays);
}

static void model_destroy(cbe_objective *self)
{
    cbe_model_objective *o = (cbe_model_objective *)self;
    cbe_array arrays[N_ARRAYS];
    list_arrays(o, 0, arrays);
    cbe_arrays_free(N_ARRAYS, arrays);
    cbe_model_together_free(&o->together);
    cbe_suffix_free(o->setup.suffix);
    cbe_divergence_free(o->setup.divergence);
    cbe_bf16_free(o->setup.bf16);
    cbe_free(o);
}

static bool is_row(const cbe_model_objective_options *options, size_t token)
{
    return options->kind != CBE_LOSS_CE || options->labels[token] >= 0;
}

/* Sizes and choices, as far as they follow from the options alone; returns the number of rows. */
static size_t describe(cbe_model_objective *o, const cbe_model *model,
                       const cbe_model_objective_options *options)
{
    const size_t d = cbe_model_get_config(model)->hidden_size;
    *o = (cbe_model_objective){
        .head = {d, options->max_batch ? options->max_batch : 8, options->kind == CBE_LOSS_KL,
                 cbe_model_eval, cbe_model_n_tokens, cbe_model_set_sample, cbe_model_n_parts,
                 cbe_model_set_held_out, cbe_model_eval_optimal, cbe_model_eval_constant,
                 model_destroy, NULL, cbe_model_eval_together},
        .setup =
            {
                .model = model,
                .ablation = options->ablation,
                .kind = options->kind,
                .n_sequences = options->n_sequences,
                .context_length = options->context_length,
                .skip = options->skip_positions,
                .tokens_each = options->context_length - options->skip_positions,
                .hidden_size = d,
                .precision = options->precision,
                .scope = options->scope,
                .processes = options->processes,
                .first_sequence = options->first_sequence,
            },
    };
    o->setup.n_tokens = o->setup.n_sequences * o->setup.tokens_each;
    /* an estimate until all processes have told their numbers: count_all */
    o->setup.all_sequences = o->setup.n_sequences * cbe_processes_size(o->setup.processes);
    size_t rows = 0;
    for (size_t n = 0; n < o->setup.n_tokens; n++) rows += is_row(options, n);
    return rows;
}

/* Adds up what the processes have. @param all_rows [out] tokens with an energy */
static void count_all(cbe_model_setup *setup, const cbe_model_objective_options *options,
                      size_t n_rows, size_t *all_rows)
{
    size_t before;
    cbe_processes_place(setup->processes, n_rows, &before, all_rows);
    cbe_processes_place(setup->processes, setup->n_sequences, &before, &setup->all_sequences);
    for (size_t n = 0; n < setup->all_sequences * setup->tokens_each; n++)
        setup->n_mean += !(options->held_out && options->held_out[n]);
    for (size_t b = 0; b < setup->all_sequences; b++)
        setup->n_held_out += options->held_out && options->held_out[b * setup->tokens_each];
}

static size_t max_size(const cbe_model_setup *setup)
{
    return cbe_max_size(cbe_bf16_blocks_max_size(setup->model),
                        cbe_divergence_bf16_max_size(cbe_model_decoder(setup->model)));
}

/* Bytes of the weights in bfloat16. */
static size_t bf16_bytes(const cbe_model_setup *setup, size_t first_block)
{
    size_t bytes = cbe_bf16_bytes(max_size(setup));
    if (setup->precision == CBE_PRECISION_FLOAT32) return 0;
    if (!cbe_add_size(bytes, cbe_bf16_blocks_bytes(setup->model, first_block, true), &bytes) ||
        !cbe_add_size(bytes, cbe_divergence_bf16_bytes(cbe_model_decoder(setup->model)), &bytes))
        return SIZE_MAX;
    return bytes;
}

/* Makes them; products have three parts from here on. */
static cbe_status use_bf16(cbe_model_setup *setup, cbe_error *err)
{
    if (setup->precision == CBE_PRECISION_FLOAT32) return CBE_OK;
    cbe_status st = cbe_bf16_create(&setup->bf16, max_size(setup), err);
    if (st == CBE_OK) st = cbe_suffix_use_bf16(setup->suffix, setup->bf16, err);
    if (st == CBE_OK) st = cbe_divergence_use_bf16(setup->divergence, setup->bf16, err);
    if (st == CBE_OK) cbe_bf16_set_parts(setup->bf16, 3);
    return st;
}

/* The blocks behind the layer, by the plan that is set. */
static cbe_suffix_options suffix_options(const cbe_model_setup *setup, size_t first_block)
{
    return (cbe_suffix_options){.first = first_block,
                                .context_length = setup->context_length,
                                .n_sequences = setup->plan.n_sequences,
                                .way_back =
                                    setup->plan.recompute ? CBE_SUFFIX_INPUTS : CBE_SUFFIX_ALL,
                                .n_clean = clean_sequences(setup)};
}

/* Bytes of everything, with the plan that is set. */
static size_t bytes_of(cbe_model_objective *o, const cbe_model_objective_options *options,
                       size_t n_rows)
{
    const cbe_suffix_options suffix = suffix_options(&o->setup, options->first_block);
    cbe_array arrays[N_ARRAYS];
    list_arrays(o, n_rows, arrays);
    size_t total = cbe_suffix_bytes(o->setup.model, &suffix);
    const size_t divergence =
        cbe_divergence_bytes(cbe_model_decoder(o->setup.model), o->setup.kind, n_rows);
    if (!cbe_add_size(total, divergence, &total) ||
        !cbe_add_size(total, bf16_bytes(&o->setup, options->first_block), &total))
        return SIZE_MAX;
    return cbe_arrays_bytes(N_ARRAYS, arrays, total);
}

/* The plan that fits: as many sequences at once as are wanted, all activations kept; else fewer;
 * else blocks run anew. */
static cbe_status choose_plan(cbe_model_objective *o, const cbe_model_objective_options *options,
                              size_t n_rows, cbe_error *err)
{
    const size_t length = o->setup.context_length,
                 pairs = cbe_times(o->setup.n_sequences, o->head.max_batch, 1);
    const size_t wanted = cbe_min_size(cbe_max_size(BATCH_TOKENS / length, 1), pairs);
    const size_t worth_keeping = cbe_min_size(cbe_max_size(KEPT_TOKENS / length, 1), wanted);
    for (int recompute = 0; recompute < 2; recompute++) {
        const size_t least = recompute ? 1 : worth_keeping;
        for (size_t n = wanted;; n = cbe_max_size(n / 2, least)) {
            o->setup.plan = (cbe_model_objective_plan){.n_sequences = n, .recompute = recompute};
            o->setup.plan.bytes = bytes_of(o, options, n_rows);
            if (o->setup.plan.bytes != SIZE_MAX &&
                (!options->memory || o->setup.plan.bytes <= options->memory))
                return CBE_OK;
            if (n == least) break;
        }
    }
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "sequences of %zu tokens need %.4g MB at least for the whole model's gradient, "
                    "and %.4g MB are left for it; "
                    "give more " CBE_OPTION("memory") " or a smaller " CBE_OPTION("context-length"),
                    length, 1e-6 * (double)o->setup.plan.bytes, 1e-6 * (double)options->memory);
}

static cbe_status check_options(const cbe_model_objective_options *options, cbe_error *err)
{
    if (options->kind == CBE_LOSS_CE && !options->labels)
        return cbe_fail(err, CBE_ERR_ARG, -1, "objective ce needs labels, the next tokens");
    if (options->ablation == CBE_ABLATE_RESAMPLE && !options->derangement)
        return cbe_fail(err, CBE_ERR_ARG, -1, "resample ablation needs a derangement");
    if (options->n_sequences == 0 || options->context_length <= options->skip_positions)
        return cbe_fail(err, CBE_ERR_ARG, -1, "there are no tokens");
    return CBE_OK;
}

cbe_status cbe_model_objective_choose(cbe_model_objective_plan *plan, const cbe_model *model,
                                      const cbe_model_objective_options *options, cbe_error *err)
{
    cbe_model_objective o;
    cbe_status st = check_options(options, err);
    if (st != CBE_OK) return st;
    const size_t n_rows = describe(&o, model, options);
    st = choose_plan(&o, options, n_rows, err);
    *plan = o.setup.plan;
    return st;
}

/* Rows of each sequence, the order of sequences, and the derangement. */
static cbe_status copy_options(cbe_model_setup *setup, const cbe_model_objective_options *options,
                               cbe_error *err)
{
    const size_t each = setup->tokens_each, n_all = setup->all_sequences * each;
    size_t next[2] = {0, setup->all_sequences - setup->n_held_out}, row = 0;
    for (size_t b = 0; b < setup->all_sequences; b++) {
        const bool out = options->held_out && options->held_out[b * each];
        setup->order[next[out]++] = b;
        for (size_t n = b * each; n < (b + 1) * each; n++)
            if (options->held_out && options->held_out[n] != out)
                return cbe_fail(
                    err, CBE_ERR_ARG, -1,
                    "sequence %zu is held out in part; the whole model needs whole ones", b);
    }
    memset(setup->sequence_rows, 0, setup->all_sequences * sizeof *setup->sequence_rows);
    for (size_t b = 0; b < setup->n_sequences; b++) {
        setup->first_row[b] = row;
        for (size_t n = b * each; n < (b + 1) * each; n++)
            if (is_row(options, n)) setup->row_token[row++] = n;
        setup->sequence_rows[setup->first_sequence + b] = (double)(row - setup->first_row[b]);
    }
    setup->first_row[setup->n_sequences] = row;
    for (size_t n = 0; setup->derangement && n < n_all; n++) {
        const int64_t to = options->derangement[n];
        const size_t own = n - setup->first_sequence * each;
        if (to < 0 || (uint64_t)to >= n_all || (size_t)to == n ||
            (options->held_out && options->held_out[n] != options->held_out[to]))
            return cbe_fail(
                err, CBE_ERR_ARG, -1,
                "derangement[%zu] = %lld: must be another of the %zu tokens, held out alike", n,
                (long long)to, n_all);
        if (n >= setup->first_sequence * each && own < setup->n_tokens)
            setup->derangement[own] = to;
    }
    return CBE_OK;
}

/* The blocks behind the layer, and the clean output of each row. */
static cbe_status make_model(cbe_model_setup *setup, const cbe_model_objective_options *options,
                             const float *last, cbe_error *err)
{
    const cbe_decoder *decoder = cbe_model_decoder(setup->model);
    const size_t n_rows = setup->first_row[setup->n_sequences];
    cbe_divergence_item *items = cbe_alloc(n_rows, sizeof *items, "rows", err);
    int64_t *labels = cbe_alloc(n_rows, sizeof *labels, "labels", err);
    cbe_status st = items && labels ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t row = 0; row < n_rows && st == CBE_OK; row++) {
        const size_t n = setup->row_token[row], b = n / setup->tokens_each,
                     s = setup->skip + n % setup->tokens_each;
        items[row] = (cbe_divergence_item){row, b * setup->context_length + s};
        labels[row] = setup->kind == CBE_LOSS_CE ? options->labels[n] : 0;
        if ((uint64_t)labels[row] >= decoder->vocab_size)
            st = cbe_fail(err, CBE_ERR_ARG, -1,
                          "label %lld of token %zu is not below the vocabulary size %zu",
                          (long long)labels[row], n, decoder->vocab_size);
    }
    const cbe_suffix_options suffix = suffix_options(setup, options->first_block);
    if (st == CBE_OK) st = cbe_suffix_create(&setup->suffix, setup->model, &suffix, err);
    if (st == CBE_OK)
        st = cbe_divergence_create(&setup->divergence, decoder, setup->kind, n_rows, labels, err);
    if (st == CBE_OK) st = use_bf16(setup, err);
    if (st == CBE_OK) st = cbe_divergence_set_clean(setup->divergence, items, last, err);
    if (st == CBE_OK && setup->bf16) st = cbe_bf16_check(setup->bf16, err);
    cbe_free(items);
    cbe_free(labels);
    return st;
}

cbe_status cbe_model_objective_create(cbe_objective **out, const cbe_model *model,
                                      const cbe_model_objective_options *options, const float *last,
                                      cbe_error *err)
{
    cbe_model_objective *o = cbe_alloc_zero(1, sizeof *o, "model objective", err);
    cbe_status st = o ? check_options(options, err) : CBE_ERR_NOMEM;
    if ((st = cbe_processes_agree(options->processes, st, err)) != CBE_OK) {
        cbe_free(o);
        return st;
    }
    cbe_array arrays[N_ARRAYS];
    const size_t n_rows = describe(o, model, options);
    size_t all_rows;
    count_all(&o->setup, options, n_rows, &all_rows);
    if (o->setup.n_mean == 0)
        st = cbe_fail(err, CBE_ERR_ARG, -1, "all tokens are held out");
    else if (all_rows == 0)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "objective ce: no token has a next token; sequences of 2 or more are needed");
    else if (options->ablation != CBE_ABLATE_ZERO && o->setup.n_mean < 2)
        st = cbe_fail(err, CBE_ERR_ARG, -1, "%s ablation needs at least 2 tokens, there is 1",
                      cbe_ablation_name(o->setup.ablation));
    if (st == CBE_OK) st = choose_plan(o, options, n_rows, err);
    list_arrays(o, n_rows, arrays);
    if (st == CBE_OK) st = cbe_arrays_allocate(N_ARRAYS, arrays, err);
    if (st == CBE_OK) st = copy_options(&o->setup, options, err);
    if (st == CBE_OK) st = make_model(&o->setup, options, last, err);
    if ((st = cbe_processes_agree(o->setup.processes, st, err)) != CBE_OK) {
        model_destroy(&o->head);
        return st;
    }
    cbe_processes_sum(o->setup.processes, o->setup.all_sequences, o->setup.sequence_rows);
    if (o->setup.first_states) {
        cbe_processes_list(o->setup.processes, o->setup.n_sequences * o->setup.context_length,
                           o->setup.first_states + 1);
        o->setup.first_states[0] = 0;
        for (size_t r = 0; r < cbe_processes_size(o->setup.processes); r++)
            o->setup.first_states[r + 1] += o->setup.first_states[r];
    }
    cbe_model_set_sample(&o->head, 0, 0);
    *out = &o->head;
    return CBE_OK;
}
