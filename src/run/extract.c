/* extract.c - a run of extract: causal bases, the main job. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/fail.h"
#include "core/memory.h"
#include "extract/checkpoint.h"
#include "extract/layer_starts.h"
#include "extract/model_energies.h"
#include "extract/result_files.h"
#include "extract/report_columns.h"
#include "extract/vector_reports.h"
#include "extract/verdict.h"
#include "files/path.h"
#include "files/mapped_file.h"
#include "files/sha256.h"
#include "lens/tuned_lens.h"
#include "report/vectors_file.h"
#include "run/metric_options.h"
#include "run/precision.h"
#include "run/run.h"
#include "search/rules.h"

static const char checkpoint_name[] = "checkpoint.safetensors", lens_folder[] = "lens";
static const char *const presets[] = {"default", "seed", "tuned-lens", "leaps", NULL};
_Static_assert(sizeof presets / sizeof *presets == CBE_N_PRESETS + 1, "in the order of the enum");

/* The digits of a number that a rule has. */
#define TEXT_OF(number)   DIGITS_OF(number)
#define DIGITS_OF(number) #number
#define AT(field)         offsetof(cbe_run_settings, field)
/* clang-format off */
const cbe_option cbe_extract_options[] = {
    CBE_INPUT_OPTIONS(NULL),
    {"vectors", 'k', OPT_COUNT, AT(vectors), "4", "K", "vectors of each layer; 0: as many as the hidden size", NULL, CBE_RANGE(0, CBE_MOST_COUNT)},
    CBE_METRIC_OPTION,
    CBE_WITHIN_OPTION,
    {"preset", 0, OPT_CHOICE, AT(preset), "default", "NAME", "default, seed, tuned-lens, or leaps (with --lens model, slower): how is searched (docs/search.md)", presets, 0},
    {"starts", 0, OPT_COUNT, AT(starts), NULL, "S", "candidates refined for each vector, preset default; not given: " TEXT_OF(CBE_FIRST_STARTS) " and more, " TEXT_OF(CBE_LEAP_STARTS) " with the preset leaps (docs/search.md)", NULL, CBE_RANGE(1, CBE_MOST_COUNT)},
    {"init", 0, OPT_STRING, AT(init), NULL, "BASIS", "a result folder, or its basis.safetensors, whose vectors are among the starts, preset default", NULL, 0},
    {"max-iter", 0, OPT_COUNT, AT(max_iterations), TEXT_OF(CBE_MAX_ITERATIONS), "M", "L-BFGS iterations of one start", NULL, CBE_RANGE(1, CBE_MOST_STEPS)},
    {"min-energy", 0, OPT_NUMBER, AT(min_energy), "0", "E", "a vector below E nats is kept and ends its layer; 0: never", NULL, CBE_RANGE(0, CBE_MOST_NUMBER)},
    {"held-out", 0, OPT_SHARE, AT(held_out), "auto", "FRACTION|auto", "of the sequences, left out of the search; energies are reported on them too; auto: an eighth of 8 sequences or more; 0 with the presets seed and tuned-lens", NULL, CBE_BOUNDS(.low = 0, .high = 1, .below = true, .refusal = CBE_OPTION("held-out") " %s: such a share of the sequences cannot be held out; give 0 or more, less than 1")},
    {"held-out-text", 0, OPT_FILES, AT(held_out_text), NULL, "FILE...", "texts held out in place of such a share: the search is on all of --text, and judged on these", NULL, 0},
    {"model-energies", 0, OPT_CHOICE, AT(model_energies), "auto", "WHEN", "energies in the model of vectors found through a lens: yes, no, or auto: if they take less time than the search", cbe_model_energies_choices, 0},
    {"divide", 0, OPT_STRING, AT(divide_text), "auto", "HOW", "of several processes (mpirun, srun): layers, tokens (those of each layer), or a number of groups of processes, of which each has its own layers and divides their tokens; auto: layers, as far as memory allows (docs/scaling.md)", NULL, 0},
    {"resume", 0, OPT_FLAG, AT(resume), NULL, NULL, "go on from FOLDER/checkpoint.safetensors, which an interrupted run leaves, to the same result", NULL, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

static void begin(cbe_run_settings *settings)
{
    settings->skip = (cbe_skip){true, SIZE_MAX}; /* not given */
}

typedef struct {
    cbe_run *run;
    size_t done, own_done; /* layers; those of the process's own group */
    double began;          /* when the first layer's search did; 0: not yet */
} watcher;

/* Says how long the run will take yet, as far as its share that is done tells. */
static void tell_left(watcher *w, double share, size_t size, char *text)
{
    static const double enough = 0.01;
    if (w->began == 0) w->began = cbe_now();
    *text = 0;
    if (!(share > enough)) return;
    const double left = (cbe_now() - w->began) * (1 - share) / share;
    if (left < 100)
        snprintf(text, size, "  about %.0f s left", left);
    else
        snprintf(text, size, "  about %.0f min left", left / 60);
}

/* The own layer in work: its number in the run. */
static size_t own_layer(const watcher *w)
{
    const cbe_run_inputs *in = &w->run->in;
    size_t left = w->own_done;
    for (size_t i = 0; i < in->n_layers; i++)
        if (cbe_layer_is_own(&in->options, i) && left-- == 0) return i;
    return 0;
}

static bool vector_progress(void *context, size_t vector, size_t n_vectors, double energy,
                            size_t evaluations)
{
    watcher *w = context;
    const cbe_run_inputs *in = &w->run->in;
    const size_t layer = in->layers[own_layer(w)];
    char best[32] = "", left[32], state[CBE_STATE_NAME];
    tell_left(w, ((double)w->done + (double)vector / (double)n_vectors) / (double)in->n_layers,
              sizeof left, left);
    cbe_state_name(cbe_site_state(in->options.site, layer), state);
    if (isfinite(energy)) snprintf(best, sizeof best, "  energy %.4f", energy);
    return cbe_working(&w->run->watch, w->done, in->n_layers,
                       "layer %zu (%s), %zu of %zu  vector %zu of %zu%s  evaluations %zu%s", layer,
                       state, w->done + 1, in->n_layers, vector + 1, n_vectors, best, evaluations,
                       left);
}

static bool guides_progress(void *context, size_t done, size_t total)
{
    const watcher *w = context;
    return cbe_working(&w->run->watch, done, total, "gradients of drawn labels, %zu of %zu passes",
                       done, total);
}

static bool layer_done(void *context, const cbe_layer_result *result)
{
    enum { LINE = 160, VERDICTS = 600 };
    watcher *w = context;
    cbe_run *run = w->run;
    const cbe_run_inputs *in = &run->in;
    const cbe_basis *b = &result->basis;
    char line[LINE], verdicts[VERDICTS];
    for (size_t i = 0; i < in->n_layers; i++)
        if (in->layers[i] == result->layer) w->own_done += cbe_layer_is_own(&in->options, i);
    run->results.extract.newest = result;
    char state[CBE_STATE_NAME];
    cbe_state_name(result->state, state);
    snprintf(line, sizeof line, "layer %zu (%s) done (%zu of %zu), %zu vectors, %.1f s",
             result->layer, state, w->done + 1, in->n_layers, b->n_vectors, result->seconds);
    const bool go_on = cbe_tell(&run->watch, CBE_EVENT_LAYER, line, ++w->done, in->n_layers);
    if (b->below_min_energy)
        cbe_note(
            &run->watch,
            "layer %zu ended after %zu vectors: the energy fell below " CBE_OPTION("min-energy"),
            result->layer, b->n_vectors);
    if (cbe_verdicts_line(result, verdicts, sizeof verdicts))
        cbe_warn(&run->watch, "layer %zu (%s): no mere removal: %s", result->layer, state,
                 verdicts);
    return go_on && !run->watch.cancelled;
}

/* Options in force, for basis.json. */
static cbe_status record_options(cbe_run *run, cbe_error *err)
{
    enum { COUNT = sizeof cbe_extract_options / sizeof *cbe_extract_options };
    cbe_extract_results *r = &run->results.extract;
    r->texts = cbe_alloc(COUNT, CBE_OPTION_TEXT, "options", err);
    r->options = cbe_alloc(COUNT, sizeof *r->options, "options", err);
    size_t n = 0;
    if (!r->texts || !r->options) return CBE_ERR_NOMEM;
    for (const cbe_option *o = cbe_extract_options; o->name; o++) {
        char *value = r->texts + n * CBE_OPTION_TEXT;
        if (strcmp(o->name, "quiet") == 0 || strcmp(o->name, "verbose") == 0) continue;
        if (strcmp(o->name, "skip-positions") == 0 && run->in.skip_chosen)
            snprintf(value, CBE_OPTION_TEXT, "auto");
        else if (strcmp(o->name, "skip-positions") == 0)
            snprintf(value, CBE_OPTION_TEXT, "%zu", run->in.options.skip_positions);
        else if (!cbe_option_text(o, &run->settings, value, CBE_OPTION_TEXT))
            continue;
        r->options[n++] = (cbe_run_option){o->name, value};
    }
    r->record.n_options = n;
    r->record.options = r->options;
    return CBE_OK;
}

/* The basis of --init; whether it is one of the model is found out when that is open. */
static cbe_status open_init(cbe_run *run, cbe_error *err)
{
    const cbe_run_settings *s = &run->settings;
    if (!s->init) return CBE_OK;
    if (cbe_preset_is_of_older_program((cbe_preset)s->preset))
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            CBE_OPTION("init") ": the preset %s has its own start; leave out one of the two",
            cbe_preset_name((cbe_preset)s->preset));
    const cbe_status st = cbe_basis_open(&run->basis, s->init, err);
    return st == CBE_OK ? cbe_basis_note(run->basis, &run->read, CBE_INPUT_INIT, err) : st;
}

/* Makes its vectors starts, where it has some for a layer of the run. */
static cbe_status use_init(cbe_run *run, cbe_error *err)
{
    cbe_run_inputs *in = &run->in;
    const cbe_basis_file *init = run->basis;
    size_t n = 0, layer;
    char state[CBE_STATE_NAME];
    if (!init) return CBE_OK;
    cbe_state_name(cbe_site_state(in->options.site, in->layers[0]), state);
    const char *path = cbe_basis_path(init);
    if (cbe_basis_hidden_size(init) != in->decoder->hidden_size)
        return cbe_fail(
            err, CBE_ERR_SHAPE, -1,
            "%s: the vectors have %zu numbers, hidden states %zu: a basis of another model", path,
            cbe_basis_hidden_size(init), in->decoder->hidden_size);
    in->options.init = init;
    for (size_t i = 0; i < in->n_layers; i++)
        n += cbe_init_layer(&in->options, in->layers[i], &layer);
    if (n == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: has no vectors for any layer that " CBE_OPTION(
                            "layers") " asks for at site %s: layer %zu is %s there",
                        path, cbe_site_name(in->options.site), in->layers[0], state);
    cbe_note(&run->watch, "init: %s has vectors for %zu of %zu layers", path, n, in->n_layers);
    return CBE_OK;
}

/* The file that keeps up with the run, and with --resume what an earlier one left: found[0] layers
 * that are done, and found[1] vectors of others. Every process that searches reads it; one writes
 * it. */
static cbe_status open_checkpoint(cbe_checkpoint **out, const char *path, cbe_run *run,
                                  size_t found[2], cbe_error *err)
{
    struct stat info;
    const cbe_run_inputs *in = &run->in;
    cbe_tell(&run->watch, CBE_EVENT_CHECKPOINT, path, 0, 0);
    cbe_status st = cbe_checkpoint_create(out, path, &run->results.extract.record, in->n_layers,
                                          in->layers, run->settings.vectors, in->options.run, err);
    const bool there = stat(path, &info) == 0;
    if (st == CBE_OK && !run->settings.resume) {
        if (there)
            cbe_warn(&run->watch,
                     "%s is of a run that was interrupted, and will be replaced: " CBE_OPTION(
                         "resume") " goes on "
                                   "with it",
                     path);
        return CBE_OK;
    }
    if (st == CBE_OK) st = cbe_checkpoint_load(*out, &found[0], &found[1], err);
    if (st == CBE_OK && !there)
        cbe_note(&run->watch, "resume: there is no %s; the run begins", path);
    else if (st == CBE_OK)
        cbe_note(&run->watch, "resume: %zu of %zu layers are done, and %zu vectors of others",
                 found[0], in->n_layers, found[1]);
    return st;
}

/* Opens it in the processes that search, and makes sure that it is the same file to all of them. */
static cbe_status open_checkpoints(cbe_checkpoint **out, const char *path, cbe_run *run,
                                   cbe_error *err)
{
    const cbe_team *team = &run->team;
    const bool searches = cbe_team_searches(team);
    size_t found[2] = {0, 0}, first[2]; /* layers done, and vectors of others */
    cbe_status st = searches ? open_checkpoint(out, path, run, found, err) : CBE_OK;
    if ((st = cbe_processes_agree(team->all, st, err)) != CBE_OK) return st;
    memcpy(first, found, sizeof first);
    cbe_processes_broadcast(team->all, sizeof first, first);
    if (searches && memcmp(first, found, sizeof first) != 0)
        st = cbe_fail(err, CBE_ERR_IO, -1,
                      "%s: not the file that process 0 sees; to go on, all processes must share "
                      "the output folder",
                      path);
    return cbe_processes_agree(team->all, st, err);
}

/* Says where vectors are searched, if nobody did. */
static void note_within(cbe_run *run, const cbe_layer_objective *objective)
{
    const size_t m = cbe_layer_objective_within(objective);
    if (run->in.options.within != CBE_WITHIN_AUTO) return;
    if (m)
        cbe_note(&run->watch, "within: the first %zu principal components of each layer", m);
    else
        cbe_note(&run->watch,
                 "within: all directions, of which there are too few for %zu vectors in a half",
                 run->settings.vectors);
}

/* A lens fits the text that it was made of better than any other. */
static void warn_of_lens(cbe_run *run)
{
    const cbe_inputs *read = &run->read;
    bool same = run->in.options.held_out_apart == 0;
    for (size_t i = 0; i < read->n && !same; i++)
        for (size_t j = 0; j < read->n && !same; j++)
            same = read->files[i].role == CBE_INPUT_TEXT &&
                   read->files[j].role == CBE_INPUT_HELD_OUT_TEXT &&
                   strcmp(read->files[i].sha256, read->files[j].sha256) == 0;
    if (run->in.lens_fitted && same)
        cbe_warn(&run->watch, "the lens was fitted on the text that it is judged on; " CBE_OPTION(
                                  "held-out-text") " gives another text to judge on");
}

static void fill_record(cbe_run *run, const cbe_layer_objective *objective)
{
    const cbe_run_inputs *in = &run->in;
    cbe_run_record *record = &run->results.extract.record;
    const size_t n_processes = cbe_processes_size(in->options.processes),
                 n_all = cbe_processes_size(run->team.all);
    *record = (cbe_run_record){
        .n_options = record->n_options,
        .options = record->options,
        .n_texts = run->settings.corpus.text.n,
        .inputs = &run->read,
        .kernels = cbe_layer_objective_kernels(objective),
        .logits = cbe_logit_storage_name(cbe_layer_objective_storage(objective, NULL)),
        .n_sequences = cbe_layer_objective_n_sequences(objective),
        .context_length = cbe_hidden_states_context_length(in->states),
        .n_tokens = cbe_layer_objective_n_tokens(objective),
        .n_reported = cbe_report_tokens(objective, in->options.ablation),
        .n_held_out = cbe_layer_objective_n_held_out(objective),
        .model_energies = in->model_energies,
        .skip_positions = in->options.skip_positions,
        .hidden_size = in->decoder->hidden_size,
        .n_processes = n_processes,
        .n_groups = n_all / n_processes};
    if (n_processes > 1 && record->n_groups > 1)
        cbe_note(&run->watch,
                 "processes: %zu, in %zu groups with layers of their own, whose tokens they divide",
                 n_all, record->n_groups);
    else if (n_all > 1)
        cbe_note(&run->watch, "processes: %zu, which divide the %s", n_all,
                 n_processes > 1 ? "tokens" : "layers");
}

/* Keeps the lens that was fitted for the run beside its basis. */
static cbe_status save_lens(cbe_run *run, const char *folder, cbe_error *err)
{
    const cbe_run_inputs *in = &run->in;
    cbe_tuned_lens_config *config = NULL;
    cbe_mapped_file map;
    char *lens = cbe_path_join(folder, lens_folder, err), *params = NULL;
    if (lens) params = cbe_path_join(lens, cbe_lens_format_file(CBE_LENS_SAFETENSORS), err);
    cbe_status st = params ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK)
        st = cbe_tuned_lens_config_create(&config, cbe_model_path(in->model), in->decoder, err);
    if (st == CBE_OK) st = cbe_tuned_lens_save(in->lens, config, lens, CBE_LENS_SAFETENSORS, err);
    if (st == CBE_OK && (st = cbe_mapped_file_open(&map, params, err)) == CBE_OK) {
        cbe_sha256_bytes(map.data, map.size, run->results.extract.record.lens_sha256);
        cbe_mapped_file_close(&map);
    }
    cbe_tuned_lens_config_free(config);
    cbe_free(params);
    cbe_free(lens);
    return st;
}

static cbe_status save_files(cbe_run *run, const char *folder, cbe_error *err)
{
    const cbe_extract_results *r = &run->results.extract;
    const size_t n = run->in.n_layers;
    cbe_byte_buffer table = {0};
    cbe_status st = cbe_vectors_table(&table, n, r->results, err);
    if (st == CBE_OK && run->in.lens_fitted) st = save_lens(run, folder, err);
    if (st == CBE_OK) st = cbe_result_save(folder, n, r->results, &r->record, &table, err);
    cbe_free(table.bytes);
    return st;
}

/* Of rank 0 of each group: all layers of the run, and its files. */
static cbe_status search(cbe_run *run, cbe_layer_objective *objective, cbe_checkpoint *checkpoint,
                         cbe_error *err)
{
    cbe_run_inputs *in = &run->in;
    cbe_extract_results *r = &run->results.extract;
    const char *folder = run->settings.output;
    watcher watch = {.run = run};
    const cbe_extraction_progress hooks = {guides_progress, vector_progress, layer_done, &watch};
    cbe_status st = cbe_extract(objective, in->n_layers, in->layers, in->decoder, &in->options,
                                &hooks, r->results, err);
    if (st != CBE_OK) return st;
    cbe_tell(&run->watch, CBE_EVENT_SAVING, "", 0, 0);
    r->record.seconds = cbe_now() - run->began;
    if (!cbe_team_speaks(&run->team) || !folder) return CBE_OK;
    if ((st = cbe_outputs_check_folder(&run->outputs, err)) != CBE_OK) return st;
    if ((st = save_files(run, folder, err)) != CBE_OK) return st;
    if ((st = cbe_checkpoint_remove(checkpoint, err)) != CBE_OK) return st;
    cbe_warn_of_changes(&run->watch, &run->read);
    cbe_note(&run->watch, "%zu layers in %.1f s; results in %s/basis.safetensors and %s/basis.json",
             in->n_layers, cbe_now() - run->began, folder, folder);
    return CBE_OK;
}

/* What measures vectors in the model. Where that was nobody's wish, lack of memory leaves it
 * out. */
static cbe_status open_model_energies(cbe_run *run, const cbe_layer_objective *objective,
                                      cbe_error *err)
{
    cbe_run_inputs *in = &run->in;
    size_t used;
    cbe_error why;
    if (!in->model_energies) return CBE_OK;
    cbe_layer_objective_storage(objective, &used);
    const size_t memory = in->options.memory, left = memory > used ? memory - used : memory != 0;
    const cbe_status st = cbe_model_energies_create(&in->options.model_energies, in->states,
                                                    in->model, &in->options, left, &why);
    if (st == CBE_OK) return CBE_OK;
    if (st == CBE_ERR_ARG && run->settings.model_energies == CBE_MODEL_ENERGIES_AUTO) {
        in->model_energies = false;
        cbe_note(&run->watch, "energies in the model are left out: memory is too short");
        return CBE_OK;
    }
    if (err) *err = why;
    return st;
}

/* What makes a run of the options: objective, checkpoint, search and files. */
static cbe_status run_extraction(cbe_run *run, cbe_error *err)
{
    cbe_run_inputs *in = &run->in;
    cbe_processes *all = run->team.all;
    cbe_layer_objective *objective = NULL;
    char *path = NULL;
    cbe_checkpoint *checkpoint = NULL;
    cbe_status st = record_options(run, err);
    if (st == CBE_OK && !(run->results.extract.results = cbe_alloc_zero(
                              in->n_layers, sizeof(cbe_layer_result), "results", err)))
        st = CBE_ERR_NOMEM;
    if ((st = cbe_processes_agree(all, st, err)) != CBE_OK) goto done;
    st = cbe_layer_objective_create(&objective, in->states, in->decoder, &in->options, err);
    if ((st = cbe_processes_agree(all, st, err)) != CBE_OK) goto done;
    if (cbe_layer_objective_derangement_unused(objective) || in->derangement_unused)
        cbe_warn_of_derangement(run);
    cbe_note_storage(&run->watch, objective, in);
    note_within(run, objective);
    warn_of_lens(run);
    st = open_model_energies(run, objective, err);
    if ((st = cbe_processes_agree(all, st, err)) != CBE_OK) goto done;
    fill_record(run, objective);
    if (run->settings.output) {
        if (!(path = cbe_path_join(run->settings.output, checkpoint_name, err))) st = CBE_ERR_NOMEM;
        if ((st = cbe_processes_agree(all, st, err)) != CBE_OK) goto done;
        if ((st = open_checkpoints(&checkpoint, path, run, err)) != CBE_OK) goto done;
    }
    in->options.checkpoint = checkpoint;
    if (cbe_team_searches(&run->team)) {
        st = search(run, objective, checkpoint, err);
    } else {
        st = cbe_extract_assist(objective, in->decoder, &in->options, err);
        /* else other groups are at work yet */
        if (st == CBE_OK && run->results.extract.record.n_groups == 1)
            cbe_tell(&run->watch, CBE_EVENT_SAVING, "", 0, 0);
    }
done:
    in->options.checkpoint = NULL;
    cbe_model_energies_free(in->options.model_energies);
    in->options.model_energies = NULL;
    cbe_layer_objective_free(objective);
    cbe_checkpoint_free(checkpoint);
    cbe_free(path);
    return st;
}

/* The folder of the lens, if one is there already. */
static cbe_status declare_lens(cbe_outputs *o, const char *folder, cbe_error *err)
{
    cbe_path_kind kind;
    char *path = cbe_path_join(folder, lens_folder, err);
    cbe_status st = path ? cbe_path_look(path, &kind, err) : CBE_ERR_NOMEM;
    if (st == CBE_OK && kind != CBE_PATH_NOTHING) {
        st = cbe_tuned_lens_prepare(path, CBE_LENS_SAFETENSORS, err);
        if (st == CBE_OK)
            st = cbe_outputs_write(o, "lens/params.safetensors", CBE_OWN_LENS_SAFETENSORS, err);
        if (st == CBE_OK) st = cbe_outputs_write(o, "lens/config.json", CBE_OWN_LENS_CONFIG, err);
    }
    cbe_free(path);
    return st;
}

/* By the process that writes; what is in a checkpoint to go on from is looked at when it is
 * read. */
static cbe_status declare_outputs(cbe_run *run, const char *folder, bool with_checkpoint,
                                  cbe_error *err)
{
    const cbe_run_settings *s = &run->settings;
    cbe_outputs *o = &run->outputs;
    cbe_status st;
    cbe_outputs_begin(o);
    cbe_outputs_read_run(o, s);
    cbe_outputs_read_basis(o, CBE_OPTION("init"), s->init);
    if ((st = cbe_outputs_folder(o, folder, err)) != CBE_OK) return st;
    if ((st = cbe_outputs_write(o, "basis.safetensors", CBE_OWN_BASIS, err)) != CBE_OK) return st;
    if ((st = cbe_outputs_write(o, "basis.json", CBE_OWN_BASIS_RECORD, err)) != CBE_OK) return st;
    if ((st = cbe_outputs_write(o, "vectors.csv", CBE_OWN_VECTORS_TABLE, err)) != CBE_OK) return st;
    if (strcmp(s->lens, "affine") == 0 && (st = declare_lens(o, folder, err)) != CBE_OK) return st;
    if (!with_checkpoint) return CBE_OK;
    return s->resume ? cbe_outputs_write_any(o, checkpoint_name, err)
                     : cbe_outputs_write(o, checkpoint_name, CBE_OWN_CHECKPOINT, err);
}

/* What can be found wrong before the inputs are opened. */
static cbe_status prepare(cbe_run *run, cbe_error *err)
{
    cbe_run_settings *s = &run->settings;
    const bool has_inputs =
        s->corpus.model || s->hidden_states || s->given_model || s->given_states;
    cbe_status st = cbe_parse_divide(&s->divide, s->divide_text, err);
    if (st == CBE_OK && s->resume && !s->output && s->output_optional)
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      CBE_OPTION("resume") " needs " CBE_TERM("-o", "output") ", where the "
                                                                              "checkpoint lies");
    if (st == CBE_OK && cbe_team_speaks(&run->team) && s->output && has_inputs)
        st = declare_outputs(run, s->output, true, err);
    return st == CBE_OK ? open_init(run, err) : st;
}

static cbe_status execute(cbe_run *run, cbe_error *err)
{
    cbe_run_settings *s = &run->settings;
    cbe_run_inputs *in = &run->in;
    cbe_processes *all = run->team.all;
    const cbe_preset preset = (cbe_preset)s->preset;
    const bool old = cbe_preset_is_of_older_program(preset);
    if (s->skip.automatic && s->skip.positions == SIZE_MAX && old) s->skip = (cbe_skip){false, 0};
    if (s->held_out == CBE_SHARE_AUTO && old) s->held_out = 0;
    cbe_status st = cbe_processes_agree(all, prepare(run, err), err);
    if (st != CBE_OK) return st;
    s->made_from = s->corpus.model || s->given_model ? run->basis : NULL;
    if ((st = cbe_run_inputs_open(in, s, &run->watch, err)) != CBE_OK) return st;
    if ((st = cbe_processes_agree(all, use_init(run, err), err)) != CBE_OK) return st;
    s->site = (int)in->options.site;
    cbe_choose_precision(in, s, preset == CBE_PRESET_DEFAULT, &run->watch);
    cbe_search_options *search = &in->options.search;
    search->preset = preset;
    search->n_vectors = s->vectors;
    search->n_starts = s->starts;
    search->max_iterations = s->max_iterations;
    search->min_energy = s->min_energy;
    in->options.held_out = s->held_out == CBE_SHARE_AUTO ? CBE_HELD_OUT_AUTO : s->held_out;
    if (in->options.model && preset == CBE_PRESET_DEFAULT && s->starts)
        cbe_warn(&run->watch,
                 CBE_OPTION("starts") " has no effect: the search in the model has no "
                                      "starts to choose but with " CBE_OPTION("preset") " leaps");
    in->options.covariance = true; /* results have the mean of each layer's states, and kappa */
    return run_extraction(run, err);
}

static cbe_status save(cbe_run *run, const char *folder, cbe_error *err)
{
    cbe_outputs_end(&run->outputs);
    cbe_status st = declare_outputs(run, folder, false, err);
    if (st == CBE_OK) st = save_files(run, folder, err);
    cbe_outputs_end(&run->outputs);
    return st;
}

static const cbe_layer_result *result_at(const cbe_run *run, size_t place)
{
    const cbe_extract_results *r = &run->results.extract;
    return r->results ? &r->results[place] : NULL;
}

static size_t vectors(const cbe_run *run, size_t place, const double **out)
{
    const cbe_layer_result *result = result_at(run, place);
    if (!result || result->basis.n_vectors == 0) return 0;
    *out = result->basis.vectors;
    return result->basis.n_vectors;
}

/* ---- numbers by name ---- */

static size_t give_one(cbe_run *run, double number, const double **out)
{
    double *list = cbe_run_scratch(run, 1);
    if (list) *list = number;
    *out = list;
    return list != NULL;
}

/* The number of a direction; false: there is no such name. */
static bool find_number(const cbe_layer_result *result, const cbe_vector_report *report,
                        const char *name, double *out)
{
    if (strcmp(name, "verdict") == 0) {
        *out = (double)cbe_judge(report, result->ceiling);
        return true;
    }
    if (strcmp(name, "held_out_error") == 0) /* its first name */
        name = cbe_report_column_name(CBE_COLUMN_HELD_OUT_ERROR);
    for (int c = 0; c < CBE_N_COLUMNS; c++)
        if (strcmp(name, cbe_report_column_name((cbe_report_column)c)) == 0) {
            *out = cbe_report_value(report, result->ceiling, (cbe_report_column)c);
            return true;
        }
    return false;
}

/* Numbers of a control, whose names begin with the control's. */
static size_t control_values(cbe_run *run, const cbe_layer_result *result, const char *name,
                             const double **out)
{
    for (int c = 0; c < CBE_N_CONTROLS; c++) {
        const char *control = cbe_control_name((cbe_control)c);
        const size_t length = strlen(control);
        double number;
        if (strncmp(name, control, length) == 0 && name[length] == '.' &&
            find_number(result, &result->controls[c], name + length + 1, &number))
            return give_one(run, number, out);
    }
    return 0;
}

static size_t values(cbe_run *run, size_t place, const char *name, const double **out)
{
    const cbe_layer_result *result = result_at(run, place);
    const size_t n = result ? result->basis.n_vectors : 0;
    double ignored;
    if (n == 0) return 0;
    if (strcmp(name, "ceiling") == 0) return give_one(run, result->ceiling, out);
    if (strcmp(name, "covariance_trace") == 0) return give_one(run, result->covariance_trace, out);
    const bool evaluations = strcmp(name, "evaluations") == 0,
               searched = evaluations || strcmp(name, "seconds") == 0;
    if (!searched && !find_number(result, &result->reports[0], name, &ignored))
        return control_values(run, result, name, out);
    double *list = cbe_run_scratch(run, n);
    for (size_t j = 0; list && j < n; j++) {
        const cbe_vector_record *record = &result->basis.records[j];
        if (searched)
            list[j] = evaluations ? (double)record->evaluations : record->seconds;
        else
            find_number(result, &result->reports[j], name, &list[j]);
    }
    *out = list;
    return list ? n : 0;
}

static void release(cbe_run *run)
{
    cbe_extract_results *r = &run->results.extract;
    if (r->results) cbe_layer_results_free(run->in.n_layers, r->results);
    cbe_free(r->results);
    cbe_free(r->options);
    cbe_free(r->texts);
}

const cbe_run_command cbe_command_extract = {
    "extract", cbe_extract_options, true, begin, execute, save, vectors, values, release};
