/*
 * moments.h - second moments of the rows of sequences, added up in float64: hidden states, or
 * gradients in them.
 *
 *   mean of x x' and mean of x     over the tokens n that are not skipped
 *
 * The products of a sequence are one block; blocks are added up with twice the digits of a double
 * (math/long_sum.h), so that the result has the same bits however sequences are divided over
 * batches or processes, and for any number of threads. Cost: N d^2 / 2 products.
 */
#ifndef CBE_FISHER_MOMENTS_H
#define CBE_FISHER_MOMENTS_H

#include <stddef.h>

#include "cbe/status.h"
#include "math/long_sum.h"
#include "processes/processes.h"

/** Sums of one matrix. They own their array. */
typedef struct {
    size_t hidden_size; /* d */
    size_t n;           /* rows added so far */
    /* (d (d + 1) / 2 + d): the upper triangle of the sum of x x', row by row, then the sum of x */
    cbe_long_sum *sums;
} cbe_moments;

/** Number of the sums, d (d + 3) / 2; SIZE_MAX on overflow. */
size_t cbe_moments_count(size_t hidden_size);
/** Bytes of the sums. */
size_t cbe_moments_bytes(size_t hidden_size);
/** Sets the sums to 0. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_moments_init(cbe_moments *moments, size_t hidden_size, cbe_error *err);
void cbe_moments_free(cbe_moments *moments); /* a zeroed struct is allowed */

/** Room for adding, which several sums share. */
typedef struct cbe_moments_room cbe_moments_room;
size_t cbe_moments_room_bytes(size_t hidden_size, size_t context_length);
cbe_status cbe_moments_room_create(cbe_moments_room **out, size_t hidden_size,
                                   size_t context_length, cbe_error *err);
void cbe_moments_room_free(cbe_moments_room *room); /* NULL is allowed */

/** Adds the rows of n_sequences but those of the first `skip` positions.
 * @param rows  (n_sequences S, d) */
void cbe_moments_add(cbe_moments *moments, cbe_moments_room *room, size_t n_sequences, size_t skip,
                     const float *rows);
/** Adds up over processes. */
void cbe_moments_add_up(cbe_moments *moments, const cbe_processes *processes);
/** The mean of x x' (d, d), and the mean of x (d); NULL skips it. There must be rows. */
void cbe_moments_mean(const cbe_moments *moments, double *square, double *mean);

#endif
