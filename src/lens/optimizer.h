/*
 * optimizer.h - a layer's optimiser: from stochastic gradients to steps of its translator.
 *
 * G, the gradient in A, is the mean of g h' over a step's tokens, g the gradient in x; the gradient
 * in b is the mean of g. With momentum m and rate r, each step:
 *
 *   sgd      M <- m M + G;  A <- A - r (1 - m) D,  D = G + m M (Nesterov;
 *            PyTorch's rule, its rate times 1 - m)
 *   adam     Kingma and Ba 2015, betas m and 0.999
 *
 * natural is sgd with the preconditioner of K-FAC (Martens and Grosse 2015, arXiv:1503.05671). The
 * divergence's curvature in A is the mean of F_n x h_n h_n', where F_n is its curvature in x.
 * Approximated by a product of means,
 *
 *   A <- A - r (1 - m) (F + damping tr F / d)^-1 D (S + ridge diag S)^-1
 *
 * where S is the covariance of w h from the affine fit's sums, F the running mean of F_n / w^2, and
 * w = 1 / rms(hidden_states.L). A and b move about the mean of h: mean(g) mean(h)' is subtracted
 * from G, and b follows A.
 */
#ifndef CBE_LENS_OPTIMIZER_H
#define CBE_LENS_OPTIMIZER_H

#include "lens/train.h"
#include "lens/affine_sums.h"

typedef struct {
    size_t hidden_size;
    float *momentum; /* (d + 1, d): the rows of A, then b */
    float *second;   /* (d + 1, d): adam's second moment */
    /* Members of natural. */
    float *inverse;    /* (S + ridge diag S)^-1 (d, d) */
    float *mean;       /* (d) weighted mean of h */
    double bias_scale; /* mean w^2 */
    double *curvature; /* (d, d) decayed sum of F_n / w^2, the upper triangle */
    double curvature_weight;
} cbe_lens_optimizer;

/** Scratch of a thread. */
typedef struct {
    float *gradient;       /* (d + 1, d) */
    float *direction;      /* (d + 1, d) */
    double *factor, *rows; /* (d, d), (d + 1, d) */
    double *samples;       /* (tokens of a step, d) */
} cbe_optimizer_room;

/** Creates an optimiser with zero momentum. A natural one needs cbe_lens_optimizers_prepare too.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_lens_optimizer_create(cbe_lens_optimizer *optimizer,
                                     const cbe_lens_train_options *options, size_t hidden_size,
                                     cbe_error *err);
/** Computes the input side of every layer's preconditioner. Threads: OpenMP, a layer each.
 * @return CBE_OK; CBE_ERR_NUMERIC (layer named); CBE_ERR_NOMEM */
cbe_status cbe_lens_optimizers_prepare(size_t n_layers, cbe_lens_optimizer *optimizers,
                                       const cbe_affine_sums *sums, double ridge, cbe_error *err);
void cbe_lens_optimizer_free(cbe_lens_optimizer *optimizer);
/** Allocates the scratch of a thread for at most max_tokens tokens a step.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_optimizer_room_create(cbe_optimizer_room *room, size_t hidden_size,
                                     size_t max_tokens, cbe_error *err);
void cbe_optimizer_room_free(cbe_optimizer_room *room);

/** Takes step number `step`, from 0.
 * @param gradient, sampled (n, d), of cbe_lens_loss; sampled may be NULL unless natural
 * @param hidden (n, d)  @param weights w (n)  @param rate  r of this step
 * @param weight, bias [in, out] A and b
 * @return false if a number is not finite: the lens can then not be used */
bool cbe_lens_optimizer_step(cbe_lens_optimizer *optimizer, const cbe_lens_train_options *options,
                             size_t step, double rate, size_t n, const float *hidden,
                             const double *weights, const float *gradient, const float *sampled,
                             cbe_optimizer_room *room, float *weight, float *bias);

#endif
