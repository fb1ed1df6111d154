/*
 * alignment.h - whether a lens answers an ablation as the model does: stimulus-response alignment.
 *
 * An intervention changes the states of a layer. The stimulus S is the change of the lens's logits
 * at a token, the response R the change of the model's. Their similarity is the correlation of
 * both over the vocabulary, weighted by the clean probabilities p of the model:
 *
 *   E[x] = sum p x      similarity = (E[S R] - E[S] E[R]) / sqrt(Var[S] Var[R])
 *
 * 1: the lens is right up to a factor and up to what softmax does not see; 0: it says nothing,
 * which is also what S = 0 or R = 0 says. The intervention here is the removal of a subspace
 * (ablate/subspace.h). Source: Belrose et al. 2023, arXiv:2303.08112, section 4.2, where it is
 * resampling of the first vectors' span. docs/lens-fidelity.md.
 *
 * Without a cap of the logits changes come from changes of normalised states, S = W (y' - y), so
 * that logits need not be subtracted. With a cap c, of which z are the arguments,
 * c tanh(z' / c) - c tanh(z / c) = c tanh((z' - z) / c) (1 - tanh(z / c) tanh(z' / c)).
 */
#ifndef CBE_FIDELITY_ALIGNMENT_H
#define CBE_FIDELITY_ALIGNMENT_H

#include "ablate/subspace.h"
#include "lens/tuned_lens.h"
#include "model/hidden_states.h"
#include "model/model.h"
#include "objective/ablation.h"
#include "objective/scope.h"

/** The similarity of one token, from sums of five terms; shared constants of a row change nothing.
 * @param weights   (n) proportional to p, not below 0
 * @param top       an index of large weight
 * @param stimulus, response  (n) changes of logits */
double cbe_alignment_similarity(size_t n, const float *weights, size_t top, const float *stimulus,
                                const float *response);

/** All pointers are borrowed until free. */
typedef struct {
    const cbe_tuned_lens *lens; /* NULL: the logit lens */
    cbe_ablation ablation;      /* mean, resample or zero */
    cbe_scope scope;            /* of the model's response; the lens reads a token alone */
    size_t skip_positions;      /* first positions, which are not changed and do not count */
    size_t max_rank;            /* of subspaces */
    uint64_t seed;              /* of the derangement, unless one comes with the tokens */
    size_t memory; /* most bytes, which decide how many sequences run at once; 0: no limit */
} cbe_alignment_options;

typedef struct cbe_alignment cbe_alignment;

/** Prepares for hidden states of the model, hidden_states.L among them.
 * @param model, states  borrowed until free
 * @return CBE_OK; CBE_ERR_ARG (no token is left, or too few for the ablation; too little memory);
 * CBE_ERR_UNSUPPORTED (optimal ablation); CBE_ERR_NUMERIC; CBE_ERR_NOMEM */
cbe_status cbe_alignment_create(cbe_alignment **out, const cbe_model *model,
                                const cbe_hidden_states *states,
                                const cbe_alignment_options *options, cbe_error *err);
void cbe_alignment_free(cbe_alignment *alignment); /* NULL is allowed */
/** Number N of tokens. */
size_t cbe_alignment_n_tokens(const cbe_alignment *alignment);

/** Removes a subspace from hidden_states.<state> and compares stimulus and response.
 * Cost: the blocks behind, and three products N V d; four with a cap.
 * @param subspace  of a rank up to max_rank
 * @param similarity [out] (N); the same bits for any number of threads
 * @return CBE_OK; CBE_ERR_ARG; CBE_ERR_NUMERIC (states that are not finite); CBE_ERR_NOMEM */
cbe_status cbe_alignment_measure(cbe_alignment *alignment, size_t state,
                                 const cbe_subspace *subspace, double *similarity, cbe_error *err);

#endif
