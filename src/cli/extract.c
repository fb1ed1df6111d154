/* extract.c - cbe extract: causal bases, the main job. */
#include <math.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/company.h"
#include "cli/interrupt.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "extract/report_columns.h"
#include "extract/verdict.h"
#include "run/run.h"

const cli_command cli_extract_command = {
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
    cbe_extract_options,
    1,
    {offsetof(cbe_run_settings, corpus.model)},
};

typedef struct {
    cli_progress progress;
    const cbe_run *run;
    bool speaks;
} watcher;

/* Prints a row of numbers of a direction. */
static void print_row(const char *name, const cbe_vector_report *r, double ceiling, bool model)
{
    printf("%6s", name);
    cli_number(r->energy, 9, 3);
    cli_number(r->standard_error, 8, 2);
    cli_number(r->held_out_energy, 9, 3);
    cli_number(r->held_out_error, 8, 2);
    cli_number(model ? r->model_energy : r->optimal_energy, 9, 3);
    cli_ratio(r->energy > 0 ? r->half_energy / r->energy : NAN, 6);
    cli_number(r->kappa, 8, 3);
    cli_ratio(cbe_report_value(r, ceiling, CBE_COLUMN_SHARE), 6);
    printf(" %s\n", cbe_verdict_name(cbe_judge(r, ceiling)));
}

static void print_layer(const cbe_layer_result *result, const cbe_run_record *record)
{
    enum { SHOWN = 8 };
    static const char *const controls[CBE_N_CONTROLS] = {"PC 1", "random"};
    const size_t n = result->basis.n_vectors;
    const bool model = record->model_energies;
    char name[24], state[CBE_STATE_NAME];
    cbe_state_name(result->state, state);
    printf("layer %zu (%s), ceiling %.4g nats, ", result->layer, state, result->ceiling);
    if (record->n_held_out)
        printf("%zu of %zu sequences held out", record->n_held_out, record->n_sequences);
    else
        printf("nothing held out");
    if (record->n_reported) printf(",\nenergies on %zu of the tokens searched", record->n_reported);
    printf("\n");
    printf("vector   energy      +- held out      +- %8s  half   kappa   E/I verdict\n",
           model ? "in model" : "optimal");
    for (size_t j = 0; j < n; j++) {
        if (j == SHOWN && n > SHOWN + 1) printf("   ...\n");
        if (j >= SHOWN && j + 1 < n) continue;
        snprintf(name, sizeof name, "%zu", j + 1);
        print_row(name, &result->reports[j], result->ceiling, model);
    }
    for (int c = 0; c < CBE_N_CONTROLS; c++)
        print_row(controls[c], &result->controls[c], result->ceiling, model);
    cli_flush_output();
}

/* Says before the first table that no number in it is of the model, though it is there. */
static void print_left_out(const cbe_run *run)
{
    const cbe_run_inputs *in = &run->in;
    if (in->model && !in->options.model && !run->results.extract.record.model_energies)
        printf("energies in the model are left out; --model-energies yes measures them\n");
}

static bool watch(void *context, cbe_event event, const char *text, size_t done, size_t total)
{
    watcher *w = context;
    if (event == CBE_EVENT_LAYER && w->speaks) {
        cli_status_clear(&w->progress);
        if (done == 1) print_left_out(w->run);
        print_layer(w->run->results.extract.newest, &w->run->results.extract.record);
    }
    return cli_watch(&w->progress, event, text, done, total);
}

int cli_extract(int argc, char **argv)
{
    cbe_error err = {0};
    bool help = false;
    cbe_run *run = NULL;
    watcher w = {0};
    cbe_status st = cbe_run_create(&run, cli_extract_command.name, &err);
    if (st != CBE_OK) return cli_report(&err);
    run->settings.output_optional = false;
    st = cli_begin_shared(&cli_extract_command, run, argc, argv, &help, &err);
    cli_progress_shared(&w.progress, run);
    w.run = run;
    w.speaks = cbe_team_speaks(&run->team);
    return cli_execute_shared(&cli_extract_command, run, st, help, watch, &w, &err);
}
