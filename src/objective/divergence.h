/*
 * divergence.h - from the last hidden states of a model to energies and back: final norm,
 * unembedding, cap, softmax and loss in one, a few tokens and a few thousand vocabulary entries at
 * a time, so that logits are never stored.
 *
 * With y = norm(h) and z = W y + bias (less what all biases have in common, which changes nothing
 * but float32's rounding), l = cap(z), primes for the ablated model:
 *
 *   kl            sum p (l - l') + lse' - lse
 *                 without a cap = E.(y - y') + lse' - lse,   E = W' p
 *   ce            (lse' - l'(label)) - (lse - l(label))
 *   d/dy'         W' (cap'(z') (q - p))
 *                 without a cap = W' q - E; for ce p is all on the label
 *
 * So without a cap the clean distribution is one vector E and one number a token: neither logits
 * nor probabilities are kept or made again. An evaluation is then one product N V d, two with
 * gradient. With a cap, the clean logits are made again from the clean y: twice as many products.
 * Source: docs/maths.md, the whole model.
 */
#ifndef CBE_OBJECTIVE_DIVERGENCE_H
#define CBE_OBJECTIVE_DIVERGENCE_H

#include <stdint.h>

#include "math/loss.h"
#include "math/bf16.h"
#include "model/decoder.h"
#include "objective/objective.h"

typedef struct cbe_divergence cbe_divergence;

/** Bytes that cbe_divergence_create allocates; SIZE_MAX when that overflows. */
size_t cbe_divergence_bytes(const cbe_decoder *decoder, cbe_loss kind, size_t n_rows);
/** For n_rows tokens that have an energy. The decoder is borrowed until free.
 * @param labels (n_rows), below the vocabulary size; ce only. Copied
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_divergence_create(cbe_divergence **out, const cbe_decoder *decoder, cbe_loss kind,
                                 size_t n_rows, const int64_t *labels, cbe_error *err);
void cbe_divergence_free(cbe_divergence *divergence); /* NULL is allowed */

/** Makes products with the unembedding by bf16 from here on, if it has parts (math/bf16.h). After
 * an evaluation the caller asks cbe_bf16_check.
 * @param bf16  borrowed until free
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_divergence_use_bf16(cbe_divergence *divergence, cbe_bf16 *bf16, cbe_error *err);
/** Most bytes that cbe_divergence_use_bf16 allocates. */
size_t cbe_divergence_bf16_bytes(const cbe_decoder *decoder);
/** Most rows or columns of one of its matrices. */
size_t cbe_divergence_bf16_max_size(const cbe_decoder *decoder);

/** A hidden state to evaluate. */
typedef struct {
    size_t row; /* the row whose clean distribution is taken or compared with */
    size_t at;  /* index of the state in hidden and grad */
} cbe_divergence_item;

/** Takes the clean distributions of all n_rows rows, one item each, from hidden_states.L (.., d).
 * @return CBE_OK; CBE_ERR_NUMERIC (row named) */
cbe_status cbe_divergence_set_clean(cbe_divergence *divergence, const cbe_divergence_item *items,
                                    const float *hidden, cbe_error *err);

/** Energies, and with grad their gradients.
 * @param hidden  (.., d) hidden_states.L
 * @param energy  [out] (n)
 * @param grad    [out] (.., d), may be hidden; rows that no item names are left alone. NULL: not
 * wanted */
void cbe_divergence_eval(cbe_divergence *divergence, size_t n, const cbe_divergence_item *items,
                         const float *hidden, double *energy, float *grad);

/** Further measures of a row's logits. */
typedef struct {
    double ce;  /* cross-entropy of the label, nats; NaN: there is no label */
    size_t top; /* the most probable token; of equally probable tokens the first */
} cbe_divergence_measure;

/** Energies and measures in one pass, for kl.
 * @param labels   (n) of the items: below the vocabulary size, or -1: none
 * @param energy   [out] (n)
 * @param measures [out] (n) */
void cbe_divergence_measure_rows(cbe_divergence *divergence, size_t n,
                                 const cbe_divergence_item *items, const float *hidden,
                                 const int64_t *labels, double *energy,
                                 cbe_divergence_measure *measures);

#endif
