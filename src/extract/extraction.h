/* extraction.h - the causal bases of several layers. */
#ifndef CBE_EXTRACT_EXTRACTION_H
#define CBE_EXTRACT_EXTRACTION_H

#include "extract/extraction_options.h"
#include "extract/layer_guides.h"
#include "extract/layer_objective.h"
#include "extract/layer_result.h"

/** Called when a layer is done; false cancels. */
typedef bool cbe_layer_done(void *context, const cbe_layer_result *result);

typedef struct {
    cbe_guides_progress *guides; /* before the first layer, in the whole model; NULL: none */
    cbe_search_progress *vector; /* within a layer; NULL: none */
    cbe_layer_done *layer;       /* NULL: none */
    void *context;
} cbe_extraction_progress;

/** Searches layers in the order given. Results of layers of other groups of processes come from
 * these groups. Rank 0 of each group calls this. Options ask for the covariance, which reports
 * take.
 * @param results [out] (n_layers), filled as layers are done; rank 0 of the run gets all of them,
 * rank 0 of another group the results of its own layers. On failure the results so far are kept
 * (n_vectors is 0 in the rest). The caller frees them in any case.
 * @return CBE_OK; CBE_ERR_CANCELLED; CBE_ERR_ARG (more vectors than dimensions); what the search or
 * the checkpoint returned */
cbe_status cbe_extract(cbe_layer_objective *objective, size_t n_layers, const size_t *layers,
                       const cbe_decoder *decoder, const cbe_extraction_options *options,
                       const cbe_extraction_progress *progress, cbe_layer_result *results,
                       cbe_error *err);

/** Answers for the tokens of a process of rank 1 or more until rank 0, which calls cbe_extract,
 * frees its objective. All processes have created theirs with the same options.
 * @return CBE_OK; rank 0 knows of what failed */
cbe_status cbe_extract_assist(cbe_layer_objective *objective, const cbe_decoder *decoder,
                              const cbe_extraction_options *options, cbe_error *err);

#endif
