/* lens_fit.c - cbe lens fit: fits a model's affine lens in closed form. */
#include "lens/fit.h"
#include "cli/commands.h"
#include "run/inputs.h"
#include "cli/arguments.h"
#include "run/options.h"
#include "run/outputs.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "core/memory.h"

typedef struct {
    cbe_corpus corpus;
    const char *output;
    int format;
    double held_out;
} fit_options;

#define AT(field) offsetof(fit_options, field)
/* clang-format off */
static const cbe_option options[] = {
    CBE_TEXT_OPTIONS(fit_options, corpus, ""),
    {"output", 'o', OPT_STRING, AT(output), NULL, "FOLDER", "the lens folder to write", NULL, 0},
    {"format", 0, OPT_CHOICE, AT(format), "pt", "NAME", "pt: params.pt, for PyTorch; safetensors: params.safetensors", cbe_lens_format_choices, 0},
    {"held-out", 0, OPT_NUMBER, AT(held_out), "0.1", "FRACTION", "of the sequences, by whose error the ridge is chosen", NULL, CBE_BOUNDS(.low = 0, .high = 1, .above = true, .below = true, .refusal = "%s of the sequences cannot be held out: a share between 0 and 1 can")},
    CBE_SEQUENCE_OPTIONS(fit_options, corpus),
    CBE_THREAD_OPTION(fit_options, corpus),
    CBE_MEMORY_OPTION(fit_options, corpus, "of which float32 weights may take half"),
    CBE_TALK_OPTIONS(fit_options, corpus, "say more about inputs"),
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

const cli_command cli_lens_fit_command = {
    "lens fit",
    "MODEL (--text FILE... | --tokens FILE) -o FOLDER [options]",
    "the affine lens of a model, in closed form",
    "Every layer's translator is the ridge regression of the last hidden state on the layer's, in "
    "one pass over the text\n"
    "(docs/tuned-lenses.md). Prints for each layer the ridge, relative to the diagonal, and the "
    "mean squared error on\n"
    "the sequences held out, in units of the last hidden state's own mean square: without a lens "
    "and with it.",
    options,
    1,
    {AT(corpus.model)},
};

static void print_table(size_t n_layers, const cbe_affine_layer *layers)
{
    printf("layer    ridge  logit lens  affine lens  reduction\n");
    for (size_t i = 0; i < n_layers; i++) {
        const cbe_affine_layer *l = &layers[i];
        printf("%5zu  %7.1e  %10.5f  %11.5f", i, l->ridge, l->error_logit, l->error_affine);
        if (l->error_logit > 0)
            printf("  %8.1f%%\n", 100 * (1 - l->error_affine / l->error_logit));
        else
            /* The layer equals the last one to the bit, so that nothing is left to reduce. */
            printf("  %9s\n", "-");
    }
}

int cli_lens_fit(int argc, char **argv)
{
    fit_options given = {0};
    cbe_error err = {0};
    cbe_status st;
    bool help;
    cli_progress progress;
    cbe_outputs outputs = {0};
    cbe_model *model = NULL;
    cbe_tokens tokens = {0};
    cbe_inputs read = {0};
    cbe_tuned_lens *lens = NULL;
    cbe_tuned_lens_config *config = NULL;
    cbe_affine_layer *layers = NULL;

    if ((st = cli_parse(&cli_lens_fit_command, argc, argv, &given, &help, &err)) != CBE_OK)
        goto done;
    if (help) {
        cli_print_help(&cli_lens_fit_command);
        return cli_finish_output();
    }
    given.corpus.inputs = &read;
    cli_progress_init(&progress, given.corpus.quiet, given.corpus.verbose);
    if ((st = cbe_use_threads(given.corpus.threads, &err)) != CBE_OK) goto done;
    if (!given.corpus.model || !given.output) {
        st = cbe_fail(&err, CBE_ERR_ARG, -1, "%s is missing; usage: cbe lens fit %s",
                      given.corpus.model ? "-o FOLDER" : "MODEL", cli_lens_fit_command.usage);
        goto done;
    }
    const cbe_lens_format format = (cbe_lens_format)given.format;
    cbe_outputs_begin(&outputs);
    cbe_outputs_read_corpus(&outputs, &given.corpus);
    if ((st = cbe_outputs_write_lens(&outputs, given.output, format, &err)) != CBE_OK) goto done;
    if ((st = cbe_corpus_open_model(&model, &given.corpus, &progress.watch, &err)) != CBE_OK)
        goto done;
    st = cbe_corpus_read_tokens(&tokens, model, &given.corpus, given.corpus.max_tokens,
                                &progress.watch, &err);
    if (st != CBE_OK) goto done;
    const size_t n_layers = cbe_model_get_config(model)->n_layers;
    st = CBE_ERR_NOMEM;
    if (!(layers = cbe_alloc(n_layers, sizeof *layers, "report of the fit", &err))) goto done;
    st = cbe_affine_fit(&lens, model, tokens.n_sequences, tokens.context_length, tokens.ids,
                        given.held_out, layers, cbe_watch_forward, &progress.watch, &err);
    cli_status_clear(&progress);
    if (st != CBE_OK) goto done;
    if ((st = cbe_tuned_lens_config_create(&config, given.corpus.model, cbe_model_decoder(model),
                                           &err)) != CBE_OK)
        goto done;
    if ((st = cbe_outputs_check_folder(&outputs, &err)) != CBE_OK) goto done;
    if ((st = cbe_tuned_lens_save(lens, config, given.output, format, &err)) != CBE_OK) goto done;
    cbe_warn_of_changes(&progress.watch, &read);
    print_table(n_layers, layers);
    cli_say(&progress, "lens: %zu layers in %s/%s", n_layers, given.output,
            cbe_lens_format_file(format));
done:
    cbe_free(layers);
    cbe_tuned_lens_config_free(config);
    cbe_tuned_lens_free(lens);
    cbe_tokens_free(&tokens);
    cbe_inputs_free(&read);
    cbe_model_close(model);
    cbe_outputs_end(&outputs);
    cli_free(&cli_lens_fit_command, &given);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
