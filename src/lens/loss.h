/*
 * loss.h - the loss of a lens on some tokens, and its gradient in the translated hidden states.
 *
 *   x = h + A h + b    l = cap(W norm(x) + bias)    q = softmax(l)
 *   kl: sum p (log p - log q), p the model's own distribution      ce: -log q(next token)
 *
 * Logits take n V floats for n tokens: a block of the target's, computed once for all layers, and a
 * block for each thread. Cost 4 n d V a layer: two products. Twin: tests/ref/lens_loss_ref.c.
 */
#ifndef CBE_LENS_LOSS_H
#define CBE_LENS_LOSS_H

#include <stddef.h>
#include <stdint.h>

#include "lens/translate.h"
#include "math/loss.h"
#include "math/random.h"
#include "model/decoder.h"

/** The target of a loss at n tokens. */
typedef struct {
    cbe_loss kind;
    size_t max_tokens;
    float *probs;    /* kl: p (n, V) */
    double *entropy; /* kl: -sum p log p (n) */
    float *expected; /* kl: W' p (n, d) */
    int64_t *labels; /* ce: (n) */
    float *room;     /* (n, d) */
} cbe_lens_target;

/** Allocates a target for at most max_tokens tokens. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_lens_target_create(cbe_lens_target *target, const cbe_decoder *decoder,
                                  cbe_loss kind, size_t max_tokens, cbe_error *err);
void cbe_lens_target_free(cbe_lens_target *target); /* a zeroed target is allowed */
/** Sets the target from hidden_states.L (n, d) for kl, from the next tokens (n) for ce. Threads:
 * cbe_gemm's. */
void cbe_lens_target_set(cbe_lens_target *target, const cbe_decoder *decoder, size_t n,
                         const float *last, const int64_t *labels);

/** Scratch of a thread. */
typedef struct {
    float *logits;                  /* (n, V) */
    float *translated, *normalised; /* (n, d) */
} cbe_loss_room;

/** Allocates the scratch of a thread for at most max_tokens tokens. @return CBE_OK,
 * CBE_ERR_NOMEM */
cbe_status cbe_loss_room_create(cbe_loss_room *room, const cbe_decoder *decoder, size_t max_tokens,
                                cbe_error *err);
void cbe_loss_room_free(cbe_loss_room *room);

/** Computes the loss, summed over n tokens, and its gradient.
 * @param hidden (n, d)
 * @param gradient [out] gradient in x of each token (n, d); NULL: the second product is left out
 * @param sampled  [out] (n, d), the gradient for a token drawn from q in place of the target. The
 * mean of its outer products is the loss's curvature, Fisher's information (but for a final cap's
 * slope). NULL skips it; needs gradient
 * @param rng draws the tokens
 * @return nats, summed */
double cbe_lens_loss(const cbe_decoder *decoder, const cbe_lens_target *target,
                     cbe_translator translator, size_t n, const float *hidden, cbe_loss_room *room,
                     float *gradient, float *sampled, cbe_rng *rng);

#endif
