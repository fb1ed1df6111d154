/*
 * inputs.h - what extract and probe run on: a model with a text, or hidden states and a decoder
 * made elsewhere.
 */
#ifndef CBE_RUN_INPUTS_H
#define CBE_RUN_INPUTS_H

#include "extract/basis_file.h"
#include "extract/extraction.h"
#include "model/model.h"
#include "run/corpus.h"
#include "run/options.h"
#include "run/watch.h"
#include "run/team.h"

/** What a run was told: fields of the options of extract, probe, ablate and fidelity, and inputs
 * from memory. */
typedef struct {
    const cbe_option *options; /* the table of the command, whose fields these are */
    cbe_corpus corpus;
    const char *hidden_states, *decoder, *lens, *output;
    cbe_ranges layers;
    cbe_skip skip;
    int ablation, objective, precision, scope;
    int site;       /* CBE_N_SITES, set before options are read: not given */
    size_t vectors; /* asked for, of each layer; 0: does not matter */
    size_t lens_tokens;
    uint64_t seed;
    const char *metric; /* NULL: the command has no such option */

    /* Of extract. */
    const char *within;
    size_t starts, max_iterations;
    int preset;
    const char *init, *divide_text;
    cbe_file_names held_out_text;
    int model_energies;          /* cbe_model_energies_choice */
    double min_energy, held_out; /* held_out: CBE_SHARE_AUTO is auto */
    bool resume;
    /* Of probe. */
    const char *vectors_file;
    double strength;
    /* Of ablate and fidelity. */
    const char *basis;
    size_t rank; /* 0: not given */
    /* Of fidelity. */
    size_t directions;
    /* Of spectrum. */
    size_t draws, checkpoint_seconds;

    /* From memory, borrowed; NULL: from files. */
    const cbe_hidden_states *given_states;
    const cbe_decoder *given_decoder;
    const cbe_model *given_model;
    const cbe_tuned_lens *given_lens;

    /* What the command makes of it. */
    bool output_optional;             /* results have another place too */
    bool to_end;                      /* the model's output is wanted, whatever the lens */
    const cbe_basis_file *vectors_of; /* a basis that must fit the model; NULL: none */
    /* a basis that must have been made from the model, if it was from one; NULL: none */
    const cbe_basis_file *made_from;
    cbe_divide divide;
    cbe_team *team; /* what the run is divided over */
} cbe_run_settings;

/** Rows of an options table for them; skip_default differs. */
/* clang-format off */
#define CBE_INPUT_OPTIONS(skip_default)                                                                               \
    CBE_TEXT_OPTIONS(cbe_run_settings, corpus, ""),                                                                            \
    {"hidden-states", 0, OPT_STRING, offsetof(cbe_run_settings, hidden_states), NULL, "FILE", "hidden states made elsewhere, instead of MODEL", NULL, 0}, \
    {"decoder", 0, OPT_STRING, offsetof(cbe_run_settings, decoder), NULL, "FILE", "their final norm and unembedding", NULL, 0}, \
    {"output", 'o', OPT_STRING, offsetof(cbe_run_settings, output), NULL, "PATH", "where results go", NULL, 0},                \
    {"lens", 0, OPT_STRING, offsetof(cbe_run_settings, lens), "logit", "LENS", "where the output is read: logit, tuned=FOLDER (a tuned lens), affine (fitted on the text first), or model (the whole of it runs on)", NULL, 0}, \
    {"lens-tokens", 0, OPT_COUNT, offsetof(cbe_run_settings, lens_tokens), "40000", "N", "tokens of the text, whatever --max-tokens says, that --lens affine is fitted on; 0: all", NULL, CBE_RANGE(0, CBE_MOST_TOKENS)}, \
    {"layers", 'l', OPT_LAYERS, offsetof(cbe_run_settings, layers), "all", "LIST", "layers, as in 0-29,31, or all", NULL, 0},  \
    {"ablation", 'a', OPT_CHOICE, offsetof(cbe_run_settings, ablation), "mean", "KIND", "mean, resample, zero or optimal", cbe_ablation_choices, 0}, \
    {"objective", 0, OPT_CHOICE, offsetof(cbe_run_settings, objective), "kl", "KIND", "kl (to the clean output) or ce (of the next token)", cbe_objective_choices, 0}, \
    {"site", 0, OPT_CHOICE, offsetof(cbe_run_settings, site), NULL, "SITE", "pre: the input of block i, post: its output; not given: post with --lens model, else pre", cbe_site_choices, 0}, \
    {"precision", 0, OPT_CHOICE, offsetof(cbe_run_settings, precision), "float32", "KIND", "of products with weights with --lens model: float32, or on CPUs that multiply bfloat16 bf16x3 (16 bits) or bf16 (8 bits in searches of a sample, 16 else); auto: bf16x3 in searches of extract's preset default where the CPU is faster at it (AMX), else float32", cbe_precision_choices, 0}, \
    {"scope", 0, OPT_CHOICE, offsetof(cbe_run_settings, scope), "all", "SCOPE", "with --lens model: all tokens are ablated together, or own: each alone, read among clean keys and values of the others; through other lenses both are the same", cbe_scope_choices, 0}, \
    CBE_SEQUENCE_OPTIONS(cbe_run_settings, corpus),                                                                            \
    {"skip-positions", 0, OPT_SKIP, offsetof(cbe_run_settings, skip), skip_default, "P|auto", "first positions of each sequence left out; auto: 1 where their norms are huge", NULL, 0}, \
    {"seed", 0, OPT_SEED, offsetof(cbe_run_settings, seed), "0", "N", "of random candidates and of the derangement", NULL, 0}, \
    CBE_THREAD_OPTION(cbe_run_settings, corpus),                                                                               \
    CBE_MEMORY_OPTION(cbe_run_settings, corpus, "memory that may be used"),                                                    \
    CBE_TALK_OPTIONS(cbe_run_settings, corpus, "say more about inputs and choices")
/* clang-format on */

/** What --precision says: auto, or a cbe_precision and CBE_PRECISION_GIVEN. */
enum { CBE_PRECISION_AUTO = 0, CBE_PRECISION_GIVEN = 1 };

/** What --lens says. */
typedef enum {
    CBE_READ_LOGIT,
    CBE_READ_TUNED,  /* a lens folder */
    CBE_READ_AFFINE, /* fitted on the run's own text, before anything else */
    CBE_READ_MODEL,  /* none: the whole model runs on behind the layer */
    CBE_N_READINGS
} cbe_lens_kind;

typedef struct {
    cbe_lens_kind kind;
    const char *path; /* borrowed from the text; NULL where the kind has none */
} cbe_lens_choice;

cbe_status cbe_parse_lens(cbe_lens_choice *out, const char *text, cbe_error *err);

extern const char *const cbe_ablation_choices[],
    *const cbe_objective_choices[], *const cbe_site_choices[],
                                        *const cbe_precision_choices[],
                                            *const cbe_scope_choices[],
                                                *const cbe_model_energies_choices[];
/** Of lens folders that are written. */
extern const char *const cbe_lens_format_choices[];

/** What --model-energies says. */
typedef enum {
    CBE_MODEL_ENERGIES_NO = 0,
    CBE_MODEL_ENERGIES_AUTO, /* if they take less time than the search */
    CBE_MODEL_ENERGIES_YES,
    CBE_N_MODEL_ENERGIES
} cbe_model_energies_choice;

/** All that a run needs, opened. Members named `own` are owned, NULL for what was given from
 * memory. */
typedef struct {
    cbe_model *own_model;
    cbe_decoder *own_decoder;
    cbe_hidden_states *own_states;
    cbe_tuned_lens *own_lens;
    const cbe_model *model; /* NULL with hidden states made elsewhere */
    const cbe_decoder *decoder;
    const cbe_hidden_states *states;
    const cbe_tuned_lens *lens; /* NULL: the logit lens */
    bool lens_fitted;           /* on the text of the run */
    bool model_energies;        /* directions found through the lens are measured in the model */
    size_t n_layers, *layers;   /* chosen, rising; of all processes */
    /* owned: the one that came with tokens of which this process has a share; else NULL */
    int64_t *derangement;
    bool derangement_unused; /* one came with tokens, but a text apart was added to them */
    /* ablation, objective, site, lens, skip, seed, kernels and processes filled in */
    cbe_extraction_options options;
    bool skip_chosen; /* by auto */
    size_t memory;    /* bytes that the run may use, all in all */
} cbe_run_inputs;

/** Opens everything, divides it over the processes of the run, and runs the model where there is
 * one; options.memory is what is left of --memory after that. */
cbe_status cbe_run_inputs_open(cbe_run_inputs *inputs, const cbe_run_settings *run,
                               cbe_watch *watch, cbe_error *err);
/** The same without running the model, for commands that run it their own way: what is chosen of
 * the layers is in `inputs`, and the tokens of all processes in `tokens`, which the caller frees,
 * also after a failure. run->lens is "model". */
cbe_status cbe_run_inputs_open_tokens(cbe_run_inputs *inputs, const cbe_run_settings *run,
                                      cbe_tokens *tokens, cbe_watch *watch, cbe_error *err);
void cbe_run_inputs_close(cbe_run_inputs *inputs); /* a zeroed one is allowed */

/** Says how logits are kept, or how the whole model runs, and what of the memory allowed is
 * taken. */
void cbe_note_storage(cbe_watch *watch, const cbe_layer_objective *objective,
                      const cbe_run_inputs *inputs);

/** Layers of a list below end, rising and once each; to cbe_free. */
cbe_status cbe_choose_layers(const cbe_ranges *ranges, size_t end, size_t **layers,
                             size_t *n_layers, cbe_error *err);

#endif
