/*
 * divided.h - an objective whose tokens are divided over processes: rank 0 searches, all other
 * ranks answer.
 *
 * Rank 0 calls the objective as any other objective. Each call sends an order with the directions
 * to all other ranks, which then make the same call of their shares. Sums over processes happen
 * inside the shares' calls (cbe_lens_options.processes). So there is one search, on one process,
 * and all processes take the same steps whatever their CPUs round to. Directions, gradients and
 * single numbers are all that travels in a search.
 */
#ifndef CBE_OBJECTIVE_DIVIDED_H
#define CBE_OBJECTIVE_DIVIDED_H

#include "objective/calls.h"
#include "processes/processes.h"

typedef enum {
    CBE_ORDER_END,    /* the search is over */
    CBE_ORDER_LAYER,  /* n: the layer to set */
    CBE_ORDER_STARTS, /* the starts of the layer that is set are wanted */
    CBE_ORDER_GUIDES, /* the guides of the search are made (extract/layer_guides.h) */
    CBE_ORDER_SURVEY, /* the layer that is set is surveyed for its report */
    CBE_ORDER_SAMPLE, /* n: tokens of the sample; 0: all. part: which */
    CBE_ORDER_ROUGH,  /* n: whether evaluations may be rough */
    CBE_ORDER_HELD_OUT,
    CBE_ORDER_TOGETHER, /* n: directions to remove together */
    CBE_ORDER_EVAL,     /* n: directions to evaluate */
    CBE_ORDER_OPTIMAL,  /* n: directions to evaluate at their best constants */
    CBE_ORDER_CONSTANT  /* n: directions to evaluate at the constants sent */
} cbe_order_kind;

typedef struct {
    size_t kind, n, part;
    bool slope, grad, per_token; /* wanted of an evaluation */
} cbe_order;

/** Takes the process's share, an objective of its own tokens. In rank 0 the result answers for all
 * tokens; in other ranks it is only for cbe_divided_obey.
 * @param share      owned from then on, also on failure; of n_own tokens of n_tokens
 * @param processes  more than one; borrowed until free, which in rank 0 gives the order to end */
cbe_status cbe_divided_create(cbe_objective **out, cbe_objective *share, size_t n_own,
                              size_t n_tokens, const cbe_processes *processes, cbe_error *err);
/** In rank 0: gives an order that is not a call of the objective (the layer, its starts). */
void cbe_divided_give(cbe_objective *divided, cbe_order_kind kind, size_t n);
/** In other ranks: waits for the next order. */
void cbe_divided_take(cbe_objective *divided, cbe_order *order);
/** In other ranks: does what an order says that is a call of the objective. */
cbe_status cbe_divided_obey(cbe_objective *divided, const cbe_order *order, cbe_error *err);

#endif
