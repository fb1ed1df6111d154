/*
 * model_energies.h - what directions that were found through a lens do in the whole model, on the
 * same tokens.
 *
 * A lens's best directions need not matter to the model. The energy in the model is that of all
 * tokens ablated together, and that of each token alone (objective/scope.h): what the first has and
 * the second has not, a direction does through other tokens, which a lens does not see.
 */
#ifndef CBE_EXTRACT_MODEL_ENERGIES_H
#define CBE_EXTRACT_MODEL_ENERGIES_H

#include "extract/extraction_options.h"
#include "extract/layer_result.h"
#include "extract/survey.h"
#include "model/decoder.h"
#include "model/hidden_states.h"

typedef struct cbe_model_energies cbe_model_energies;

/** @param states, model  hidden_states.L among the states, which are this model's; borrowed
 * @param options  of the run: ablation, objective, tokens held out; processes that divide tokens
 *                 are not allowed
 * @param memory   bytes that may be taken; 0: no limit
 * @return CBE_OK; CBE_ERR_ARG (too little memory); CBE_ERR_NOMEM; CBE_ERR_NUMERIC */
cbe_status cbe_model_energies_create(cbe_model_energies **out, const cbe_hidden_states *states,
                                     const cbe_model *model, const cbe_extraction_options *options,
                                     size_t memory, cbe_error *err);
void cbe_model_energies_free(cbe_model_energies *energies); /* NULL is allowed */
/** Number of directions that are evaluated for a layer of n vectors: controls too. */
size_t cbe_model_energies_n_directions(size_t n);
/** Fills in the energies in the model of a layer's reports and controls. */
cbe_status cbe_model_energies_measure(cbe_model_energies *energies, const cbe_survey *survey,
                                      uint64_t seed, cbe_layer_result *result, cbe_error *err);

#endif
