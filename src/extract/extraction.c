/* extraction.c - see extract/extraction.h: layer after layer through the search, and what is
 * reported of its vectors. */
#include <math.h>
#include <string.h>

#include "extract/checkpoint.h"
#include "objective/divided.h"
#include "extract/group_messages.h"
#include "extract/layer_objective.h"
#include "extract/layer_starts.h"
#include "core/clock.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

static const double GRACE = 5; /* seconds that other groups are given when the run is cancelled */
/* An evaluation under optimal ablation makes about so many passes over the tokens. A pass over few
 * tokens takes as long as so many multiplications. */
static const double OPTIMAL_PASSES = 12, OPTIMAL_LEAST = 1e4;
enum {
    /* the sample of a search in the whole model: one of so many sequences, but one at least */
    MODEL_SAMPLE = 8
};

void cbe_extraction_options_init(cbe_extraction_options *options)
{
    *options = (cbe_extraction_options){0};
    cbe_search_options_init(&options->search);
}

void cbe_layer_results_free(size_t n, cbe_layer_result *results)
{
    for (size_t i = 0; i < n; i++) {
        cbe_basis_free(&results[i].basis);
        cbe_free(results[i].reports);
    }
}

/* Standard error of the mean of n numbers. */
static double standard_error(size_t n, const double *x)
{
    double mean = 0, square = 0;
    for (size_t i = 0; i < n; i++) mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sqrt(square / ((double)n * (double)(n - 1))) : NAN;
}

/* A search under optimal ablation takes the first minimum over the constant that it meets. The
 * energy that is told is that of the lowest; where both differ by rounding alone, the search's own
 * stays. */
static void tell_lowest(cbe_vector_record *record, double energy)
{
    static const double noise = 1e-6, noise_floor = 3e-7;
    if (!(fabs(energy - record->energy) <= noise * fabs(record->energy) + noise_floor))
        record->energy = energy;
}

/* Whether an energy comes before another: the higher one, and one that is not finite last. */
static bool comes_before(double a, double b)
{
    return isfinite(a) && (!isfinite(b) || a > b);
}

static void swap_vectors(cbe_layer_result *result, size_t i, size_t j)
{
    const size_t d = result->basis.hidden_size;
    double *a = result->basis.vectors + i * d, *b = result->basis.vectors + j * d;
    cbe_vector_record *records = result->basis.records;
    for (size_t k = 0; k < d; k++) {
        const double x = a[k];
        a[k] = b[k];
        b[k] = x;
    }
    const cbe_vector_record record = records[i];
    records[i] = records[j];
    records[j] = record;
    const cbe_vector_report report = result->reports[i];
    result->reports[i] = result->reports[j];
    result->reports[j] = report;
}

/* Vectors by falling energy again, equal ones in the order they had. */
static void order_vectors(cbe_layer_result *result)
{
    const cbe_vector_record *records = result->basis.records;
    for (size_t i = 1; i < result->basis.n_vectors; i++)
        for (size_t j = i; j > 0 && comes_before(records[j].energy, records[j - 1].energy); j--)
            swap_vectors(result, j, j - 1);
}

/* Reports of vectors first .. first + m - 1. energies (m), constants (m) and per_token (m, N) are
 * scratch. */
static cbe_status report_batch(const cbe_layer_objective *o, const cbe_layer_result *result,
                               bool optimal, size_t first, size_t m, double *energies,
                               double *constants, double *per_token, cbe_error *err)
{
    cbe_objective *objective = o->objective;
    const double *v = result->basis.vectors + first * result->basis.hidden_size;
    cbe_vector_report *reports = result->reports + first;
    cbe_status st = cbe_objective_eval_optimal(objective, m, v, energies, constants, NULL,
                                               optimal ? per_token : NULL, err);
    for (size_t j = 0; j < m && st == CBE_OK; j++) {
        reports[j] = (cbe_vector_report){NAN, NAN, NAN, energies[j], constants[j]};
        if (optimal) tell_lowest(&result->basis.records[first + j], energies[j]);
    }
    if (st == CBE_OK && !optimal)
        st = cbe_objective_eval(objective, m, v, energies, NULL, per_token, err);
    size_t n = cbe_objective_n_tokens(objective);
    for (size_t j = 0; j < m && st == CBE_OK; j++)
        reports[j].standard_error = standard_error(n, per_token + j * n);
    if (st != CBE_OK || !o->n_held_out) return st;
    cbe_objective_set_held_out(objective);
    n = cbe_objective_n_tokens(objective);
    st = optimal ? cbe_objective_eval_constant(objective, m, v, constants, energies, NULL, NULL,
                                               per_token, err)
                 : cbe_objective_eval(objective, m, v, energies, NULL, per_token, err);
    for (size_t j = 0; j < m && st == CBE_OK; j++) {
        reports[j].held_out_energy = energies[j];
        reports[j].held_out_error = standard_error(n, per_token + j * n);
    }
    cbe_objective_set_sample(objective, 0);
    return st;
}

/* What is known of the vectors found besides their energies. */
static cbe_status report_vectors(const cbe_layer_objective *o, cbe_layer_result *result,
                                 cbe_ablation ablation, cbe_error *err)
{
    const size_t k = result->basis.n_vectors, batch = cbe_objective_max_batch(o->objective);
    double *scratch =
        cbe_alloc(batch, (2 + o->all_tokens) * sizeof *scratch, "reports of vectors", err);
    result->reports = cbe_alloc(k, sizeof *result->reports, "reports of vectors", err);
    cbe_status st = scratch && result->reports ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t first = 0; first < k && st == CBE_OK; first += batch)
        st = report_batch(o, result, ablation == CBE_ABLATE_OPTIMAL, first,
                          k - first < batch ? k - first : batch, scratch, scratch + batch,
                          scratch + 2 * batch, err);
    if (st == CBE_OK) order_vectors(result);
    cbe_free(scratch);
    return st;
}

/* What a search in the whole model does less of. Samples are whole sequences there. */
static void economise(const cbe_layer_objective *o, cbe_search_options *search)
{
    const size_t n_sequences = o->all_sequences;
    const size_t sample = cbe_max_size(n_sequences / MODEL_SAMPLE, 1);
    search->evaluation_cost = 0;
    search->sample = sample * (o->all_tokens / n_sequences);
    search->few_evaluations = true;
}

/* A run: what its groups of processes hold together. */
typedef struct {
    const cbe_extraction_options *options;
    const cbe_extraction_progress *progress;
    size_t n_layers;
    const size_t *layers;
    cbe_layer_result *results; /* (n_layers) */
    size_t n_others;           /* groups that rank 0 of the run has not heard the end of */
} extraction;

/* What the search of a layer calls back with. */
typedef struct {
    extraction *run;
    size_t layer;
    cbe_status st; /* of what rank 0 was told in between */
    cbe_error err;
} watcher;

bool cbe_layer_is_own(const cbe_extraction_options *options, size_t i)
{
    const size_t size = cbe_processes_size(options->processes),
                 n_groups = cbe_processes_size(options->run) / size;
    return i % n_groups == cbe_processes_rank(options->run) / size;
}

static bool is_done(const extraction *run, const cbe_layer_result *result)
{
    return !run->progress || !run->progress->layer ||
           run->progress->layer(run->progress->context, result);
}

/* Takes what one message says; *heard says whether there was one. */
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

/* All that is there to be heard; with `wait`, until the other groups have ended. */
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
    if ((st = cbe_layer_starts_set(starts, layer, &list, err)) != CBE_OK) return st;
    cbe_search_options search = options->search;
    search.seed += layer;
    search.evaluation_cost =
        (double)objective->all_tokens * (double)decoder->vocab_size +
        (double)(objective->all_tokens + decoder->vocab_size) * (double)decoder->hidden_size;
    if (options->ablation == CBE_ABLATE_OPTIMAL)
        search.evaluation_cost = OPTIMAL_PASSES * fmax(search.evaluation_cost, OPTIMAL_LEAST);
    if (objective->model) economise(objective, &search);
    watcher w = {.run = run, .layer = layer};
    if (options->checkpoint) {
        search.from = cbe_checkpoint_point(options->checkpoint, layer);
        search.found = keep_point;
    }
    result->layer = layer;
    st = cbe_search_layer(&result->basis, lens, &search, &list, watch_vector, &w, err);
    if (w.st != CBE_OK) {
        if (err) *err = w.err;
        st = w.st;
    }
    result->search_seconds = cbe_now() - began;
    if (st == CBE_OK) st = report_vectors(objective, result, options->ablation, err);
    result->seconds = cbe_now() - began;
    if (st == CBE_OK && options->checkpoint)
        st = cbe_checkpoint_done(options->checkpoint, result, err);
    return st;
}

/* Layers that a checkpoint has, or another group takes; the others are searched. */
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

/* The end of a group's layers: rank 0 of the run waits for the others, who tell it. When it was
 * cancelled, so are they, and what they still found is waited for, but not long. */
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

cbe_status cbe_extract(cbe_layer_objective *objective, size_t n_layers, const size_t *layers,
                       const cbe_decoder *decoder, const cbe_extraction_options *options,
                       const cbe_extraction_progress *progress, cbe_layer_result *results,
                       cbe_error *err)
{
    const size_t d = decoder->hidden_size;
    const size_t k = options->search.n_vectors ? options->search.n_vectors : d;
    memset(results, 0, n_layers * sizeof *results);
    if (k > d)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu vectors cannot be orthogonal in %zu dimensions; give " CBE_TERM(
                            "-k", "vectors") " %zu or less",
                        k, d, d);
    cbe_layer_starts *starts = NULL;
    const size_t n_groups =
        cbe_processes_size(options->run) / cbe_processes_size(options->processes);
    extraction run = {options, progress, n_layers,
                      layers,  results,  cbe_processes_rank(options->run) == 0 ? n_groups - 1 : 0};
    cbe_status st =
        cbe_layer_starts_create(&starts, objective, decoder, options, n_layers, layers, err);
    for (size_t i = 0; i < n_layers && st == CBE_OK; i++)
        st = extract_layer(&run, objective, starts, i, decoder, err);
    cbe_layer_starts_free(starts);
    return options->run ? end_group(&run, st, err) : st;
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
        else
            cbe_divided_obey(objective->objective, &order, err);
    }
}
