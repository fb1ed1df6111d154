/*
 * train.h - training the translators of a tuned lens towards the model's output.
 *
 * Every layer's loss is KL(final || lens), or the cross-entropy of the next token, at some
 * positions of each sequence, the same positions for all layers, so that the final distribution is
 * computed once. One pass over the text feeds all layers; memory holds the hidden states of a chunk
 * of sequences and of a pool of the positions of 8 steps, from which each step draws. An earlier
 * pass sums for the affine lens (lens/fit.h), which gives the start and the input side of the
 * preconditioner.
 *
 * Maths and measurements: docs/tuned-lenses.md. Source: Belrose et al. 2023, arXiv:2303.08112,
 * section 2.
 */
#ifndef CBE_LENS_TRAIN_H
#define CBE_LENS_TRAIN_H

#include "files/inputs.h"
#include "lens/fit.h"
#include "lens/tuned_lens.h"
#include "math/loss.h"
#include "model/model.h"

typedef enum {
    CBE_OPTIMIZER_NATURAL = 0, /* sgd with a preconditioner: see src/lens/optimizer.h */
    CBE_OPTIMIZER_SGD,         /* Nesterov momentum */
    CBE_OPTIMIZER_ADAM,
    CBE_N_OPTIMIZERS
} cbe_optimizer_kind;

typedef enum {
    CBE_START_AFFINE = 0, /* the affine lens of the same text */
    CBE_START_ZERO,       /* the logit lens */
    CBE_START_GIVEN,      /* cbe_lens_train's init */
    CBE_N_STARTS
} cbe_lens_start;

/** Names: "natural", "sgd", "adam"; "affine", "zero", "given". */
const char *cbe_optimizer_name(cbe_optimizer_kind kind);
const char *cbe_lens_start_name(cbe_lens_start start);

#define CBE_MOMENTUM_DEFAULT (-1.0)

typedef struct {
    cbe_loss loss;
    cbe_lens_start start;
    cbe_optimizer_kind optimizer;
    /* Rate of the first step; falls linearly to 0. 0: 0.1, 1.0 or 0.001 by optimizer. */
    double rate;
    /* Below 1; Adam's first beta. CBE_MOMENTUM_DEFAULT: 0.5, 0.9 or 0.9 by optimizer. */
    double momentum;
    /* natural: damping of the output side, relative to its mean eigenvalue */
    double damping;
    double ridge;           /* natural: ridge of the input side, relative to the diagonal */
    double positions;       /* share of each sequence's positions that training uses; 1: all */
    size_t step_tokens;     /* positions in one step */
    double held_out;        /* share of the sequences held out */
    size_t held_out_tokens; /* most held-out tokens on which losses are measured */
    uint64_t seed;          /* seed of the order of sequences and of positions */
    /* Files read, borrowed: a checkpoint knows its model by their digests; NULL: by the decoder
     * alone. */
    const cbe_inputs *inputs;
    const char *checkpoint;  /* a file, replaced as training goes on; NULL: none */
    size_t checkpoint_steps; /* steps between two checkpoints, approximately */
    bool resume;             /* continue from the checkpoint if there is one */
} cbe_lens_train_options;

/** Sets all options to their defaults. */
void cbe_lens_train_options_init(cbe_lens_train_options *options);

/** Functions called during training; each may be NULL, and false cancels. */
typedef struct {
    /* Called with tokens times blocks done of the pass before training. */
    bool (*fitting)(void *context, size_t done, size_t total);
    /* Called after each step with the layers' losses (n_layers), means over the step's tokens. */
    bool (*step)(void *context, size_t step, size_t n_steps, size_t n_layers, const double *losses);
    void *context;
} cbe_lens_train_hooks;

/** Record of a training; owns its arrays. */
typedef struct {
    size_t n_layers, n_steps, step_tokens;
    /* Sequences trained on; sequences held out; held-out tokens measured. */
    size_t n_sequences, n_held_out, n_measured;
    size_t resumed_at; /* step of the checkpoint; 0: the training began anew */
    /* (n_steps, n_layers): loss at each step, before it was taken. */
    double *losses;
    double *logit, *start, *trained; /* (n_layers): losses on held-out tokens, nats */
} cbe_lens_training;

void cbe_lens_training_free(cbe_lens_training *training); /* a zeroed struct is allowed */

/** Trains a lens. The result has the same bits for any number of threads, and if the training was
 * interrupted and resumed. Memory, besides a chunk's hidden states: for each layer its translator,
 * the momentum and, if natural, 3 d^2 floats; step_tokens V floats for each thread and once more.
 * @param init  for CBE_START_GIVEN, a lens of the model's shape with a bias; else NULL
 * @return CBE_OK; CBE_ERR_ARG (options; too few tokens for one step); CBE_ERR_SHAPE (init);
 * CBE_ERR_FORMAT or CBE_ERR_ARG (a checkpoint that is damaged or of another run: the difference is
 * named); CBE_ERR_NUMERIC (a layer diverged: named); CBE_ERR_CANCELLED; CBE_ERR_IO;
 * CBE_ERR_NOMEM */
cbe_status cbe_lens_train(cbe_tuned_lens **out, cbe_lens_training *training, const cbe_model *model,
                          size_t n_sequences, size_t context_length, const int64_t *ids,
                          const cbe_tuned_lens *init, const cbe_lens_train_options *options,
                          const cbe_lens_train_hooks *hooks, cbe_error *err);

/** Writes learning curves: FOLDER/train.csv (step, tokens, each layer's loss, and rows "logit",
 * "start" and "trained" with losses on held-out tokens) and FOLDER/train.svg (groups of layers).
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_NOMEM */
cbe_status cbe_lens_training_save(const cbe_lens_training *training, const char *folder,
                                  cbe_error *err);
/** Finds layers *first to *last of group g; a learning curve is drawn for each group. @return the
 * number of groups */
size_t cbe_lens_training_group(size_t n_layers, size_t g, size_t *first, size_t *last);

#endif
