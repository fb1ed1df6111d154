/* hidden_states_private.h - the struct cbe_hidden_states, for the files that make and read it. */
#ifndef CBE_MODEL_HIDDEN_STATES_PRIVATE_H
#define CBE_MODEL_HIDDEN_STATES_PRIVATE_H

#include "files/unnamed_array.h"
#include "formats/array_file.h"
#include "model/hidden_states.h"

enum { CBE_LAYER_NAME = 40 }; /* bytes of the name hidden_states.<i> */

struct cbe_hidden_states {
    size_t first_sequence; /* the first sequence kept: cbe_hidden_states_keep */
    size_t n_sequences, context_length, hidden_size, n_blocks, end;
    float **captured;          /* (end) of (B S, d) or NULL; NULL if states are read from a file */
    cbe_unnamed_array spilled; /* holds captured states that are not in memory */
    cbe_array_file *file;
    char (*names)[CBE_LAYER_NAME]; /* (end) tensor names, "" for a layer that is missing */
    int64_t *ids, *derangement;
    /* If a mask leaves tokens out: the tokens left, rising, and the index of each sequence's first
     * token among them. */
    size_t n_kept, *kept, *starts; /* (n_kept); (n_sequences + 1); NULL without a mask */
};

/** Copies the tokens' sizes, ids and derangement into states. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_hidden_states_take_tokens(cbe_hidden_states *states, const cbe_tokens *tokens,
                                         cbe_error *err);

#endif
