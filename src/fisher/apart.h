/*
 * apart.h - the second-order energy of directions in a subspace of one layer's states, each token
 * apart, from label-sampled gradients.
 *
 * A direction has m coefficients a. Its ablation reads sum_i a_i r_i and writes sum_i a_i w_i, r
 * and w given (in the Euclidean metric the same). With x_n = R D_n and y_{n,r} = W g_n of draw r
 * (R, W: (m, d)),
 *
 *   E1(a) = mean over tokens n and draws r of (1/2) (q_{n,r} + (x_n . a)(y_{n,r} . a))^2
 *
 * q is the same sum of products over the directions that are removed besides, 0 at first. To second
 * order this is the energy of one token's ablation through all outputs behind it, without the
 * products of two tokens' changes. Those have a mean of nearly 0 and most of the noise, so that E1
 * follows the model's energy better than E2 (second_order.h) and is not overfitted as easily
 * (docs/search.md has numbers). Neither sees thresholds.
 *
 * x and y are kept as float32, m (R + 1) numbers a token. Source: docs/maths.md, label-sampled
 * gradients.
 */
#ifndef CBE_FISHER_APART_H
#define CBE_FISHER_APART_H

#include "fisher/replacement.h"
#include "fisher/sampled_gradients.h"
#include "processes/processes.h"

typedef struct cbe_apart cbe_apart;

/** Which samples count. With two sequences or more the halves have even and odd sequences; of one
 * sequence, even and odd draws. */
typedef enum { CBE_SAMPLES_ALL, CBE_SAMPLES_EVEN, CBE_SAMPLES_ODD, CBE_N_SAMPLES } cbe_samples;

typedef struct {
    size_t hidden_size;                    /* d */
    size_t m;                              /* dimensions of the subspace */
    size_t context_length, skip_positions; /* as of the gradients */
    size_t first_sequence, n_sequences;    /* of this process */
    size_t all_sequences, n_draws;         /* of all processes; R */
    size_t max_batch;                      /* directions of one evaluation */
    cbe_replacement replacement;           /* borrowed until complete */
} cbe_apart_options;

/** Bytes that cbe_apart_create allocates; SIZE_MAX on overflow. */
size_t cbe_apart_bytes(const cbe_apart_options *options);
/** @param read, write  (m, d); copied, rounded to float32
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_apart_create(cbe_apart **out, const cbe_apart_options *options, const double *read,
                            const double *write, cbe_error *err);
void cbe_apart_free(cbe_apart *apart); /* NULL is allowed */

/** Adds samples of this process: hidden states and gradients of its layer's state, of a sequence
 * draw 0 first. */
void cbe_apart_add(cbe_apart *apart, const cbe_sampled_gradients *gradients);
/** Gives all processes the samples of all. @return CBE_OK, CBE_ERR_NOMEM in all processes */
cbe_status cbe_apart_complete(cbe_apart *apart, const cbe_processes *processes, cbe_error *err);

/** Removes n directions (n, m) besides those that are evaluated, until the next call; 0: none. */
void cbe_apart_set_removed(cbe_apart *apart, size_t n, const double *a);
/** Energies of n directions, at most a batch, nats per token, each removed together with those of
 * cbe_apart_set_removed, and their gradients in a as a free vector. Not collective; allocates
 * nothing. The result has the same bits for any number of threads.
 * @param a      (n, m)
 * @param energy [out] (n); NaN where there is no such sample
 * @param grad   [out] (n, m); NULL skips it */
void cbe_apart_eval(cbe_apart *apart, cbe_samples samples, size_t n, const double *a,
                    double *energy, double *grad);

#endif
