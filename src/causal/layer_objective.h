/* layer_objective.h - the objective of a run, set to one layer after another: what layer_objective.c makes and extraction.c uses. */
#ifndef CBE_CAUSAL_LAYER_OBJECTIVE_H
#define CBE_CAUSAL_LAYER_OBJECTIVE_H

#include "cbe/extraction.h"

struct cbe_layer_objective {
    const cbe_hidden_states *states;
    cbe_site site;
    const cbe_tuned_lens *lens;
    size_t skip, n_tokens, n_held_out; /* n_held_out: sequences */
    cbe_objective *objective;
    cbe_logit_storage storage;
    size_t bytes;
    float *hidden;             /* (N, d) of the layer that is set */
    cbe_translator translator; /* of that layer */
    const cbe_model *model;    /* the whole of it runs on behind the layer; NULL: a lens */
    cbe_model_objective_plan plan;
    float *whole;              /* (B S, d) of the layer, skipped positions too; the whole model alone */
    bool derangement_unused;
};

#endif
