/*
 * extraction.h - the causal bases of several layers, and the files that hold them.
 */
#ifndef CBE_EXTRACTION_H
#define CBE_EXTRACTION_H

#include "cbe/decoder.h"
#include "cbe/hidden_states.h"
#include "cbe/objective.h"
#include "cbe/search.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Where the output of a run is read, and what a layer is. */
typedef enum {
    CBE_SITE_PRE = 0, /* layer i is hidden_states.i, the input of block i */
    CBE_SITE_POST,    /* layer i is hidden_states.(i + 1), the output of block i */
    CBE_N_SITES
} cbe_site;

const char *cbe_site_name(cbe_site site); /* "pre", "post" */

typedef struct {
    cbe_search_options search;
    cbe_ablation ablation;
    cbe_objective_kind objective;
    cbe_site site;
    size_t skip_positions; /* first positions of every sequence left out */
    const char *kernels;   /* NULL: the best for this CPU */
} cbe_extraction_options;

void cbe_extraction_options_init(cbe_extraction_options *options);

/** Whether any of the layers has first positions of a norm more than 10 times the median: 1, else 0. */
cbe_status cbe_choose_skip_positions(const cbe_hidden_states *states, cbe_site site, size_t n_layers,
                                     const size_t *layers, size_t *skip, cbe_error *err);

/** What an extraction and a probe have in common: the objective of a run, set to one layer after another. */
typedef struct cbe_layer_objective cbe_layer_objective;

/** @param decoder, states borrowed until free
 * @return CBE_OK; CBE_ERR_ARG (too few tokens, no labels); CBE_ERR_SHAPE (decoder of another width); CBE_ERR_NOMEM */
cbe_status cbe_layer_objective_create(cbe_layer_objective **out, const cbe_hidden_states *states,
                                      const cbe_decoder *decoder, const cbe_extraction_options *options,
                                      cbe_error *err);
void cbe_layer_objective_free(cbe_layer_objective *objective); /* NULL is allowed */
/** Sets a layer; the objective is borrowed until free. */
cbe_status cbe_layer_objective_set(cbe_layer_objective *objective, size_t layer, cbe_objective **out,
                                   cbe_error *err);
/** Name of the instruction set in use; borrowed. */
const char *cbe_layer_objective_kernels(const cbe_layer_objective *objective);
/** True when a derangement was given that could not be used since positions are skipped. */
bool cbe_layer_objective_derangement_unused(const cbe_layer_objective *objective);

typedef struct {
    size_t layer;
    cbe_basis basis; /* owned */
    double seconds;  /* setting the layer and searching it */
} cbe_layer_result;

/** Frees n results' bases (not the array). */
void cbe_layer_results_free(size_t n, cbe_layer_result *results);

/** Called when a layer is done; false cancels. */
typedef bool cbe_layer_done(void *context, const cbe_layer_result *result);

typedef struct {
    cbe_search_progress *vector; /* within a layer; NULL: none */
    cbe_layer_done *layer;       /* NULL: none */
    void *context;
} cbe_extraction_progress;

/** Searches layers, in the order given.
 * @param results [out] n_layers of them, filled as layers are done; on failure those done so far are kept
 *                 (n_vectors is 0 in the others) and are the caller's to free all the same */
cbe_status cbe_extract(cbe_layer_objective *objective, size_t n_layers, const size_t *layers,
                       const cbe_decoder *decoder, const cbe_extraction_options *options,
                       const cbe_extraction_progress *progress, cbe_layer_result *results, cbe_error *err);

/* The result folder. */

typedef struct {
    const char *name, *value; /* an option as it was in force */
} cbe_run_option;

typedef struct {
    const char *role; /* "model", "text", "hidden_states", ... */
    const char *path; /* a file, or a model folder, whose config.json and *.safetensors are listed */
} cbe_run_input;

typedef struct {
    size_t n_options;
    const cbe_run_option *options;
    size_t n_inputs;
    const cbe_run_input *inputs;
    const char *kernels;
    size_t n_sequences, context_length, n_tokens, skip_positions, hidden_size;
    double seconds;
} cbe_run_record;

/** Makes the folder when it is not there, and checks that files can be written in it, before hours are spent. */
cbe_status cbe_result_folder_prepare(const char *folder, cbe_error *err);
/** Writes FOLDER/basis.safetensors and FOLDER/basis.json (docs/formats.md); earlier ones stay as they are on
 * failure. */
cbe_status cbe_result_save(const char *folder, size_t n, const cbe_layer_result *results,
                           const cbe_run_record *record, cbe_error *err);

#ifdef __cplusplus
}
#endif
#endif
