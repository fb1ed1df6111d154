/* layer_covariance.h - the covariance of the states of the layer that an objective is set to. */
#ifndef CBE_EXTRACT_LAYER_COVARIANCE_H
#define CBE_EXTRACT_LAYER_COVARIANCE_H

#include "extract/layer_objective_state.h"

/** Sets `within` to what a layer can have at most, and refuses options that no layer can have: more
 * dimensions to search within than states have, or than the tokens of all processes that are
 * searched can span. @return CBE_OK, CBE_ERR_ARG */
cbe_status cbe_layer_covariance_prepare(cbe_layer_objective *objective, cbe_error *err);
/** Computes the covariance of the tokens that are neither skipped nor held out, of all processes,
 * where it is wanted, points the objective's metric to it, and sets `within` to what the layer has.
 * Each sequence is a block. All processes that tokens are divided over call it.
 * @return CBE_OK; CBE_ERR_ARG (states vary in fewer dimensions than `within`, or not at all);
 * CBE_ERR_NOMEM; CBE_ERR_NUMERIC */
cbe_status cbe_layer_covariance_set(cbe_layer_objective *objective, size_t layer, cbe_error *err);

#endif
