/*
 * affine_ref.h - the affine lens of one layer by its definition: the twin of src/lens/affine_*.c.
 *
 * Means are computed first, then moments about them, then the normal equations are solved by
 * elimination. Cost N d^2 + d^3.
 */
#ifndef CBE_TESTS_AFFINE_REF_H
#define CBE_TESTS_AFFINE_REF_H

#include <stddef.h>

/** Fits A (d, d) and b (d) to n tokens: hidden and last (n, d). */
void cbe_affine_fit_ref(size_t n, size_t d, const float *hidden, const float *last, double ridge,
                        double *weight, double *bias);
/** Mean of the weighted squared error over tokens and components. */
double cbe_affine_error_ref(size_t n, size_t d, const float *hidden, const float *last,
                            const double *weight, const double *bias);

#endif
