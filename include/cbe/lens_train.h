/*
 * lens_train.h - training the translators of a tuned lens to the model's own output.
 *
 * Every layer's loss is KL(final || lens), or the cross-entropy of the next token, at some positions of each sequence, the
 * same ones for all layers. One pass over the text feeds all layers; hidden states of a chunk of sequences are all that
 * memory holds. Before it another pass sums what the affine lens needs (cbe/lens_fit.h): the start, and the input side of
 * the preconditioner. Maths and measurements: docs/tuned-lenses.md. Source: Belrose et al. 2023, arXiv:2303.08112, section 2.
 */
#ifndef CBE_LENS_TRAIN_H
#define CBE_LENS_TRAIN_H

#include "cbe/lens_fit.h"
#include "cbe/objective.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    CBE_OPTIMIZER_SGD = 0,
    CBE_OPTIMIZER_ADAM,
    CBE_N_OPTIMIZERS
} cbe_optimizer_kind;

typedef struct {
    cbe_objective_kind loss;
    cbe_optimizer_kind optimizer;
    bool precondition;  /* sgd for kl only */
    double rate;        /* falls linearly to 0 */
    double momentum;    /* below 1 */
    double damping;     /* of the output side of the preconditioner */
    double ridge;       /* of the input side */
    double decay;       /* of the curvature's running mean, at each step */
    double positions;   /* share of each sequence's positions that is trained on */
    size_t step_tokens; /* at most, in one step */
    double held_out;    /* share of the sequences */
    uint64_t seed;
} cbe_lens_train_options;

#ifdef __cplusplus
}
#endif
#endif
