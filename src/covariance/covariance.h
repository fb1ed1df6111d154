/*
 * covariance.h - how the hidden states of a layer vary: mean, covariance, principal components.
 *
 *   mu = mean of h_n      Sigma = mean of (h_n - mu)(h_n - mu)'      over the N tokens added
 *
 * Sigma is divided by N. Where it is inverted, S = Sigma + ridge tr(Sigma) / d I stands for it, so
 * that directions in which states do not vary have a finite length. Of a singular S, which takes a
 * ridge of 0, the pseudoinverse is taken.
 *
 * Sums go over whole blocks of tokens, which are sequences, and blocks are added up with twice the
 * digits of a double (math/long_sum.h): the result has the same bits however sequences are divided
 * over processes.
 */
#ifndef CBE_COVARIANCE_COVARIANCE_H
#define CBE_COVARIANCE_COVARIANCE_H

#include <stddef.h>

#include "cbe/status.h"
#include "processes/processes.h"

/** Share of the mean eigenvalue that is added where Sigma is inverted, unless told otherwise. */
#define CBE_COVARIANCE_RIDGE 1e-3

/** Owns its arrays. */
typedef struct {
    size_t hidden_size, n_tokens; /* d, N of all processes */
    double *mean;                 /* (d) */
    double *values;               /* (d) eigenvalues of Sigma, falling, none below 0 */
    /* (d, d) row i: unit eigenvector of values[i], whose entry of largest size is above 0 */
    double *components;
    double trace; /* tr(Sigma) */
} cbe_covariance;

/** A block of tokens: rows of hidden states that are added up together, such as a sequence. */
typedef struct {
    size_t n;          /* rows; 0 is allowed */
    const float *rows; /* (n, d), borrowed */
} cbe_covariance_block;

/** Computes the covariance of the tokens of all blocks of all processes. Cost: N d^2 and an
 * eigendecomposition, 9 d^3.
 * @param processes  over which the blocks are divided, by rising rank; NULL: one alone
 * @return CBE_OK; CBE_ERR_ARG (no tokens); CBE_ERR_NUMERIC (NaN or infinity in states, LAPACK);
 * CBE_ERR_NOMEM */
cbe_status cbe_covariance_create(cbe_covariance **out, size_t hidden_size, size_t n_blocks,
                                 const cbe_covariance_block *blocks, const cbe_processes *processes,
                                 cbe_error *err);
void cbe_covariance_free(cbe_covariance *covariance); /* NULL is allowed */
/** Bytes that cbe_covariance_create takes at most, its result included; SIZE_MAX on overflow. */
size_t cbe_covariance_bytes(size_t hidden_size);

/** Number of eigenvalues that are not rounding: the rank of Sigma, below d if there are few
 * tokens. */
size_t cbe_covariance_rank(const cbe_covariance *covariance);
/** v' Sigma v. */
double cbe_covariance_variance(const cbe_covariance *covariance, const double *v);
/** kappa(v) = (v' Sigma v)(v' S^-1 v): the mean squared Mahalanobis length of what ablation of v
 * writes; 1 for principal components when the ridge is 0, and then the least there is. The length
 * of v does not matter beyond its fourth power. docs/maths.md. */
double cbe_covariance_kappa(const cbe_covariance *covariance, double ridge, const double *v);
/** out = S^(1/2) x and out = S^(-1/2) x, the symmetric roots; x and out (d) may not be the same. */
void cbe_covariance_root(const cbe_covariance *covariance, double ridge, const double *x,
                         double *out);
void cbe_covariance_inverse_root(const cbe_covariance *covariance, double ridge, const double *x,
                                 double *out);

#endif
