/* fidelity.c - cbe fidelity: whether a lens answers ablations as the model does. */
#include <math.h>
#include <stdio.h>

#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "run/run.h"

const cli_command cli_fidelity_command = {
    "fidelity",
    "MODEL --basis FOLDER|FILE (--text FILE... | --tokens FILE) [--lens LENS] [options]",
    "whether a lens answers ablations as the model does",
    "Takes directions out of the hidden states, reads the output through a lens and in the model, "
    "and prints for each layer:\n"
    "Spearman's correlation of both energies over the first vectors of the basis, as many "
    "principal "
    "components and random\n"
    "directions, with a 95% interval; and the alignment of both changes of logits when the span of "
    "the basis's first vectors is\n"
    "taken out, with its standard error over sequences. In the model all tokens are ablated "
    "together, or each token alone (own).\n"
    "The second line of a layer has directions with kappa below 10 alone.",
    cbe_fidelity_rows,
    1,
    {offsetof(cbe_run_settings, corpus.model)},
};

static void print_header(void)
{
    printf("%-16s  %36s  %24s\n", "", "Spearman of energies, interval", "alignment, error");
    printf("%-16s  %17s  %17s  %11s  %11s\n", "state", "all tokens", "own", "all tokens", "own");
}

/* Prints a number in 5 columns behind a gap, or a dash for an unknown one. */
static void print_number(const char *gap, double number, int digits)
{
    if (isfinite(number))
        printf("%s%5.*f", gap, digits, number);
    else
        printf("%s%5s", gap, "-");
}

static void print_row(const char *name, const cbe_layer_fidelity *layer, size_t keep)
{
    printf("%-16s", name);
    for (size_t scope = 0; scope < CBE_N_SCOPES; scope++) {
        const cbe_influence *of = &layer->influence[keep][scope][CBE_LIST_TOGETHER];
        print_number("  ", of->spearman, 2);
        print_number(" ", of->low, 2);
        print_number(" ", of->high, 2);
    }
    for (size_t scope = 0; scope < CBE_N_SCOPES; scope++) {
        const cbe_estimate *of = &layer->alignment[keep][scope];
        print_number("  ", of->mean, 2);
        print_number(" ", of->error, 3);
    }
    printf("\n");
}

static void print_layer(const cbe_layer_fidelity *layer)
{
    char name[40];
    snprintf(name, sizeof name, "hidden_states.%zu", layer->state);
    print_row(name, layer, CBE_KEEP_ALL);
    snprintf(name, sizeof name, "  kappa<10: %zu",
             layer->influence[CBE_KEEP_BELOW][CBE_SCOPE_ALL][CBE_LIST_TOGETHER].n);
    print_row(name, layer, CBE_KEEP_BELOW);
    cli_flush_output();
}

typedef struct {
    cli_progress progress;
    const cbe_run *run;
} watcher;

/* The table has rows for each layer, so that no line is needed when one is done. */
static bool watch(void *context, cbe_event event, const char *text, size_t done, size_t total)
{
    watcher *w = context;
    if (event != CBE_EVENT_LAYER) return cli_watch(&w->progress, event, text, done, total);
    cli_status_clear(&w->progress);
    if (done == 1) print_header();
    print_layer(&w->run->results.fidelity.layers[done - 1]);
    return true;
}

int cli_fidelity(int argc, char **argv)
{
    cbe_error err = {0};
    bool help = false;
    cbe_run *run = NULL;
    watcher w = {0};
    cbe_status st = cbe_run_create(&run, cli_fidelity_command.name, &err);
    if (st != CBE_OK) return cli_report(&err);
    st = cli_parse(&cli_fidelity_command, argc, argv, &run->settings, &help, &err);
    if (st == CBE_OK && help) {
        cli_print_help(&cli_fidelity_command);
    } else if (st == CBE_OK && !run->settings.corpus.model) {
        st = cbe_fail(&err, CBE_ERR_ARG, -1, "MODEL is missing; usage: cbe fidelity %s",
                      cli_fidelity_command.usage);
    } else if (st == CBE_OK) {
        cli_progress_init(&w.progress, run->settings.corpus.quiet, run->settings.corpus.verbose);
        w.run = run;
        run->watch = (cbe_watch){.callback = watch, .context = &w, .side = CBE_IN_PROGRAM};
        st = cbe_run_execute(run, &err);
        cli_status_clear(&w.progress);
    }
    cbe_run_free(run);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
