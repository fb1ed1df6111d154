/* ablate.c - a run of ablate: what taking the vectors of a basis out together does to the model's
 * output. */
#include <stdio.h>
#include <string.h>

#include "ablate/ablation.h"
#include "ablate/subspace.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "run/metric_options.h"
#include "run/run.h"

enum { DEFAULT_RANK = 8 };

#define AT(field) offsetof(cbe_run_settings, field)
/* clang-format off */
const cbe_option cbe_ablate_options[] = {
    {"basis", 'b', OPT_STRING, AT(basis), NULL, "FOLDER|FILE", "a result of cbe extract, or a file with layers.<i>.basis", NULL, 0},
    CBE_TEXT_OPTIONS(cbe_run_settings, corpus, ""),
    {"output", 'o', OPT_STRING, AT(output), NULL, "FOLDER", "where ablate.json, ablate.csv and ablate-<i>.svg go; not given: the table alone", NULL, 0},
    {"layers", 'l', OPT_LAYERS, AT(layers), "all", "LIST", "layers, as in 0-29,31, or all that the basis has", NULL, 0},
    {"rank", 'm', OPT_COUNT, AT(rank), NULL, "M", "vectors taken out together: the first 1, 2, .. M; not given: all of a layer, 8 at most", NULL, CBE_RANGE(1, CBE_MOST_COUNT)},
    {"ablation", 'a', OPT_CHOICE, AT(ablation), "mean", "KIND", "mean, resample or zero", cbe_ablation_choices, 0},
    {"site", 0, OPT_CHOICE, AT(site), NULL, "SITE", "pre: the input of block i, post: its output; not given: as recorded with the basis, else post", cbe_site_choices, 0},
    {"scope", 0, OPT_CHOICE, AT(scope), "all", "SCOPE", "all tokens are ablated together, or own: each alone, read among clean keys and values of the others", cbe_scope_choices, 0},
    {"metric", 0, OPT_STRING, AT(metric), NULL, "METRIC", "euclidean: the span goes; covariance[=RIDGE]: what varies with the vectors goes, no more, as states of this text vary; not given: as the basis was made", NULL, 0},
    {"strength", 0, OPT_NUMBER, AT(strength), "1", "T", "h - T P D is left of a state; 1 takes the vectors out", NULL, CBE_RANGE(0, 1.5)},
    CBE_SEQUENCE_OPTIONS(cbe_run_settings, corpus),
    {"skip-positions", 0, OPT_SKIP, AT(skip), NULL, "P|auto", "first positions of each sequence left as they are; auto: 1 where their norms are huge; not given: as recorded with the basis, else auto", NULL, 0},
    {"seed", 0, OPT_SEED, AT(seed), "0", "N", "of random directions and of the derangement", NULL, 0},
    CBE_THREAD_OPTION(cbe_run_settings, corpus),
    CBE_MEMORY_OPTION(cbe_run_settings, corpus, "memory that may be used"),
    CBE_TALK_OPTIONS(cbe_run_settings, corpus, "say more about inputs and choices"),
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

static void begin(cbe_run_settings *settings)
{
    settings->skip = (cbe_skip){true, SIZE_MAX}; /* not given */
    settings->lens = "model";
}

static cbe_status check_usage(const cbe_run_settings *s, cbe_error *err)
{
    if (!s->corpus.model && !s->given_model)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_TERM("MODEL", "model") " is missing: the model that the basis is of");
    if (!s->basis)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("basis") " is missing: the folder that cbe extract has made, or "
                                            "a file with layers.<i>.basis");
    if (s->ablation == CBE_ABLATE_OPTIMAL)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("ablation") " optimal is for single directions, as in cbe "
                                               "probe: use mean, resample or zero for subspaces");
    cbe_extraction_options ignored; /* --metric is read before anything is opened */
    cbe_extraction_options_init(&ignored);
    return cbe_take_metric_options(&ignored, s, err);
}

/* Of the layers asked for those of the basis, in place of the ranges; each must be there. */
static cbe_status choose_layers(cbe_ranges *ranges, const cbe_basis_file *basis, cbe_error *err)
{
    const size_t n = cbe_basis_n_layers(basis), *layers = cbe_basis_layers(basis);
    size_t(*chosen)[2] = cbe_alloc(n, sizeof *chosen, "layers", err), n_chosen = 0;
    double ignored;
    cbe_status st = chosen ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < ranges->n && st == CBE_OK && !ranges->all; i++)
        for (size_t l = ranges->ranges[i][0]; l <= ranges->ranges[i][1] && st == CBE_OK; l++)
            st = cbe_basis_energies(basis, l, 0, &ignored, err); /* which says what there is */
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        bool wanted = ranges->all;
        for (size_t r = 0; r < ranges->n; r++)
            wanted |= ranges->ranges[r][0] <= layers[i] && layers[i] <= ranges->ranges[r][1];
        if (wanted) chosen[n_chosen][0] = chosen[n_chosen][1] = layers[i], n_chosen++;
    }
    if (st != CBE_OK) {
        cbe_free(chosen);
        return st;
    }
    cbe_free(ranges->ranges);
    *ranges = (cbe_ranges){false, n_chosen, chosen};
    return CBE_OK;
}

static size_t rank_of(const cbe_run_settings *s, const cbe_basis_file *basis, size_t layer)
{
    return s->rank ? s->rank : cbe_min_size(cbe_basis_n_vectors(basis, layer), DEFAULT_RANK);
}

/* Whether vectors of a layer are taken out by the pairs that they were made with. */
static bool by_pairs(const cbe_run_settings *s, const cbe_basis_file *basis, size_t layer)
{
    return !s->metric && cbe_basis_is_oblique(basis, layer);
}

/* Reads m vectors of a layer: what they write, and where they are pairs what they read. */
static cbe_status read_vectors(const cbe_run_settings *s, const cbe_basis_file *basis, size_t layer,
                               size_t m, double *vectors, double *read, cbe_error *err)
{
    return by_pairs(s, basis, layer) ? cbe_basis_pairs(basis, layer, m, read, vectors, err)
                                     : cbe_basis_vectors(basis, layer, m, vectors, err);
}

/* Before a model is run: there must be so many vectors of each layer, and they must span
 * something. */
static cbe_status check_vectors(const cbe_run_settings *s, const cbe_basis_file *basis,
                                size_t layer, cbe_error *err)
{
    const size_t k = cbe_basis_n_vectors(basis, layer), m = rank_of(s, basis, layer),
                 d = cbe_basis_hidden_size(basis);
    if (m > k)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("rank") " %zu: the basis of layer %zu in %s has %zu vector%s", m,
                        layer, cbe_basis_path(basis), k, k == 1 ? "" : "s");
    cbe_error why;
    cbe_subspace *subspace = NULL;
    double *vectors =
        cbe_alloc(cbe_times(2, m, 1), cbe_times(d, sizeof *vectors, 1), "vectors", err);
    if (!vectors) return CBE_ERR_NOMEM;
    double *read = vectors + m * d;
    cbe_status st = read_vectors(s, basis, layer, m, vectors, read, err);
    if (st == CBE_OK) {
        st = by_pairs(s, basis, layer) ? cbe_subspace_oblique(&subspace, m, d, read, vectors, &why)
                                       : cbe_subspace_create(&subspace, m, d, vectors, &why);
        if (st != CBE_OK) cbe_fail_as(err, &why, "%s: layer %zu: ", cbe_basis_path(basis), layer);
    }
    cbe_subspace_free(subspace);
    cbe_free(vectors);
    return st;
}

/* Vectors are directions of the states that they were found in. */
static void warn_of_site(cbe_run *run, cbe_site recorded)
{
    const cbe_run_settings *s = &run->settings;
    const size_t layer = s->layers.n ? s->layers.ranges[0][0] : 0;
    char found[CBE_STATE_NAME], asked[CBE_STATE_NAME];
    cbe_state_name(cbe_site_state(recorded, layer), found);
    cbe_state_name(cbe_site_state((cbe_site)s->site, layer), asked);
    cbe_warn(&run->watch,
             "%s: the vectors of layer %zu are directions of %s, but " CBE_OPTION(
                 "site") " %s takes them out of %s",
             cbe_basis_path(run->basis), layer, found, cbe_site_name((cbe_site)s->site), asked);
}

/* The basis, and what follows from it where options are not given. */
static cbe_status open_basis(cbe_run *run, cbe_error *err)
{
    cbe_run_settings *s = &run->settings;
    cbe_site site = CBE_SITE_POST;
    cbe_status st = cbe_basis_open(&run->basis, s->basis, err);
    const cbe_basis_file *basis = run->basis;
    if (st == CBE_OK) st = choose_layers(&s->layers, basis, err);
    for (size_t i = 0; st == CBE_OK && i < s->layers.n; i++)
        st = check_vectors(s, basis, s->layers.ranges[i][0], err);
    if (st == CBE_OK) st = cbe_basis_note(basis, &run->read, CBE_INPUT_BASIS, err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < s->layers.n; i++)
        if (by_pairs(s, basis, s->layers.ranges[i][0])) {
            cbe_note(&run->watch, "metric: covariance, as the basis was made");
            break;
        }
    if (!cbe_basis_model(basis))
        cbe_note(&run->watch, "basis: the model that it was made from is not recorded");
    const bool recorded = cbe_basis_site(basis, &site);
    if (s->site == CBE_N_SITES) {
        s->site = (int)site;
        if (recorded)
            cbe_note(&run->watch, "site: %s, as recorded with the basis", cbe_site_name(site));
    } else if (recorded && s->site != (int)site) {
        warn_of_site(run, site);
    }
    if (s->skip.automatic && s->skip.positions == SIZE_MAX &&
        cbe_basis_skip_positions(basis, &s->skip.positions)) {
        s->skip.automatic = false;
        cbe_note(&run->watch, "skip-positions: %zu, as recorded with the basis", s->skip.positions);
    }
    return CBE_OK;
}

/* Before a model is run; layers are chosen by then. */
static cbe_status declare_outputs(cbe_run *run, const char *folder, cbe_error *err)
{
    const cbe_run_settings *s = &run->settings;
    cbe_outputs *o = &run->outputs;
    cbe_status st;
    cbe_outputs_begin(o);
    cbe_outputs_read_corpus(o, &s->corpus);
    cbe_outputs_read_basis(o, CBE_OPTION("basis"), s->basis);
    if ((st = cbe_outputs_folder(o, folder, err)) != CBE_OK) return st;
    st = cbe_outputs_write(o, "ablate.json", CBE_OWN_ABLATION_RECORD, err);
    if (st == CBE_OK) st = cbe_outputs_write(o, "ablate.csv", CBE_OWN_ABLATION_TABLE, err);
    for (size_t i = 0; i < s->layers.n && st == CBE_OK; i++) {
        char name[48];
        snprintf(name, sizeof name, "ablate-%zu.svg", s->layers.ranges[i][0]);
        st = cbe_outputs_write(o, name, CBE_OWN_CHART, err);
    }
    return st;
}

static bool show_progress(void *context, size_t done, size_t total)
{
    return cbe_working(context, done, total, "ablating: %.0f%%",
                       100.0 * (double)done / (double)total);
}

/* Every layer: vectors, effects. */
static cbe_status run_layers(cbe_run *run, cbe_ablation_run *ablation, cbe_error *err)
{
    const cbe_run_inputs *in = &run->in;
    cbe_layer_ablation *results = run->results.ablate.layers;
    cbe_status st = CBE_OK;
    double *vectors = NULL;
    const size_t d = in->decoder->hidden_size;
    for (size_t i = 0; i < in->n_layers && st == CBE_OK; i++) {
        const size_t layer = in->layers[i], m = rank_of(&run->settings, run->basis, layer);
        const size_t state = cbe_site_state(in->options.site, layer);
        const bool pairs = by_pairs(&run->settings, run->basis, layer);
        results[i] = (cbe_layer_ablation){
            layer, m, state, pairs || in->options.metric != CBE_METRIC_EUCLIDEAN, NULL};
        cbe_free(vectors);
        vectors = cbe_alloc(2 * m, cbe_times(d, sizeof *vectors, 1), "vectors", err);
        results[i].effects = cbe_alloc(CBE_N_SPANS * m, sizeof *results[i].effects, "effects", err);
        double *read = vectors ? vectors + m * d : NULL;
        st = vectors && results[i].effects
                 ? read_vectors(&run->settings, run->basis, layer, m, vectors, read, err)
                 : CBE_ERR_NOMEM;
        if (st == CBE_OK)
            st = cbe_ablation_run_layer(ablation, layer, state, m, vectors, pairs ? read : NULL,
                                        results[i].effects, err);
        if (st != CBE_OK) break;
        st = cbe_tell_layer(run, i, err);
    }
    cbe_free(vectors);
    return st;
}

static cbe_status run_ablations(cbe_run *run, cbe_error *err)
{
    const cbe_run_settings *s = &run->settings;
    const cbe_run_inputs *in = &run->in;
    cbe_ablate_results *r = &run->results.ablate;
    cbe_ablation_run *ablation = NULL;
    cbe_ablation_options o = {.ablation = in->options.ablation,
                              .skip_positions = in->options.skip_positions,
                              .seed = s->seed,
                              .memory = in->options.memory,
                              .progress = show_progress,
                              .context = &run->watch,
                              .scope = (cbe_scope)s->scope,
                              .strength = s->strength,
                              .metric = in->options.metric,
                              .ridge = in->options.ridge};
    for (size_t i = 0; i < in->n_layers; i++)
        o.max_rank = cbe_max_size(o.max_rank, rank_of(s, run->basis, in->layers[i]));
    cbe_status st = cbe_ablation_run_create(&ablation, in->model, in->states, &o, err);
    if (st != CBE_OK) return st;
    if (cbe_ablation_derangement_unused(ablation)) cbe_warn_of_derangement(run);
    size_t bytes;
    const size_t at_once = cbe_ablation_n_at_once(ablation, &bytes);
    cbe_note(&run->watch,
             "memory: %zu sequences run at once, %.2f GB for the ablations, %.2f GB allowed in all",
             at_once, 1e-9 * (double)bytes, 1e-9 * (double)in->memory);
    r->record =
        (cbe_ablation_record){.model = cbe_model_path(in->model),
                              .basis = s->basis,
                              .tokens = s->corpus.tokens,
                              .n_texts = s->corpus.text.n,
                              .texts = s->corpus.text.paths,
                              .site = in->options.site,
                              .ablation = o.ablation,
                              .seed = o.seed,
                              .n_sequences = cbe_hidden_states_n_sequences(in->states),
                              .context_length = cbe_hidden_states_context_length(in->states),
                              .skip_positions = o.skip_positions,
                              .n_tokens = cbe_ablation_n_tokens(ablation),
                              .n_labelled = cbe_ablation_n_labelled(ablation),
                              .scope = o.scope,
                              .strength = o.strength,
                              .metric = s->metric};
    r->layers = cbe_alloc_zero(in->n_layers, sizeof *r->layers, "results", err);
    st = r->layers ? run_layers(run, ablation, err) : CBE_ERR_NOMEM;
    cbe_ablation_run_free(ablation);
    return st;
}

static cbe_status execute(cbe_run *run, cbe_error *err)
{
    cbe_run_settings *s = &run->settings;
    const cbe_ablate_results *r = &run->results.ablate;
    cbe_status st;
    if ((st = check_usage(s, err)) != CBE_OK) return st;
    if ((st = open_basis(run, err)) != CBE_OK) return st;
    if (s->output && (st = declare_outputs(run, s->output, err)) != CBE_OK) return st;
    s->vectors_of = s->made_from = run->basis;
    if ((st = cbe_run_inputs_open(&run->in, s, &run->watch, err)) != CBE_OK) return st;
    if ((st = run_ablations(run, err)) != CBE_OK) return st;
    cbe_tell(&run->watch, CBE_EVENT_SAVING, "", 0, 0);
    if ((st = cbe_outputs_check_folder(&run->outputs, err)) != CBE_OK) return st;
    if (s->output) st = cbe_ablation_save(s->output, run->in.n_layers, r->layers, &r->record, err);
    if (st == CBE_OK) cbe_warn_of_changes(&run->watch, &run->read);
    return st;
}

static cbe_status save(cbe_run *run, const char *folder, cbe_error *err)
{
    const cbe_ablate_results *r = &run->results.ablate;
    cbe_outputs_end(&run->outputs);
    cbe_status st = declare_outputs(run, folder, err);
    if (st == CBE_OK) st = cbe_ablation_save(folder, run->in.n_layers, r->layers, &r->record, err);
    cbe_outputs_end(&run->outputs);
    return st;
}

/* Whether a name is SPAN.EFFECT or SPAN.EFFECT_error. */
static bool read_name(const char *name, size_t *span, size_t *effect, bool *error)
{
    char wanted[64];
    for (size_t s = 0; s < CBE_N_SPANS; s++)
        for (size_t e = 0; e < CBE_N_EFFECTS; e++)
            for (int is_error = 0; is_error < 2; is_error++) {
                snprintf(wanted, sizeof wanted, "%s.%s%s", cbe_span_name((cbe_span_kind)s),
                         cbe_effect_name((cbe_effect)e), is_error ? "_error" : "");
                if (strcmp(name, wanted) != 0) continue;
                *span = s;
                *effect = e;
                *error = is_error;
                return true;
            }
    return false;
}

static size_t values(cbe_run *run, size_t place, const char *name, const double **out)
{
    size_t span, effect;
    bool error;
    const cbe_layer_ablation *layer =
        run->results.ablate.layers ? &run->results.ablate.layers[place] : NULL;
    if (!layer || !layer->effects || !read_name(name, &span, &effect, &error)) return 0;
    double *list = cbe_run_scratch(run, layer->n_ranks);
    for (size_t r = 0; list && r < layer->n_ranks; r++) {
        const cbe_effects *effects = &layer->effects[span * layer->n_ranks + r];
        list[r] = error ? effects->error[effect] : effects->mean[effect];
    }
    *out = list;
    return list ? layer->n_ranks : 0;
}

static void release(cbe_run *run)
{
    cbe_ablate_results *r = &run->results.ablate;
    for (size_t i = 0; r->layers && i < run->in.n_layers; i++) cbe_free(r->layers[i].effects);
    cbe_free(r->layers);
}

const cbe_run_command cbe_command_ablate = {
    "ablate", cbe_ablate_options, true, begin, execute, save, NULL, values, release};
