/* capture.c - cbe capture: hidden states of a text, to a file; and cbe decoder: what reads them. */
#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/options.h"
#include "cli/outputs.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "core/memory.h"

typedef struct {
    cli_corpus corpus;
    const char *output;
    cli_ranges layers;
    bool logits;
} capture_options;

#define AT(field) offsetof(capture_options, field)
/* clang-format off */
static const cli_option options[] = {
    CLI_TEXT_OPTIONS(capture_options, corpus, ""),
    {"output", 'o', OPT_STRING, AT(output), NULL, "FILE", "the safetensors file to write", NULL, 0},
    {"layers", 'l', OPT_LAYERS, AT(layers), "all", "LIST", "0 (after the embeddings) to L (before the final norm)", NULL, 0},
    {"logits", 0, OPT_FLAG, AT(logits), NULL, NULL, "write the model's logits too", NULL, 0},
    CLI_SEQUENCE_OPTIONS(capture_options, corpus),
    CLI_THREAD_OPTION(capture_options, corpus),
    CLI_TALK_OPTIONS(capture_options, corpus, "say more about inputs"),
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
/* clang-format on */

static const cli_command command = {
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
    cli_outputs outputs = {0};
    cbe_model *model = NULL;
    cbe_tokens tokens = {0};
    cbe_inputs read = {0};
    size_t *layers = NULL, n_layers = 0;

    if ((st = cli_parse(&command, argc, argv, &given, &help, &err)) != CBE_OK) goto done;
    if (help) {
        cli_print_help(&command);
        return cli_finish_output();
    }
    given.corpus.inputs = &read;
    if ((st = cli_corpus_begin(&given.corpus, &progress, &err)) != CBE_OK) goto done;
    if (!given.corpus.model || !given.output) {
        st = cbe_fail(&err, CBE_ERR_ARG, -1, "%s is missing; usage: cbe capture %s",
                      given.corpus.model ? "-o FILE" : "MODEL", command.usage);
        goto done;
    }
    cli_outputs_begin(&outputs);
    cli_outputs_read_corpus(&outputs, &given.corpus);
    if ((st = cli_outputs_write_file(&outputs, given.output, &err)) != CBE_OK) goto done;
    if ((st = cli_open_model(&model, &given.corpus, &err)) != CBE_OK) goto done;
    const size_t n_states = cbe_model_get_config(model)->n_layers + 1;
    if ((st = cli_choose_layers(&given.layers, n_states, &layers, &n_layers, &err)) != CBE_OK)
        goto done;
    st = cli_read_tokens(&tokens, model, &given.corpus, given.corpus.max_tokens, &progress, &err);
    if (st != CBE_OK) goto done;
    st = CBE_ERR_NOMEM;
    if (!(wanted = cbe_alloc_zero(n_states, sizeof *wanted, "layers", &err))) goto done;
    for (size_t i = 0; i < n_layers; i++) wanted[layers[i]] = true;
    st = cbe_hidden_states_save(given.output, model, &tokens, wanted, given.logits,
                                cli_forward_progress, &progress, &err);
    cli_status_clear(&progress);
    if (st != CBE_OK) goto done;
    cli_warn_of_changes(&progress, &read);
    cli_line(stdout, "%zu layers of %zu tokens (%zu sequences of %zu) in %s", n_layers,
             tokens.n_sequences * tokens.context_length, tokens.n_sequences, tokens.context_length,
             given.output);
done:
    cbe_free(wanted);
    cbe_free(layers);
    cbe_tokens_free(&tokens);
    cbe_inputs_free(&read);
    cbe_model_close(model);
    cli_outputs_end(&outputs);
    cli_free(&command, &given);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
