/*
 * layer_guides.h - guides of the search in the whole model (search/guide.h), of all layers of a
 * group of processes from one label-sampled backward pass.
 *
 * A guide spans the layer's first principal components. What ablation leaves of a state is measured
 * from the mean of the searched tokens, or from 0 where states are replaced by 0.
 */
#ifndef CBE_EXTRACT_LAYER_GUIDES_H
#define CBE_EXTRACT_LAYER_GUIDES_H

#include "extract/layer_objective.h"
#include "search/guide.h"

typedef struct cbe_layer_guides cbe_layer_guides;

/** Called with sequences times passes done; false cancels. */
typedef bool cbe_guides_progress(void *context, size_t done, size_t total);

/** Whether a run can have guides: the whole model runs on behind the layer, its tokens are known,
 * and states vary in two dimensions at least. */
bool cbe_layer_guides_wanted(const cbe_layer_objective *objective,
                             const cbe_extraction_options *options);
/** Makes the guides of n layers. Collective over processes that divide the tokens, of which rank 0
 * gives CBE_ORDER_GUIDES before; what the others give for layers and progress is ignored. Sets the
 * objective to one layer after the other.
 * @param memory  bytes that may be taken; 0: no limit. Fewer tokens are drawn for where it is short
 * @return CBE_OK; CBE_ERR_ARG (too little memory); CBE_ERR_NOMEM; CBE_ERR_NUMERIC;
 * CBE_ERR_CANCELLED */
cbe_status cbe_layer_guides_create(cbe_layer_guides **out, cbe_layer_objective *objective,
                                   const cbe_extraction_options *options, size_t n,
                                   const size_t *layers, size_t memory,
                                   cbe_guides_progress *progress, void *context, cbe_error *err);
void cbe_layer_guides_free(cbe_layer_guides *guides); /* NULL is allowed */
/** The guide of a layer, borrowed; NULL: it has none. */
const cbe_search_guide *cbe_layer_guides_get(const cbe_layer_guides *guides, size_t layer);

#endif
