/* fidelity.c - a run of fidelity: whether a lens answers ablations as the model does. */
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "fidelity/fidelity.h"
#include "run/metric_options.h"
#include "run/run.h"

enum { DEFAULT_RANK = 8 };

#define AT(field) offsetof(cbe_run_settings, field)
/* clang-format off */
const cbe_option cbe_fidelity_rows[] = {
    {"basis", 'b', OPT_STRING, AT(basis), NULL, "FOLDER|FILE", "a result of cbe extract, or a file with layers.<i>.basis; its vectors go with the states that they were found in", NULL, 0},
    CBE_TEXT_OPTIONS(cbe_run_settings, corpus, ""),
    {"output", 'o', OPT_STRING, AT(output), NULL, "FOLDER", "where fidelity.json, fidelity.csv and fidelity.svg go; not given: the table alone", NULL, 0},
    {"lens", 0, OPT_STRING, AT(lens), "logit", "LENS", "the lens that is compared with the model: logit, tuned=FOLDER (a tuned lens), or affine (fitted on the text first)", NULL, 0},
    {"lens-tokens", 0, OPT_COUNT, AT(lens_tokens), "40000", "N", "tokens of the text, whatever --max-tokens says, that --lens affine is fitted on; 0: all", NULL, CBE_RANGE(0, CBE_MOST_TOKENS)},
    {"layers", 'l', OPT_LAYERS, AT(layers), "all", "LIST", "layers, as in 0-29,31, or all whose states the basis has", NULL, 0},
    {"directions", 'd', OPT_COUNT, AT(directions), "8", "M", "of each list: vectors of the basis, principal components, random directions", NULL, CBE_RANGE(1, CBE_MOST_COUNT)},
    {"rank", 'm', OPT_COUNT, AT(rank), NULL, "R", "first vectors whose span is taken out for the alignment; not given: all of a layer, 8 at most", NULL, CBE_RANGE(1, CBE_MOST_COUNT)},
    {"ablation", 'a', OPT_CHOICE, AT(ablation), "resample", "KIND", "mean, resample or zero", cbe_ablation_choices, 0},
    CBE_METRIC_OPTION,
    {"site", 0, OPT_CHOICE, AT(site), NULL, "SITE", "pre: the input of block i, post: its output; not given: as recorded with the basis, else post", cbe_site_choices, 0},
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
    settings->to_end = true;
}

static cbe_status check_usage(const cbe_run_settings *s, cbe_error *err)
{
    cbe_lens_choice lens;
    if (!s->corpus.model && !s->given_model)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_TERM("MODEL", "model") " is missing: the model that the basis is of");
    if (s->given_states)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "the model is run on the states: give texts or tokens in place of hidden "
                        "states");
    if (!s->basis)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("basis") " is missing: the folder that cbe extract has made, or "
                                            "a file with layers.<i>.basis");
    if (s->ablation == CBE_ABLATE_OPTIMAL)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("ablation") " optimal is for single directions, as in cbe "
                                               "probe: use mean, resample or zero for subspaces");
    const cbe_status st = cbe_parse_lens(&lens, s->lens, err);
    if (st == CBE_OK && lens.kind == CBE_READ_MODEL)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("lens") " model is what lenses are compared with: give logit, "
                                           "tuned=FOLDER (a tuned lens) or affine");
    if (st != CBE_OK) return st;
    cbe_extraction_options ignored; /* --metric is read before anything is opened */
    cbe_extraction_options_init(&ignored);
    return cbe_take_metric_options(&ignored, s, err);
}

/* The site of the basis's layers: as recorded, else that of the run. */
static cbe_site basis_site(const cbe_run *run)
{
    cbe_site site = (cbe_site)run->settings.site;
    cbe_basis_site(run->basis, &site);
    return site;
}

/* The basis's layer of the states that a layer of the run is; false: there is no such layer. */
static bool layer_in_basis(const cbe_run *run, size_t layer, size_t *out)
{
    const cbe_site site = basis_site(run);
    const size_t state = cbe_site_state((cbe_site)run->settings.site, layer);
    for (size_t i = 0; i < cbe_basis_n_layers(run->basis); i++)
        if (cbe_site_state(site, cbe_basis_layers(run->basis)[i]) == state) {
            *out = cbe_basis_layers(run->basis)[i];
            return true;
        }
    return false;
}

/* Of the layers asked for those whose states the basis has, in place of the ranges; a layer that is
 * named must be there. */
static cbe_status choose_layers(cbe_run *run, cbe_error *err)
{
    cbe_ranges *ranges = &run->settings.layers;
    const cbe_site site = (cbe_site)run->settings.site;
    const size_t n = cbe_basis_n_layers(run->basis), *layers = cbe_basis_layers(run->basis);
    size_t(*chosen)[2] = cbe_alloc(n, sizeof *chosen, "layers", err), n_chosen = 0, ignored;
    cbe_status st = chosen ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < ranges->n && st == CBE_OK && !ranges->all; i++)
        for (size_t l = ranges->ranges[i][0]; l <= ranges->ranges[i][1] && st == CBE_OK; l++)
            if (!layer_in_basis(run, l, &ignored))
                st = cbe_fail(err, CBE_ERR_ARG, -1,
                              CBE_OPTION("layers") ": layer %zu is hidden_states.%zu, of which %s "
                                                   "has no vectors",
                              l, cbe_site_state(site, l), cbe_basis_path(run->basis));
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const size_t state = cbe_site_state(basis_site(run), layers[i]);
        bool wanted = ranges->all;
        if (state < cbe_site_state(site, 0)) continue; /* the input of the first block */
        const size_t layer = state - cbe_site_state(site, 0);
        for (size_t r = 0; r < ranges->n; r++)
            wanted |= ranges->ranges[r][0] <= layer && layer <= ranges->ranges[r][1];
        if (wanted) chosen[n_chosen][0] = chosen[n_chosen][1] = layer, n_chosen++;
    }
    if (st == CBE_OK && n_chosen == 0)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "%s: has no vectors of outputs of blocks; leave out " CBE_OPTION("site"),
                      cbe_basis_path(run->basis));
    if (st != CBE_OK) {
        cbe_free(chosen);
        return st;
    }
    cbe_free(ranges->ranges);
    *ranges = (cbe_ranges){false, n_chosen, chosen};
    return CBE_OK;
}

static size_t rank_of(const cbe_run_settings *s)
{
    return s->rank ? s->rank : DEFAULT_RANK;
}

/* Before a model is run: there must be so many vectors of each layer as are asked for by name. */
static cbe_status check_vectors(const cbe_run *run, size_t layer, cbe_error *err)
{
    const cbe_run_settings *s = &run->settings;
    size_t of_basis = 0;
    layer_in_basis(run, layer, &of_basis);
    const size_t k = cbe_basis_n_vectors(run->basis, of_basis);
    if (s->rank > k)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("rank") " %zu: the basis of layer %zu in %s has %zu vector%s",
                        s->rank, of_basis, cbe_basis_path(run->basis), k, k == 1 ? "" : "s");
    return CBE_OK;
}

/* The basis, and what follows from it where options are not given. */
static cbe_status open_basis(cbe_run *run, cbe_error *err)
{
    cbe_run_settings *s = &run->settings;
    cbe_site site = CBE_SITE_POST;
    cbe_status st = cbe_basis_open(&run->basis, s->basis, err);
    if (st != CBE_OK) return st;
    const cbe_basis_file *basis = run->basis;
    const bool recorded = cbe_basis_site(basis, &site);
    if (s->site == CBE_N_SITES) {
        s->site = (int)site;
        if (recorded)
            cbe_note(&run->watch, "site: %s, as recorded with the basis", cbe_site_name(site));
    }
    st = choose_layers(run, err);
    for (size_t i = 0; st == CBE_OK && i < s->layers.n; i++)
        st = check_vectors(run, s->layers.ranges[i][0], err);
    if (st == CBE_OK) st = cbe_basis_note(basis, &run->read, CBE_INPUT_BASIS, err);
    if (st != CBE_OK) return st;
    if (!cbe_basis_model(basis))
        cbe_note(&run->watch, "basis: the model that it was made from is not recorded");
    if (s->skip.automatic && s->skip.positions == SIZE_MAX &&
        cbe_basis_skip_positions(basis, &s->skip.positions)) {
        s->skip.automatic = false;
        cbe_note(&run->watch, "skip-positions: %zu, as recorded with the basis", s->skip.positions);
    }
    return CBE_OK;
}

static cbe_status declare_outputs(cbe_run *run, const char *folder, cbe_error *err)
{
    const cbe_run_settings *s = &run->settings;
    cbe_outputs *o = &run->outputs;
    cbe_lens_choice lens;
    cbe_outputs_begin(o);
    cbe_outputs_read_corpus(o, &s->corpus);
    cbe_outputs_read_basis(o, CBE_OPTION("basis"), s->basis);
    cbe_status st = cbe_parse_lens(&lens, s->lens, err);
    if (st == CBE_OK && lens.path) cbe_outputs_read_lens(o, CBE_OPTION("lens"), lens.path);
    if (st == CBE_OK) st = cbe_outputs_folder(o, folder, err);
    if (st == CBE_OK) st = cbe_outputs_write(o, "fidelity.json", CBE_OWN_FIDELITY_RECORD, err);
    if (st == CBE_OK) st = cbe_outputs_write(o, "fidelity.csv", CBE_OWN_FIDELITY_TABLE, err);
    return st == CBE_OK ? cbe_outputs_write(o, "fidelity.svg", CBE_OWN_CHART, err) : st;
}

static bool show_progress(void *context, size_t done, size_t total)
{
    cbe_run *run = context;
    return cbe_working(&run->watch, done, total, "comparing: %.0f%%",
                       100.0 * (double)done / (double)total);
}

static bool tell_layer(void *context, size_t place)
{
    return cbe_tell_layer(context, place, NULL) == CBE_OK;
}

/* The first vectors of each layer, as many as either measure takes. */
static cbe_status read_vectors(cbe_run *run, cbe_error *err)
{
    const cbe_run_inputs *in = &run->in;
    cbe_fidelity_results *r = &run->results.fidelity;
    const size_t most = cbe_max_size(rank_of(&run->settings), run->settings.directions);
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < in->n_layers && st == CBE_OK; i++) {
        size_t of_basis = 0;
        layer_in_basis(run, in->layers[i], &of_basis);
        const size_t m = cbe_min_size(most, cbe_basis_n_vectors(run->basis, of_basis));
        r->vectors[i] = cbe_alloc(m, cbe_times(in->decoder->hidden_size, sizeof **r->vectors, 1),
                                  "vectors", err);
        st = r->vectors[i] ? cbe_basis_vectors(run->basis, of_basis, m, r->vectors[i], err)
                           : CBE_ERR_NOMEM;
        r->layers[i] =
            (cbe_layer_fidelity){.layer = in->layers[i],
                                 .state = cbe_site_state(in->options.site, in->layers[i]),
                                 .n_vectors = m,
                                 .vectors = r->vectors[i]};
    }
    return st;
}

static cbe_status compare(cbe_run *run, cbe_error *err)
{
    const cbe_run_settings *s = &run->settings;
    const cbe_run_inputs *in = &run->in;
    cbe_fidelity_results *r = &run->results.fidelity;
    const cbe_fidelity_options options = {.extraction = in->options,
                                          .n_directions = s->directions,
                                          .rank = rank_of(s),
                                          .progress = show_progress,
                                          .tell = tell_layer,
                                          .context = run};
    r->layers = cbe_alloc_zero(in->n_layers, sizeof *r->layers, "results", err);
    r->vectors = cbe_alloc_zero(in->n_layers, sizeof *r->vectors, "results", err);
    cbe_status st = r->layers && r->vectors ? read_vectors(run, err) : CBE_ERR_NOMEM;
    if (st != CBE_OK) return st;
    r->record = (cbe_fidelity_record){
        .model = cbe_model_path(in->model),
        .lens = s->given_lens ? "memory" : s->lens,
        .basis = s->basis,
        .tokens = s->corpus.tokens,
        .n_texts = s->corpus.text.n,
        .texts = s->corpus.text.paths,
        .site = in->options.site,
        .ablation = in->options.ablation,
        .seed = s->seed,
        .n_sequences = cbe_hidden_states_n_sequences(in->states),
        .context_length = cbe_hidden_states_context_length(in->states),
        .skip_positions = in->options.skip_positions,
        .n_tokens = cbe_hidden_states_n_tokens(in->states, in->options.skip_positions),
        .n_directions = s->directions,
        .metric = s->metric};
    return cbe_fidelity_run(in->model, in->states, &options, in->n_layers, r->layers, err);
}

static cbe_status execute(cbe_run *run, cbe_error *err)
{
    cbe_run_settings *s = &run->settings;
    const cbe_fidelity_results *r = &run->results.fidelity;
    cbe_status st;
    if ((st = check_usage(s, err)) != CBE_OK) return st;
    if ((st = open_basis(run, err)) != CBE_OK) return st;
    if (s->output && (st = declare_outputs(run, s->output, err)) != CBE_OK) return st;
    s->vectors_of = s->made_from = run->basis;
    if ((st = cbe_run_inputs_open(&run->in, s, &run->watch, err)) != CBE_OK) return st;
    if (strcmp(s->lens, "affine") == 0)
        cbe_warn(&run->watch,
                 "the affine lens was fitted on the text that it is judged on, and looks better "
                 "than it is; fit one on another text (cbe lens fit) and give it as " CBE_OPTION(
                     "lens") " tuned=FOLDER");
    if ((st = compare(run, err)) != CBE_OK) return st;
    cbe_tell(&run->watch, CBE_EVENT_SAVING, "", 0, 0);
    if ((st = cbe_outputs_check_folder(&run->outputs, err)) != CBE_OK) return st;
    if (s->output) st = cbe_fidelity_save(s->output, run->in.n_layers, r->layers, &r->record, err);
    if (st == CBE_OK) cbe_warn_of_changes(&run->watch, &run->read);
    return st;
}

static cbe_status save(cbe_run *run, const char *folder, cbe_error *err)
{
    const cbe_fidelity_results *r = &run->results.fidelity;
    cbe_outputs_end(&run->outputs);
    cbe_status st = declare_outputs(run, folder, err);
    if (st == CBE_OK) st = cbe_fidelity_save(folder, run->in.n_layers, r->layers, &r->record, err);
    cbe_outputs_end(&run->outputs);
    return st;
}

/* Sets *out to the measure of a name such as own.basis.spearman, all.alignment_error, or
 * below.all.together.low. */
static bool find_measure(const cbe_layer_fidelity *layer, const char *name, double *out)
{
    char wanted[64];
    for (size_t keep = 0; keep < CBE_N_KEEPS; keep++)
        for (size_t scope = 0; scope < CBE_N_SCOPES; scope++) {
            const char *prefix = keep == CBE_KEEP_ALL ? "" : "below.",
                       *of_scope = cbe_scope_name((cbe_scope)scope);
            const cbe_estimate *alignment = &layer->alignment[keep][scope];
            snprintf(wanted, sizeof wanted, "%s%s.alignment", prefix, of_scope);
            if (strcmp(name, wanted) == 0) return *out = alignment->mean, true;
            snprintf(wanted, sizeof wanted, "%s%s.alignment_error", prefix, of_scope);
            if (strcmp(name, wanted) == 0) return *out = alignment->error, true;
            for (size_t list = 0; list < CBE_N_LISTS; list++) {
                const cbe_influence *influence = &layer->influence[keep][scope][list];
                const struct {
                    const char *name;
                    double value;
                } numbers[] = {{"spearman", influence->spearman},
                               {"low", influence->low},
                               {"high", influence->high}};
                for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
                    snprintf(wanted, sizeof wanted, "%s%s.%s.%s", prefix, of_scope,
                             cbe_direction_list_name((cbe_direction_list)list), numbers[i].name);
                    if (strcmp(name, wanted) == 0) return *out = numbers[i].value, true;
                }
            }
        }
    return false;
}

/* Sets out to a number of each direction. */
static bool list_energies(const cbe_layer_fidelity *layer, const char *name, double *out)
{
    static const char *const names[] = {"kappa", "lens.energy", "all.energy", "own.energy"};
    enum { N_NAMES = sizeof names / sizeof *names };
    size_t which = 0;
    while (which < N_NAMES && strcmp(name, names[which]) != 0) which++;
    for (size_t i = 0; i < layer->n_directions && which < N_NAMES; i++) {
        const cbe_direction *d = &layer->directions[i];
        out[i] = which == 0   ? d->kappa
                 : which == 1 ? d->lens.mean
                              : d->model[which == 2 ? CBE_SCOPE_ALL : CBE_SCOPE_OWN].mean;
    }
    return which < N_NAMES;
}

static size_t values(cbe_run *run, size_t place, const char *name, const double **out)
{
    const cbe_layer_fidelity *layer =
        run->results.fidelity.layers ? &run->results.fidelity.layers[place] : NULL;
    if (!layer || !layer->directions) return 0;
    double *list = cbe_run_scratch(run, layer->n_directions);
    if (!list) return 0;
    *out = list;
    if (list_energies(layer, name, list)) return layer->n_directions;
    return find_measure(layer, name, list);
}

static void release(cbe_run *run)
{
    cbe_fidelity_results *r = &run->results.fidelity;
    for (size_t i = 0; r->layers && i < run->in.n_layers; i++)
        cbe_layer_fidelity_free(&r->layers[i]);
    for (size_t i = 0; r->vectors && i < run->in.n_layers; i++) cbe_free(r->vectors[i]);
    cbe_free(r->layers);
    cbe_free(r->vectors);
}

const cbe_run_command cbe_command_fidelity = {
    "fidelity", cbe_fidelity_rows, true, begin, execute, save, NULL, values, release};
