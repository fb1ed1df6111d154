/*
 * fit.h - the affine lens: every layer's translator in closed form, from one pass over a text.
 *
 * Translator i is the ridge regression of r = hidden_states.L - hidden_states.i on [x, 1], x =
 * hidden_states.i, with each token weighted by w = 1 / rms(hidden_states.L). The fit thus minimises
 * the error behind the final norm's scale, in which a first token with a huge norm counts as much
 * as any other token. With moments about the weighted means,
 *
 *   A = C' (S + ridge diag S)^-1     S = sum w^2 x x'    C = sum w^2 x r'
 *   b = mean r - A mean x
 *
 * A large ridge leads to A = 0, b = mean r, almost the logit lens, and few tokens give a lens near
 * that limit. Only sums are kept, in float64. The ridge is chosen by the error on held-out
 * sequences, a quadratic form in their sums, so no second pass is needed. A set of sums takes 16 L
 * d^2 bytes. Maths and measurements: docs/tuned-lenses.md. Twin: tests/ref/affine_ref.c.
 */
#ifndef CBE_LENS_FIT_H
#define CBE_LENS_FIT_H

#include "model/model.h"
#include "lens/tuned_lens.h"

/** Sums of every layer over some tokens. */
typedef struct cbe_affine_sums cbe_affine_sums;

/** Creates sums over no tokens. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_affine_sums_create(cbe_affine_sums **out, size_t n_layers, size_t hidden_size,
                                  cbe_error *err);
void cbe_affine_sums_free(cbe_affine_sums *sums); /* NULL is allowed */
size_t cbe_affine_sums_n_tokens(const cbe_affine_sums *sums);

/** Adds tokens first .. first + n_tokens - 1 of the rows of `hidden`. Threads: OpenMP, a layer
 * each; the same bits for any number of threads.
 * @param hidden (n_layers + 1) pointers: hidden[i] is hidden_states.i, (first + n_tokens or more,
 * d)
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_NUMERIC: NaN or infinity (layer named), and the sums can
 * only be freed */
cbe_status cbe_affine_sums_add(cbe_affine_sums *sums, size_t first, size_t n_tokens,
                               const float *const *hidden, cbe_error *err);
/** Adds the sums of other tokens, for instance of another process. Both have the same n_layers and
 * hidden_size. */
void cbe_affine_sums_merge(cbe_affine_sums *into, const cbe_affine_sums *from);

/** Quality of a layer's fit. */
typedef struct {
    double ridge; /* relative to the diagonal */
    /* Means over held-out tokens of w^2 |r|^2 / d, and of w^2 |r - A x - b|^2 / d with A and b
     * fitted on the other tokens. */
    double error_logit, error_affine;
} cbe_affine_layer;

/** Solves for every layer: the ridge (1e-6 to 100, half a decade apart) with the least error on
 * held-out tokens, then A and b from all tokens with that ridge.
 * @param fitted, held_out sums of different tokens, neither empty
 * @param layers [out] (n_layers); NULL skips it
 * @return CBE_OK; CBE_ERR_ARG (no tokens); CBE_ERR_NOMEM; CBE_ERR_NUMERIC (layer named) */
cbe_status cbe_affine_solve(cbe_tuned_lens **out, const cbe_affine_sums *fitted,
                            const cbe_affine_sums *held_out, cbe_affine_layer *layers,
                            cbe_error *err);

/** Fits a lens to a text: runs a model over n_sequences >= 2 of context_length tokens, a few
 * sequences at a time, and solves.
 * @param held_out share of the sequences held out, evenly spread; at least one sequence
 * @param progress as in cbe_forward_sink, with its context; NULL: none
 * @return CBE_OK; CBE_ERR_ARG (fewer than 2 sequences, a share that is not in 0..1, ids); and as
 * cbe_affine_solve */
cbe_status cbe_affine_fit(cbe_tuned_lens **out, const cbe_model *model, size_t n_sequences,
                          size_t context_length, const int64_t *ids, double held_out,
                          cbe_affine_layer *layers,
                          bool (*progress)(void *context, size_t done, size_t total), void *context,
                          cbe_error *err);

#endif
