/* probe.c - cbe probe: energies and gradients of given directions. */
#include <math.h>
#include <stdio.h>

#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "run/run.h"

const cli_command cli_probe_command = {
    "probe",
    "MODEL --text FILE... --vectors-file FILE -o FILE [options]\n"
    "       cbe probe --hidden-states FILE --decoder FILE --vectors-file FILE -o FILE [options]",
    "energies and gradients of given directions",
    "Writes, float64, for each layer: layers.<i>.energy (m), layers.<i>.energy_per_token (m, N; "
    "for ce the tokens\n"
    "that have a next one) and layers.<i>.grad (m, d), the gradient at v as a free vector. "
    "Directions are used as they\n"
    "are: unit norm is not assumed. With --ablation optimal also layers.<i>.constant (m), with "
    "--metric euclidean\n"
    "layers.<i>.kappa (m). A table "
    "of the energies on standard output.",
    cbe_probe_options,
    1,
    {offsetof(cbe_run_settings, corpus.model)},
};

static void print_table(cbe_run *run, cli_progress *progress)
{
    const size_t *layers, n_layers = cbe_run_layers(run, &layers);
    size_t lost = 0, m = 0;
    for (size_t i = 0; i < n_layers; i++) {
        const double *energies, *errors, *kappas = NULL, *ceiling;
        char state[CBE_STATE_NAME];
        m = cbe_run_values(run, layers[i], "energy", &energies);
        cbe_run_values(run, layers[i], "standard_error", &errors);
        cbe_run_values(run, layers[i], "kappa", &kappas);
        cbe_run_values(run, layers[i], "ceiling", &ceiling);
        cbe_state_name(cbe_site_state(run->in.options.site, layers[i]), state);
        printf("layer %zu (%s), ceiling %.4g nats\n", layers[i], state, *ceiling);
        printf("direction    energy      +-   kappa   E/I\n");
        for (size_t j = 0; j < m; j++) {
            lost += !isfinite(energies[j]);
            printf("%9zu", j + 1);
            cli_number(energies[j], 10, 5);
            cli_number(errors[j], 8, 2);
            cli_number(kappas ? kappas[j] : NAN, 8, 3);
            cli_ratio(energies[j] / *ceiling, 6);
            printf("\n");
        }
    }
    if (lost)
        cli_warn(progress,
                 "%zu of %zu energies are not finite, and NaN in the file: these directions are so "
                 "long that what is left of the hidden states overflows float32; give shorter ones",
                 lost, m * n_layers);
}

/* The table has a row for each layer, so that no line is needed when one is done. */
static bool watch(void *context, cbe_event event, const char *text, size_t done, size_t total)
{
    return event == CBE_EVENT_LAYER || cli_watch(context, event, text, done, total);
}

int cli_probe(int argc, char **argv)
{
    cbe_error err = {0};
    bool help = false;
    cbe_run *run = NULL;
    cli_progress progress;
    cbe_status st = cbe_run_create(&run, cli_probe_command.name, &err);
    if (st != CBE_OK) return cli_report(&err);
    run->settings.output_optional = false;
    st = cli_parse(&cli_probe_command, argc, argv, &run->settings, &help, &err);
    if (st == CBE_OK && help) {
        cli_print_help(&cli_probe_command);
    } else if (st == CBE_OK) {
        cli_progress_init(&progress, run->settings.corpus.quiet, run->settings.corpus.verbose);
        run->watch = (cbe_watch){.callback = watch, .context = &progress, .side = CBE_IN_PROGRAM};
        st = cbe_run_execute(run, &err);
        cli_status_clear(&progress);
        if (st == CBE_OK) print_table(run, &progress);
    }
    cbe_run_free(run);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
