/* train_state.h - all that a training is at one moment; see lens/train.h. What a checkpoint
 * holds is marked (c). */
#ifndef CBE_LENS_TRAIN_STATE_H
#define CBE_LENS_TRAIN_STATE_H

#include "files/inputs.h"
#include "lens/train.h"
#include "lens/optimizer.h"
#include "files/path.h"

typedef struct {
    const cbe_lens_train_options *options;
    const cbe_model *model;
    const cbe_decoder *decoder;
    size_t n_layers, hidden_size, context_length;
    size_t n_text;      /* sequences of the text */
    const int64_t *ids; /* (n_text, context_length) */
    const cbe_tuned_lens *init;
    cbe_folder_mark folder; /* of options->checkpoint, when the training began */
    /* of model, ids and init, taken when a checkpoint first needs them */
    char digests[3][CBE_SHA256_TEXT];

    size_t n_sequences, *order; /* trained on, in this order */
    size_t next_sequence;       /* (c) in the order; at the beginning of a chunk */
    size_t first_sequence;      /* next_sequence when this run began */
    size_t step, n_steps;       /* (c) taken; in all */
    /* positions that are mixed: steps draw from so many, as one sequence's are alike */
    size_t pool;
    size_t pending;                 /* (c) positions that wait in it */
    float **rows;                   /* (c) (L + 1) of (pool, d): their hidden states */
    int64_t *labels;                /* (c) (pool) */
    cbe_tuned_lens *lens;           /* (c) */
    cbe_lens_optimizer *optimizers; /* (c) (L) */
    double *losses;                 /* (c) (n_steps, L) */
    double *logit, *start;          /* (c) (L) */
} cbe_train_state;

/** Writes options->checkpoint. */
cbe_status cbe_train_checkpoint_save(cbe_train_state *state, cbe_error *err);
/** Reads it into a state whose arrays are there. *found: false where there is no such file.
 * @return CBE_OK; CBE_ERR_ARG, of another run: what differs is named; CBE_ERR_FORMAT; CBE_ERR_IO;
 * CBE_ERR_NOMEM */
cbe_status cbe_train_checkpoint_load(cbe_train_state *state, bool *found, cbe_error *err);

#endif
