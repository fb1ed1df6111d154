/*
 * finite.h - a test that numbers are finite, in a loop that vectorises.
 */
#ifndef CBE_CORE_FINITE_H
#define CBE_CORE_FINITE_H

#include <math.h>
#include <stddef.h>

/** Index of the first of n numbers that is NaN or infinite; n if all are finite. */
static inline size_t cbe_first_not_finite(const float *x, size_t n)
{
    /* x - x is 0 for finite numbers alone; a loop that stopped early would not vectorise. */
    float any = 0;
#pragma omp simd reduction(+ : any)
    for (size_t i = 0; i < n; i++) any += x[i] - x[i];
    if (any == 0) return n;
    size_t i = 0;
    while (i < n && isfinite(x[i])) i++;
    return i;
}

#endif
