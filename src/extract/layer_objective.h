/* layer_objective.h - the objective of a run, set to one layer after another. */
#ifndef CBE_EXTRACT_LAYER_OBJECTIVE_H
#define CBE_EXTRACT_LAYER_OBJECTIVE_H

#include "objective/lens/objective.h"
#include "extract/extraction_options.h"
#include "model/decoder.h"
#include "model/hidden_states.h"

typedef struct cbe_layer_objective cbe_layer_objective;

/** Keeps logits as float32 where options->memory allows it, else in half precision, else makes them
 * anew in each evaluation. In the whole model: see cbe_model_objective_options.
 * @param states, decoder  borrowed until free
 * @return CBE_OK; CBE_ERR_ARG (too few tokens or sequences, no labels, too little memory allowed);
 * CBE_ERR_SHAPE (decoder of another width); CBE_ERR_NOMEM */
cbe_status cbe_layer_objective_create(cbe_layer_objective **out, const cbe_hidden_states *states,
                                      const cbe_decoder *decoder,
                                      const cbe_extraction_options *options, cbe_error *err);
void cbe_layer_objective_free(cbe_layer_objective *objective); /* NULL is allowed */
/** Sets a layer. Where tokens are divided over processes, rank 0 calls this.
 * @param out [out] the objective of all tokens, borrowed until free */
cbe_status cbe_layer_objective_set(cbe_layer_objective *objective, size_t layer,
                                   cbe_objective **out, cbe_error *err);
/** Returns the covariance of the states of the layer that is set, borrowed until the next layer;
 * NULL: options do not ask for it. */
const cbe_covariance *cbe_layer_objective_covariance(const cbe_layer_objective *objective);
/** Returns the metric of the layer that is set, borrowed until the next layer. */
const cbe_metric *cbe_layer_objective_metric(const cbe_layer_objective *objective);
/** Returns the name of the instruction set in use, borrowed; "blas" in the whole model, which
 * has no kernels of its own. */
/** Principal components to search the layer that is set within; 0: all directions. Before a layer
 * is set: of a layer whose states vary in as many dimensions as there can be. */
size_t cbe_layer_objective_within(const cbe_layer_objective *objective);

const char *cbe_layer_objective_kernels(const cbe_layer_objective *objective);
/** Returns how logits are kept. @param bytes [out] of the objective's arrays; NULL: not wanted */
cbe_logit_storage cbe_layer_objective_storage(const cbe_layer_objective *objective, size_t *bytes);
/** Returns how the whole model runs, borrowed; NULL through a lens. */
const cbe_model_objective_plan *cbe_layer_objective_plan(const cbe_layer_objective *objective);
/** Returns the number of tokens that the run is on, of all processes. */
size_t cbe_layer_objective_n_tokens(const cbe_layer_objective *objective);
/** Returns the number of sequences that the run is on, of all processes. */
size_t cbe_layer_objective_n_sequences(const cbe_layer_objective *objective);
/** Returns the number of sequences that are held out. */
size_t cbe_layer_objective_n_held_out(const cbe_layer_objective *objective);
/** Returns the standard error of the mean of energies per token, of all tokens searched or of all
 * tokens held out (math/sequence_error.h). */
double cbe_layer_objective_error(const cbe_layer_objective *objective, bool held_out,
                                 const double *per_token);
/** Returns whether a derangement was given that could not be used, since positions are skipped or
 * sequences held out. */
bool cbe_layer_objective_derangement_unused(const cbe_layer_objective *objective);

#endif
