/*
 * quadratic.h - the second-order energy of directions in a subspace of one layer's states, from
 * label-sampled gradients.
 *
 * A direction has m coefficients a. Its ablation reads sum_i a_i r_i and writes sum_i a_i w_i, r
 * and w given (in the Euclidean metric the same). For each sequence s and draw r, a sample,
 *
 *   B_{s,r} = sum over the sequence's n of (R D_n)(W g_n)'     R, W: (m, d)      (m, m)
 *   E2(a) = mean over samples of (a' B a)^2 / (2 tokens of a sequence)
 *
 * which is the energy to second order of all tokens ablated at once, attention between them
 * included. Samples are kept as float32, m^2 numbers each, so that an evaluation reads no state.
 * What is fitted to few samples overfits: a search climbs on one half and is judged by the other.
 * Source: docs/maths.md, label-sampled gradients.
 */
#ifndef CBE_FISHER_QUADRATIC_H
#define CBE_FISHER_QUADRATIC_H

#include "fisher/replacement.h"
#include "fisher/sampled_gradients.h"
#include "processes/processes.h"

typedef struct cbe_quadratic cbe_quadratic;

/** Which samples count. With two sequences or more the halves have even and odd sequences; of one
 * sequence, even and odd draws. */
typedef enum { CBE_SAMPLES_ALL, CBE_SAMPLES_EVEN, CBE_SAMPLES_ODD, CBE_N_SAMPLES } cbe_samples;

typedef struct {
    size_t hidden_size;                    /* d */
    size_t m;                              /* dimensions of the subspace */
    size_t context_length, skip_positions; /* as of the gradients */
    size_t first_sequence, n_sequences;    /* of this process */
    size_t all_sequences, n_draws;         /* of all processes; R */
    cbe_replacement replacement;           /* borrowed until complete */
} cbe_quadratic_options;

/** Bytes that cbe_quadratic_create allocates; SIZE_MAX on overflow. */
size_t cbe_quadratic_bytes(const cbe_quadratic_options *options);
/** @param read, write  (m, d); copied, rounded to float32
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_quadratic_create(cbe_quadratic **out, const cbe_quadratic_options *options,
                                const double *read, const double *write, cbe_error *err);
void cbe_quadratic_free(cbe_quadratic *quadratic); /* NULL is allowed */

/** Adds samples of this process: hidden states and gradients of its layer's state, of a sequence
 * draw 0 first. */
void cbe_quadratic_add(cbe_quadratic *quadratic, const cbe_sampled_gradients *gradients);
/** Gives all processes the samples of all. @return CBE_OK, CBE_ERR_NOMEM in all processes */
cbe_status cbe_quadratic_complete(cbe_quadratic *quadratic, const cbe_processes *processes,
                                  cbe_error *err);

/** Energies of n directions, nats per token, and their gradients in a as a free vector. Not
 * collective; allocates nothing.
 * @param a      (n, m)
 * @param energy [out] (n); NaN where there is no such sample
 * @param grad   [out] (n, m); NULL skips it */
void cbe_quadratic_eval(const cbe_quadratic *quadratic, cbe_samples samples, size_t n,
                        const double *a, double *energy, double *grad);
/** B of a sample (m, m), borrowed. */
const float *cbe_quadratic_sample(const cbe_quadratic *quadratic, size_t sequence, size_t draw);

#endif
