/*
 * divided.h - an objective whose tokens are divided over processes: one of them searches, the
 * others answer.
 *
 * The process of rank 0 calls the objective as any other. Each call is an order to the others, with
 * the directions, who then make the same call of their shares; sums over processes happen inside
 * these (cbe_lens_options.processes). So there is one search, on one process, and all take the same
 * steps whatever their CPUs round to. What travels in a search are directions, gradients and single
 * numbers.
 */
#ifndef CBE_OBJECTIVE_DIVIDED_H
#define CBE_OBJECTIVE_DIVIDED_H

#include "objective/calls.h"
#include "processes/processes.h"

typedef enum {
    CBE_ORDER_END,    /* the search is over */
    CBE_ORDER_LAYER,  /* n: the layer to set */
    CBE_ORDER_STARTS, /* the starts of the layer that is set are wanted */
    CBE_ORDER_SAMPLE,
    CBE_ORDER_ROUGH, /* n: whether evaluations may be */
    CBE_ORDER_HELD_OUT,
    CBE_ORDER_EVAL, /* n directions: this and the two behind it */
    CBE_ORDER_OPTIMAL,
    CBE_ORDER_CONSTANT
} cbe_order_kind;

typedef struct {
    size_t kind, n;
    bool slope, grad, per_token; /* wanted of an evaluation */
} cbe_order;

/** Takes the process's share, an objective of its own tokens. In rank 0 the result answers for all
 * tokens; in the others it is only for cbe_divided_obey.
 * @param share      owned from then on, also on failure; of n_own tokens of n_tokens
 * @param processes  more than one; borrowed until free, which in rank 0 gives the order to end */
cbe_status cbe_divided_create(cbe_objective **out, cbe_objective *share, size_t n_own,
                              size_t n_tokens, const cbe_processes *processes, cbe_error *err);
/** In rank 0: an order that is not of an objective's call (the layer, its starts). */
void cbe_divided_give(cbe_objective *divided, cbe_order_kind kind, size_t n);
/** In the others: the next order; and what to do for those of an objective's calls. */
void cbe_divided_take(cbe_objective *divided, cbe_order *order);
cbe_status cbe_divided_obey(cbe_objective *divided, const cbe_order *order, cbe_error *err);

#endif
