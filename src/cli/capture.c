/* capture.c - cbe capture: hidden states of a text, to a file; and cbe decoder: what reads them. */
#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/memory.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "core/fail.h"
#include "core/memory.h"

typedef struct {
    const char *model, *tokens, *output;
    cli_files text;
    int documents;
    const char *text_field;
    cli_ranges layers;
    size_t context_length, max_tokens, threads;
    bool logits, quiet, verbose;
} capture_options;

#define AT(field) offsetof(capture_options, field)
static const cli_option options[] = {
    {"text", 0, OPT_FILES, AT(text), NULL, "FILE...", "texts, plain or .gz or .zst", NULL, 0},
    CLI_DOCUMENT_OPTIONS(AT(documents), AT(text_field)),
    {"tokens", 0, OPT_STRING, AT(tokens), NULL, "FILE", "token ids instead of texts (input_ids, safetensors)", NULL, 0},
    {"output", 'o', OPT_STRING, AT(output), NULL, "FILE", "the safetensors file to write", NULL, 0},
    {"layers", 'l', OPT_LAYERS, AT(layers), "all", "LIST", "0 (after the embeddings) to L (before the final norm)", NULL, 0},
    {"logits", 0, OPT_FLAG, AT(logits), NULL, NULL, "write the model's logits too", NULL, 0},
    {"context-length", 0, OPT_COUNT, AT(context_length), "256", "S", "tokens in one sequence", NULL, 1},
    {"max-tokens", 0, OPT_COUNT, AT(max_tokens), "0", "N", "tokens used, in whole sequences; 0: all", NULL, 0},
    {"threads", 't', OPT_COUNT, AT(threads), "0", "T", "threads; 0: one for each core", NULL, 0},
    {"quiet", 'q', OPT_FLAG, AT(quiet), NULL, NULL, "no progress", NULL, 0},
    {"verbose", 'v', OPT_FLAG, AT(verbose), NULL, NULL, "say more about inputs", NULL, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};

static const cli_command command = {
    "capture",
    "MODEL (--text FILE... | --tokens FILE) -o FILE [options]",
    "hidden states of a text, to a file",
    "Writes hidden_states.<i> [B, S, d] for the layers asked for, input_ids [B, S], and with --logits logits [B, S, V].",
    options,
    1,
    {AT(model)},
};

int cli_capture(int argc, char **argv)
{
    capture_options given = {0};
    cbe_error err = {0};
    cbe_status st;
    bool help, *wanted = NULL;
    cli_progress progress;
    cbe_model *model = NULL;
    cbe_tokens tokens = {0};
    size_t *layers = NULL, n_layers = 0;

    if ((st = cli_parse(&command, argc, argv, &given, &help, &err)) != CBE_OK) goto done;
    if (help) {
        cli_print_help(&command);
        return cli_finish_output();
    }
    cli_progress_init(&progress, given.quiet, given.verbose);
    cli_set_threads(given.threads);
    if (!given.model || !given.output) {
        st = cbe_fail(&err, CBE_ERR_ARG, -1, "%s is missing; usage: cbe capture %s", given.model ? "-o FILE" : "MODEL",
                      command.usage);
        goto done;
    }
    if ((st = cli_open_model(&model, given.model, cli_memory_available() / 10 * 7, &err)) != CBE_OK) goto done;
    const size_t n_states = cbe_model_get_config(model)->n_layers + 1;
    if ((st = cli_choose_layers(&given.layers, n_states, &layers, &n_layers, &err)) != CBE_OK) goto done;
    const cbe_documents_options documents = {(cbe_documents_kind)given.documents, given.text_field};
    st = cli_read_tokens(&tokens, model, given.model, given.tokens, &given.text, &documents, given.context_length,
                         given.max_tokens, &progress, &err);
    if (st != CBE_OK) goto done;
    st = CBE_ERR_NOMEM;
    if (!(wanted = cbe_alloc_zero(n_states, sizeof *wanted, "layers", &err))) goto done;
    for (size_t i = 0; i < n_layers; i++) wanted[layers[i]] = true;
    st = cbe_hidden_states_save(given.output, model, &tokens, wanted, given.logits, cli_forward_progress, &progress,
                                &err);
    cli_status_clear(&progress);
    if (st != CBE_OK) goto done;
    printf("%zu layers of %zu tokens (%zu sequences of %zu) in %s\n", n_layers,
           tokens.n_sequences * tokens.context_length, tokens.n_sequences, tokens.context_length, given.output);
done:
    cbe_free(wanted);
    cbe_free(layers);
    cbe_tokens_free(&tokens);
    cbe_model_close(model);
    cli_free(&command, &given);
    return st == CBE_OK ? cli_finish_output() : cli_report(&err);
}
