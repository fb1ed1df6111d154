/* rows.c - see rows.h. Plain twins: tests/ref/model_ref.c. */
#include "math/rows.h"

/* Exception flags are read nowhere. If compilers had to keep them right, the clamps in cbe_expf
 * would not vectorise. NaN and infinity behave as without the option. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

#include "math/exp.h"
#include "core/clones.h"

/* A block of SUM_BLOCK terms is summed in float, the blocks in double. */
enum { SUM_BLOCK = 256, MAX_LANES = 32 };

/* Written in lanes for compilers that do not vectorise a maximum that must keep track of NaN. */
CBE_CLONES float cbe_max_row(size_t n, const float *x)
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

double cbe_exp_row(size_t n, float *x)
{
    return cbe_exp_shifted_row(n, cbe_max_row(n, x), x);
}

CBE_CLONES double cbe_exp_shifted_row(size_t n, float shift, float *x)
{
    double sum = 0;
    for (size_t first = 0; first < n; first += SUM_BLOCK) {
        const size_t last = n - first < SUM_BLOCK ? n : first + SUM_BLOCK;
        float partial = 0;
#pragma omp simd reduction(+ : partial)
        for (size_t i = first; i < last; i++) {
            x[i] = cbe_expf(x[i] - shift);
            partial += x[i];
        }
        sum += (double)partial;
    }
    return sum;
}

CBE_CLONES void cbe_scale_row(size_t n, float scale, const float *x, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) out[i] = scale * x[i];
}

CBE_CLONES void cbe_add_row(size_t n, const float *restrict x, float *restrict out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) out[i] += x[i];
}

/* Near 0, where 1 - 2 / (exp(2 x) + 1) would cancel, a polynomial in x^2
 * (tests/tools/activation_coefficients.py). */
static inline float tanh_of(float x)
{
    const float t = x < 0 ? -x : x, square = x * x;
    const float far = 1.0f - 2.0f / (cbe_expf(2.0f * t) + 1.0f);
    float p = -0.005717036779969931f;
    p = p * square + 0.020650578662753105f;
    p = p * square - 0.05374349653720856f;
    p = p * square + 0.13331490755081177f;
    p = p * square - 0.3333328366279602f;
    const float near = x + x * square * p;
    return t < 0.625f ? near : x < 0 ? -far : far;
}

CBE_CLONES void cbe_softcap_row(size_t n, float cap, float *x)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) x[i] = cap * tanh_of(x[i] / cap);
}
