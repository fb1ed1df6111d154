/*
 * kernels_simd.c - the kernels of kernels.h as plain vectorisable loops, built once for each
 * instruction set (src/CMakeLists.txt), under the name cbe_kernels_<isa>.
 *
 * The exponential is inline so that it fuses with the sums: rounding to an integer by adding a magic
 * number, a polynomial on [-1/2, 1/2], and the integer added to the exponent bits.
 */
#include "causal/kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define CONCAT_(a, b) a##b
#define CONCAT(a, b)  CONCAT_(a, b)

static const float LOG2E_F = 1.44269504088896341f;

/* 2^t for t clamped to [-126, 127]: relative error 2.1e-8 and the rounding of six products. (A
 * degree less has 1.6e-7, which showed: energies of 1 nat were 2e-7 too high, and searches stopped there.)
 * Coefficients: minimax for the relative error on [-1/2, 1/2], tests/tools/exp2_coefficients.py.
 * NaN goes through, so that a bad input is seen in the sum. */
static inline float exp2_clamped(float t)
{
    t = t < -126.0f ? -126.0f : t;
    t = t > 127.0f ? 127.0f : t;
    const float magic = 12582912.0f; /* 1.5 * 2^23: the sum's low bits are the rounded integer */
    const float shifted = t + magic;
    const float f = t - (shifted - magic);
    float p = 0x1.41d334p-13f;
    p = p * f + 0x1.5f456ap-10f;
    p = p * f + 0x1.3b2dbcp-7f;
    p = p * f + 0x1.c6aed4p-5f;
    p = p * f + 0x1.ebfbdcp-3f;
    p = p * f + 0x1.62e43p-1f;
    p = p * f + 1.0f;
    uint32_t integer, bits;
    memcpy(&integer, &shifted, sizeof integer);
    memcpy(&bits, &p, sizeof bits);
    bits += integer << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}

static inline size_t block_end(size_t start, size_t n)
{
    return n - start < CBE_SUM_BLOCK ? n : start + CBE_SUM_BLOCK;
}

static double row_max(size_t n, const float *z, const float *u, const float *offset, float a, float b)
{
    float top = -INFINITY;
    if (offset) {
#pragma omp simd reduction(max : top)
        for (size_t i = 0; i < n; i++) {
            const float t = a * z[i] + (b * u[i] + offset[i]);
            top = t > top ? t : top;
        }
    } else {
#pragma omp simd reduction(max : top)
        for (size_t i = 0; i < n; i++) {
            const float t = a * z[i] + b * u[i];
            top = t > top ? t : top;
        }
    }
    return (double)top;
}

static double row_sum(size_t n, const float *z, const float *u, const float *offset, float a, float b,
                      float k)
{
    double total = 0;
    for (size_t start = 0; start < n; start = block_end(start, n)) {
        const size_t end = block_end(start, n);
        float sum = 0;
        if (offset) {
#pragma omp simd reduction(+ : sum)
            for (size_t i = start; i < end; i++)
                sum += exp2_clamped(a * z[i] + (b * u[i] + (offset[i] + k)));
        } else {
#pragma omp simd reduction(+ : sum)
            for (size_t i = start; i < end; i++) sum += exp2_clamped(a * z[i] + (b * u[i] + k));
        }
        total += (double)sum;
    }
    return total;
}

static cbe_row_sums row_exp(size_t n, const float *z, const float *u, const float *offset, float a,
                            float b, float k, float *e)
{
    cbe_row_sums total = {0, 0, 0};
    for (size_t start = 0; start < n; start = block_end(start, n)) {
        const size_t end = block_end(start, n);
        float sum = 0, sum_z = 0, sum_u = 0;
        if (offset) {
#pragma omp simd reduction(+ : sum, sum_z, sum_u)
            for (size_t i = start; i < end; i++) {
                const float x = exp2_clamped(a * z[i] + (b * u[i] + (offset[i] + k)));
                e[i] = x;
                sum += x;
                sum_z += x * z[i];
                sum_u += x * u[i];
            }
        } else {
#pragma omp simd reduction(+ : sum, sum_z, sum_u)
            for (size_t i = start; i < end; i++) {
                const float x = exp2_clamped(a * z[i] + (b * u[i] + k));
                e[i] = x;
                sum += x;
                sum_z += x * z[i];
                sum_u += x * u[i];
            }
        }
        total.e += (double)sum;
        total.ez += (double)sum_z;
        total.eu += (double)sum_u;
    }
    return total;
}

static void accumulate(size_t n, size_t rows, const float *const *e, const float *w, int first, float *g)
{
    /* Rows that are missing repeat the first with weight 0: one loop serves all counts. */
    const float *e0 = e[0], *e1 = e[rows > 1 ? 1 : 0], *e2 = e[rows > 2 ? 2 : 0],
                *e3 = e[rows > 3 ? 3 : 0];
    const float w0 = w[0], w1 = rows > 1 ? w[1] : 0, w2 = rows > 2 ? w[2] : 0,
                w3 = rows > 3 ? w[3] : 0;
    if (rows > 2) {
        if (first) memset(g, 0, n * sizeof *g);
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            g[i] += (w0 * e0[i] + w1 * e1[i]) + (w2 * e2[i] + w3 * e3[i]);
    } else if (first) {
#pragma omp simd
        for (size_t i = 0; i < n; i++) g[i] = w0 * e0[i] + w1 * e1[i];
    } else {
#pragma omp simd
        for (size_t i = 0; i < n; i++) g[i] += w0 * e0[i] + w1 * e1[i];
    }
}

/* tanh(x) = 1 - 2 / (e^2x + 1); near 0 that cancels, so there an odd series takes over. */
static inline float tanh_fast(float x)
{
    const float x2 = x * x;
    const float small =
        x + x * x2 * (-1.0f / 3 + x2 * (2.0f / 15 + x2 * (-17.0f / 315 + x2 * (62.0f / 2835))));
    const float large = 1.0f - 2.0f / (exp2_clamped(2 * LOG2E_F * x) + 1.0f);
    return x2 < 0.0625f ? small : large;
}

static cbe_cap_sums row_cap(size_t n, const float *z0, const float *z, const float *u,
                            const float *offset, const cbe_cap_row *row, float *ef, float *pf)
{
    cbe_cap_sums total = {0, 0, 0, 0, 0, 0};
    const float cap = (float)row->softcap, inverse = (float)(1 / row->softcap);
    const float scale0 = (float)row->clean_scale, shift0 = (float)row->clean_shift;
    const float scale = (float)row->scale, u_scale = (float)row->u_scale, shift = (float)row->shift;
    for (size_t start = 0; start < n; start = block_end(start, n)) {
        const size_t end = block_end(start, n);
        float e_sum = 0, efz = 0, efu = 0, pfz = 0, pfu = 0, change = 0;
#pragma omp simd reduction(+ : e_sum, efz, efu, pfz, pfu, change)
        for (size_t i = start; i < end; i++) {
            const float base = offset ? offset[i] : 0.0f;
            const float clean = cap * tanh_fast((scale0 * z0[i] + base) * inverse);
            const float tangent = tanh_fast((scale * z[i] + (u_scale * u[i] + base)) * inverse);
            const float ablated = cap * tangent;
            const float p = exp2_clamped(LOG2E_F * (clean - shift0));
            const float e = exp2_clamped(LOG2E_F * (ablated - shift));
            const float f = 1.0f - tangent * tangent;
            const float e_f = e * f, p_f = p * f;
            if (ef) {
                ef[i] = e_f;
                pf[i] = p_f;
            }
            e_sum += e;
            efz += e_f * z[i];
            efu += e_f * u[i];
            pfz += p_f * z[i];
            pfu += p_f * u[i];
            change += p * (ablated - clean);
        }
        total.e += (double)e_sum;
        total.efz += (double)efz;
        total.efu += (double)efu;
        total.pfz += (double)pfz;
        total.pfu += (double)pfu;
        total.p_change += (double)change;
    }
    return total;
}

/* Four products that share a pass: of one row with four vectors, or of four rows with one. */
static inline void dot_four(size_t d, const float *x, const float *const y[4], float out[4])
{
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    const float *y0 = y[0], *y1 = y[1], *y2 = y[2], *y3 = y[3];
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (size_t k = 0; k < d; k++) {
        s0 += x[k] * y0[k];
        s1 += x[k] * y1[k];
        s2 += x[k] * y2[k];
        s3 += x[k] * y3[k];
    }
    out[0] = s0;
    out[1] = s1;
    out[2] = s2;
    out[3] = s3;
}

static void rows_dot(size_t n, size_t d, const float *w, size_t ldw, size_t m, const float *a,
                     float *out, size_t ldo)
{
    float four[4];
    const size_t in_fours = m / 4 * 4;
    for (size_t j = in_fours; j < m; j++)
        for (size_t i = 0; i < n; i += 4) {
            const size_t last = n - 1;
            const float *rows[4];
            for (size_t r = 0; r < 4; r++) rows[r] = w + (i + r < n ? i + r : last) * ldw;
            dot_four(d, a + j * d, rows, four);
            for (size_t r = 0; r < 4 && i + r < n; r++) out[j * ldo + i + r] = four[r];
        }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < in_fours; j += 4) {
            const float *vectors[4];
            for (size_t r = 0; r < 4; r++) vectors[r] = a + (j + r) * d;
            dot_four(d, w + i * ldw, vectors, four);
            for (size_t r = 0; r < 4; r++) out[(j + r) * ldo + i] = four[r];
        }
}

enum { SUM_ROWS = 64 }; /* rows summed in float before the sum goes on in double */

static void rows_sum(size_t n, size_t d, const float *w, size_t ldw, size_t m, const float *coeff,
                     size_t ldc, float *scratch, double *out)
{
    for (size_t start = 0; start < n; start += SUM_ROWS) {
        const size_t end = n - start < SUM_ROWS ? n : start + SUM_ROWS;
        for (size_t j = 0; j < m; j++) {
            const float *c = coeff + j * ldc;
            memset(scratch, 0, d * sizeof *scratch);
            size_t i = start;
            for (; i + 4 <= end; i += 4) {
                const float *w0 = w + i * ldw, *w1 = w0 + ldw, *w2 = w1 + ldw, *w3 = w2 + ldw;
                const float c0 = c[i], c1 = c[i + 1], c2 = c[i + 2], c3 = c[i + 3];
#pragma omp simd
                for (size_t k = 0; k < d; k++)
                    scratch[k] += (c0 * w0[k] + c1 * w1[k]) + (c2 * w2[k] + c3 * w3[k]);
            }
            for (; i < end; i++) {
                const float *w0 = w + i * ldw;
                const float c0 = c[i];
#pragma omp simd
                for (size_t k = 0; k < d; k++) scratch[k] += c0 * w0[k];
            }
            double *o = out + j * d;
#pragma omp simd
            for (size_t k = 0; k < d; k++) o[k] += (double)scratch[k];
        }
    }
}

static void rows_dot_f64(size_t n, size_t d, const float *w, size_t ldw, size_t m, const double *a,
                         double *out, size_t ldo)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = w + i * ldw;
        for (size_t j = 0; j < m; j++) {
            const double *v = a + j * d;
            double sum = 0;
#pragma omp simd reduction(+ : sum)
            for (size_t k = 0; k < d; k++) sum += (double)row[k] * v[k];
            out[j * ldo + i] = sum;
        }
    }
}

static void rows_sum_f64(size_t n, size_t d, const float *w, size_t ldw, size_t m, const double *coeff,
                         size_t ldc, double *out)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = w + i * ldw;
        for (size_t j = 0; j < m; j++) {
            const double c = coeff[j * ldc + i];
            double *o = out + j * d;
#pragma omp simd
            for (size_t k = 0; k < d; k++) o[k] += c * (double)row[k];
        }
    }
}

static int usable(void)
{
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd");
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
#else
    return 1;
#endif
}

#define NAME_(isa) #isa
#define NAME(isa)  NAME_(isa)

extern const cbe_kernels CONCAT(cbe_kernels_, CBE_KERNEL_ISA);
const cbe_kernels CONCAT(cbe_kernels_, CBE_KERNEL_ISA) = {
    NAME(CBE_KERNEL_ISA), usable,   row_max,  row_sum,      row_exp,      accumulate,
    row_cap,              rows_dot, rows_sum, rows_dot_f64, rows_sum_f64,
};
