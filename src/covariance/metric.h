/*
 * metric.h - what ablation of a direction reads of a hidden state, and what it writes.
 *
 *   c_n = D_n . r        h'_n = h_n - c_n w
 *
 * Euclidean metric: r = v and w = t v, v the direction, t the strength: 1 removes the component.
 *
 * Covariance metric (oblique ablation; Belrose et al. 2023, arXiv:2306.03819): directions u are in
 * whitened coordinates z = S^(-1/2) (h - mu), r = S^(-1/2) u, w = t S^(1/2) u. With |u| = 1 nothing
 * linear of r . h is left, and no linear map does that with a smaller change. S is a constant: it
 * has no gradient.
 *
 *   dE/du = S^(-1/2) dE/dr + t S^(1/2) dE/dw
 */
#ifndef CBE_COVARIANCE_METRIC_H
#define CBE_COVARIANCE_METRIC_H

#include <stdbool.h>
#include <stddef.h>

#include "covariance/covariance.h"

typedef enum { CBE_METRIC_EUCLIDEAN = 0, CBE_METRIC_COVARIANCE, CBE_N_METRICS } cbe_metric_kind;

typedef struct {
    /* The layer's covariance, borrowed; NULL: the Euclidean metric. */
    const cbe_covariance *covariance;
    double ridge;    /* of S, a share of the mean eigenvalue; unused in the Euclidean metric */
    double strength; /* t; 1 is ordinary ablation */
} cbe_metric;

/** The Euclidean metric at strength 1: r = w = v. */
extern const cbe_metric cbe_metric_plain;

/** Whether r = w = v, so that callers may skip the copies. A NULL metric is plain. */
bool cbe_metric_is_plain(const cbe_metric *metric);
/** r and w (m, d) of m directions (m, d). None of the three may overlap. */
void cbe_metric_read(const cbe_metric *metric, size_t d, size_t m, const double *v, double *r);
void cbe_metric_write(const cbe_metric *metric, size_t d, size_t m, const double *v, double *w);
/** dE/dv (d) of one direction from dE/dr and dE/dw (d). out may be one of both. */
void cbe_metric_gradient(const cbe_metric *metric, size_t d, const double *by_read,
                         const double *by_write, double *scratch, double *out);

#endif
