/* sgemm_rate.h - the rate of a large matrix product, for comparison with other work of the same
 * run. */
#ifndef CBE_BENCH_SGEMM_RATE_H
#define CBE_BENCH_SGEMM_RATE_H

#include <omp.h>

#include "math/gemm.h"
#include "core/memory.h"

/* FLOP/s of C (2048, 3072) = A (2048, 576) B', the widest of SmolLM2's products; 0 if memory is
 * short. */
static inline double sgemm_rate(void)
{
    const size_t m = 2048, n = 3072, k = 576;
    float *a = cbe_alloc_zero(m, k * sizeof(float), "A", NULL);
    float *b = cbe_alloc_zero(n, k * sizeof(float), "B", NULL);
    float *c = cbe_alloc_zero(m, n * sizeof(float), "C", NULL);
    double best = 0;
    for (int run = 0; run < 20 && a && b && c; run++) {
        const double start = omp_get_wtime();
        cbe_gemm(false, true, m, n, k, 1, a, k, b, k, 0, c, n);
        const double rate = 2.0 * (double)m * (double)n * (double)k / (omp_get_wtime() - start);
        if (rate > best) best = rate;
    }
    cbe_free(a);
    cbe_free(b);
    cbe_free(c);
    return best;
}

#endif
