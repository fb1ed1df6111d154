/* token_lists.h - what an objective is told of the tokens one by one: which are held out, what each
 * is ablated with, which token follows it. */
#ifndef CBE_EXTRACT_TOKEN_LISTS_H
#define CBE_EXTRACT_TOKEN_LISTS_H

#include "objective/lens/objective.h"
#include "extract/layer_objective_state.h"

/** Owns its arrays. Start with {0}. */
typedef struct {
    bool *held_out;       /* of all processes' tokens; NULL: none is held out */
    int64_t *labels;      /* of this process's tokens; NULL: the objective needs none */
    int64_t *derangement; /* of all processes' tokens; NULL: a given one, or none, is used */
} cbe_token_lists;

/** Makes the lists that a run needs, and points the options of the objective to them. Sets
 * whether a derangement given was not used.
 * @return CBE_OK; CBE_ERR_ARG (too few tokens, no labels);
 * CBE_ERR_NOMEM */
cbe_status cbe_token_lists_make(cbe_token_lists *lists, cbe_layer_objective *objective,
                                const cbe_extraction_options *options, cbe_lens_options *lens,
                                cbe_error *err);
void cbe_token_lists_free(cbe_token_lists *lists); /* a zeroed one is allowed */

#endif
