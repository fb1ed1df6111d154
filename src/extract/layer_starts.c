/*
 * layer_starts.c - see layer_starts.h. The vectors of the caller's basis come first, then the
 * families of candidates.h. In the whole model, vectors of the lens's basis and a column of the
 * identity are among them.
 */
#include "extract/layer_starts.h"

#include <string.h>

#include "extract/basis_file.h"
#include "extract/layer_objective_state.h"
#include "extract/lens_starts.h"
#include "search/candidates.h"
#include "search/rules.h"
#include "objective/divided.h"
#include "core/held_out.h"
#include "core/memory.h"
#include "core/sizes.h"

struct cbe_layer_starts {
    const cbe_layer_objective *objective;
    const cbe_extraction_options *options;
    const cbe_decoder *decoder;
    size_t n_each;         /* candidates of each family */
    size_t most;           /* rows that there is room for */
    double *gram;          /* (d, d), of the unembedding */
    double *v;             /* (most, d) */
    double *found;         /* (lens_vectors, d), of the lens */
    double *whitened;      /* (d), scratch */
    float *sample;         /* (lens_tokens, d): hidden states; the whole model alone */
    cbe_start_kind *kinds; /* (most) */
};

bool cbe_init_layer(const cbe_extraction_options *options, size_t layer, size_t *init_layer)
{
    const size_t state = cbe_site_state(options->site, layer);
    cbe_site site = options->site;
    if (!options->init) return false;
    cbe_basis_site(options->init, &site);
    const size_t before = cbe_site_state(site, 0); /* state of the basis's layer 0 */
    *init_layer = state - before;
    return state >= before && cbe_basis_n_vectors(options->init, *init_layer) > 0;
}

/* Returns the number of vectors of the caller's basis for a layer; *from is their layer there. */
static size_t n_given(const cbe_extraction_options *options, size_t layer, size_t *from)
{
    return cbe_init_layer(options, layer, from) ? cbe_basis_n_vectors(options->init, *from) : 0;
}

void cbe_layer_starts_free(cbe_layer_starts *s)
{
    if (!s) return;
    void *owned[] = {s->gram, s->v, s->found, s->whitened, s->sample, s->kinds};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    cbe_free(s);
}

cbe_status cbe_layer_starts_create(cbe_layer_starts **out, const cbe_layer_objective *objective,
                                   const cbe_decoder *decoder,
                                   const cbe_extraction_options *options, size_t n_layers,
                                   const size_t *layers, cbe_error *err)
{
    const size_t d = decoder->hidden_size;
    const cbe_preset preset = options->search.preset;
    size_t given = 0, from;
    cbe_layer_starts *s = cbe_alloc_zero(1, sizeof *s, "candidates", err);
    if (!s) return CBE_ERR_NOMEM;
    s->objective = objective;
    s->options = options;
    s->decoder = decoder;
    s->n_each =
        cbe_min_size(options->model ? cbe_candidate_rules.model_each : cbe_candidate_rules.each, d);
    for (size_t i = 0; i < n_layers; i++)
        given = cbe_max_size(given, n_given(options, layers[i], &from));
    if (preset == CBE_PRESET_TUNED_LENS)
        s->most = s->n_each = options->search.n_vectors ? options->search.n_vectors : d;
    if (!cbe_preset_is_of_older_program(preset))
        s->most = given + cbe_candidate_rules.lens_vectors + 1 + CBE_CANDIDATE_FAMILIES * s->n_each;
    s->gram = cbe_alloc(d, d * sizeof *s->gram, "candidates", err);
    s->v = cbe_alloc(s->most, d * sizeof *s->v, "candidates", err);
    s->found =
        cbe_alloc_zero(cbe_candidate_rules.lens_vectors, d * sizeof *s->found, "candidates", err);
    s->whitened = cbe_alloc(d, sizeof *s->whitened, "candidates", err);
    s->kinds = cbe_alloc(s->most, sizeof *s->kinds, "candidates", err);
    s->sample = cbe_alloc(options->model ? cbe_candidate_rules.lens_tokens : 0,
                          d * sizeof *s->sample, "candidates", err);
    cbe_status st = s->gram && s->v && s->found && s->whitened && s->sample && s->kinds
                        ? CBE_OK
                        : CBE_ERR_NOMEM;
    if (st == CBE_OK && s->most) st = cbe_unembedding_gram(decoder, s->gram, err);
    if (st != CBE_OK) {
        cbe_layer_starts_free(s);
        return st;
    }
    *out = s;
    return CBE_OK;
}

static cbe_candidate_input candidate_input(const cbe_layer_objective *o, const cbe_decoder *decoder,
                                           const double *gram,
                                           const cbe_extraction_options *options)
{
    return (cbe_candidate_input){decoder,       gram,
                                 o->translator, o->n_tokens,
                                 o->hidden,     options->ablation,
                                 o->processes,  o->first_token,
                                 o->all_tokens, cbe_layer_objective_sequence_tokens(o),
                                 o->held_out};
}

/* Returns the number of tokens of the sample for a lens. */
static size_t n_sample(const cbe_layer_objective *o)
{
    return cbe_min_size(cbe_candidate_rules.lens_tokens,
                        cbe_count_searched(o->held_out, o->all_tokens));
}

/* Puts hidden states of tokens spread evenly over those of all processes that are searched in
 * sample (n_sample, d); NULL: this process does not need them. */
static cbe_status spread_states(const cbe_layer_objective *o, size_t d, float *sample,
                                cbe_error *err)
{
    const size_t n = n_sample(o), searched = cbe_count_searched(o->held_out, o->all_tokens);
    double *rows = cbe_alloc_zero(n, d * sizeof *rows, "hidden states of a sample", err);
    const cbe_status st = cbe_processes_agree(o->processes, rows ? CBE_OK : CBE_ERR_NOMEM, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const size_t token = cbe_searched_token(o->held_out, i * searched / n) - o->first_token;
        for (size_t k = 0; k < d && token < o->n_tokens; k++)
            rows[i * d + k] = (double)o->hidden[token * d + k];
    }
    if (st == CBE_OK) cbe_processes_sum(o->processes, n * d, rows);
    for (size_t i = 0; i < n * d && sample && st == CBE_OK; i++) sample[i] = (float)rows[i];
    cbe_free(rows);
    return st;
}

cbe_status cbe_layer_starts_assist(const cbe_layer_objective *o, const cbe_decoder *decoder,
                                   const cbe_extraction_options *options, cbe_error *err)
{
    const size_t d = decoder->hidden_size;
    const cbe_candidate_input input = candidate_input(o, decoder, NULL, options);
    const cbe_status st = options->model ? spread_states(o, d, NULL, err) : CBE_OK;
    return st == CBE_OK
               ? cbe_candidates_assist(&input,
                                       cbe_min_size(options->model ? cbe_candidate_rules.model_each
                                                                   : cbe_candidate_rules.each,
                                                    d),
                                       err)
               : st;
}

/* Adds the starts of the whole model. The lens's first vector and the identity's first column,
 * where the preset `seed` starts, come before the families; the lens's second vector comes after
 * them. The search through the lens starts at the families.
 * @param families in the place that they are to have, 2 rows behind v */
static cbe_status add_model_starts(cbe_layer_starts *s, size_t layer,
                                   const cbe_start_list *families, double *v, cbe_start_kind *kinds,
                                   cbe_error *err)
{
    const cbe_layer_objective *o = s->objective;
    const size_t d = s->decoder->hidden_size, memory = s->options->memory, last = 2 + families->n;
    const cbe_lens_starts_input input = {s->decoder,
                                         n_sample(o),
                                         s->sample,
                                         s->options->ablation,
                                         s->options->search.seed + layer,
                                         memory > o->bytes ? memory - o->bytes : memory != 0,
                                         families,
                                         &o->metric,
                                         o->within,
                                         o->within ? o->covariance->components : NULL};
    size_t found = cbe_min_size(cbe_candidate_rules.lens_vectors, o->within ? o->within : d);
    /* A vector that is not found remains 0, which is no start. */
    memset(s->found, 0, cbe_candidate_rules.lens_vectors * d * sizeof *v);
    const cbe_status st = cbe_lens_starts(&input, &found, s->found, err);
    memset(v + d, 0, d * sizeof *v);
    v[d] = 1;
    memcpy(v, s->found, d * sizeof *v);
    memcpy(v + last * d, s->found + d, d * sizeof *v);
    kinds[0] = kinds[last] = CBE_FROM_LENS;
    kinds[1] = CBE_FROM_IDENTITY;
    return st;
}

/* Replaces n directions by those that write along them: u of which S^1/2 u is the direction. */
static void write_starts(cbe_layer_starts *s, size_t n, double *v)
{
    const cbe_metric *metric = &s->objective->metric;
    const size_t d = s->decoder->hidden_size;
    for (size_t i = 0; i < n && metric->covariance; i++) {
        cbe_covariance_inverse_root(metric->covariance, metric->ridge, v + i * d, s->whitened);
        memcpy(v + i * d, s->whitened, d * sizeof *v);
    }
}

cbe_status cbe_layer_starts_set(cbe_layer_starts *s, size_t layer, bool guided,
                                cbe_start_list *list, cbe_error *err)
{
    const cbe_layer_objective *o = s->objective;
    const size_t d = s->decoder->hidden_size, before = o->model ? 2 : 0,
                 n_families = CBE_CANDIDATE_FAMILIES * s->n_each;
    const cbe_candidate_input input = candidate_input(o, s->decoder, s->gram, s->options);
    *list = (cbe_start_list){0, s->v, s->kinds};
    if (s->options->search.preset == CBE_PRESET_TUNED_LENS) {
        list->n = s->n_each;
        for (size_t i = 0; i < s->n_each; i++) s->kinds[i] = CBE_FROM_UNEMBEDDING;
        return cbe_candidates_singular(&input, s->n_each, s->v, err);
    }
    if (cbe_preset_is_of_older_program(s->options->search.preset)) return CBE_OK;
    size_t from = 0;
    const size_t given = n_given(s->options, layer, &from);
    if (guided) {
        cbe_status found = CBE_OK;
        if (given) found = cbe_basis_vectors(s->options->init, from, given, s->v, err);
        for (size_t i = 0; i < given; i++) s->kinds[i] = CBE_FROM_GIVEN;
        write_starts(s, given, s->v);
        list->n = given;
        return found;
    }
    if (o->processes) cbe_divided_give(o->objective, CBE_ORDER_STARTS, 0);
    double *v = s->v + given * d;
    cbe_start_kind *kinds = s->kinds + given;
    cbe_status st = o->model ? spread_states(o, d, s->sample, err) : CBE_OK;
    if (st == CBE_OK)
        st = cbe_candidates_all(&input, s->n_each, v + before * d, kinds + before, err);
    if (st == CBE_OK && given) st = cbe_basis_vectors(s->options->init, from, given, s->v, err);
    for (size_t i = 0; i < given; i++) s->kinds[i] = CBE_FROM_GIVEN;
    list->n = given + n_families;
    if (st == CBE_OK) write_starts(s, given, s->v);
    if (st == CBE_OK) write_starts(s, n_families, v + before * d);
    if (st != CBE_OK || !o->model) return st;
    const cbe_start_list families = {n_families, v + before * d, kinds + before};
    list->n += cbe_candidate_rules.lens_vectors + 1;
    return add_model_starts(s, layer, &families, v, kinds, err);
}
