/*
 * second_order.h - second-order energies of given directions in all dimensions, straight from
 * label-sampled gradients.
 *
 *   E2 = 1/(2 N R) sum over sequences and draws of (sum over n of (D_n . r)(g_n . w))^2
 *
 * In float64, for directions that are known beforehand.
 */
#ifndef CBE_FISHER_SECOND_ORDER_H
#define CBE_FISHER_SECOND_ORDER_H

#include "fisher/replacement.h"
#include "fisher/sampled_gradients.h"
#include "processes/processes.h"

/** Sums of m directions of one state. Owns `samples` alone. */
typedef struct {
    size_t hidden_size, m, context_length, skip_positions;
    size_t first_sequence, all_sequences, n_draws;
    const double *read, *write; /* (m, d), borrowed */
    cbe_replacement replacement;
    double *samples; /* (all_sequences, R, m): the inner sums */
} cbe_second_order;

/** Makes the samples, once the other members are set. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_second_order_init(cbe_second_order *sums, cbe_error *err);
void cbe_second_order_free(cbe_second_order *sums); /* a zeroed struct is allowed */
/** Adds samples of this process: hidden states and gradients of the state. */
void cbe_second_order_add(cbe_second_order *sums, const cbe_sampled_gradients *gradients);
/** Gives all processes the samples of all. */
void cbe_second_order_complete(cbe_second_order *sums, const cbe_processes *processes);
/** E2 of each direction (m), nats per token, and its standard error over sequences (m), NaN for one
 * sequence; NULL skips it. */
void cbe_second_order_energies(const cbe_second_order *sums, double *energy, double *error);

#endif
