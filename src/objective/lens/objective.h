/*
 * objective.h - the energy of ablating directions, read through a lens at their own layer.
 *
 * The lens maps a hidden state to x_n = h_n + A h_n + b, which the decoder reads. Ablating v moves
 * each row of logits along one vector, so the layer's logits Z are made once, and an evaluation is
 * a pass over N x V numbers. Formulas: objective/lens/state.h, docs/maths.md.
 *
 * N tokens, d hidden size, V vocabulary.
 */
#ifndef CBE_OBJECTIVE_LENS_OBJECTIVE_H
#define CBE_OBJECTIVE_LENS_OBJECTIVE_H

#include <stdint.h>

#include "covariance/metric.h"
#include "math/loss.h"
#include "lens/translate.h"
#include "model/decoder.h"
#include "objective/ablation.h"
#include "objective/objective.h"
#include "processes/processes.h"

/** How the logits Z (N, V) of a layer are kept. */
typedef enum {
    CBE_LOGITS_FLOAT32 = 0, /* 4 bytes for each token and vocabulary entry */
    CBE_LOGITS_FLOAT16,     /* 2 bytes; relative error of a log-probability 2^-11, docs/maths.md */
    CBE_LOGITS_RECOMPUTED,  /* none kept: a product N x V x d in each evaluation */
    CBE_N_LOGIT_STORAGES
} cbe_logit_storage;

/** Name as on the command line: "float32", "float16", "recomputed". */
const char *cbe_logit_storage_name(cbe_logit_storage storage);

/** Tokens can be divided over processes, which then all make the same calls of the objective.
 * Energies, gradients, means and samples are those of all processes' tokens. Hidden states and
 * energies per token are those of the process's own tokens. */
typedef struct {
    size_t n_tokens; /* N, the process's own tokens of every layer that will be set */
    cbe_ablation ablation;
    cbe_loss kind;
    /* (N of all processes): a permutation without fixed points; resample only. Copied */
    const int64_t *derangement;
    const int64_t *labels; /* (N): the next token or -1; ce only. Copied */
    size_t max_batch;      /* directions in one evaluation; 0: 8 */
    const char *kernels;   /* instruction set by name ("avx2", "ref"); NULL: the best */
    /* (N of all processes): tokens that mean and energies leave out, and that the derangement maps
     * among themselves. NULL: none. Copied */
    const bool *held_out;
    cbe_logit_storage storage;
    const cbe_processes *processes; /* over which tokens are divided; NULL: none. Borrowed */
    size_t first_token;             /* index of the process's first token among all tokens */
    /* Tokens of a sequence, if all sequences have as many; 0: they do not. Sums in float32 are then
     * taken for each sequence by itself, and do not depend on the division over processes. */
    size_t sequence_tokens;
} cbe_lens_options;

/** Bytes that cbe_lens_objective_create will allocate; SIZE_MAX when that overflows. */
size_t cbe_lens_objective_bytes(const cbe_decoder *decoder, const cbe_lens_options *options);

/** Creates the objective of a lens: the arrays of all layers to come. The decoder is borrowed until
 * free. No layer is set yet: cbe_lens_objective_set_layer comes first.
 * @return CBE_OK; CBE_ERR_ARG (fewer than 2 tokens for mean and resample, a derangement that is
 * none, no label, no token that is not held out, kernels that this CPU lacks); CBE_ERR_NOMEM */
cbe_status cbe_lens_objective_create(cbe_objective **out, const cbe_decoder *decoder,
                                     const cbe_lens_options *options, cbe_error *err);

/** Sets the layer: everything that does not depend on the direction. One product N x V x d, and for
 * kl without soft cap another.
 * @param hidden (N, d), borrowed until the next call or free
 * @param metric of the directions to come; copied, its covariance borrowed; NULL: plain
 * @return CBE_OK; CBE_ERR_NUMERIC for NaN or infinity in hidden (token named) or in its logits */
cbe_status cbe_lens_objective_set_layer(cbe_objective *objective, const float *hidden,
                                        cbe_translator translator, const cbe_metric *metric,
                                        cbe_error *err);

/** Name of the instruction set in use, "avx512"; borrowed. */
const char *cbe_lens_objective_kernels(const cbe_objective *objective);

#endif
