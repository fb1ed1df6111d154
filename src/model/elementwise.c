/* elementwise.c - see elementwise.h. Plain twins: tests/ref/llama_ref.c. */
#include "model/elementwise.h"

/* Nobody reads the exception flags; while compilers must keep them right, the clamps inside
 * cbe_expf stay out of vector loops. NaN and infinity behave as ever. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

#include <math.h>

#include "core/exp.h"
#include "model/clones.h"

CBE_CLONES static double sum_row(size_t d, const float *x)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < d; i++) sum += (double)x[i];
    return sum;
}

CBE_CLONES static double sum_squares(size_t d, const float *x, float mean)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < d; i++) {
        const double centred = (double)x[i] - (double)mean;
        sum += centred * centred;
    }
    return sum;
}

CBE_CLONES static void scale_and_gain(size_t d, const float *x, float mean, float scale,
                                      const float *gamma, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < d; i++) out[i] = (x[i] - mean) * scale * gamma[i];
}

void cbe_norm_rows(cbe_norm norm, double eps, size_t n, size_t d, const float *x,
                   const float *gamma, const float *beta, float *out)
{
    for (size_t r = 0; r < n; r++) {
        const float *row = x + r * d;
        float *to = out + r * d;
        const float mean = norm == CBE_NORM_LAYER ? (float)(sum_row(d, row) / (double)d) : 0;
        const double variance = sum_squares(d, row, mean) / (double)d;
        scale_and_gain(d, row, mean, (float)(1 / sqrt(variance + eps)), gamma, to);
        if (beta)
            for (size_t i = 0; i < d; i++) to[i] += beta[i];
    }
}

CBE_CLONES void cbe_silu_product(size_t n, float *restrict a, const float *restrict b)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) a[i] = a[i] / (1.0f + cbe_expf(-a[i])) * b[i];
}

/* Partial sums of SUM_BLOCK terms are float, the sum of them is double. */
enum { SUM_BLOCK = 256, MAX_LANES = 32 };

/* In lanes, for compilers that do not vectorise a maximum that must keep track of NaN. */
CBE_CLONES static float max_row(size_t n, const float *x)
{
    float lanes[MAX_LANES], top = x[0];
    size_t i = 0;
    for (size_t j = 0; j < MAX_LANES; j++) lanes[j] = top;
    for (; i + MAX_LANES <= n; i += MAX_LANES)
#pragma omp simd
        for (size_t j = 0; j < MAX_LANES; j++) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    for (size_t j = 0; j < MAX_LANES; j++) top = lanes[j] > top ? lanes[j] : top;
    return top;
}

CBE_CLONES double cbe_exp_row(size_t n, float *x)
{
    const float top = max_row(n, x);
    double sum = 0;
    for (size_t first = 0; first < n; first += SUM_BLOCK) {
        const size_t last = n - first < SUM_BLOCK ? n : first + SUM_BLOCK;
        float partial = 0;
#pragma omp simd reduction(+ : partial)
        for (size_t i = first; i < last; i++) {
            x[i] = cbe_expf(x[i] - top);
            partial += x[i];
        }
        sum += (double)partial;
    }
    return sum;
}

CBE_CLONES void cbe_scale_row(size_t n, float scale, const float *restrict x, float *restrict out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) out[i] = scale * x[i];
}
