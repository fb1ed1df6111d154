/*
 * sampled_gradients.h - gradients of the log-probability of drawn labels, in the stream before
 * every block, from one backward pass a draw.
 *
 *   g_n = d/dh_n of the sum over tokens m of log p_m(y_m),   y_m drawn from p_m
 *
 * The sum is over the tokens of n's own sequence that are not skipped: tokens of other sequences do
 * not depend on h_n. The mean of g g' over draws is the Fisher matrix of the model's output in h_n,
 * attention between tokens included. Batches of sequences run forward once and back R times.
 * Source: docs/maths.md, label-sampled gradients.
 */
#ifndef CBE_FISHER_SAMPLED_GRADIENTS_H
#define CBE_FISHER_SAMPLED_GRADIENTS_H

#include <stdbool.h>

#include "fisher/labels.h"
#include "model/model.h"

typedef struct {
    size_t n_sequences, context_length; /* B, S: of this process */
    const int64_t *ids;                 /* (B, S), borrowed for the run */
    size_t first_sequence;              /* index of the first sequence among all sequences */
    size_t all_sequences;               /* of all processes */
    size_t skip_positions;              /* first positions of a sequence that have no label */
    const bool *states;                 /* (L + 1): the hidden_states.i whose gradients are taken */
    size_t n_draws;                     /* R */
    uint64_t seed;
    const int64_t *labels; /* (R, B, S), -1: no label, in place of drawn ones; NULL: drawn */
    size_t memory;         /* bytes that the run may take; 0: no limit */
    /* Sequences of this process that are left out: the first ones, which an earlier run has done.
     * Of sequences shorter than 128 tokens they must be whole batches of that run. */
    size_t n_done;
    /* Called with sequences times passes done; false cancels; NULL: no calls. */
    bool (*progress)(void *context, size_t done, size_t total);
    /* Called when all gradients of a batch were taken, with the number of sequences of this process
     * that are done, n_done among them. Any status but CBE_OK ends the run; NULL: no calls. */
    cbe_status (*batch_done)(void *context, size_t n_done, cbe_error *err);
    void *context; /* of both */
} cbe_sampled_gradients_options;

/** How a run uses its memory. */
typedef struct {
    size_t n_sequences; /* that run at once */
    bool recompute;     /* blocks are run anew on the way back, rather than all of them kept */
    size_t bytes;       /* that the run allocates */
} cbe_sampled_gradients_plan;

/** Hidden states and gradients of some sequences; arrays are borrowed for the call. */
typedef struct {
    size_t draw, state;        /* hidden_states.<state> */
    size_t first, n_sequences; /* first: index among all sequences */
    const float *hidden;       /* (n_sequences S, d) */
    const float *grad;         /* (n_sequences S, d) */
} cbe_sampled_gradients;

/** Takes gradients: for each batch of sequences each draw, for each draw the states, falling. The
 * calling thread calls it outside of parallel regions.
 * @return any status but CBE_OK ends the run, which returns it */
typedef cbe_status cbe_sampled_gradients_fn(void *context, const cbe_sampled_gradients *gradients,
                                            cbe_error *err);

/** What cbe_sampled_gradients_run will choose.
 * @return CBE_OK; CBE_ERR_ARG (there are no tokens; one sequence does not fit, sizes named) */
cbe_status cbe_sampled_gradients_choose(cbe_sampled_gradients_plan *plan, const cbe_model *model,
                                        const cbe_sampled_gradients_options *options,
                                        cbe_error *err);
/** Runs a model forward and back. Gradients have the same bits for any number of threads, any
 * memory, and any division of sequences over processes that hold whole groups (core/groups.h; of
 * sequences of 128 tokens and more: any division).
 * @return CBE_OK; CBE_ERR_ARG (as above; a token id or a label that is given is not in the
 * vocabulary; n_done is no number of whole batches); CBE_ERR_NUMERIC (logits that are not finite);
 * CBE_ERR_NOMEM; CBE_ERR_CANCELLED; the status of `take` or of `batch_done` */
cbe_status cbe_sampled_gradients_run(const cbe_model *model,
                                     const cbe_sampled_gradients_options *options,
                                     cbe_sampled_gradients_fn *take, void *context, cbe_error *err);

#endif
