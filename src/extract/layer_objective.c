/*
 * layer_objective.c - from hidden states to the objective of a layer: which tokens count, what they
 * are ablated with, and how much memory that takes (extract/extraction.h).
 */
#include "extract/layer_objective.h"

#include <math.h>
#include <string.h>

#include "objective/divided.h"
#include "core/fail.h"
#include "core/held_out.h"
#include "core/memory.h"
#include "math/random.h"
#include "core/sizes.h"

const char *cbe_site_name(cbe_site site)
{
    static const char *const names[] = {"pre", "post"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_SITES, "one name for each site");
    return names[site];
}

size_t cbe_site_state(cbe_site site, size_t layer)
{
    return site == CBE_SITE_POST ? layer + 1 : layer;
}

cbe_status cbe_choose_skip_positions(const cbe_hidden_states *states, cbe_site site,
                                     size_t n_layers, const size_t *layers, size_t *skip,
                                     cbe_error *err)
{
    *skip = 0;
    if (cbe_hidden_states_context_length(states) < 2) return CBE_OK;
    for (size_t i = 0; i < n_layers && *skip == 0; i++) {
        double ratio;
        const cbe_status st = cbe_hidden_states_first_norm_ratio(
            states, cbe_site_state(site, layers[i]), &ratio, err);
        if (st != CBE_OK) return st;
        if (ratio > 10) *skip = 1;
    }
    return CBE_OK;
}

size_t cbe_layer_objective_sequence_tokens(const cbe_layer_objective *o)
{
    const size_t n = cbe_hidden_states_n_sequences(o->states),
                 length = cbe_hidden_states_context_length(o->states);
    /* a mask leaves out some */
    return o->n_tokens == n * (length - o->skip) ? length - o->skip : 0;
}

/* Marks the tokens of sequences held out, of all processes; *out is NULL when there are none. */
static cbe_status hold_out(cbe_layer_objective *o, double share, bool **out, cbe_error *err)
{
    const size_t n = o->all_sequences, tokens = o->all_tokens / n;
    if (share == 0) return CBE_OK;
    if (!(share > 0 && share < 1))
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "a share of %g of the sequences cannot be held out; give 0 or more, less than 1",
            share);
    o->n_held_out = (size_t)(share * (double)n + 0.5);
    if (o->n_held_out == 0) o->n_held_out = 1;
    if (o->n_held_out >= n)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "holding out %g of %zu sequence%s leaves none to search; give more tokens "
                        "or a smaller share",
                        share, n, n == 1 ? "" : "s");
    if (!(*out = cbe_alloc(o->all_tokens, sizeof **out, "tokens held out", err)))
        return CBE_ERR_NOMEM;
    for (size_t i = 0; i < o->all_tokens; i++)
        (*out)[i] = cbe_is_held_out(i / tokens, o->n_held_out, n);
    return CBE_OK;
}

/* A random derangement of the tokens that are held out, or of those that are not, within
 * themselves. */
static cbe_status derange(cbe_rng *rng, size_t n_tokens, const bool *held_out, bool which,
                          int64_t *out, cbe_error *err)
{
    size_t *tokens = cbe_alloc(n_tokens, sizeof *tokens, "derangement", err), n = 0;
    int64_t *order = cbe_alloc(n_tokens, sizeof *order, "derangement", err);
    cbe_status st = tokens && order ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < n_tokens && st == CBE_OK; i++)
        if ((held_out && held_out[i]) == which) tokens[n++] = i;
    if (st == CBE_OK && n == 1)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "resample ablation needs at least 2 tokens%s, there is 1",
                      which ? " held out" : "");
    if (st == CBE_OK && n > 0) {
        cbe_rng_derangement(rng, n, order);
        for (size_t i = 0; i < n; i++) out[tokens[i]] = (int64_t)tokens[order[i]];
    }
    cbe_free(tokens);
    cbe_free(order);
    return st;
}

static const size_t BATCHES[] = {8, 2};
enum { N_BATCHES = sizeof BATCHES / sizeof *BATCHES };

/* The most precise way of keeping logits that fits from the `choice`-th on, with batches as large
 * as fit, and its bytes. */
static cbe_status fit_storage(const cbe_layer_objective *o, const cbe_decoder *decoder,
                              cbe_lens_options *lens, size_t memory, size_t *choice, size_t *bytes,
                              cbe_error *err)
{
    size_t least = SIZE_MAX, states;
    if (!cbe_mul_size(o->n_tokens, decoder->hidden_size * sizeof(float), &states))
        states = SIZE_MAX;
    for (; *choice < CBE_N_LOGIT_STORAGES * N_BATCHES; ++*choice) {
        lens->storage = (cbe_logit_storage)(*choice / N_BATCHES);
        lens->max_batch = BATCHES[*choice % N_BATCHES];
        *bytes = cbe_lens_objective_bytes(decoder, lens);
        if (!cbe_add_size(*bytes, states, bytes)) *bytes = SIZE_MAX;
        if (*bytes < least) least = *bytes;
        if (*bytes != SIZE_MAX && (!memory || *bytes <= memory)) return CBE_OK;
    }
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "%zu tokens need %.4g MB at least for the objective, and %.4g MB are left for "
                    "it; give more " CBE_OPTION("memory") " or "
                                                          "less " CBE_OPTION("max-tokens"),
                    o->n_tokens, 1e-6 * (double)least, 1e-6 * (double)memory);
}

/* The same for all processes: the one that the last of them has room for. */
static cbe_status choose_storage(cbe_layer_objective *o, const cbe_decoder *decoder,
                                 cbe_lens_options *lens, size_t memory, cbe_error *err)
{
    const size_t size = cbe_processes_size(o->processes);
    size_t choice = 0, *each = cbe_alloc(size, sizeof *each, "processes", err);
    cbe_status st =
        each ? fit_storage(o, decoder, lens, memory, &choice, &o->bytes, err) : CBE_ERR_NOMEM;
    st = cbe_processes_agree(o->processes, st, err);
    if (st == CBE_OK && o->processes) {
        cbe_processes_list(o->processes, choice, each);
        for (size_t r = 0; r < size; r++) choice = cbe_max_size(choice, each[r]);
        st = fit_storage(o, decoder, lens, 0, &choice, &o->bytes, err);
    }
    o->storage = lens->storage;
    cbe_free(each);
    return st;
}

/* The objective of a lens. What is set of it is what both kinds share. */
static cbe_status create_lens(cbe_layer_objective *o, const cbe_decoder *decoder,
                              cbe_lens_options *lens, size_t memory, cbe_error *err)
{
    const cbe_status st = choose_storage(o, decoder, lens, memory, err);
    return st == CBE_OK ? cbe_lens_objective_create(&o->share, decoder, lens, err) : st;
}

/* The objective of the whole model, with the clean output of hidden_states.L. */
static cbe_status create_model(cbe_layer_objective *o, const cbe_lens_options *lens,
                               const cbe_extraction_options *run, cbe_error *err)
{
    const size_t n_sequences = cbe_hidden_states_n_sequences(o->states);
    const size_t n_whole = cbe_hidden_states_n_tokens(o->states, 0),
                 d = cbe_hidden_states_hidden_size(o->states);
    const size_t last = cbe_model_get_config(o->model)->n_layers;
    /* whole and hidden */
    const size_t states = (n_whole + o->n_tokens) * d * sizeof(float), memory = run->memory;
    cbe_model_objective_options options = {
        .n_sequences = n_sequences,
        .context_length = cbe_hidden_states_context_length(o->states),
        .skip_positions = o->skip,
        .ablation = lens->ablation,
        .kind = lens->kind,
        .derangement = lens->derangement,
        .labels = lens->labels,
        .held_out = lens->held_out,
        .precision = run->precision,
        .processes = o->processes,
        .first_sequence = o->first_sequence,
        .memory = memory > states ? memory - states : memory != 0};
    cbe_status st = CBE_OK;
    if (n_whole != n_sequences * options.context_length)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "the whole model needs all tokens of its sequences; leave out the mask");
    /* Layers before the first that there are states of will not be asked for. */
    while (options.first_block < last && !cbe_hidden_states_has(o->states, options.first_block))
        options.first_block++;
    if (st == CBE_OK) st = cbe_model_objective_choose(&o->plan, o->model, &options, err);
    o->bytes = o->plan.bytes + states;
    o->storage = CBE_LOGITS_RECOMPUTED;
    if (st == CBE_OK &&
        !(o->whole = cbe_alloc(n_whole, d * sizeof(float), "hidden states of a layer", err)))
        st = CBE_ERR_NOMEM;
    if (st == CBE_OK) st = cbe_hidden_states_read(o->states, last, 0, o->whole, err);
    if ((st = cbe_processes_agree(o->processes, st, err)) != CBE_OK) return st;
    return cbe_model_objective_create(&o->share, o->model, &options, o->whole, err);
}

/* Tokens held out, labels and derangement, which the caller frees; and what the objective is told
 * of them. */
typedef struct {
    bool *held_out;
    int64_t *labels, *derangement;
} token_lists;

static void free_lists(token_lists *lists)
{
    cbe_free(lists->held_out);
    cbe_free(lists->labels);
    cbe_free(lists->derangement);
}

/* The derangement given, where it can be used, or a random one. */
static cbe_status choose_derangement(cbe_layer_objective *o, const cbe_extraction_options *options,
                                     token_lists *lists, cbe_lens_options *lens, cbe_error *err)
{
    cbe_rng rng;
    const int64_t *given =
        options->derangement ? options->derangement : cbe_hidden_states_derangement(o->states);
    /* A derangement given is one of all tokens; without some of them it is none. */
    const bool whole = o->skip == 0 && !lists->held_out;
    lens->derangement = whole ? given : NULL;
    o->derangement_unused = !whole && given;
    if (lens->derangement) return CBE_OK;
    cbe_rng_seed(&rng, options->search.seed);
    if (!(lists->derangement =
              cbe_alloc(o->all_tokens, sizeof *lists->derangement, "derangement", err)))
        return CBE_ERR_NOMEM;
    cbe_status st = derange(&rng, o->all_tokens, lists->held_out, false, lists->derangement, err);
    if (st == CBE_OK)
        st = derange(&rng, o->all_tokens, lists->held_out, true, lists->derangement, err);
    lens->derangement = lists->derangement;
    return st;
}

static cbe_status make_lists(cbe_layer_objective *o, const cbe_extraction_options *options,
                             token_lists *lists, cbe_lens_options *lens, cbe_error *err)
{
    cbe_status st = hold_out(o, options->held_out, &lists->held_out, err);
    if (st != CBE_OK) return st;
    lens->held_out = lists->held_out;
    if (options->objective == CBE_LOSS_CE) {
        if (!(lists->labels = cbe_alloc(o->n_tokens, sizeof *lists->labels, "labels", err)))
            return CBE_ERR_NOMEM;
        if ((st = cbe_hidden_states_labels(o->states, o->skip, lists->labels, err)) != CBE_OK)
            return st;
        lens->labels = lists->labels;
    }
    const bool resample = options->ablation == CBE_ABLATE_RESAMPLE && o->all_tokens > 1;
    return resample ? choose_derangement(o, options, lists, lens, err) : CBE_OK;
}

/* The share's objective, and that of all tokens. */
static cbe_status create_objective(cbe_layer_objective *o, const cbe_decoder *decoder,
                                   const cbe_extraction_options *options, cbe_error *err)
{
    const size_t d = decoder->hidden_size;
    token_lists lists = {0};
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
    cbe_status st = make_lists(o, options, &lists, &lens, err);
    if (st == CBE_OK &&
        !(o->hidden = cbe_alloc(o->n_tokens, d * sizeof(float), "hidden states of a layer", err)))
        st = CBE_ERR_NOMEM;
    st = cbe_processes_agree(o->processes, st, err);
    if (st == CBE_OK)
        st = o->model ? create_model(o, &lens, options, err)
                      : create_lens(o, decoder, &lens, options->memory, err);
    free_lists(&lists);
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
    o->n_tokens = n;
    o->processes = options->processes;
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
    cbe_free(objective->hidden);
    cbe_free(objective->whole);
    cbe_free(objective);
}

cbe_status cbe_layer_objective_set_share(cbe_layer_objective *o, size_t layer, cbe_error *err)
{
    const size_t state = cbe_site_state(o->site, layer);
    o->translator = cbe_tuned_lens_translator(o->model ? NULL : o->lens, state);
    cbe_status st = cbe_hidden_states_read(o->states, state, o->skip, o->hidden, err);
    if (st == CBE_OK && o->model) st = cbe_hidden_states_read(o->states, state, 0, o->whole, err);
    if ((st = cbe_processes_agree(o->processes, st, err)) != CBE_OK) return st;
    return o->model ? cbe_model_objective_set_layer(o->share, state, o->whole, err)
                    : cbe_lens_objective_set_layer(o->share, o->hidden, o->translator, err);
}

cbe_status cbe_layer_objective_set(cbe_layer_objective *o, size_t layer, cbe_objective **out,
                                   cbe_error *err)
{
    if (o->processes) cbe_divided_give(o->objective, CBE_ORDER_LAYER, layer);
    const cbe_status st = cbe_layer_objective_set_share(o, layer, err);
    if (st == CBE_OK) *out = o->objective;
    return st;
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
    return objective->n_held_out;
}
