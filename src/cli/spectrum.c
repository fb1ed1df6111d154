/* spectrum.c - cbe spectrum: what each layer's states carry to the output. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/company.h"

const cli_command cli_spectrum_command = {
    "spectrum",
    "MODEL (--text FILE... | --tokens FILE) [options]",
    "how many dimensions of each layer's states reach the output",
    "Draws labels from the model's own predictions, runs it back from them, and prints for each "
    "layer's states the energies\n"
    "(nats) of the directions that reach the output: half the eigenvalues of S^(1/2) M S^(1/2), S "
    "the states' covariance, M the\n"
    "Fisher matrix of the output in a state. One backward pass serves all layers. Beside their sum "
    "and the largest: how many\n"
    "dimensions have 50, 90 and 99% of the sum, and the participation ratio (sum)^2 / (sum of "
    "squares) of S and of the energies.",
    cbe_spectrum_options,
    1,
    {offsetof(cbe_run_settings, corpus.model)},
};

static void print_row(const cbe_run *run, size_t place)
{
    char state[32];
    const cbe_state_spectrum *s = &run->results.spectrum.spectra[place];
    if (place == 0)
        printf("layer  state                  sum    largest    50%%    90%%    99%%     PR(S)  "
               "PR(energies)\n");
    snprintf(state, sizeof state, "hidden_states.%zu", s->state);
    printf("%5zu  %-16s  %8.4g   %8.4g  %5zu  %5zu  %5zu  %8.4g  %12.4g\n", run->in.layers[place],
           state, s->energy.sum, s->energy.largest, s->energy.half, s->energy.ninety,
           s->energy.ninety_nine, s->variance.participation, s->energy.participation);
    cli_flush_output();
}

typedef struct {
    cli_progress progress;
    const cbe_run *run;
} watcher;

/* The table has a row for each layer, so that no line is needed when one is done. */
static bool watch(void *context, cbe_event event, const char *text, size_t done, size_t total)
{
    watcher *w = context;
    if (event != CBE_EVENT_LAYER) return cli_watch(&w->progress, event, text, done, total);
    cli_status_clear(&w->progress);
    print_row(w->run, done - 1);
    return true;
}

int cli_spectrum(int argc, char **argv)
{
    cbe_error err = {0};
    bool help = false;
    cbe_run *run = NULL;
    watcher w = {0};
    cbe_status st = cbe_run_create(&run, cli_spectrum_command.name, &err);
    if (st != CBE_OK) return cli_report(&err);
    st = cli_begin_shared(&cli_spectrum_command, run, argc, argv, &help, &err);
    cli_progress_shared(&w.progress, run);
    w.run = run;
    return cli_execute_shared(&cli_spectrum_command, run, st, help, watch, &w, &err);
}
