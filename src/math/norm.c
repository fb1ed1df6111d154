/* norm.c - see norm.h. Plain twin: tests/ref/model_ref.c; gradients:
 * tests/model/test_gradients.c. */
#include "math/norm.h"

#include <math.h>

#include "core/clones.h"

const char *cbe_norm_name(cbe_norm norm)
{
    static const char *const names[] = {"rmsnorm", "layernorm"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_NORMS, "one name for each norm");
    return names[norm];
}

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

/* sum g gamma, and sum g gamma (x - mean). */
CBE_CLONES static void gradient_sums(size_t d, const float *x, float mean, const float *gamma,
                                     const float *g, double *sum, double *along)
{
    double s = 0, a = 0;
#pragma omp simd reduction(+ : s, a)
    for (size_t i = 0; i < d; i++) {
        const double term = (double)(g[i] * gamma[i]);
        s += term;
        a += term * ((double)x[i] - (double)mean);
    }
    *sum = s;
    *along = a;
}

/* out = keep out + scale (g gamma - shift - slope (x - mean)). */
CBE_CLONES static void norm_gradient(size_t d, const float *x, float mean, const float *gamma,
                                     const float *g, float scale, float shift, float slope,
                                     float keep, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < d; i++) {
        const float before = keep > 0 ? out[i] : 0;
        out[i] = before + scale * (g[i] * gamma[i] - shift - slope * (x[i] - mean));
    }
}

void cbe_norm_rows_back(cbe_norm norm, double eps, size_t n, size_t d, const float *x,
                        const float *gamma, const float *grad_out, bool add, float *grad)
{
    for (size_t r = 0; r < n; r++) {
        const float *row = x + r * d, *g = grad_out + r * d;
        const float mean = norm == CBE_NORM_LAYER ? (float)(sum_row(d, row) / (double)d) : 0;
        const double variance = sum_squares(d, row, mean) / (double)d + eps;
        double sum, along;
        gradient_sums(d, row, mean, gamma, g, &sum, &along);
        const double shift = norm == CBE_NORM_LAYER ? sum / (double)d : 0;
        norm_gradient(d, row, mean, gamma, g, (float)(1 / sqrt(variance)), (float)shift,
                      (float)(along / ((double)d * variance)), add ? 1 : 0, grad + r * d);
    }
}
