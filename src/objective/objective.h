/*
 * objective.h - the energy of ablating directions, and its gradient.
 *
 * Ablating v replaces each hidden state h_n by h_n - c_n v, c_n = D_n . v. The energy is what that
 * does to the next-token distribution, on average over tokens, in nats:
 *
 *   kl  mean of KL(p || q), p clean, q ablated
 *   ce  mean of CE(q, next token) - CE(p, next token)
 *
 * An objective is one layer of one run. It knows nothing of the search that asks it. Source:
 * Belrose et al. 2023, arXiv:2303.08112, section 4 (causal basis extraction).
 */
#ifndef CBE_OBJECTIVE_OBJECTIVE_H
#define CBE_OBJECTIVE_OBJECTIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lens/translate.h"
#include "math/loss.h"
#include "model/decoder.h"
#include "processes/processes.h"
#include "cbe/status.h"

/** What a direction's component is replaced with. */
typedef enum {
    CBE_ABLATE_MEAN = 0, /* D_n = h_n - mean of h over all tokens */
    CBE_ABLATE_RESAMPLE, /* D_n = h_n - h_derangement(n) */
    CBE_ABLATE_ZERO,     /* D_n = h_n */
    /* c_n = h_n . v - a, a the constant that makes the energy least (Li and Janson 2024) */
    CBE_ABLATE_OPTIMAL,
    CBE_N_ABLATIONS
} cbe_ablation;

/** How products with a model's weights are made. Those of bfloat16 are for CPUs that multiply it
 * (math/bf16.h says what one and three parts are). */
typedef enum {
    CBE_PRECISION_FLOAT32 = 0,
    CBE_PRECISION_BF16X3, /* three parts: 16 bits of each factor */
    /* one part, 8 bits, in evaluations of a sample; three in those of all tokens */
    CBE_PRECISION_BF16,
    CBE_N_PRECISIONS
} cbe_precision;

/** "float32", "bf16x3", "bf16". */
const char *cbe_precision_name(cbe_precision precision);

/** The name on the command line: "mean", "resample", "zero", "optimal". */
const char *cbe_ablation_name(cbe_ablation ablation);

typedef struct cbe_objective cbe_objective;

void cbe_objective_free(cbe_objective *objective); /* NULL is allowed */

/** d of the directions, and the largest m that one call of cbe_objective_eval takes. */
size_t cbe_objective_hidden_size(const cbe_objective *objective);
size_t cbe_objective_max_batch(const cbe_objective *objective);
/** Tokens over which the energy is a mean: all, or those with a label for ce. */
size_t cbe_objective_n_tokens(const cbe_objective *objective);

/** Restricts energies to about n tokens, evenly spread, for cheap comparisons; 0: all that are not
 * held out. What is ablated stays the same: the mean and the resampling pool are those of all
 * tokens. */
void cbe_objective_set_sample(cbe_objective *objective, size_t n);
/** Whether energies and gradients may be rough from here on, for searches that compare directions:
 * through a lens they are then those of a model that knows only the likely entries of its
 * vocabulary, which have 0.99 of the probability over the layer's tokens (a power of two of them,
 * 4,096 at least and a quarter of the vocabulary at most; else, and with ce, evaluations stay
 * exact). Gradients are those of the rough energies. Setting a layer makes them exact again.
 * @return whether they are rough now */
bool cbe_objective_set_rough(cbe_objective *objective, bool rough);
/** Energies from here on are those of the tokens held out, until cbe_objective_set_sample is
 * called. Only where some are. */
void cbe_objective_set_held_out(cbe_objective *objective);

/** Energies of m directions, each ablated alone. Not for several threads at once (it runs its own).
 * @param v         shape (m, d); norms need not be 1
 * @param energy    [out] shape (m), nats; not finite when v or the result is not
 * @param grad      [out] d energy / d v as a free vector, shape (m, d); NULL skips its cost
 * @param per_token [out] shape (m, n_tokens of the sample in force), nats; NULL: not wanted
 * @return CBE_OK, CBE_ERR_ARG (m is 0 or above the batch). The result has the same bits for any
 * number of threads. */
cbe_status cbe_objective_eval(cbe_objective *objective, size_t m, const double *v, double *energy,
                              double *grad, double *per_token, cbe_error *err);

/** Optimal ablation, whatever the objective's own: for each direction the constant a that makes the
 * energy with c_n = h_n . v - a least, and that energy. Several starts, since there may be several
 * minima. On held-out tokens the constants are still those of the others, when those were asked for
 * last: see cbe_objective_eval_constant.
 * @param constant [out] (m)
 * @see Li and Janson 2024, arXiv:2409.09951 */
cbe_status cbe_objective_eval_optimal(cbe_objective *objective, size_t m, const double *v,
                                      double *energy, double *constant, double *grad,
                                      double *per_token, cbe_error *err);
/** The same with the constants given. @param slope [out] d energy / d a (m); NULL: not wanted */
cbe_status cbe_objective_eval_constant(cbe_objective *objective, size_t m, const double *v,
                                       const double *constant, double *energy, double *slope,
                                       double *grad, double *per_token, cbe_error *err);

/** How the logits Z (N, V) of a layer are kept. */
typedef enum {
    CBE_LOGITS_FLOAT32 = 0, /* 4 bytes for each token and vocabulary entry */
    CBE_LOGITS_FLOAT16,     /* 2 bytes; relative error of a log-probability 2^-11, docs/maths.md */
    CBE_LOGITS_RECOMPUTED,  /* none kept: a product N x V x d in each evaluation */
    CBE_N_LOGIT_STORAGES
} cbe_logit_storage;

/** "float32", "float16", "recomputed". */
const char *cbe_logit_storage_name(cbe_logit_storage storage);

typedef struct {
    size_t n_tokens; /* N, of every layer that will be set */
    cbe_ablation ablation;
    cbe_loss kind;
    const int64_t *derangement; /* (N), a permutation without fixed points; resample only. Copied */
    const int64_t *labels;      /* (N), the next token or -1; ce only. Copied */
    size_t max_batch;           /* 0: 8 */
    const char *kernels;        /* instruction set by name ("avx2", "ref"); NULL: the best */
    /* (N): tokens that the mean and energies leave out; a derangement maps them among themselves.
     * NULL: none. Copied */
    const bool *held_out;
    cbe_logit_storage storage;
    /* borrowed; not NULL: tokens are divided over them, and all calls of the objective are made by
     * all alike. Energies, gradients, means and samples are those of all tokens; n_tokens, labels,
     * hidden states and energies per token are the process's own; held_out and derangement are of
     * all, its own beginning at */
    const cbe_processes *processes;
    size_t first_token;
    /* tokens of a sequence, where all have as many; 0: not. What is summed up in float32 is then
     * summed up for each sequence by itself, and is the same however sequences are divided over
     * processes */
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
 * @return CBE_OK; CBE_ERR_NUMERIC for NaN or infinity in hidden (token named) or in its logits */
cbe_status cbe_lens_objective_set_layer(cbe_objective *objective, const float *hidden,
                                        cbe_translator translator, cbe_error *err);

/** Name of the instruction set in use, "avx512"; borrowed. */
const char *cbe_lens_objective_kernels(const cbe_objective *objective);

#endif
