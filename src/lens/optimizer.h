/*
 * optimizer.h - one layer's steps: stochastic gradients to changes of its translator.
 *
 * G = mean over a step's tokens of g h', g = d loss / d x: the gradient by A; that by b is the mean
 * of g. With momentum m and rate r, each step:
 *
 *   sgd      M <- m M + G;  A <- A - r (1 - m) D,  D = G + m M (Nesterov;
 *            PyTorch's rule, its rate times 1 - m)
 *   adam     Kingma and Ba 2015, betas m and 0.999
 *
 * natural is sgd behind the preconditioner of K-FAC (Martens and Grosse 2015, arXiv:1503.05671).
 * The divergence's curvature in A is the mean of F_n x h_n h_n', F_n that in x; taken as a product
 * of means,
 *
 *   A <- A - r (1 - m) (F + damping tr F / d)^-1 D (S + ridge diag S)^-1
 *
 * S the covariance of w h from the affine fit's sums, F the mean of F_n / w^2 so far, w = 1 /
 * rms(hidden_states.L). A and b then move about the mean of h: G loses mean(g) mean(h)', and b
 * follows A.
 */
#ifndef CBE_LENS_OPTIMIZER_H
#define CBE_LENS_OPTIMIZER_H

#include "lens/train.h"
#include "lens/affine_sums.h"

typedef struct {
    size_t hidden_size;
    float *momentum; /* (d + 1, d): of A, then of b */
    float *second;   /* adam (d + 1, d) */
    /* Preconditioned: */
    float *inverse;    /* (S + ridge diag S)^-1 (d, d) */
    float *mean;       /* weighted, of h (d) */
    double bias_scale; /* mean w^2 */
    double *curvature; /* (d, d) decayed sum of F_n / w^2, the upper triangle */
    double curvature_weight;
} cbe_lens_optimizer;

/** A thread's own memory. */
typedef struct {
    float *gradient;       /* (d + 1, d) */
    float *direction;      /* (d + 1, d) */
    double *factor, *rows; /* (d, d), (d + 1, d) */
    double *samples;       /* (tokens of a step, d) */
} cbe_optimizer_room;

/** At rest. A natural one needs cbe_lens_optimizers_prepare too. */
cbe_status cbe_lens_optimizer_create(cbe_lens_optimizer *optimizer,
                                     const cbe_lens_train_options *options, size_t hidden_size,
                                     cbe_error *err);
/** Input sides of all layers' preconditioners. Threads: OpenMP, a layer each.
 * @return CBE_OK; CBE_ERR_NUMERIC (layer named); CBE_ERR_NOMEM */
cbe_status cbe_lens_optimizers_prepare(size_t n_layers, cbe_lens_optimizer *optimizers,
                                       const cbe_affine_sums *sums, double ridge, cbe_error *err);
void cbe_lens_optimizer_free(cbe_lens_optimizer *optimizer);
cbe_status cbe_optimizer_room_create(cbe_optimizer_room *room, size_t hidden_size,
                                     size_t max_tokens, cbe_error *err);
void cbe_optimizer_room_free(cbe_optimizer_room *room);

/** One step, number `step` from 0. false: a number is not finite; the lens is then of no use.
 * @param gradient, sampled as of cbe_lens_loss (n, d); sampled may be NULL without preconditioning
 * @param hidden (n, d)  @param weights w (n)  @param rate in force
 * @param weight, bias A and b, changed */
bool cbe_lens_optimizer_step(cbe_lens_optimizer *optimizer, const cbe_lens_train_options *options,
                             size_t step, double rate, size_t n, const float *hidden,
                             const double *weights, const float *gradient, const float *sampled,
                             cbe_optimizer_room *room, float *weight, float *bias);

#endif
