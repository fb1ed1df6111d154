/* tokens.h - hidden states of the tokens of a whole-model objective. */
#ifndef CBE_OBJECTIVE_MODEL_TOKENS_H
#define CBE_OBJECTIVE_MODEL_TOKENS_H

#include "objective/model/state.h"

/** h . v (d) of a token, in double. */
double cbe_model_dot(size_t d, const float *h, const double *v);
/** Hidden state of token n of N. */
const float *cbe_model_token(const cbe_model_setup *setup, const cbe_model_layer *layer, size_t n);
/** Hidden state of the token that token n is ablated with; resample alone. */
const float *cbe_model_other(const cbe_model_setup *setup, const cbe_model_layer *layer, size_t n);

#endif
