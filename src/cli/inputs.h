/*
 * inputs.h - what extract and probe run on: a model with a text, or hidden states and a decoder made elsewhere.
 */
#ifndef CBE_CLI_INPUTS_H
#define CBE_CLI_INPUTS_H

#include "cbe/extraction.h"
#include "cbe/model.h"
#include "cli/options.h"
#include "cli/progress.h"

/** Fields of options that extract and probe share; the first member of each command's struct. */
typedef struct {
    const char *model, *tokens, *hidden_states, *decoder, *lens, *output;
    cli_files text;
    int documents;
    const char *text_field;
    cli_ranges layers;
    cli_skip skip;
    int ablation, objective;
    int site; /* CBE_N_SITES, set before options are parsed: not given */
    size_t vectors; /* asked for, of each layer; 0: does not matter */
    size_t context_length, max_tokens, lens_tokens, threads, memory; /* memory: bytes; 0: not given */
    uint64_t seed;
    bool quiet, verbose;
} cli_run;

/** Rows of an options table: what a document is in a text, an int and a string at these offsets. */
#define CLI_DOCUMENT_OPTIONS(kind_offset, field_offset)                                                                \
    {"documents", 0, OPT_CHOICE, kind_offset, "auto", "KIND", "what a document is: file, blank-line (up to one), jsonl (a field of each line); auto: jsonl for .jsonl, else file", cli_documents, 0}, \
    {"text-field", 0, OPT_STRING, field_offset, "text", "NAME", "field of JSON lines that holds the text", NULL, 0}

/** Rows of an options table for them; skip_default differs. */
#define CLI_INPUT_OPTIONS(type, skip_default)                                                                          \
    {"text", 0, OPT_FILES, offsetof(type, run.text), NULL, "FILE...", "texts, plain or .gz or .zst", NULL, 0},         \
    CLI_DOCUMENT_OPTIONS(offsetof(type, run.documents), offsetof(type, run.text_field)),                               \
    {"tokens", 0, OPT_STRING, offsetof(type, run.tokens), NULL, "FILE", "token ids instead of texts (input_ids, safetensors)", NULL, 0}, \
    {"hidden-states", 0, OPT_STRING, offsetof(type, run.hidden_states), NULL, "FILE", "hidden states made elsewhere, instead of MODEL", NULL, 0}, \
    {"decoder", 0, OPT_STRING, offsetof(type, run.decoder), NULL, "FILE", "their final norm and unembedding", NULL, 0}, \
    {"output", 'o', OPT_STRING, offsetof(type, run.output), NULL, "PATH", "where results go", NULL, 0},                \
    {"lens", 0, OPT_STRING, offsetof(type, run.lens), "logit", "LENS", "where the output is read: logit, tuned=FOLDER (a tuned lens), affine (fitted on the text first), or model (the whole of it runs on)", NULL, 0}, \
    {"lens-tokens", 0, OPT_COUNT, offsetof(type, run.lens_tokens), "40000", "N", "tokens of the text, whatever --max-tokens says, that --lens affine is fitted on; 0: all", NULL, 0}, \
    {"layers", 'l', OPT_LAYERS, offsetof(type, run.layers), "all", "LIST", "layers, as in 0-29,31, or all", NULL, 0},  \
    {"ablation", 'a', OPT_CHOICE, offsetof(type, run.ablation), "mean", "KIND", "mean, resample, zero or optimal", cli_ablations, 0}, \
    {"objective", 0, OPT_CHOICE, offsetof(type, run.objective), "kl", "KIND", "kl (to the clean output) or ce (of the next token)", cli_objectives, 0}, \
    {"site", 0, OPT_CHOICE, offsetof(type, run.site), NULL, "SITE", "pre: the input of block i, post: its output; not given: post with --lens model, else pre", cli_sites, 0}, \
    {"context-length", 0, OPT_COUNT, offsetof(type, run.context_length), "256", "S", "tokens in one sequence", NULL, 1}, \
    {"max-tokens", 0, OPT_COUNT, offsetof(type, run.max_tokens), "0", "N", "tokens used, in whole sequences; 0: all", NULL, 0}, \
    {"skip-positions", 0, OPT_SKIP, offsetof(type, run.skip), skip_default, "P|auto", "first positions of each sequence left out; auto: 1 where their norms are huge", NULL, 0}, \
    {"seed", 0, OPT_SEED, offsetof(type, run.seed), "0", "N", "of random candidates and of the derangement", NULL, 0}, \
    {"threads", 't', OPT_COUNT, offsetof(type, run.threads), "0", "T", "threads; 0: one for each core", NULL, 0},       \
    {"memory", 0, OPT_SIZE, offsetof(type, run.memory), NULL, "SIZE", "memory that may be used, as in 500M or 4G; not given: 70% of what is free", NULL, 0}, \
    {"quiet", 'q', OPT_FLAG, offsetof(type, run.quiet), NULL, NULL, "no progress", NULL, 0},                           \
    {"verbose", 'v', OPT_FLAG, offsetof(type, run.verbose), NULL, NULL, "say more about inputs and choices", NULL, 0}

/** What --lens says. */
typedef enum {
    CLI_LENS_LOGIT,
    CLI_LENS_TUNED,  /* a lens folder */
    CLI_LENS_AFFINE, /* fitted on the run's own text, before anything else */
    CLI_LENS_MODEL,  /* none: the whole model runs on behind the layer */
    CLI_N_LENSES
} cli_lens_kind;

typedef struct {
    cli_lens_kind kind;
    const char *path; /* borrowed from the text; NULL where the kind has none */
} cli_lens_choice;

cbe_status cli_parse_lens(cli_lens_choice *out, const char *text, cbe_error *err);

extern const char *const cli_ablations[], *const cli_objectives[], *const cli_sites[], *const cli_documents[];
/** Of lens folders that are written. */
extern const char *const cli_lens_formats[];

/** All that a run needs, opened. */
typedef struct {
    cbe_model *model;             /* NULL with hidden states made elsewhere */
    cbe_decoder *loaded_decoder;  /* owned; NULL with a model */
    const cbe_decoder *decoder;   /* one of the two */
    cbe_hidden_states *states;
    cbe_tuned_lens *lens;         /* owned; NULL: the logit lens */
    char *lens_files[2];          /* owned: what was read of a lens folder */
    size_t n_layers, *layers;     /* chosen, rising */
    size_t n_inputs;
    cbe_run_input *inputs;
    cbe_extraction_options options; /* ablation, objective, site, lens, skip, seed and kernels filled in */
    bool skip_chosen;               /* by auto */
    size_t memory;                  /* bytes that the run may use, all in all */
} cli_inputs;

/** Opens everything and runs the model where there is one; options.memory is what is left of --memory after that. What was chosen is told on the progress stream. */
cbe_status cli_inputs_open(cli_inputs *inputs, const cli_run *run, cli_progress *progress, cbe_error *err);
void cli_inputs_close(cli_inputs *inputs); /* a zeroed one is allowed */

/** Opens a model whose float32 weights may take half of so many bytes; 0: no limit. What does not fit is expanded block by block. */
cbe_status cli_open_model(cbe_model **out, const char *path, size_t memory, cbe_error *err);
/** Says how logits are kept, or how the whole model runs, and what of the memory allowed is taken. */
void cli_say_storage(cli_progress *progress, const cbe_layer_objective *objective, const cli_inputs *inputs);

/** Token sequences of a model's text or token file. */
cbe_status cli_read_tokens(cbe_tokens *tokens, const cbe_model *model, const char *model_path,
                           const char *tokens_path, const cli_files *text, const cbe_documents_options *documents,
                           size_t context_length, size_t max_tokens, cli_progress *progress, cbe_error *err);
/** Layers of a list below end, rising and once each; to cbe_free. */
cbe_status cli_choose_layers(const cli_ranges *ranges, size_t end, size_t **layers, size_t *n_layers,
                             cbe_error *err);
/** Sets the number of OpenMP threads; 0 leaves it. */
void cli_set_threads(size_t threads);

#endif
