/* layer_starts.h - where the search of a layer starts: directions of several kinds, in the order in
 * which they are taken. */
#ifndef CBE_EXTRACT_LAYER_STARTS_H
#define CBE_EXTRACT_LAYER_STARTS_H

#include "extract/layer_objective.h"

/** Finds the layer of options->init (basis_file.h) whose vectors are starts for a layer: the layer
 * of the same hidden states. Its number differs if basis.json says that the basis was made at the
 * other site.
 * @return whether there is one, with vectors */
bool cbe_init_layer(const cbe_extraction_options *options, size_t layer, size_t *init_layer);

typedef struct cbe_layer_starts cbe_layer_starts;

/** Makes room for any of the layers, and computes what does not depend on the layer. All arguments
 * but `out` are borrowed until free. */
cbe_status cbe_layer_starts_create(cbe_layer_starts **out, const cbe_layer_objective *objective,
                                   const cbe_decoder *decoder,
                                   const cbe_extraction_options *options, size_t n_layers,
                                   const size_t *layers, cbe_error *err);
void cbe_layer_starts_free(cbe_layer_starts *starts); /* NULL is allowed */
/** Finds the starts of the layer that the objective is set to.
 * @param guided  a guide leads the search: the vectors of the caller's basis alone are starts
 * @param list [out] borrowed until the next call; empty with the preset `seed` */
cbe_status cbe_layer_starts_set(cbe_layer_starts *starts, size_t layer, bool guided,
                                cbe_start_list *list, cbe_error *err);
/** Adds the tokens of another process while rank 0 calls cbe_layer_starts_set
 * (CBE_ORDER_STARTS). */
cbe_status cbe_layer_starts_assist(const cbe_layer_objective *objective, const cbe_decoder *decoder,
                                   const cbe_extraction_options *options, cbe_error *err);

#endif
