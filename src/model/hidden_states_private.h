/* hidden_states_private.h - what a cbe_hidden_states holds, for the files that make and read it. */
#ifndef CBE_MODEL_HIDDEN_STATES_PRIVATE_H
#define CBE_MODEL_HIDDEN_STATES_PRIVATE_H

#include "files/unnamed_array.h"
#include "formats/array_file.h"
#include "model/hidden_states.h"

enum { CBE_LAYER_NAME = 40 }; /* of hidden_states.<i> */

struct cbe_hidden_states {
    size_t first_sequence; /* of those that are kept: cbe_hidden_states_keep */
    size_t n_sequences, context_length, hidden_size, n_blocks, end;
    bool given;                /* by a caller, in arrays (cbe_hidden_states_create) */
    float **captured;          /* (end) of (B S, d) or NULL; NULL when read from a file */
    bool *borrowed;            /* (end), of captured; NULL: none is */
    cbe_unnamed_array spilled; /* where captured states are, if not in memory */
    cbe_array_file *file;
    char (*names)[CBE_LAYER_NAME]; /* (end) tensor names, empty where there is none */
    int64_t *ids, *derangement;
    /* Where a mask leaves tokens out: those that are left, rising, and where each sequence's begin
     * among them. */
    size_t n_kept, *kept, *starts; /* (n_kept); (n_sequences + 1); NULL without a mask */
    /* (B S, V), borrowed: the model's own logits of hidden_states.<logits_state>; NULL: none were
     * given */
    const float *logits;
    size_t logits_state, vocab_size;
};

/** Sets sequences, their ids and their derangement, which are copied. @return CBE_OK,
 * CBE_ERR_NOMEM */
cbe_status cbe_hidden_states_take_tokens(cbe_hidden_states *states, const cbe_tokens *tokens,
                                         cbe_error *err);
/** Leaves out tokens whose entry of the mask (B S) is 0.
 * @param name  of the mask, for messages
 * @return CBE_OK; CBE_ERR_ARG: every token is left out; CBE_ERR_NOMEM */
cbe_status cbe_hidden_states_take_mask(cbe_hidden_states *states, const int64_t *mask,
                                       const char *name, cbe_error *err);

#endif
