/* capture.c - cbe capture: writes the hidden states of a text to a file. */
#include "cli/commands.h"
#include "run/inputs.h"
#include "cli/arguments.h"
#include "run/options.h"
#include "run/outputs.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "core/memory.h"

typedef struct {
    cbe_corpus corpus;
    const char *output;
    cbe_ranges layers;
    bool logits;
} capture_options;

#define AT(field) offsetof(capture_options, field)
/* clang-format off */
static const cbe_option options[] = {
    CBE_TEXT_OPTIONS(capture_options, corpus, ""),
    {"output", 'o', OPT_STRING, AT(output), NULL, "FILE", "the safetensors file to write", NULL, 0},
    {"layers", 'l', OPT_LAYERS, AT(layers), "all", "LIST", "0 (after the embeddings) to L (before the final norm)", NULL, 0},
    {"logits", 0, OPT_FLAG, AT(logits), NULL, NULL, "write the model's logits too", NULL, 0},
    CBE_SEQUENCE_OPTIONS(capture_options, corpus),
    CBE_THREAD_OPTION(capture_options, corpus),
    CBE_TALK_OPTIONS(capture_options, corpus, "say more about inputs"),
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

const cli_command cli_capture_command = {
    "capture",
    "MODEL (--text FILE... | --tokens FILE) -o FILE [options]",
    "hidden states of a text, to a file",
    "Writes hidden_states.<i> [B, S, d] for the layers asked for, input_ids [B, S], and with "
    "--logits logits [B, S, V].",
    options,
    1,
    {AT(corpus.model)},
};

int cli_capture(int argc, char **argv)
{
    capture_options given = {0};
    cbe_error err = {0};
    cbe_status st;
    bool help, *wanted = NULL;
    cli_progress progress;
    cbe_outputs outputs = {0};
    cbe_model *model = NULL;
    cbe_tokens tokens = {0};
    cbe_inputs read = {0};
    size_t *layers = NULL, n_layers = 0;

    if ((st = cli_parse(&cli_capture_command, argc, argv, &given, &help, &err)) != CBE_OK)
        goto done;
    if (help) {
        cli_print_help(&cli_capture_command);
        return cli_finish_output();
    }
    given.corpus.inputs = &read;
    cli_progress_init(&progress, given.corpus.quiet, given.corpus.verbose);
    if ((st = cbe_use_threads(given.corpus.threads, &err)) != CBE_OK) goto done;
    if (!given.corpus.model || !given.output) {
        st = cbe_fail(&err, CBE_ERR_ARG, -1, "%s is missing; usage: cbe capture %s",
                      given.corpus.model ? "-o FILE" : "MODEL", cli_capture_command.usage);
        goto done;
    }
    cbe_outputs_begin(&outputs);
    cbe_outputs_read_corpus(&outputs, &given.corpus);
    if ((st = cbe_outputs_write_file(&outputs, given.output, &err)) != CBE_OK) goto done;
    if ((st = cbe_corpus_open_model(&model, &given.corpus, &progress.watch, &err)) != CBE_OK)
        goto done;
    const size_t n_states = cbe_model_get_config(model)->n_layers + 1;
    if ((st = cbe_choose_layers(&given.layers, n_states, &layers, &n_layers, &err)) != CBE_OK)
        goto done;
    st = cbe_corpus_read_tokens(&tokens, model, &given.corpus, given.corpus.max_tokens,
                                &progress.watch, &err);
    if (st != CBE_OK) goto done;
    st = CBE_ERR_NOMEM;
    if (!(wanted = cbe_alloc_zero(n_states, sizeof *wanted, "layers", &err))) goto done;
    for (size_t i = 0; i < n_layers; i++) wanted[layers[i]] = true;
    st = cbe_hidden_states_save(given.output, model, &tokens, wanted, given.logits,
                                cbe_watch_forward, &progress.watch, &err);
    cli_status_clear(&progress);
    if (st != CBE_OK) goto done;
    cbe_warn_of_changes(&progress.watch, &read);
    cli_line(stdout, "%zu layers of %zu tokens (%zu sequences of %zu) in %s", n_layers,
             tokens.n_sequences * tokens.context_length, tokens.n_sequences, tokens.context_length,
             given.output);
done:
    cbe_free(wanted);
    cbe_free(layers);
    cbe_tokens_free(&tokens);
    cbe_inputs_free(&read);
    cbe_model_close(model);
    cbe_outputs_end(&outputs);
    cli_free(&cli_capture_command, &given);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
