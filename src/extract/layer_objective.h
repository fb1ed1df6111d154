/* layer_objective.h - the objective of a run, set to one layer after another: what
 * layer_objective.c makes and extraction.c uses. */
#ifndef CBE_EXTRACT_LAYER_OBJECTIVE_H
#define CBE_EXTRACT_LAYER_OBJECTIVE_H

#include "extract/extraction.h"

struct cbe_layer_objective {
    const cbe_hidden_states *states;
    cbe_site site;
    const cbe_tuned_lens *lens;
    size_t skip, n_tokens, n_held_out; /* n_held_out: sequences */
    /* that tokens are divided over; NULL: not. n_tokens is the process's own share, of which */
    const cbe_processes *processes;
    /* the first is that one of all */
    size_t first_token, first_sequence, all_tokens, all_sequences;
    cbe_objective *objective; /* of all tokens, in rank 0 */
    cbe_objective *share;     /* of the process's own; the same when they are not divided */
    cbe_logit_storage storage;
    size_t bytes;
    float *hidden;             /* (N, d) of the layer that is set */
    cbe_translator translator; /* of that layer */
    const cbe_model *model;    /* the whole of it runs on behind the layer; NULL: a lens */
    cbe_model_objective_plan plan;
    /* (B S, d) of the layer, skipped positions too; the whole model alone */
    float *whole;
    bool derangement_unused;
};

/** Tokens of a sequence that the run is on; 0 where sequences have different numbers of them. */
size_t cbe_layer_objective_sequence_tokens(const cbe_layer_objective *objective);

/** Sets the process's own share to a layer, and sums over processes with the others, who do the
 * same. */
cbe_status cbe_layer_objective_set_share(cbe_layer_objective *objective, size_t layer,
                                         cbe_error *err);

#endif
