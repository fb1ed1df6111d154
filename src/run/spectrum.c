/* spectrum.c - a run of spectrum: what each layer's states carry to the output, by label-sampled
 * gradients. */
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "extract/skip_positions.h"
#include "run/run.h"
#include "run/spectrum_checkpoint.h"

enum { SKIP_SEQUENCES = 8 /* that skip-positions auto looks at */ };

#define AT(field) offsetof(cbe_run_settings, field)
/* clang-format off */
const cbe_option cbe_spectrum_options[] = {
    CBE_TEXT_OPTIONS(cbe_run_settings, corpus, ""),
    {"output", 'o', OPT_STRING, AT(output), NULL, "FOLDER", "where spectrum.json and spectrum.csv go; not given: the table alone", NULL, 0},
    {"layers", 'l', OPT_LAYERS, AT(layers), "all", "LIST", "layers, as in 0-29,31, or all", NULL, 0},
    {"site", 0, OPT_CHOICE, AT(site), NULL, "SITE", "pre: the input of block i, post: its output; not given: post", cbe_site_choices, 0},
    {"draws", 'r', OPT_COUNT, AT(draws), "8", "R", "labels drawn at each token, a backward pass for each", NULL, CBE_RANGE(1, CBE_MOST_COUNT)},
    CBE_SEQUENCE_OPTIONS(cbe_run_settings, corpus),
    {"skip-positions", 0, OPT_SKIP, AT(skip), "auto", "P|auto", "first positions of each sequence left out; auto: 1 where their norms are huge", NULL, 0},
    {"seed", 0, OPT_SEED, AT(seed), "0", "N", "of the labels drawn", NULL, 0},
    CBE_THREAD_OPTION(cbe_run_settings, corpus),
    CBE_MEMORY_OPTION(cbe_run_settings, corpus, "memory that may be used"),
    {"checkpoint-seconds", 0, OPT_COUNT, AT(checkpoint_seconds), "60", "SECONDS", "least time between checkpoints", NULL, CBE_RANGE(0, CBE_MOST_COUNT)},
    {"resume", 0, OPT_FLAG, AT(resume), NULL, NULL, "go on from FOLDER/checkpoint.safetensors, which an interrupted run leaves, to the same result", NULL, 0},
    CBE_TALK_OPTIONS(cbe_run_settings, corpus, "say more about inputs and choices"),
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

static void begin(cbe_run_settings *settings)
{
    settings->lens = "model";
    settings->divide = (cbe_divide){CBE_DIVIDE_TOKENS, 0};
}

/* Of the first sequences of the text, the same in every process. */
static cbe_status choose_skip(cbe_run *run, const cbe_tokens *tokens, cbe_error *err)
{
    cbe_run_inputs *in = &run->in;
    const size_t n_states = cbe_model_get_config(in->model)->n_layers + 1;
    const cbe_tokens first = {.n_sequences = cbe_min_size(tokens->n_sequences, SKIP_SEQUENCES),
                              .context_length = tokens->context_length,
                              .ids = tokens->ids};
    cbe_hidden_states *states = NULL;
    size_t skip = 0;
    bool *wanted = cbe_alloc_zero(n_states, sizeof *wanted, "layers", err);
    cbe_status st = wanted ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < in->n_layers && st == CBE_OK; i++)
        wanted[cbe_site_state(in->options.site, in->layers[i])] = true;
    if (st == CBE_OK)
        st = cbe_hidden_states_capture(&states, in->model, &first, wanted, cbe_watch_forward,
                                       &run->watch, err);
    if (st == CBE_OK)
        st = cbe_choose_skip_positions(states, in->options.site, in->n_layers, in->layers, &skip,
                                       err);
    cbe_hidden_states_close(states);
    cbe_free(wanted);
    if (st != CBE_OK) return st;
    in->options.skip_positions = skip;
    in->skip_chosen = true;
    cbe_note(&run->watch, "skip-positions: %zu (%s)", skip,
             skip ? "the first position of each sequence has a huge norm and is left out"
                  : "no position has a huge norm");
    return CBE_OK;
}

static cbe_status declare_outputs(cbe_run *run, const char *folder, bool with_checkpoint,
                                  cbe_error *err)
{
    cbe_outputs *o = &run->outputs;
    cbe_outputs_begin(o);
    cbe_outputs_read_corpus(o, &run->settings.corpus);
    cbe_status st = cbe_outputs_folder(o, folder, err);
    if (st == CBE_OK) st = cbe_outputs_write(o, "spectrum.json", CBE_OWN_SPECTRUM_RECORD, err);
    if (st == CBE_OK) st = cbe_outputs_write(o, "spectrum.csv", CBE_OWN_SPECTRUM_TABLE, err);
    if (st != CBE_OK || !with_checkpoint) return st;
    return run->settings.resume
               ? cbe_outputs_write_any(o, CBE_SPECTRUM_CHECKPOINT, err)
               : cbe_outputs_write(o, CBE_SPECTRUM_CHECKPOINT, CBE_OWN_SPECTRUM_CHECKPOINT, err);
}

static bool show_progress(void *context, size_t done, size_t total)
{
    return cbe_working(context, done, total, "label-sampled gradients: %.0f%%",
                       100.0 * (double)done / (double)total);
}

static bool tell_layer(void *context, size_t place)
{
    cbe_run *run = context;
    return cbe_tell_layer(run, place, NULL) == CBE_OK;
}

static cbe_status run_spectra(cbe_run *run, const cbe_tokens *tokens,
                              const cbe_spectra_checkpoint *checkpoint, cbe_error *err)
{
    const cbe_run_settings *s = &run->settings;
    cbe_run_inputs *in = &run->in;
    cbe_spectrum_results *r = &run->results.spectrum;
    cbe_spectra_plan plan;
    size_t first, n, *states = cbe_alloc(in->n_layers, sizeof *states, "layers", err);
    cbe_team_share(&run->team, tokens->n_sequences, &first, &n);
    const cbe_spectra_options options = {
        .gradients = {.n_sequences = n,
                      .context_length = tokens->context_length,
                      .ids = tokens->ids + first * tokens->context_length,
                      .first_sequence = first,
                      .all_sequences = tokens->n_sequences,
                      .skip_positions = in->options.skip_positions,
                      .n_draws = s->draws,
                      .seed = s->seed,
                      .memory = in->options.memory,
                      .progress = show_progress,
                      .context = &run->watch},
        .n_states = in->n_layers,
        .states = states,
        .processes = cbe_team_tokens(&run->team),
        .checkpoint = checkpoint,
        .tell = tell_layer,
        .context = run};
    r->spectra = cbe_alloc_zero(in->n_layers, sizeof *r->spectra, "results", err);
    cbe_status st = states && r->spectra ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < in->n_layers && st == CBE_OK; i++)
        states[i] = cbe_site_state(in->options.site, in->layers[i]);
    st = cbe_processes_agree(run->team.all, st, err);
    if (st == CBE_OK) st = cbe_spectra_choose(&plan, in->model, &options, err);
    if (st == CBE_OK) {
        cbe_note(&run->watch,
                 "memory: %zu sequences run at once, %s, %.2f GB; sums of %zu layers at once, "
                 "%.2f GB; %.2f GB allowed in all",
                 plan.gradients.n_sequences,
                 plan.gradients.recompute ? "blocks anew on the way back" : "all activations kept",
                 1e-9 * (double)plan.gradients.bytes, plan.n_states, 1e-9 * (double)plan.bytes,
                 1e-9 * (double)in->memory);
        st = cbe_spectra_run(in->model, &options, r->spectra, err);
    }
    cbe_free(states);
    r->record = (cbe_spectrum_record){.model = cbe_model_path(in->model),
                                      .tokens = s->corpus.tokens,
                                      .n_texts = s->corpus.text.n,
                                      .texts = s->corpus.text.paths,
                                      .site = cbe_site_name(in->options.site),
                                      .seed = s->seed,
                                      .n_sequences = tokens->n_sequences,
                                      .context_length = tokens->context_length,
                                      .skip_positions = in->options.skip_positions,
                                      .n_tokens = r->spectra ? r->spectra[0].n_tokens : 0,
                                      .n_draws = s->draws};
    return st;
}

/* The speaker alone has results. */
static cbe_status put_in_place(cbe_run *run, cbe_error *err)
{
    const cbe_spectrum_results *r = &run->results.spectrum;
    const char *folder = run->settings.output;
    if (!cbe_team_speaks(&run->team)) return CBE_OK;
    cbe_tell(&run->watch, CBE_EVENT_SAVING, "", 0, 0);
    cbe_status st = cbe_outputs_check_folder(&run->outputs, err);
    if (st == CBE_OK && folder)
        st = cbe_spectrum_save(folder, run->in.n_layers, run->in.layers, r->spectra, &r->record,
                               err);
    if (st == CBE_OK) cbe_warn_of_changes(&run->watch, &run->read);
    return st;
}

static cbe_status execute(cbe_run *run, cbe_error *err)
{
    cbe_run_settings *s = &run->settings;
    cbe_processes *all = run->team.all;
    cbe_tokens tokens = {0};
    cbe_spectrum_checkpoint checkpoint = {0};
    cbe_status st = CBE_OK;
    if (s->resume && !s->output)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        CBE_OPTION("resume") " needs " CBE_TERM("-o", "output") ", where the "
                                                                                "checkpoint lies");
    if (s->output && cbe_team_speaks(&run->team)) st = declare_outputs(run, s->output, true, err);
    if ((st = cbe_processes_agree(all, st, err)) != CBE_OK) return st;
    st = cbe_run_inputs_open_tokens(&run->in, s, &tokens, &run->watch, err);
    if (st == CBE_OK) {
        run->in.options.skip_positions = s->skip.positions;
        if (s->skip.automatic) st = choose_skip(run, &tokens, err);
        st = cbe_processes_agree(all, st, err);
    }
    if (st == CBE_OK)
        st = cbe_processes_agree(all, cbe_spectrum_checkpoint_init(&checkpoint, run, &tokens, err),
                                 err);
    if (st == CBE_OK) st = run_spectra(run, &tokens, &checkpoint.checkpoint, err);
    cbe_tokens_free(&tokens);
    if (st == CBE_OK) st = cbe_processes_agree(all, put_in_place(run, err), err);
    if (st == CBE_OK)
        st = cbe_processes_agree(all, cbe_spectrum_checkpoint_remove(&checkpoint, err), err);
    cbe_spectrum_checkpoint_free(&checkpoint);
    return st;
}

static cbe_status save(cbe_run *run, const char *folder, cbe_error *err)
{
    const cbe_spectrum_results *r = &run->results.spectrum;
    cbe_outputs_end(&run->outputs);
    cbe_status st = declare_outputs(run, folder, false, err);
    if (st == CBE_OK)
        st = cbe_spectrum_save(folder, run->in.n_layers, run->in.layers, r->spectra, &r->record,
                               err);
    cbe_outputs_end(&run->outputs);
    return st;
}

static size_t values(cbe_run *run, size_t place, const char *name, const double **out)
{
    const cbe_state_spectrum *s =
        run->results.spectrum.spectra ? &run->results.spectrum.spectra[place] : NULL;
    if (!s || !s->energies) return 0;
    const bool energies = strcmp(name, "energy") == 0;
    if (energies || strcmp(name, "variance") == 0) {
        *out = energies ? s->energies : s->variances;
        return s->hidden_size;
    }
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"sum", s->energy.sum},
                   {"dimensions_50", (double)s->energy.half},
                   {"dimensions_90", (double)s->energy.ninety},
                   {"dimensions_99", (double)s->energy.ninety_nine},
                   {"participation", s->energy.participation},
                   {"variance_participation", s->variance.participation}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(name, numbers[i].name) == 0) {
            double *one = cbe_run_scratch(run, 1);
            if (one) *one = numbers[i].value;
            *out = one;
            return one != NULL;
        }
    return 0;
}

static void release(cbe_run *run)
{
    cbe_spectrum_results *r = &run->results.spectrum;
    for (size_t i = 0; r->spectra && i < run->in.n_layers; i++)
        cbe_state_spectrum_free(&r->spectra[i]);
    cbe_free(r->spectra);
}

const cbe_run_command cbe_command_spectrum = {
    "spectrum", cbe_spectrum_options, true, begin, execute, save, NULL, values, release};
