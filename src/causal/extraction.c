/* extraction.c - see cbe/extraction.h: from hidden states to an objective, and layer after layer through the search. */
#include "cbe/extraction.h"

#include <string.h>
#include <time.h>

#include "causal/candidates.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/random.h"

enum { CANDIDATES_EACH = 10 }; /* of each family, for each vector */

struct cbe_layer_objective {
    const cbe_hidden_states *states;
    cbe_site site;
    size_t skip, n_tokens;
    cbe_objective *objective;
    float *hidden; /* (N, d) of the layer that is set */
    bool derangement_unused;
};

const char *cbe_site_name(cbe_site site)
{
    static const char *const names[] = {"pre", "post"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_SITES, "one name for each site");
    return names[site];
}

void cbe_extraction_options_init(cbe_extraction_options *options)
{
    *options = (cbe_extraction_options){0};
    cbe_search_options_init(&options->search);
}

/* hidden_states index of a layer. */
static size_t state_of(cbe_site site, size_t layer)
{
    return site == CBE_SITE_POST ? layer + 1 : layer;
}

cbe_status cbe_choose_skip_positions(const cbe_hidden_states *states, cbe_site site, size_t n_layers,
                                     const size_t *layers, size_t *skip, cbe_error *err)
{
    *skip = 0;
    if (cbe_hidden_states_context_length(states) < 2) return CBE_OK;
    for (size_t i = 0; i < n_layers && *skip == 0; i++) {
        double ratio;
        const cbe_status st =
            cbe_hidden_states_first_norm_ratio(states, state_of(site, layers[i]), &ratio, err);
        if (st != CBE_OK) return st;
        if (ratio > 10) *skip = 1;
    }
    return CBE_OK;
}

cbe_status cbe_layer_objective_create(cbe_layer_objective **out, const cbe_hidden_states *states,
                                      const cbe_decoder *decoder, const cbe_extraction_options *options,
                                      cbe_error *err)
{
    const size_t d = cbe_hidden_states_hidden_size(states), skip = options->skip_positions;
    const size_t n = cbe_hidden_states_n_tokens(states, skip);
    if (decoder->hidden_size != d)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "the hidden states have %zu numbers a token, the decoder takes %zu; they belong to different models",
                        d, decoder->hidden_size);
    if (n == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "no token is left: sequences have %zu tokens and %zu positions are skipped",
                        cbe_hidden_states_context_length(states), skip);
    cbe_status st = CBE_ERR_NOMEM;
    int64_t *labels = NULL, *derangement = NULL;
    cbe_layer_objective *o = cbe_alloc_zero(1, sizeof *o, "objective", err);
    if (!o) return CBE_ERR_NOMEM;
    o->states = states;
    o->site = options->site;
    o->skip = skip;
    o->n_tokens = n;
    cbe_lens_options lens = {
        .n_tokens = n, .ablation = options->ablation, .kind = options->objective, .kernels = options->kernels};
    if (options->objective == CBE_OBJECTIVE_CE) {
        if (!(labels = cbe_alloc(n, sizeof *labels, "labels", err))) goto done;
        if ((st = cbe_hidden_states_labels(states, skip, labels, err)) != CBE_OK) goto done;
        lens.labels = labels;
    }
    if (options->ablation == CBE_ABLATE_RESAMPLE && n > 1) {
        /* A derangement given is one of all tokens; without some of them it is none. */
        lens.derangement = skip == 0 ? cbe_hidden_states_derangement(states) : NULL;
        o->derangement_unused = skip > 0 && cbe_hidden_states_derangement(states);
        if (!lens.derangement) {
            cbe_rng rng;
            cbe_rng_seed(&rng, options->search.seed);
            st = CBE_ERR_NOMEM;
            if (!(derangement = cbe_alloc(n, sizeof *derangement, "derangement", err))) goto done;
            cbe_rng_derangement(&rng, n, derangement);
            lens.derangement = derangement;
        }
    }
    st = CBE_ERR_NOMEM;
    size_t size;
    if (!cbe_mul_size(n, d, &size)) {
        cbe_fail(err, CBE_ERR_NOMEM, -1, "%zu tokens of %zu numbers do not fit memory", n, d);
        goto done;
    }
    if (!(o->hidden = cbe_alloc(size, sizeof(float), "hidden states of a layer", err))) goto done;
    if ((st = cbe_lens_objective_create(&o->objective, decoder, &lens, err)) != CBE_OK) goto done;
    *out = o;
    o = NULL;
done:
    cbe_free(labels);
    cbe_free(derangement);
    cbe_layer_objective_free(o);
    return st;
}

void cbe_layer_objective_free(cbe_layer_objective *objective)
{
    if (!objective) return;
    cbe_objective_free(objective->objective);
    cbe_free(objective->hidden);
    cbe_free(objective);
}

cbe_status cbe_layer_objective_set(cbe_layer_objective *o, size_t layer, cbe_objective **out, cbe_error *err)
{
    cbe_status st = cbe_hidden_states_read(o->states, state_of(o->site, layer), o->skip, o->hidden, err);
    if (st == CBE_OK)
        st = cbe_lens_objective_set_layer(o->objective, o->hidden, (cbe_translator){NULL, NULL}, err);
    if (st == CBE_OK) *out = o->objective;
    return st;
}

const char *cbe_layer_objective_kernels(const cbe_layer_objective *objective)
{
    return cbe_lens_objective_kernels(objective->objective);
}

bool cbe_layer_objective_derangement_unused(const cbe_layer_objective *objective)
{
    return objective->derangement_unused;
}

void cbe_layer_results_free(size_t n, cbe_layer_result *results)
{
    for (size_t i = 0; i < n; i++) cbe_basis_free(&results[i].basis);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

cbe_status cbe_extract(cbe_layer_objective *objective, size_t n_layers, const size_t *layers,
                       const cbe_decoder *decoder, const cbe_extraction_options *options,
                       const cbe_extraction_progress *progress, cbe_layer_result *results, cbe_error *err)
{
    const size_t d = decoder->hidden_size;
    const cbe_preset preset = options->search.preset;
    const size_t k = options->search.n_vectors ? options->search.n_vectors : d;
    memset(results, 0, n_layers * sizeof *results);
    if (k > d)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu vectors cannot be orthogonal in %zu dimensions; give -k %zu or less", k, d, d);
    const size_t each = preset == CBE_PRESET_TUNED_LENS ? k : CANDIDATES_EACH < d ? CANDIDATES_EACH : d;
    const size_t n_candidates = preset == CBE_PRESET_SEED      ? 0
                                : preset == CBE_PRESET_DEFAULT ? CBE_CANDIDATE_FAMILIES * each
                                                               : each;
    double *gram = cbe_alloc(d * d, sizeof *gram, "candidates", err);
    double *candidates = cbe_alloc(n_candidates * d, sizeof *candidates, "candidates", err);
    cbe_status st = gram && candidates ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK && n_candidates) st = cbe_unembedding_gram(decoder, gram, err);
    for (size_t i = 0; i < n_layers && st == CBE_OK; i++) {
        const double began = now();
        cbe_objective *layer = NULL;
        if ((st = cbe_layer_objective_set(objective, layers[i], &layer, err)) != CBE_OK) break;
        const cbe_candidate_input input = {decoder, gram, {NULL, NULL}, objective->n_tokens,
                                           objective->hidden, options->ablation};
        if (preset == CBE_PRESET_DEFAULT)
            st = cbe_candidates_all(&input, each, candidates, err);
        else if (preset == CBE_PRESET_TUNED_LENS)
            st = cbe_candidates_singular(&input, each, candidates, err);
        if (st != CBE_OK) break;
        cbe_search_options search = options->search;
        search.seed += layers[i];
        search.evaluation_cost = (double)objective->n_tokens * (double)decoder->vocab_size +
                                 (double)(objective->n_tokens + decoder->vocab_size) * (double)d;
        results[i].layer = layers[i];
        st = cbe_search_layer(&results[i].basis, layer, &search, n_candidates, candidates,
                              progress ? progress->vector : NULL, progress ? progress->context : NULL, err);
        results[i].seconds = now() - began;
        if (st == CBE_OK && progress && progress->layer && !progress->layer(progress->context, &results[i]))
            st = cbe_fail(err, CBE_ERR_CANCELLED, -1, "the extraction was cancelled");
    }
    cbe_free(gram);
    cbe_free(candidates);
    return st;
}
