/* train_state.h - the state of a training; see lens/train.h. Members that a checkpoint holds are
 * marked (c). */
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
    cbe_folder_mark folder; /* folder of options->checkpoint when the training began */
    /* Digests of model, ids and init, taken when a checkpoint first needs them. */
    char digests[3][CBE_SHA256_TEXT];

    size_t n_sequences, *order; /* sequences trained on, in this order */
    size_t next_sequence;       /* (c) index in the order; first of a chunk */
    size_t first_sequence;      /* value of next_sequence when this run began */
    size_t step, n_steps;       /* (c) steps taken; steps of the whole training */
    /* Positions of the pool. Steps draw from it, since positions of one sequence are alike. */
    size_t pool;
    size_t pending;                 /* (c) positions in the pool now */
    float **rows;                   /* (c) (L + 1) of (pool, d): hidden states of the pool */
    int64_t *labels;                /* (c) (pool) */
    cbe_tuned_lens *lens;           /* (c) */
    cbe_lens_optimizer *optimizers; /* (c) (L) */
    double *losses;                 /* (c) (n_steps, L) */
    double *logit, *start;          /* (c) (L) */
} cbe_train_state;

/** Writes options->checkpoint.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_SYSTEM, CBE_ERR_NOMEM */
cbe_status cbe_train_checkpoint_save(cbe_train_state *state, cbe_error *err);
/** Reads options->checkpoint into a state whose arrays are allocated. *found: whether there is such
 * a file.
 * @return CBE_OK; CBE_ERR_ARG: a checkpoint of another run (the difference is named);
 * CBE_ERR_FORMAT; CBE_ERR_IO; CBE_ERR_NOMEM */
cbe_status cbe_train_checkpoint_load(cbe_train_state *state, bool *found, cbe_error *err);

#endif
