/* extract.c - cbe extract: causal bases, the main job. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/company.h"

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
    bool speaks, header;
} watcher;

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

static bool watch(void *context, cbe_event event, const char *text, size_t done, size_t total)
{
    watcher *w = context;
    if (event == CBE_EVENT_LAYER && w->speaks) {
        cli_status_clear(&w->progress);
        print_row(w->run->results.extract.newest, !w->header);
        w->header = true;
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
