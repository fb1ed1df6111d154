/* ablate.c - cbe ablate: how the model's output changes when vectors of a basis are taken out
 * together. */
#include <math.h>
#include <stdio.h>

#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "run/run.h"

enum {
    KL_WIDTH = 13,
    CE_WIDTH = 11,
    TOP1_WIDTH = 9,
    COLUMNS = KL_WIDTH + CE_WIDTH + TOP1_WIDTH /* width of a span in the table */
};

const cli_command cli_ablate_command = {
    "ablate",
    "MODEL --basis FOLDER|FILE (--text FILE... | --tokens FILE) [options]",
    "what removing a basis's vectors together does to the model's output",
    "Takes the first 1, 2, .. M vectors of each layer's basis out of the hidden states, runs the "
    "model on, and prints how far\n"
    "its output is from the clean one (KL), what is added to the cross-entropy of the next token "
    "(CE), both in nats a token,\n"
    "and the share of tokens whose most probable next token changes (top-1): beside as many "
    "principal components of what the\n"
    "ablation may take away, and as many random directions. A basis that was made from another "
    "model is refused.",
    cbe_ablate_options,
    1,
    {offsetof(cbe_run_settings, corpus.model)},
};

static void print_header(void)
{
    printf("           ");
    for (int s = 0; s < CBE_N_SPANS; s++)
        printf("  %*s", COLUMNS - 2, cbe_span_name((cbe_span_kind)s));
    printf("\nlayer  rank");
    for (int s = 0; s < CBE_N_SPANS; s++)
        printf("%*s%*s%*s", KL_WIDTH, "KL", CE_WIDTH, "CE", TOP1_WIDTH, "top-1");
    printf("\n");
}

/* Prints a number in `width` columns, or a dash for an unknown one. */
static void print_number(double value, int width)
{
    if (isfinite(value))
        printf("  %*.4g", width - 2, value);
    else
        printf("%*s", width, "-");
}

static void print_layer(const cbe_layer_ablation *layer)
{
    char state[CBE_STATE_NAME];
    cbe_state_name(layer->state, state);
    printf("layer %zu (%s)\n", layer->layer, state);
    for (size_t r = 0; r < layer->n_ranks; r++) {
        printf("%5zu  %4zu", layer->layer, r + 1);
        for (size_t s = 0; s < CBE_N_SPANS; s++) {
            const double *mean = layer->effects[s * layer->n_ranks + r].mean;
            print_number(mean[CBE_EFFECT_KL], KL_WIDTH);
            print_number(mean[CBE_EFFECT_CE], CE_WIDTH);
            print_number(mean[CBE_EFFECT_TOP1], TOP1_WIDTH);
        }
        printf("\n");
    }
    cli_flush_output();
}

typedef struct {
    cli_progress progress;
    const cbe_run *run;
} watcher;

static bool watch(void *context, cbe_event event, const char *text, size_t done, size_t total)
{
    watcher *w = context;
    if (event == CBE_EVENT_LAYER) {
        cli_status_clear(&w->progress);
        if (done == 1) print_header();
        print_layer(&w->run->results.ablate.layers[done - 1]);
    }
    return cli_watch(&w->progress, event, text, done, total);
}

int cli_ablate(int argc, char **argv)
{
    cbe_error err = {0};
    bool help = false;
    cbe_run *run = NULL;
    watcher w = {0};
    cbe_status st = cbe_run_create(&run, cli_ablate_command.name, &err);
    if (st != CBE_OK) return cli_report(&err);
    st = cli_parse(&cli_ablate_command, argc, argv, &run->settings, &help, &err);
    if (st == CBE_OK && help) {
        cli_print_help(&cli_ablate_command);
    } else if (st == CBE_OK && !run->settings.corpus.model) {
        st = cbe_fail(&err, CBE_ERR_ARG, -1, "MODEL is missing; usage: cbe ablate %s",
                      cli_ablate_command.usage);
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
