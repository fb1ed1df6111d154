/* layer_objective.c - see layer_objective.h. */
#include "extract/layer_objective.h"

#include "extract/layer_covariance.h"
#include "extract/layer_objective_state.h"
#include "extract/lens_storage.h"
#include "extract/token_lists.h"
#include "objective/divided.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

size_t cbe_layer_objective_sequence_tokens(const cbe_layer_objective *o)
{
    const size_t n = cbe_hidden_states_n_sequences(o->states),
                 length = cbe_hidden_states_context_length(o->states);
    /* A mask leaves out some tokens of some sequences. */
    return o->n_tokens == n * (length - o->skip) ? length - o->skip : 0;
}

/* Bytes of the covariance of a layer, which is made beside the objective. */
static size_t covariance_bytes(const cbe_layer_objective *o)
{
    return o->wants_covariance ? cbe_covariance_bytes(cbe_hidden_states_hidden_size(o->states)) : 0;
}

/* Bytes of `memory` (0: no limit) that other arrays leave, 1 at least. */
static size_t left_of(size_t memory, size_t others)
{
    return memory > others ? memory - others : memory != 0;
}

/* Creates the objective of a lens. */
static cbe_status create_lens(cbe_layer_objective *o, const cbe_decoder *decoder,
                              cbe_lens_options *lens, size_t memory, cbe_error *err)
{
    const size_t covariance = covariance_bytes(o);
    const cbe_status st =
        cbe_choose_lens_storage(lens, decoder, left_of(memory, covariance), &o->bytes, err);
    if (st == CBE_OK && !cbe_add_size(o->bytes, covariance, &o->bytes)) o->bytes = SIZE_MAX;
    o->storage = lens->storage;
    return st == CBE_OK ? cbe_lens_objective_create(&o->share, decoder, lens, err) : st;
}

/* Creates the objective of the whole model, whose clean output is that of hidden_states.L.
 * `lens` has what both kinds of objective share. */
static cbe_status create_model(cbe_layer_objective *o, const cbe_lens_options *lens,
                               const cbe_extraction_options *run, cbe_error *err)
{
    const size_t n_sequences = cbe_hidden_states_n_sequences(o->states);
    const size_t n_whole = cbe_hidden_states_n_tokens(o->states, 0),
                 d = cbe_hidden_states_hidden_size(o->states);
    const size_t last = cbe_model_get_config(o->model)->n_layers;
    /* of `whole`, `hidden`, and the covariance */
    size_t beside = cbe_times(n_whole + o->n_tokens, d, sizeof(float));
    if (!cbe_add_size(beside, covariance_bytes(o), &beside)) beside = SIZE_MAX;
    cbe_model_objective_options options = {.n_sequences = n_sequences,
                                           .context_length =
                                               cbe_hidden_states_context_length(o->states),
                                           .skip_positions = o->skip,
                                           .ablation = lens->ablation,
                                           .kind = lens->kind,
                                           .derangement = lens->derangement,
                                           .labels = lens->labels,
                                           .held_out = lens->held_out,
                                           .precision = run->precision,
                                           .scope = run->scope,
                                           .processes = o->processes,
                                           .first_sequence = o->first_sequence,
                                           .memory = left_of(run->memory, beside)};
    cbe_status st = CBE_OK;
    if (n_whole != n_sequences * options.context_length)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "the whole model needs all tokens of its sequences; leave out the mask");
    /* Layers before the first one that has hidden states will not be asked for. */
    while (options.first_block < last && !cbe_hidden_states_has(o->states, options.first_block))
        options.first_block++;
    if (st == CBE_OK) st = cbe_model_objective_choose(&o->plan, o->model, &options, err);
    if (!cbe_add_size(o->plan.bytes, beside, &o->bytes)) o->bytes = SIZE_MAX;
    o->storage = CBE_LOGITS_RECOMPUTED;
    if (st == CBE_OK &&
        !(o->whole = cbe_alloc(n_whole, d * sizeof(float), "hidden states of a layer", err)))
        st = CBE_ERR_NOMEM;
    if (st == CBE_OK) st = cbe_hidden_states_read(o->states, last, 0, o->whole, err);
    if ((st = cbe_processes_agree(o->processes, st, err)) != CBE_OK) return st;
    return cbe_model_objective_create(&o->share, o->model, &options, o->whole, err);
}

/* Creates the objective of the process's share, and the objective of all tokens. */
static cbe_status create_objective(cbe_layer_objective *o, const cbe_decoder *decoder,
                                   const cbe_extraction_options *options, cbe_error *err)
{
    const size_t d = decoder->hidden_size;
    cbe_token_lists lists = {0};
    cbe_lens_options lens = {.n_tokens = o->n_tokens,
                             .ablation = options->ablation,
                             .kind = options->objective,
                             .kernels = options->kernels,
                             .processes = o->processes};
    cbe_processes_place(o->processes, o->n_tokens, &o->first_token, &o->all_tokens);
    cbe_processes_place(o->processes, cbe_hidden_states_n_sequences(o->states), &o->first_sequence,
                        &o->all_sequences);
    lens.first_token = o->first_token;
    lens.sequence_tokens = cbe_layer_objective_sequence_tokens(o);
    cbe_status st = cbe_sequences_make(&o->sequences, o->states, o->first_sequence,
                                       o->all_sequences, options, err);
    if (st != CBE_OK) return st;
    st = cbe_token_lists_make(&lists, o, options, &lens, err);
    if (st == CBE_OK &&
        !(o->hidden = cbe_alloc(o->n_tokens, d * sizeof(float), "hidden states of a layer", err)))
        st = CBE_ERR_NOMEM;
    if (st == CBE_OK) st = cbe_layer_covariance_prepare(o, err);
    st = cbe_processes_agree(o->processes, st, err);
    if (st == CBE_OK && lens.labels)
        st = cbe_sequences_count_rows(&o->sequences, o->states, o->first_sequence, options,
                                      lens.labels, err);
    if (st == CBE_OK)
        st = o->model ? create_model(o, &lens, options, err)
                      : create_lens(o, decoder, &lens, options->memory, err);
    o->held_out = lists.held_out;
    lists.held_out = NULL;
    cbe_token_lists_free(&lists);
    if (st != CBE_OK) return st;
    if (o->processes)
        return cbe_divided_create(&o->objective, o->share, o->n_tokens, o->all_tokens, o->processes,
                                  err);
    o->objective = o->share;
    return CBE_OK;
}

cbe_status cbe_layer_objective_create(cbe_layer_objective **out, const cbe_hidden_states *states,
                                      const cbe_decoder *decoder,
                                      const cbe_extraction_options *options, cbe_error *err)
{
    const size_t d = cbe_hidden_states_hidden_size(states), skip = options->skip_positions;
    const size_t n = cbe_hidden_states_n_tokens(states, skip);
    cbe_layer_objective *o = cbe_alloc_zero(1, sizeof *o, "objective", err);
    cbe_status st = o ? CBE_OK : CBE_ERR_NOMEM;
    if (decoder->hidden_size != d)
        st = cbe_fail(err, CBE_ERR_SHAPE, -1,
                      "the hidden states have %zu numbers a token, the decoder takes %zu; they "
                      "belong to different models",
                      d, decoder->hidden_size);
    else if (n == 0)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "no token is left: sequences have %zu tokens and %zu positions are skipped",
                      cbe_hidden_states_context_length(states), skip);
    if ((st = cbe_processes_agree(options->processes, st, err)) != CBE_OK) {
        cbe_free(o);
        return st;
    }
    o->states = states;
    o->site = options->site;
    o->lens = options->lens;
    o->model = options->model;
    o->skip = skip;
    o->kernels = options->kernels;
    o->n_tokens = n;
    o->processes = options->processes;
    o->asked_within = options->within;
    o->n_vectors = options->search.n_vectors;
    o->metric_kind = options->metric;
    o->metric = (cbe_metric){NULL, options->ridge, options->strength};
    o->wants_covariance =
        options->covariance || options->within || options->metric == CBE_METRIC_COVARIANCE;
    if ((st = create_objective(o, decoder, options, err)) != CBE_OK) {
        cbe_layer_objective_free(o);
        return st;
    }
    *out = o;
    return CBE_OK;
}

void cbe_layer_objective_free(cbe_layer_objective *objective)
{
    if (!objective) return;
    cbe_objective_free(objective->objective);
    cbe_sequences_free(&objective->sequences);
    cbe_free(objective->held_out);
    cbe_free(objective->hidden);
    cbe_free(objective->whole);
    cbe_covariance_free(objective->covariance);
    cbe_free(objective);
}

cbe_status cbe_layer_objective_set_share(cbe_layer_objective *o, size_t layer, cbe_error *err)
{
    const size_t state = cbe_site_state(o->site, layer);
    o->translator = cbe_tuned_lens_translator(o->model ? NULL : o->lens, state);
    cbe_status st = cbe_hidden_states_read(o->states, state, o->skip, o->hidden, err);
    if (st == CBE_OK && o->model) st = cbe_hidden_states_read(o->states, state, 0, o->whole, err);
    if ((st = cbe_processes_agree(o->processes, st, err)) != CBE_OK) return st;
    if ((st = cbe_layer_covariance_set(o, layer, err)) != CBE_OK) return st;
    return o->model
               ? cbe_model_objective_set_layer(o->share, state, o->whole, &o->metric, err)
               : cbe_lens_objective_set_layer(o->share, o->hidden, o->translator, &o->metric, err);
}

cbe_status cbe_layer_objective_set(cbe_layer_objective *o, size_t layer, cbe_objective **out,
                                   cbe_error *err)
{
    if (o->processes) cbe_divided_give(o->objective, CBE_ORDER_LAYER, layer);
    const cbe_status st = cbe_layer_objective_set_share(o, layer, err);
    if (st == CBE_OK) *out = o->objective;
    return st;
}

const cbe_covariance *cbe_layer_objective_covariance(const cbe_layer_objective *objective)
{
    return objective->covariance;
}

const cbe_metric *cbe_layer_objective_metric(const cbe_layer_objective *objective)
{
    return &objective->metric;
}

size_t cbe_layer_objective_within(const cbe_layer_objective *objective)
{
    return objective->within;
}

const char *cbe_layer_objective_kernels(const cbe_layer_objective *objective)
{
    return objective->model ? "blas" : cbe_lens_objective_kernels(objective->share);
}

bool cbe_layer_objective_derangement_unused(const cbe_layer_objective *objective)
{
    return objective->derangement_unused;
}

cbe_logit_storage cbe_layer_objective_storage(const cbe_layer_objective *objective, size_t *bytes)
{
    if (bytes) *bytes = objective->bytes;
    return objective->storage;
}

const cbe_model_objective_plan *cbe_layer_objective_plan(const cbe_layer_objective *objective)
{
    return objective->model ? &objective->plan : NULL;
}

size_t cbe_layer_objective_n_tokens(const cbe_layer_objective *objective)
{
    return objective->all_tokens;
}

size_t cbe_layer_objective_n_sequences(const cbe_layer_objective *objective)
{
    return objective->all_sequences;
}

size_t cbe_layer_objective_n_held_out(const cbe_layer_objective *objective)
{
    return objective->sequences.n_held_out;
}

double cbe_layer_objective_error(const cbe_layer_objective *objective, bool held_out,
                                 const double *per_token)
{
    return cbe_sequences_error(&objective->sequences, held_out, per_token);
}
