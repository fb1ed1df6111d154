/* extraction.c - see extraction.h: layer after layer through the search, and what groups of
 * processes tell rank 0 of the run meanwhile. */
#include "extract/extraction.h"

#include <math.h>
#include <string.h>

#include "extract/checkpoint.h"
#include "extract/group_messages.h"
#include "extract/layer_objective_state.h"
#include "extract/layer_guides.h"
#include "extract/layer_starts.h"
#include "extract/model_energies.h"
#include "extract/vector_reports.h"
#include "search/rules.h"
#include "objective/divided.h"
#include "core/clock.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

static const double GRACE = 5; /* seconds that other groups are given when the run is cancelled */

/* Makes a search by leaps sparing of evaluations, as the whole model needs it. Samples are whole
 * sequences there. */
static void economise(const cbe_layer_objective *o, cbe_search_options *search)
{
    const size_t n_sequences = o->all_sequences;
    const size_t sample = cbe_max_size(n_sequences / cbe_cost_rules.model_sample, 1);
    search->evaluation_cost = 0;
    search->sample = sample * (o->all_tokens / n_sequences);
}

/* The search in the whole model: by the guide where there is one, else by leaps. */
static void choose_model_search(const cbe_layer_objective *o, size_t layer,
                                const cbe_search_guide *guide, cbe_search_options *search)
{
    if (!guide && search->preset == CBE_PRESET_DEFAULT) search->preset = CBE_PRESET_LEAPS;
    if (!guide) {
        economise(o, search);
        return;
    }
    search->guide = guide;
    search->sample = cbe_guided_rules.sample;
    search->evaluation_cost =
        (double)o->all_tokens *
        cbe_model_multiplications(cbe_model_get_config(o->model), cbe_site_state(o->site, layer));
}

/* A run: what its groups of processes hold together. */
typedef struct {
    const cbe_extraction_options *options;
    const cbe_extraction_progress *progress;
    size_t n_layers;
    const size_t *layers;
    cbe_layer_guides *guides;  /* NULL: there are none */
    cbe_layer_result *results; /* (n_layers) */
    size_t n_others;           /* groups whose end rank 0 of the run has not heard yet */
} extraction;

/* What the search of a layer calls back with. */
typedef struct {
    extraction *run;
    size_t layer;
    cbe_status st; /* what became of the messages that rank 0 heard meanwhile */
    cbe_error err; /* of st */
} watcher;

static bool is_done(const extraction *run, const cbe_layer_result *result)
{
    return !run->progress || !run->progress->layer ||
           run->progress->layer(run->progress->context, result);
}

/* Takes what one message says; *some: whether there was one. */
static cbe_status hear(extraction *run, bool wait, bool *some, cbe_error *err)
{
    cbe_heard heard = {0};
    cbe_checkpoint *checkpoint = run->options->checkpoint;
    cbe_status st = cbe_hear(run->options->run, wait, &heard, err);
    *some = st == CBE_OK && heard.kind != CBE_HEARD_NOTHING;
    if (st == CBE_OK && heard.kind == CBE_HEARD_POINT && checkpoint)
        st = cbe_checkpoint_heard(checkpoint, heard.layer, &heard.point, err);
    for (size_t i = 0; st == CBE_OK && heard.kind == CBE_HEARD_RESULT && i < run->n_layers; i++) {
        if (run->layers[i] != heard.layer) continue;
        run->results[i] = heard.result;
        heard.result = (cbe_layer_result){0};
        if (checkpoint) st = cbe_checkpoint_done(checkpoint, &run->results[i], err);
        if (st == CBE_OK && !is_done(run, &run->results[i]))
            st = cbe_fail(err, CBE_ERR_CANCELLED, -1, "the extraction was cancelled");
        break;
    }
    if (st == CBE_OK && heard.kind == CBE_HEARD_END) {
        run->n_others--;
        st = heard.why.code;
        if (st != CBE_OK) cbe_fail_as(err, &heard.why, "process %zu: ", heard.from);
    }
    cbe_heard_free(&heard);
    return st;
}

/* Hears all messages that are there; with `wait`, until the other groups have ended. */
static cbe_status hear_all(extraction *run, bool wait, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (bool some = true; st == CBE_OK && run->n_others > 0 && (some || wait);)
        st = hear(run, wait, &some, err);
    return st;
}

static bool watch_vector(void *context, size_t vector, size_t n_vectors, double energy,
                         size_t evaluations)
{
    watcher *w = context;
    const cbe_extraction_progress *progress = w->run->progress;
    w->st = hear_all(w->run, false, &w->err);
    return w->st == CBE_OK &&
           (!progress || !progress->vector ||
            progress->vector(progress->context, vector, n_vectors, energy, evaluations));
}

static cbe_status keep_point(void *context, const cbe_search_point *point, cbe_error *err)
{
    const watcher *w = context;
    return cbe_checkpoint_found(w->run->options->checkpoint, w->layer, point, err);
}

/* Surveys the layer that was searched, and reports its vectors. */
static cbe_status report_layer(cbe_layer_objective *objective, const cbe_decoder *decoder,
                               const cbe_extraction_options *options, cbe_layer_result *result,
                               cbe_error *err)
{
    cbe_survey survey = {0};
    if (objective->processes) cbe_divided_give(objective->objective, CBE_ORDER_SURVEY, 0);
    cbe_status st = cbe_survey_make(&survey, objective, decoder, err);
    if (st == CBE_OK) st = cbe_report_vectors(objective, &survey, result, options, err);
    if (st == CBE_OK && options->model_energies)
        st = cbe_model_energies_measure(options->model_energies, &survey, options->search.seed,
                                        result, err);
    return st;
}

static cbe_status search_layer(extraction *run, cbe_layer_objective *objective,
                               cbe_layer_starts *starts, size_t layer, const cbe_decoder *decoder,
                               cbe_layer_result *result, cbe_error *err)
{
    const cbe_extraction_options *options = run->options;
    const double began = cbe_now();
    cbe_objective *lens = NULL;
    cbe_start_list list;
    cbe_status st;
    if ((st = cbe_layer_objective_set(objective, layer, &lens, err)) != CBE_OK) return st;
    const cbe_search_guide *guide = cbe_layer_guides_get(run->guides, layer);
    if ((st = cbe_layer_starts_set(starts, layer, guide != NULL, &list, err)) != CBE_OK) return st;
    cbe_search_options search = options->search;
    search.seed += layer;
    search.evaluation_cost =
        (double)objective->all_tokens * (double)decoder->vocab_size +
        (double)(objective->all_tokens + decoder->vocab_size) * (double)decoder->hidden_size;
    if (options->ablation == CBE_ABLATE_OPTIMAL)
        search.evaluation_cost = cbe_cost_rules.optimal_passes *
                                 fmax(search.evaluation_cost, cbe_cost_rules.optimal_least);
    if (objective->model) choose_model_search(objective, layer, guide, &search);
    watcher w = {.run = run, .layer = layer};
    search.n_within = objective->within;
    search.within = objective->within ? objective->covariance->components : NULL;
    if (options->checkpoint) {
        search.from = cbe_checkpoint_point(options->checkpoint, layer);
        search.found = keep_point;
    }
    result->layer = layer;
    result->within = objective->within;
    st = cbe_search_layer(&result->basis, lens, &search, &list, watch_vector, &w, err);
    if (w.st != CBE_OK) {
        if (err) *err = w.err;
        st = w.st;
    }
    result->search_seconds = cbe_now() - began;
    if (st == CBE_OK) st = report_layer(objective, decoder, options, result, err);
    if (st == CBE_OK)
        st = cbe_layer_result_tell(result, &objective->metric, objective->covariance, err);
    result->seconds = cbe_now() - began;
    if (st == CBE_OK && options->checkpoint)
        st = cbe_checkpoint_done(options->checkpoint, result, err);
    return st;
}

/* Takes the i-th layer from the checkpoint, leaves it to its group, or searches it. */
static cbe_status extract_layer(extraction *run, cbe_layer_objective *objective,
                                cbe_layer_starts *starts, size_t i, const cbe_decoder *decoder,
                                cbe_error *err)
{
    const cbe_extraction_options *options = run->options;
    cbe_layer_result *result = &run->results[i];
    const bool own = cbe_layer_is_own(options, i), first = cbe_processes_rank(options->run) == 0;
    if (!own && !first) return CBE_OK;
    cbe_status st = CBE_OK;
    if (!options->checkpoint || !cbe_checkpoint_take(options->checkpoint, run->layers[i], result)) {
        if (!own) return CBE_OK;
        st = search_layer(run, objective, starts, run->layers[i], decoder, result, err);
    }
    if (st == CBE_OK && !is_done(run, result))
        st = cbe_fail(err, CBE_ERR_CANCELLED, -1, "the extraction was cancelled");
    return st;
}

/* Ends a group's layers. Rank 0 of the run waits until the other groups have told their ends. When
 * the run was cancelled, the other groups are too: rank 0 hears what they still found, for GRACE
 * seconds at most. */
static cbe_status end_group(extraction *run, cbe_status st, cbe_error *err)
{
    cbe_processes *all = run->options->run;
    const double began = cbe_now();
    if (cbe_processes_rank(all) == 0 && st == CBE_OK) return hear_all(run, true, err);
    if (cbe_processes_rank(all) == 0) {
        bool some;
        while (st == CBE_ERR_CANCELLED && run->n_others > 0 && cbe_now() - began < GRACE)
            hear(run, false, &some, NULL);
        return st;
    }
    const cbe_error why = st != CBE_OK && err ? *err : (cbe_error){.code = st};
    const cbe_status told = cbe_tell_end(all, st, &why, err);
    return st == CBE_OK ? told : st;
}

/* Bytes that guides may take: what the objective leaves. */
static size_t memory_of_guides(const cbe_layer_objective *o, const cbe_extraction_options *options)
{
    return options->memory > o->bytes ? options->memory - o->bytes : options->memory != 0;
}

static bool watch_guides(void *context, size_t done, size_t total)
{
    const extraction *run = context;
    return !run->progress || !run->progress->guides ||
           run->progress->guides(run->progress->context, done, total);
}

/* Guides of the group's own layers that are not done yet. */
static cbe_status make_guides(extraction *run, cbe_layer_objective *objective, cbe_error *err)
{
    const cbe_extraction_options *options = run->options;
    size_t n = 0, *own = cbe_alloc(run->n_layers, sizeof *own, "layers", err);
    if (!own) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < run->n_layers; i++)
        if (cbe_layer_is_own(options, i) &&
            !(options->checkpoint && cbe_checkpoint_is_done(options->checkpoint, run->layers[i])))
            own[n++] = run->layers[i];
    cbe_status st = CBE_OK;
    if (n && objective->processes) cbe_divided_give(objective->objective, CBE_ORDER_GUIDES, 0);
    if (n)
        st = cbe_layer_guides_create(&run->guides, objective, options, n, own,
                                     memory_of_guides(objective, options), watch_guides, run, err);
    cbe_free(own);
    return st;
}

cbe_status cbe_extract(cbe_layer_objective *objective, size_t n_layers, const size_t *layers,
                       const cbe_decoder *decoder, const cbe_extraction_options *options,
                       const cbe_extraction_progress *progress, cbe_layer_result *results,
                       cbe_error *err)
{
    const size_t d = decoder->hidden_size;
    const size_t k = options->search.n_vectors;
    memset(results, 0, n_layers * sizeof *results);
    if (k > d)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu vectors cannot be orthogonal in %zu dimensions; give " CBE_TERM(
                            "-k", "vectors") " %zu or less",
                        k, d, d);
    if (!options->covariance)
        return cbe_fail(
            err, CBE_ERR_INTERNAL, -1,
            "an extraction reports how states vary: its options ask for the covariance");
    cbe_layer_starts *starts = NULL;
    const size_t n_groups =
        cbe_processes_size(options->run) / cbe_processes_size(options->processes);
    extraction run = {.options = options,
                      .progress = progress,
                      .n_layers = n_layers,
                      .layers = layers,
                      .results = results,
                      .n_others = cbe_processes_rank(options->run) == 0 ? n_groups - 1 : 0};
    cbe_status st =
        cbe_layer_starts_create(&starts, objective, decoder, options, n_layers, layers, err);
    if (st == CBE_OK && cbe_layer_guides_wanted(objective, options))
        st = make_guides(&run, objective, err);
    for (size_t i = 0; i < n_layers && st == CBE_OK; i++)
        st = extract_layer(&run, objective, starts, i, decoder, err);
    cbe_layer_starts_free(starts);
    cbe_layer_guides_free(run.guides);
    return options->run ? end_group(&run, st, err) : st;
}

/* Makes this process's share of the guides, which rank 0 alone uses. */
static void assist_guides(cbe_layer_objective *objective, const cbe_extraction_options *options,
                          cbe_error *err)
{
    cbe_layer_guides *share = NULL;
    cbe_layer_guides_create(&share, objective, options, 0, NULL,
                            memory_of_guides(objective, options), NULL, NULL, err);
    cbe_layer_guides_free(share);
}

cbe_status cbe_extract_assist(cbe_layer_objective *objective, const cbe_decoder *decoder,
                              const cbe_extraction_options *options, cbe_error *err)
{
    for (;;) {
        cbe_order order;
        cbe_divided_take(objective->objective, &order);
        /* A failure is known to rank 0 as well, and decided on there. */
        if (order.kind == CBE_ORDER_END)
            return CBE_OK;
        else if (order.kind == CBE_ORDER_LAYER)
            cbe_layer_objective_set_share(objective, order.n, err);
        else if (order.kind == CBE_ORDER_STARTS)
            cbe_layer_starts_assist(objective, decoder, options, err);
        else if (order.kind == CBE_ORDER_GUIDES)
            assist_guides(objective, options, err);
        else if (order.kind == CBE_ORDER_SURVEY)
            cbe_survey_make(&(cbe_survey){0}, objective, decoder, err);
        else
            cbe_divided_obey(objective->objective, &order, err);
    }
}
