/*
 * inputs.h - what extract and probe run on: a model with a text, or hidden states and a decoder
 * made elsewhere.
 */
#ifndef CBE_CLI_INPUTS_H
#define CBE_CLI_INPUTS_H

#include "extract/basis_file.h"
#include "extract/extraction.h"
#include "model/model.h"
#include "cli/corpus.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/team.h"

/** Fields of options that extract and probe share; the first member of each command's struct. */
typedef struct {
    cli_corpus corpus;
    const char *hidden_states, *decoder, *lens, *output;
    bool output_optional;             /* standard output has the results too */
    const cbe_basis_file *vectors_of; /* a basis that must fit the model; NULL: none */
    /* a basis that must have been made from the model, if it was from one; NULL: none */
    const cbe_basis_file *made_from;
    cli_ranges layers;
    cli_skip skip;
    int ablation, objective, precision;
    int site;       /* CBE_N_SITES, set before options are parsed: not given */
    size_t vectors; /* asked for, of each layer; 0: does not matter */
    size_t lens_tokens;
    uint64_t seed;
    cli_divide divide;
    cli_team *team;             /* what it is divided over */
    const cli_command *command; /* whose options these are; needed of several processes */
} cli_run;

/** Rows of an options table for them; skip_default differs. */
/* clang-format off */
#define CLI_INPUT_OPTIONS(type, skip_default)                                                                          \
    CLI_TEXT_OPTIONS(type, run.corpus, ""),                                                                            \
    {"hidden-states", 0, OPT_STRING, offsetof(type, run.hidden_states), NULL, "FILE", "hidden states made elsewhere, instead of MODEL", NULL, 0}, \
    {"decoder", 0, OPT_STRING, offsetof(type, run.decoder), NULL, "FILE", "their final norm and unembedding", NULL, 0}, \
    {"output", 'o', OPT_STRING, offsetof(type, run.output), NULL, "PATH", "where results go", NULL, 0},                \
    {"lens", 0, OPT_STRING, offsetof(type, run.lens), "logit", "LENS", "where the output is read: logit, tuned=FOLDER (a tuned lens), affine (fitted on the text first), or model (the whole of it runs on)", NULL, 0}, \
    {"lens-tokens", 0, OPT_COUNT, offsetof(type, run.lens_tokens), "40000", "N", "tokens of the text, whatever --max-tokens says, that --lens affine is fitted on; 0: all", NULL, CLI_RANGE(0, CLI_MOST_TOKENS)}, \
    {"layers", 'l', OPT_LAYERS, offsetof(type, run.layers), "all", "LIST", "layers, as in 0-29,31, or all", NULL, 0},  \
    {"ablation", 'a', OPT_CHOICE, offsetof(type, run.ablation), "mean", "KIND", "mean, resample, zero or optimal", cli_ablations, 0}, \
    {"objective", 0, OPT_CHOICE, offsetof(type, run.objective), "kl", "KIND", "kl (to the clean output) or ce (of the next token)", cli_objectives, 0}, \
    {"site", 0, OPT_CHOICE, offsetof(type, run.site), NULL, "SITE", "pre: the input of block i, post: its output; not given: post with --lens model, else pre", cli_sites, 0}, \
    {"precision", 0, OPT_CHOICE, offsetof(type, run.precision), "float32", "KIND", "of products with weights with --lens model: float32, or on CPUs that multiply bfloat16 bf16x3 (16 bits) or bf16 (8 bits in searches of a sample, 16 else)", cli_precisions, 0}, \
    CLI_SEQUENCE_OPTIONS(type, run.corpus),                                                                            \
    {"skip-positions", 0, OPT_SKIP, offsetof(type, run.skip), skip_default, "P|auto", "first positions of each sequence left out; auto: 1 where their norms are huge", NULL, 0}, \
    {"seed", 0, OPT_SEED, offsetof(type, run.seed), "0", "N", "of random candidates and of the derangement", NULL, 0}, \
    CLI_THREAD_OPTION(type, run.corpus),                                                                               \
    CLI_MEMORY_OPTION(type, run.corpus, "memory that may be used"),                                                    \
    CLI_TALK_OPTIONS(type, run.corpus, "say more about inputs and choices")
/* clang-format on */

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

extern const char *const cli_ablations[], *const cli_objectives[], *const cli_sites[],
                                                                       *const cli_precisions[];
/** Of lens folders that are written. */
extern const char *const cli_lens_formats[];

/** All that a run needs, opened. */
typedef struct {
    cbe_model *model;            /* NULL with hidden states made elsewhere */
    cbe_decoder *loaded_decoder; /* owned; NULL with a model */
    const cbe_decoder *decoder;  /* one of the two */
    cbe_hidden_states *states;
    cbe_tuned_lens *lens;     /* owned; NULL: the logit lens */
    size_t n_layers, *layers; /* chosen, rising; of all processes */
    /* owned: the one that came with tokens of which this process has a share; else NULL */
    int64_t *derangement;
    /* ablation, objective, site, lens, skip, seed, kernels and processes filled in */
    cbe_extraction_options options;
    bool skip_chosen; /* by auto */
    size_t memory;    /* bytes that the run may use, all in all */
} cli_inputs;

/** Opens everything, divides it over the processes of the run, and runs the model where there is
 * one; options.memory is what is left of --memory after that. What was chosen is told on the
 * progress stream. */
cbe_status cli_inputs_open(cli_inputs *inputs, const cli_run *run, cli_progress *progress,
                           cbe_error *err);
void cli_inputs_close(cli_inputs *inputs); /* a zeroed one is allowed */

/** Says how logits are kept, or how the whole model runs, and what of the memory allowed is
 * taken. */
void cli_say_storage(cli_progress *progress, const cbe_layer_objective *objective,
                     const cli_inputs *inputs);

/** Layers of a list below end, rising and once each; to cbe_free. */
cbe_status cli_choose_layers(const cli_ranges *ranges, size_t end, size_t **layers,
                             size_t *n_layers, cbe_error *err);

#endif
