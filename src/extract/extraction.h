/*
 * extraction.h - the causal bases of several layers, and the files that hold them.
 */
#ifndef CBE_EXTRACT_EXTRACTION_H
#define CBE_EXTRACT_EXTRACTION_H

#include "model/decoder.h"
#include "model/hidden_states.h"
#include "files/inputs.h"
#include "objective/model/objective.h"
#include "objective/lens/objective.h"
#include "search/search.h"
#include "lens/tuned_lens.h"

/** Where the output of a run is read, and what a layer is. */
typedef enum {
    CBE_SITE_PRE = 0, /* layer i is hidden_states.i, the input of block i */
    CBE_SITE_POST,    /* layer i is hidden_states.(i + 1), the output of block i */
    CBE_N_SITES
} cbe_site;

const char *cbe_site_name(cbe_site site); /* "pre", "post" */
/** i of hidden_states.i that is a layer at that site. */
size_t cbe_site_state(cbe_site site, size_t layer);

typedef struct {
    cbe_search_options search;
    cbe_ablation ablation;
    cbe_loss objective;
    cbe_site site;
    const cbe_tuned_lens *lens; /* borrowed; NULL: the logit lens */
    /* borrowed: behind the layer the whole model runs on, in place of a lens; NULL: a lens. Hidden
     * states then are this model's, hidden_states.L among them */
    const cbe_model *model;
    size_t skip_positions;   /* first positions of every sequence left out */
    const char *kernels;     /* NULL: the best for this CPU */
    cbe_precision precision; /* in the whole model; through a lens float32 */
    /* share of the sequences, evenly spread, that the search does not see; 0: none */
    double held_out;
    /* bytes that the objective may take; 0: no limit. Chooses how the logits are kept */
    size_t memory;
    /* borrowed; NULL: none. Its vectors are among the starts of the searches with the default
     * preset: see cbe_init_layer */
    const struct cbe_basis_file *init;
    /* borrowed; not NULL: tokens are divided over them in whole sequences, and the hidden states
     * are the process's own share (cbe_extract_assist) */
    const cbe_processes *processes;
    /* borrowed; not NULL: all processes of the run, in groups of as many as `processes` has. Each
     * group has its own of the layers, and rank 0 of them all has every result */
    cbe_processes *run;
    /* of all tokens, borrowed; NULL: that of the hidden states, which is one of all tokens too */
    const int64_t *derangement;
    /* borrowed; keeps up with cbe_extract, which begins with what was read from it; NULL: none
     * (extract/checkpoint.h) */
    struct cbe_checkpoint *checkpoint;
} cbe_extraction_options;

void cbe_extraction_options_init(cbe_extraction_options *options);

/** The layer of options->init (extract/basis_file.h) whose vectors are starts for a layer: that of
 * the same hidden states, which is another one where basis.json says that the basis was made at the
 * other site.
 * @return whether there is one, with vectors */
bool cbe_init_layer(const cbe_extraction_options *options, size_t layer, size_t *init_layer);

/** Whether any of the layers has first positions of a norm more than 10 times the median: 1, else
 * 0. Of the states at hand: over processes the largest counts. */
cbe_status cbe_choose_skip_positions(const cbe_hidden_states *states, cbe_site site,
                                     size_t n_layers, const size_t *layers, size_t *skip,
                                     cbe_error *err);

/** What an extraction and a probe have in common: the objective of a run, set to one layer after
 * another. */
typedef struct cbe_layer_objective cbe_layer_objective;

/** Logits are kept as float32 where options->memory allows it, else in half precision, else made
 * anew in each evaluation. In the whole model: see cbe_model_objective_options.
 * @param decoder, states borrowed until free
 * @return CBE_OK; CBE_ERR_ARG (too few tokens or sequences, no labels, too little memory allowed);
 * CBE_ERR_SHAPE (decoder of another width); CBE_ERR_NOMEM */
cbe_status cbe_layer_objective_create(cbe_layer_objective **out, const cbe_hidden_states *states,
                                      const cbe_decoder *decoder,
                                      const cbe_extraction_options *options, cbe_error *err);
void cbe_layer_objective_free(cbe_layer_objective *objective); /* NULL is allowed */
/** Sets a layer; the objective is borrowed until free. Where tokens are divided over processes, it
 * is for rank 0. */
cbe_status cbe_layer_objective_set(cbe_layer_objective *objective, size_t layer,
                                   cbe_objective **out, cbe_error *err);
/** Name of the instruction set in use; "blas" in the whole model, which has no kernels of its own;
 * borrowed. */
const char *cbe_layer_objective_kernels(const cbe_layer_objective *objective);
/** How logits are kept, and the bytes of the objective's arrays. */
cbe_logit_storage cbe_layer_objective_storage(const cbe_layer_objective *objective, size_t *bytes);
/** How the whole model runs; borrowed. NULL through a lens. */
const cbe_model_objective_plan *cbe_layer_objective_plan(const cbe_layer_objective *objective);
/** Tokens and sequences that the run is on, of all processes; and sequences that are held out. */
size_t cbe_layer_objective_n_tokens(const cbe_layer_objective *objective);
size_t cbe_layer_objective_n_sequences(const cbe_layer_objective *objective);
size_t cbe_layer_objective_n_held_out(const cbe_layer_objective *objective);
/** True when a derangement was given that could not be used since positions are skipped or
 * sequences held out. */
bool cbe_layer_objective_derangement_unused(const cbe_layer_objective *objective);

/** What else is known of a vector, in nats. NaN where nothing was held out. */
typedef struct {
    double standard_error; /* of the energy, over tokens */
    /* on sequences that the search did not see, and its standard error */
    double held_out_energy, held_out_error;
    /* under optimal ablation: see cbe_objective_eval_optimal */
    double optimal_energy, optimal_constant;
} cbe_vector_report;

typedef struct {
    size_t layer;
    cbe_basis basis;            /* owned */
    cbe_vector_report *reports; /* (n_vectors), owned */
    double search_seconds;      /* setting the layer and searching it; */
    double seconds;             /* and what is reported of its vectors */
} cbe_layer_result;

/** Frees n results' bases and reports (not the array). */
void cbe_layer_results_free(size_t n, cbe_layer_result *results);

/** Called when a layer is done; false cancels. */
typedef bool cbe_layer_done(void *context, const cbe_layer_result *result);

typedef struct {
    cbe_search_progress *vector; /* within a layer; NULL: none */
    cbe_layer_done *layer;       /* NULL: none */
    void *context;
} cbe_extraction_progress;

/** Whether the i-th layer of a run is the caller's group's: groups take turns. */
bool cbe_layer_is_own(const cbe_extraction_options *options, size_t i);

/** Searches layers, in the order given; those of other groups of processes come from there. Called
 * by rank 0 of each group.
 * @param results [out] n_layers of them, filled as layers are done; on failure those done so far
 * are kept (n_vectors is 0 in the others) and are the caller's to free all the same. In rank 0 of
 * the run of all layers, in the others of those of their groups */
cbe_status cbe_extract(cbe_layer_objective *objective, size_t n_layers, const size_t *layers,
                       const cbe_decoder *decoder, const cbe_extraction_options *options,
                       const cbe_extraction_progress *progress, cbe_layer_result *results,
                       cbe_error *err);

/** What the processes of rank 1 and more do while that of rank 0 calls cbe_extract: they answer for
 * their tokens, until its objective is freed. All have created theirs with the same options.
 * @return CBE_OK; what failed was told to rank 0 */
cbe_status cbe_extract_assist(cbe_layer_objective *objective, const cbe_decoder *decoder,
                              const cbe_extraction_options *options, cbe_error *err);

/* The result folder. */

typedef struct {
    const char *name, *value; /* an option as it was in force */
} cbe_run_option;

typedef struct {
    size_t n_options;
    const cbe_run_option *options;
    size_t n_texts;               /* that were given, read or not */
    const cbe_inputs *inputs;     /* what was read, with digests; NULL: nothing is known of it */
    const char *kernels, *logits; /* instruction set; how logits were kept */
    /* n_held_out sequences */
    size_t n_sequences, context_length, n_tokens, n_held_out, skip_positions, hidden_size;
    /* processes that share a layer; groups of them, each with layers of its own */
    size_t n_processes, n_groups;
    double seconds;
} cbe_run_record;

/** Makes the folder when it is not there, and checks that files can be written in it, before hours
 * are spent. */
cbe_status cbe_result_folder_prepare(const char *folder, cbe_error *err);
/** Writes FOLDER/basis.safetensors and FOLDER/basis.json (docs/formats.md); earlier ones stay as
 * they are on failure. */
cbe_status cbe_result_save(const char *folder, size_t n, const cbe_layer_result *results,
                           const cbe_run_record *record, cbe_error *err);

#endif
