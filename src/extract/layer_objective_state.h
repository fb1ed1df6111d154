/* layer_objective_state.h - what a layer objective consists of, for the files of this room that
 * create it, set it and choose starts with it. */
#ifndef CBE_EXTRACT_LAYER_OBJECTIVE_STATE_H
#define CBE_EXTRACT_LAYER_OBJECTIVE_STATE_H

#include "extract/layer_objective.h"
#include "extract/sequences.h"

struct cbe_layer_objective {
    const cbe_hidden_states *states;
    cbe_site site;
    const cbe_tuned_lens *lens;
    const cbe_model *model; /* the whole model runs on behind the layer; NULL: a lens */
    size_t skip;
    cbe_sequences sequences;        /* of all processes */
    bool *held_out;                 /* (all_tokens), owned; NULL: none is */
    const cbe_processes *processes; /* processes that tokens are divided over; NULL: not divided */
    size_t n_tokens;                /* of this process's own share */
    size_t first_token;    /* index of the share's first token among those of all processes */
    size_t first_sequence; /* index of the share's first sequence, likewise */
    size_t all_tokens, all_sequences; /* of all processes */
    cbe_objective *objective;         /* of all tokens, in rank 0 */
    cbe_objective *share; /* of this process's own tokens; equals `objective` if not divided */
    cbe_logit_storage storage;
    size_t bytes;
    float *hidden;             /* (n_tokens, d), states of the layer that is set */
    cbe_translator translator; /* of the layer that is set */
    cbe_model_objective_plan plan;
    float *whole; /* (B S, d), states of the layer with skipped positions; the whole model alone */
    bool derangement_unused;
    bool wants_covariance;
    size_t asked_within; /* as in the options */
    size_t n_vectors;    /* that are searched, as in the options */
    /* Principal components to search within, of the layer that is set; 0: all directions. Before a
     * layer is set: of a layer whose states vary in as many dimensions as there can be. */
    size_t within;
    cbe_metric_kind metric_kind;
    cbe_metric metric;          /* of the layer that is set */
    cbe_covariance *covariance; /* of the layer that is set, owned; NULL: not wanted */
    const char *kernels;        /* NULL: the best for this CPU */
    /* Of the whole model, once it was asked for (survey.h): its clean output is that of all
     * layers. */
    double ceiling;
    bool ceiling_known;
};

/** Returns the number of tokens that the run is on of each sequence; 0 if sequences have different
 * numbers of them. */
size_t cbe_layer_objective_sequence_tokens(const cbe_layer_objective *objective);

/** Sets the process's own share to a layer. All processes of `processes` call it: their sums are
 * taken together. */
cbe_status cbe_layer_objective_set_share(cbe_layer_objective *objective, size_t layer,
                                         cbe_error *err);

#endif
