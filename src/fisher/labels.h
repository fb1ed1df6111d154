/*
 * labels.h - labels drawn from a model's own predictions, and the gradients that begin at them.
 *
 * At each token m that is not skipped, R labels y_m are drawn from the clean distribution p_m. The
 * gradient of log p_m(y_m) in the normalised state is, f the slope of the logits' cap (1 without),
 *
 *   f_y W[y] - E_m      E_m = sum over t of p_t f_t W[t]
 *
 * so once E is known, a draw costs no product with the unembedding. Logits and probabilities are
 * made a few tokens and a few thousand vocabulary entries at a time, and labels are drawn as the
 * chunks come by: a chunk takes the place of what was drawn before with the probability of its
 * share of the sum so far.
 *
 * Random numbers are functions of the seed, the draw, the token's index among all tokens and the
 * chunk, and the products' panels are parts of one sequence: labels are the same however sequences
 * are divided over batches, threads or processes. Source: docs/maths.md, label-sampled gradients.
 */
#ifndef CBE_FISHER_LABELS_H
#define CBE_FISHER_LABELS_H

#include <stddef.h>
#include <stdint.h>

#include "model/decoder.h"

typedef struct cbe_labels cbe_labels;

typedef struct {
    size_t context_length; /* S */
    size_t skip_positions; /* first positions of a sequence that have no label */
    size_t n_sequences;    /* most sequences at once */
    size_t n_draws;        /* R */
    uint64_t seed;
} cbe_labels_options;

/** Bytes that cbe_labels_create allocates; SIZE_MAX on overflow. Nothing is allocated later. */
size_t cbe_labels_bytes(const cbe_decoder *decoder, const cbe_labels_options *options);
/** Prepares for batches of sequences. The decoder is borrowed until free.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_labels_create(cbe_labels **out, const cbe_decoder *decoder,
                             const cbe_labels_options *options, cbe_error *err);
void cbe_labels_free(cbe_labels *labels); /* NULL is allowed */

/** Labels that are given in place of drawn ones; start with {0}: none. */
typedef struct {
    const int64_t *labels; /* of draw 0, (n_sequences S); -1: no label. Borrowed for the call */
    size_t stride;         /* from the labels of one draw to those of the next */
} cbe_labels_given;

/** Takes the clean output of n_sequences and draws R labels for each token.
 * @param first  index of the first sequence among all sequences
 * @param last   (n_sequences S, d) hidden_states.L
 * @return CBE_OK; CBE_ERR_NUMERIC (logits that are not finite: sequence and position named);
 * CBE_ERR_ARG (a label that is given is not in the vocabulary) */
cbe_status cbe_labels_take(cbe_labels *labels, size_t first, size_t n_sequences, const float *last,
                           const cbe_labels_given *given, cbe_error *err);
/** Labels of a draw (n_sequences S), -1 for skipped positions; borrowed until the next take. */
const int64_t *cbe_labels_get(const cbe_labels *labels, size_t draw);
/** Gradient in hidden_states.L of the sum of log p_m(y_m), y the labels of a draw.
 * @param last  as in cbe_labels_take
 * @param grad  [out] (n_sequences S, d); 0 where there is no label */
void cbe_labels_gradient(const cbe_labels *labels, size_t draw, const float *last, float *grad);

#endif
