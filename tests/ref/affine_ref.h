/*
 * affine_ref.h - the affine lens of one layer as its definition reads: the twin of
 * src/lens/affine_*.c.
 *
 * Means first, then moments about them, then the normal equations by elimination. Cost N d^2 + d^3.
 */
#ifndef CBE_TESTS_AFFINE_REF_H
#define CBE_TESTS_AFFINE_REF_H

#include <stddef.h>

/** A (d, d) and b (d) for n tokens: hidden and last (n, d). */
void cbe_affine_fit_ref(size_t n, size_t d, const float *hidden, const float *last, double ridge,
                        double *weight, double *bias);
/** Mean over tokens and components of the weighted squared error. */
double cbe_affine_error_ref(size_t n, size_t d, const float *hidden, const float *last,
                            const double *weight, const double *bias);

#endif
