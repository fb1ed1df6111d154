/* extract.c - cbe extract: causal bases, the main job. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "extract/basis_file.h"
#include "extract/checkpoint.h"
#include "extract/layer_starts.h"
#include "extract/result_files.h"
#include "search/rules.h"
#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/outputs.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/clock.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/path.h"

typedef struct {
    cli_run run;
    size_t starts, max_iterations;
    int preset;
    const char *init;
    double min_energy, held_out;
    bool resume;
    const char *divide;
} extract_options;

static const char checkpoint_name[] = "checkpoint.safetensors";
static const char *const presets[] = {"default", "seed", "tuned-lens", NULL};
_Static_assert(sizeof presets / sizeof *presets == CBE_N_PRESETS + 1, "in the order of the enum");

#define AT(field) offsetof(extract_options, field)
/* The digits of a number that a rule has. */
#define TEXT_OF(number)   DIGITS_OF(number)
#define DIGITS_OF(number) #number
/* clang-format off */
static const cli_option options[] = {
    CLI_INPUT_OPTIONS(extract_options, NULL),
    {"vectors", 'k', OPT_COUNT, AT(run.vectors), "4", "K", "vectors of each layer; 0: as many as the hidden size", NULL, CLI_RANGE(0, CLI_MOST_COUNT)},
    {"preset", 0, OPT_CHOICE, AT(preset), "default", "NAME", "default, seed or tuned-lens: how is searched (docs/search.md)", presets, 0},
    {"starts", 0, OPT_COUNT, AT(starts), NULL, "S", "candidates refined for each vector, preset default; not given: " TEXT_OF(CBE_FIRST_STARTS) " and more, " TEXT_OF(CBE_LEAP_STARTS) " with --lens model (docs/search.md)", NULL, CLI_RANGE(1, CLI_MOST_COUNT)},
    {"init", 0, OPT_STRING, AT(init), NULL, "BASIS", "a result folder, or its basis.safetensors, whose vectors are among the starts, preset default", NULL, 0},
    {"max-iter", 0, OPT_COUNT, AT(max_iterations), TEXT_OF(CBE_MAX_ITERATIONS), "M", "L-BFGS iterations of one start", NULL, CLI_RANGE(1, CLI_MOST_STEPS)},
    {"min-energy", 0, OPT_NUMBER, AT(min_energy), "0", "E", "a vector below E nats is kept and ends its layer; 0: never", NULL, CLI_RANGE(0, CLI_MOST_NUMBER)},
    {"held-out", 0, OPT_NUMBER, AT(held_out), "0", "FRACTION", "of the sequences, left out of the search; energies are reported on them too", NULL, CLI_BOUNDS(.low = 0, .high = 1, .below = true, .refusal = "--held-out %s: such a share of the sequences cannot be held out; give 0 or more, less than 1")},
    {"divide", 0, OPT_STRING, AT(divide), "auto", "HOW", "of several processes (mpirun, srun): layers, tokens (those of each layer), or a number of groups of processes, of which each has its own layers and divides their tokens; auto: layers, as far as memory allows (docs/scaling.md)", NULL, 0},
    {"resume", 0, OPT_FLAG, AT(resume), NULL, NULL, "go on from FOLDER/checkpoint.safetensors, which an interrupted run leaves, to the same result", NULL, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

static const cli_command command = {
    "extract",
    "MODEL --text FILE... -o FOLDER [options]\n"
    "       cbe extract --hidden-states FILE --decoder FILE -o FOLDER [options]",
    "causal bases of a model's layers",
    "For each layer, orthonormal directions of the residual stream, each the one whose ablation "
    "changes the\n"
    "next-token distribution most. MODEL is a .gguf file or a Hugging Face folder. Results: "
    "FOLDER/basis.safetensors\n"
    "(layers.<i>.basis [d, k], layers.<i>.energies [k]) and FOLDER/basis.json; a table on standard "
    "output.\n"
    "--skip-positions is auto, or 0 with the presets seed and tuned-lens, unless given. Several "
    "processes share the work when\n"
    "a launcher starts them: mpirun -n 4 cbe extract ... (docs/scaling.md).",
    options,
    1,
    {AT(run.corpus.model)},
};

typedef struct {
    cli_progress *progress;
    const cli_inputs *in;
    size_t done, own_done; /* layers; those of the process's own group */
    bool header, speaks;
} watcher;

/* The own layer in work: its number in the run. */
static size_t own_layer(const watcher *w)
{
    size_t left = w->own_done;
    for (size_t i = 0; i < w->in->n_layers; i++)
        if (cbe_layer_is_own(&w->in->options, i) && left-- == 0) return i;
    return 0;
}

static bool vector_progress(void *context, size_t vector, size_t n_vectors, double energy,
                            size_t evaluations)
{
    const watcher *w = context;
    cli_progress_release(w->progress);
    cli_status_line(w->progress,
                    "layer %zu (%zu of %zu)  vector %zu of %zu  energy %.4f  evaluations %zu",
                    w->in->layers[own_layer(w)], w->done + 1, w->in->n_layers, vector + 1,
                    n_vectors, energy, evaluations);
    return cli_interrupt_signal() == 0;
}

static void print_row(const cbe_layer_result *result, bool header)
{
    enum { SHOWN = 8 };
    const cbe_basis *b = &result->basis;
    const size_t shown = b->n_vectors < SHOWN ? b->n_vectors : SHOWN;
    if (header) printf("layer  seconds  evaluations  energies (nats)\n");
    size_t evaluations = 0;
    for (size_t j = 0; j < b->n_vectors; j++) evaluations += b->records[j].evaluations;
    printf("%5zu  %7.1f  %11zu ", result->layer, result->seconds, evaluations);
    for (size_t j = 0; j < shown; j++) printf(" %9.5g", b->records[j].energy);
    if (shown < b->n_vectors) printf("  ... %9.5g", b->records[b->n_vectors - 1].energy);
    printf("\n");
    cli_flush_output();
}

static bool layer_done(void *context, const cbe_layer_result *result)
{
    watcher *w = context;
    const cbe_basis *b = &result->basis;
    for (size_t i = 0; i < w->in->n_layers; i++)
        if (w->in->layers[i] == result->layer) w->own_done += cbe_layer_is_own(&w->in->options, i);
    if (!w->speaks) return cli_interrupt_signal() == 0;
    cli_status_clear(w->progress);
    print_row(result, !w->header);
    w->header = true;
    w->done++;
    if (!w->progress->terminal)
        cli_say(w->progress, "layer %zu done (%zu of %zu), %zu vectors, %.1f s", result->layer,
                w->done, w->in->n_layers, b->n_vectors, result->seconds);
    if (b->below_min_energy)
        cli_say(w->progress,
                "layer %zu ended after %zu vectors: the energy fell below --min-energy",
                result->layer, b->n_vectors);
    return cli_interrupt_signal() == 0;
}

/* Options in force, for basis.json. */
static cbe_status record_options(const extract_options *given, const cli_inputs *in,
                                 cbe_run_option **out, size_t *n, char **text, cbe_error *err)
{
    enum {
        VALUE = 4608 /* a path, or a list of layers */,
        COUNT = sizeof options / sizeof *options
    };
    char *values = cbe_alloc(COUNT, VALUE, "options", err);
    cbe_run_option *list = cbe_alloc(COUNT, sizeof *list, "options", err);
    *text = values;
    *out = list;
    *n = 0;
    if (!values || !list) return CBE_ERR_NOMEM;
    for (const cli_option *o = options; o->name; o++) {
        char *value = values + *n * VALUE;
        if (strcmp(o->name, "quiet") == 0 || strcmp(o->name, "verbose") == 0) continue;
        if (strcmp(o->name, "skip-positions") == 0 && in->skip_chosen)
            snprintf(value, VALUE, "auto");
        else if (strcmp(o->name, "skip-positions") == 0)
            snprintf(value, VALUE, "%zu", in->options.skip_positions);
        else if (!cli_value(o, given, value, VALUE))
            continue;
        list[(*n)++] = (cbe_run_option){o->name, value};
    }
    return CBE_OK;
}

/* The basis of --init; whether it is one of the model is found out when that is open. */
static cbe_status open_init(cbe_basis_file **out, const extract_options *given, cbe_error *err)
{
    if (!given->init) return CBE_OK;
    if (given->preset != CBE_PRESET_DEFAULT)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "--init: the preset %s has its own start; leave out one of the two",
                        cbe_preset_name((cbe_preset)given->preset));
    const cbe_status st = cbe_basis_open(out, given->init, err);
    return st == CBE_OK ? cbe_basis_note(*out, given->run.corpus.inputs, CBE_INPUT_INIT, err) : st;
}

/* Makes its vectors starts, where it has some for a layer of the run. */
static cbe_status use_init(cli_inputs *in, const cbe_basis_file *init, cli_progress *progress,
                           cbe_error *err)
{
    size_t n = 0, layer;
    if (!init) return CBE_OK;
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
                        "%s: has no vectors for any layer that --layers asks for at site %s", path,
                        cbe_site_name(in->options.site));
    cli_say(progress, "init: %s has vectors for %zu of %zu layers", path, n, in->n_layers);
    return CBE_OK;
}

/* The file that keeps up with the run, and with --resume what an earlier one left: found[0] layers
 * that are done, and found[1] vectors of others. Those who search read it, one writes it. */
static cbe_status open_checkpoint(cbe_checkpoint **out, char **path, const extract_options *given,
                                  const cli_inputs *in, const cbe_run_record *record,
                                  size_t found[2], cli_progress *progress, cbe_error *err)
{
    struct stat info;
    if (!(*path = cbe_path_join(given->run.output, checkpoint_name, err))) return CBE_ERR_NOMEM;
    cli_interrupt_resumes_from(*path);
    cbe_status st = cbe_checkpoint_create(out, *path, record, in->n_layers, in->layers,
                                          given->run.vectors, in->options.run, err);
    const bool there = stat(*path, &info) == 0;
    if (st == CBE_OK && !given->resume) {
        if (there)
            cli_warn(progress,
                     "%s is of a run that was interrupted, and will be replaced: --resume goes on "
                     "with it",
                     *path);
        return CBE_OK;
    }
    if (st == CBE_OK) st = cbe_checkpoint_load(*out, &found[0], &found[1], err);
    if (st == CBE_OK && !there)
        cli_say(progress, "resume: there is no %s; the run begins", *path);
    else if (st == CBE_OK)
        cli_say(progress, "resume: %zu of %zu layers are done, and %zu vectors of others", found[0],
                in->n_layers, found[1]);
    return st;
}

/* Opens it in the processes that search, and makes sure that it is the same file to all of them. */
static cbe_status open_checkpoints(cbe_checkpoint **out, char **path, const extract_options *given,
                                   const cli_inputs *in, const cbe_run_record *record,
                                   cli_progress *progress, cbe_error *err)
{
    const cli_team *team = given->run.team;
    const bool searches = cli_team_searches(team);
    size_t found[2] = {0, 0}, first[2]; /* layers done, and vectors of others */
    cbe_status st =
        searches ? open_checkpoint(out, path, given, in, record, found, progress, err) : CBE_OK;
    if ((st = cbe_processes_agree(team->all, st, err)) != CBE_OK) return st;
    memcpy(first, found, sizeof first);
    cbe_processes_broadcast(team->all, sizeof first, first);
    if (searches && memcmp(first, found, sizeof first) != 0)
        st = cbe_fail(err, CBE_ERR_IO, -1,
                      "%s: not the file that process 0 sees; to go on, all processes must share "
                      "the output folder",
                      *path);
    return cbe_processes_agree(team->all, st, err);
}

/* What makes a run of the options: objective, checkpoint, search and files. */
static cbe_status run_extraction(const extract_options *given, cli_inputs *in,
                                 const cli_outputs *outputs, cli_progress *progress, double began,
                                 cbe_error *err)
{
    const cli_team *team = given->run.team;
    const bool speaks = cli_team_speaks(team);
    cbe_layer_objective *objective = NULL;
    cbe_layer_result *results = NULL;
    cbe_run_option *recorded = NULL;
    char *recorded_text = NULL, *checkpoint_path = NULL;
    cbe_checkpoint *checkpoint = NULL;
    size_t n_recorded = 0;
    cbe_status st = record_options(given, in, &recorded, &n_recorded, &recorded_text, err);
    if (st == CBE_OK && !(results = cbe_alloc_zero(in->n_layers, sizeof *results, "results", err)))
        st = CBE_ERR_NOMEM;
    if ((st = cbe_processes_agree(team->all, st, err)) != CBE_OK) goto done;
    st = cbe_layer_objective_create(&objective, in->states, in->decoder, &in->options, err);
    if ((st = cbe_processes_agree(team->all, st, err)) != CBE_OK) goto done;
    if (cbe_layer_objective_derangement_unused(objective))
        cli_warn(progress, "the derangement given is one of all tokens; with some left out one "
                           "from --seed is used");
    cli_say_storage(progress, objective, in);
    const size_t skip = in->options.skip_positions,
                 n_processes = cbe_processes_size(in->options.processes);
    cbe_run_record record = {n_recorded,
                             recorded,
                             given->run.corpus.text.n,
                             given->run.corpus.inputs,
                             cbe_layer_objective_kernels(objective),
                             cbe_logit_storage_name(cbe_layer_objective_storage(objective, NULL)),
                             cbe_layer_objective_n_sequences(objective),
                             cbe_hidden_states_context_length(in->states),
                             cbe_layer_objective_n_tokens(objective),
                             cbe_layer_objective_n_held_out(objective),
                             skip,
                             in->decoder->hidden_size,
                             n_processes,
                             cbe_processes_size(team->all) / n_processes,
                             0};
    if (n_processes > 1 && record.n_groups > 1)
        cli_say(progress,
                "processes: %zu, in %zu groups with layers of their own, whose tokens they divide",
                n_processes * record.n_groups, record.n_groups);
    else if (cbe_processes_size(team->all) > 1)
        cli_say(progress, "processes: %zu, which divide the %s", n_processes * record.n_groups,
                n_processes > 1 ? "tokens" : "layers");
    if ((st = open_checkpoints(&checkpoint, &checkpoint_path, given, in, &record, progress, err)) !=
        CBE_OK)
        goto done;
    in->options.checkpoint = checkpoint;
    if (!cli_team_searches(team)) {
        st = cbe_extract_assist(objective, in->decoder, &in->options, err);
        /* else other groups are at work yet */
        if (st == CBE_OK && record.n_groups == 1) cli_interrupt_finish();
        goto done;
    }
    watcher watch = {progress, in, 0, 0, false, speaks};
    const cbe_extraction_progress hooks = {vector_progress, layer_done, &watch};
    st = cbe_extract(objective, in->n_layers, in->layers, in->decoder, &in->options, &hooks,
                     results, err);
    if (st != CBE_OK) goto done;
    cli_interrupt_finish();
    if (!speaks) goto done;
    record.seconds = cbe_now() - began;
    if ((st = cli_outputs_check_folder(outputs, err)) != CBE_OK) goto done;
    if ((st = cbe_result_save(given->run.output, in->n_layers, results, &record, err)) != CBE_OK)
        goto done;
    if ((st = cbe_checkpoint_remove(checkpoint, err)) != CBE_OK) goto done;
    cli_warn_of_changes(progress, given->run.corpus.inputs);
    cli_say(progress, "%zu layers in %.1f s; results in %s/basis.safetensors and %s/basis.json",
            in->n_layers, cbe_now() - began, given->run.output, given->run.output);
done:
    if (results) cbe_layer_results_free(in->n_layers, results);
    cbe_free(results);
    cbe_free(recorded);
    cbe_free(recorded_text);
    cbe_layer_objective_free(objective);
    cbe_checkpoint_free(checkpoint);
    cbe_free(checkpoint_path);
    return st;
}

/* By the process that writes; what is in a checkpoint to go on from is looked at when it is read.
 * */
static cbe_status declare_outputs(cli_outputs *o, const extract_options *given, cbe_error *err)
{
    cbe_status st;
    if (!given->run.output || (!given->run.corpus.model && !given->run.hidden_states))
        return CBE_OK;
    cli_outputs_begin(o);
    cli_outputs_read_run(o, &given->run);
    cli_outputs_read_basis(o, "--init", given->init);
    if ((st = cli_outputs_folder(o, given->run.output, err)) != CBE_OK) return st;
    if ((st = cli_outputs_write(o, "basis.safetensors", CLI_OWN_BASIS, err)) != CBE_OK) return st;
    if ((st = cli_outputs_write(o, "basis.json", CLI_OWN_BASIS_RECORD, err)) != CBE_OK) return st;
    return given->resume ? cli_outputs_write_any(o, checkpoint_name, err)
                         : cli_outputs_write(o, checkpoint_name, CLI_OWN_CHECKPOINT, err);
}

/* What can be found wrong before the inputs are opened. */
static cbe_status prepare(extract_options *given, cli_outputs *outputs, cbe_basis_file **init,
                          cbe_error *err)
{
    cbe_status st = cli_parse_divide(&given->run.divide, given->divide, err);
    if (st == CBE_OK && cli_team_speaks(given->run.team)) st = declare_outputs(outputs, given, err);
    return st == CBE_OK ? open_init(init, given, err) : st;
}

int cli_extract(int argc, char **argv)
{
    extract_options given = {0};
    cbe_error err = {0};
    bool help = false;
    cli_team team = {.group_size = 1};
    cli_inputs in = {0};
    cbe_inputs read = {.digests = true};
    cli_progress progress;
    cbe_basis_file *init = NULL;
    cli_outputs outputs = {0};
    const double began = cbe_now();

    given.run.skip.automatic = true;
    given.run.skip.positions = SIZE_MAX; /* not given */
    given.run.site = CBE_N_SITES;        /* likewise */
    given.run.team = &team;
    given.run.corpus.inputs = &read;
    given.run.command = &command;
    cbe_status st = cli_parse(&command, argc, argv, &given, &help, &err);
    cbe_error start_err = {0};
    const cbe_status started = cli_team_start(&team, &given.run.corpus, &start_err);
    if (st == CBE_OK && !help && started != CBE_OK) {
        st = started;
        err = start_err;
    }
    /* What was typed for one process alone must not leave the others waiting for it. */
    double helped = help;
    cbe_processes_sum(team.all, 1, &helped);
    help = helped > 0;
    st = cbe_processes_agree(team.all, st, &err);
    const bool speaks = cli_team_speaks(&team);
    cli_progress_init(&progress, given.run.corpus.quiet || !speaks,
                      given.run.corpus.verbose && speaks);
    if (!speaks) cli_progress_silence(&progress);
    if (st != CBE_OK || help) goto done;
    const cbe_preset preset = (cbe_preset)given.preset;
    if (given.run.skip.automatic && given.run.skip.positions == SIZE_MAX &&
        preset != CBE_PRESET_DEFAULT)
        given.run.skip = (cli_skip){false, 0};
    cli_interrupt_note(speaks);
    if ((st = cbe_processes_agree(team.all, prepare(&given, &outputs, &init, &err), &err)) !=
        CBE_OK)
        goto done;
    given.run.made_from = given.run.corpus.model ? init : NULL;
    if ((st = cli_inputs_open(&in, &given.run, &progress, &err)) != CBE_OK) goto done;
    if ((st = cbe_processes_agree(team.all, use_init(&in, init, &progress, &err), &err)) != CBE_OK)
        goto done;
    given.run.site = (int)in.options.site;
    cbe_search_options *search = &in.options.search;
    search->preset = preset;
    search->n_vectors = given.run.vectors;
    search->n_starts = given.starts;
    search->max_iterations = given.max_iterations;
    search->min_energy = given.min_energy;
    in.options.held_out = given.held_out;
    st = run_extraction(&given, &in, &outputs, &progress, began, &err);
done:
    if (help && speaks) cli_print_help(&command);
    const bool interrupted = st == CBE_ERR_CANCELLED && cli_interrupt_signal(),
               groups = cbe_processes_size(in.options.processes) < cbe_processes_size(team.all);
    int status = st == CBE_OK  ? cli_finish_output()
                 : interrupted ? cli_interrupt_status()
                               : CLI_FAILED;
    cli_interrupt_said();
    if (interrupted && speaks) cli_interrupt_say();
    if (st != CBE_OK && !interrupted) status = speaks ? cli_report(&err) : CLI_FAILED;
    /* Other groups may be at work for hours yet. */
    if (st != CBE_OK && speaks && in.options.run && groups) cbe_processes_abort(team.all, status);
    cli_inputs_close(&in);
    cbe_inputs_free(&read);
    cli_outputs_end(&outputs);
    cbe_basis_close(init);
    cli_free(&command, &given);
    return cli_team_end(&team, status);
}
