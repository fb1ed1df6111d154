/* lens_fit.c - cbe lens fit: the affine lens of a model, in closed form. */
#include "cbe/lens_fit.h"
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
    double held_out;
    size_t context_length, max_tokens, threads, memory;
    bool quiet, verbose;
} fit_options;

#define AT(field) offsetof(fit_options, field)
static const cli_option options[] = {
    {"text", 0, OPT_FILES, AT(text), NULL, "FILE...", "texts, plain or .gz or .zst", NULL, 0},
    CLI_DOCUMENT_OPTIONS(AT(documents), AT(text_field)),
    {"tokens", 0, OPT_STRING, AT(tokens), NULL, "FILE", "token ids instead of texts (input_ids, safetensors)", NULL, 0},
    {"output", 'o', OPT_STRING, AT(output), NULL, "FOLDER", "where the lens goes", NULL, 0},
    {"held-out", 0, OPT_NUMBER, AT(held_out), "0.1", "FRACTION", "of the sequences, left out to choose the ridge by", NULL, 0},
    {"context-length", 0, OPT_COUNT, AT(context_length), "256", "S", "tokens in one sequence", NULL, 1},
    {"max-tokens", 0, OPT_COUNT, AT(max_tokens), "0", "N", "tokens used, in whole sequences; 0: all", NULL, 0},
    {"threads", 't', OPT_COUNT, AT(threads), "0", "T", "threads; 0: one for each core", NULL, 0},
    {"memory", 0, OPT_SIZE, AT(memory), NULL, "SIZE", "memory for weights, twice as much as they may take; not given: 70% of what is free", NULL, 0},
    {"quiet", 'q', OPT_FLAG, AT(quiet), NULL, NULL, "no progress", NULL, 0},
    {"verbose", 'v', OPT_FLAG, AT(verbose), NULL, NULL, "say more about inputs", NULL, 0},
    {NULL, 0, OPT_FLAG, 0, NULL, NULL, NULL, NULL, 0},
};
