/*
 * objective.h - the energy of ablating directions in the whole model.
 *
 * The component is taken out of a layer's hidden states, h'_n = h_n - c_n w for all tokens outside
 * skipped positions, c_n = D_n . r; r and w of a direction v are the metric's
 * (covariance/metric.h), v both at first. The blocks behind the layer and the decoder run on, and
 * the output is compared with the clean model's. The gradient comes back through the same blocks.
 * One evaluation costs the products of the blocks and of the unembedding for each token. With
 * gradient it costs twice as much, and a final soft cap doubles the unembedding's share. Own scope
 * adds a clean run of the blocks, unless the evaluation before had the same sequences. Source:
 * Belrose et al. 2023, arXiv:2303.08112, section 4; docs/maths.md, the whole model.
 */
#ifndef CBE_OBJECTIVE_MODEL_OBJECTIVE_H
#define CBE_OBJECTIVE_MODEL_OBJECTIVE_H

#include "covariance/metric.h"
#include "math/loss.h"
#include "model/model.h"
#include "objective/ablation.h"
#include "objective/model/precision.h"
#include "objective/objective.h"
#include "objective/scope.h"
#include "processes/processes.h"

/** Each of n_sequences has context_length positions S; its tokens are the positions behind the
 * first skip_positions: n = b (S - skip) + s - skip. Skipped positions stay in the context as they
 * are. Sequences can be divided over processes, which then all make the same calls of the
 * objective: n_sequences, labels and hidden states are those of the process's own sequences. */
typedef struct {
    size_t n_sequences, context_length, skip_positions;
    size_t first_block; /* the least `first` of the layers that will be set */
    cbe_ablation ablation;
    cbe_loss kind;
    /* (N of all processes): a permutation without fixed points; resample only. Copied */
    const int64_t *derangement;
    const int64_t *labels; /* (N), the next token or -1; ce only. Copied */
    const bool *held_out;  /* (N of all processes), whole sequences; NULL: none. Copied */
    size_t max_batch;      /* directions in one evaluation; 0: 8 */
    /* Bytes that the objective may take; 0: no limit. Decides how many sequences run at once, and
     * whether blocks are run anew on the way back. */
    size_t memory;
    /* Of all products but attention's. The clean output is made as in evaluations of all tokens. */
    cbe_precision precision;
    const cbe_processes *processes; /* over which sequences are divided; NULL: none. Borrowed */
    size_t first_sequence;          /* index of the process's first sequence among all sequences */
    cbe_scope scope;
} cbe_model_objective_options;

/** How an objective uses its memory. */
typedef struct {
    size_t n_sequences; /* that run at once */
    bool recompute;     /* blocks are run anew on the way back, rather than all of them kept */
    size_t bytes;       /* of the objective's arrays; SIZE_MAX when that overflows */
} cbe_model_objective_plan;

/** What cbe_model_objective_create will choose.
 * @return CBE_OK; CBE_ERR_ARG when one sequence does not fit (sizes named) */
cbe_status cbe_model_objective_choose(cbe_model_objective_plan *plan, const cbe_model *model,
                                      const cbe_model_objective_options *options, cbe_error *err);

/** Creates the objective; the model is borrowed until free. cbe_model_objective_set_layer comes
 * first. A sample has whole sequences.
 * @param last  hidden_states.L of all tokens, skipped ones too (B S, d): the clean output is taken
 * from it, which is one product N V d, for kl two
 * @return CBE_OK; CBE_ERR_ARG (as cbe_lens_objective_create; sequences held out in part; too little
 * memory); CBE_ERR_NOMEM; CBE_ERR_NUMERIC; CBE_ERR_UNSUPPORTED (a precision that this CPU or this
 * program lacks) */
cbe_status cbe_model_objective_create(cbe_objective **out, const cbe_model *model,
                                      const cbe_model_objective_options *options, const float *last,
                                      cbe_error *err);

/** Sets the layer: hidden_states.first, first_block <= first <= L.
 * @param hidden  (B S, d) of all tokens, skipped ones too; borrowed until the next call or free
 * @param metric  what directions read and write at this layer; NULL: the plain metric. Borrowed
 * likewise
 * @return CBE_OK; CBE_ERR_NOMEM, and that only where tokens are divided over processes */
cbe_status cbe_model_objective_set_layer(cbe_objective *objective, size_t first,
                                         const float *hidden, const cbe_metric *metric,
                                         cbe_error *err);

#endif
