/* kernels.c - the table of kernels, and the plain twin that every kernel is checked against. */
#include "math/kernels.h"

#include <math.h>
#include <string.h>

static double exponent(const float *z, const float *u, const float *offset, size_t i, float a,
                       float c)
{
    return (double)a * ((double)z[i] - (double)c * u[i]) + (offset ? (double)offset[i] : 0);
}

static double row_max_ref(size_t n, const float *z, const float *u, const float *offset, float a,
                          float c)
{
    double top = -INFINITY;
    for (size_t i = 0; i < n; i++) top = fmax(top, exponent(z, u, offset, i, a, c));
    return top;
}

static void range_ref(size_t n, const float *x, float *low, float *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        *low = fminf(*low, x[i]);
        *high = fmaxf(*high, x[i]);
    }
}

static double row_sum_ref(size_t n, const float *z, const float *u, const float *offset, float a,
                          float c, float level, bool bounded)
{
    (void)bounded;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp2(exponent(z, u, offset, i, a, c) + level);
    return sum;
}

static cbe_row_sums row_exp_ref(size_t n, const float *z, const float *u, const float *offset,
                                float a, float c, float level, bool bounded, float *e)
{
    (void)bounded;
    cbe_row_sums sum = {0, 0, 0};
    for (size_t i = 0; i < n; i++) {
        const double x = exp2(exponent(z, u, offset, i, a, c) + level);
        if (e) e[i] = (float)x;
        sum.e += x;
        sum.ey += x * ((double)z[i] - (double)c * u[i]);
        sum.eu += x * u[i];
    }
    return sum;
}

static void rows_exp_ref(size_t rows, size_t n, const cbe_exp_row *row, const float *u,
                         const float *offset, const float *w, float *g, cbe_row_sums *sums)
{
    for (size_t i = 0; i < n && w; i++) {
        double sum = (double)g[i];
        for (size_t r = 0; r < rows; r++) sum += (double)w[r] * row[r].e[i];
        g[i] = (float)sum;
    }
    for (size_t r = 0; r < rows; r++)
        sums[r] = row_exp_ref(n, row[r].z, u, offset, row[r].a, row[r].c, row[r].level,
                              row[r].bounded, row[r].e);
}

static void subtract_ref(size_t n, float *z, double shift)
{
    for (size_t i = 0; i < n; i++) z[i] = (float)((double)z[i] - shift);
}

/* A half-precision number is m 2^e, |m| <= 2047 (ten bits and the hidden bit), e >= -24. */
static void to_half_ref(size_t n, const float *z, float scale, uint16_t *half)
{
    for (size_t i = 0; i < n; i++) {
        const float x = z[i] * scale;
        const double size = fmin(fabs((double)x), 65504);
        int exponent = -24;
        if (size > 0) frexp(size, &exponent);
        const int unit = exponent - 11 > -24 ? exponent - 11 : -24;
        /* A mantissa rounded up to 2048 carries into the exponent. */
        const uint32_t mantissa = (uint32_t)nearbyint(ldexp(size, -unit));
        half[i] = (uint16_t)((uint32_t)(unit + 24) * 1024 + mantissa + (signbit(x) ? 0x8000 : 0));
    }
}

static void from_half_ref(size_t n, const uint16_t *half, float scale, float *z)
{
    for (size_t i = 0; i < n; i++) {
        const int exponent = half[i] >> 10 & 31, mantissa = half[i] & 1023;
        const double size = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
        z[i] = (float)(half[i] & 0x8000 ? -size : size) * scale;
    }
}

static void accumulate_ref(size_t n, size_t rows, const float *const *e, const float *w, int first,
                           float *g)
{
    for (size_t i = 0; i < n; i++) {
        double sum = first ? 0 : (double)g[i];
        for (size_t r = 0; r < rows; r++) sum += (double)w[r] * e[r][i];
        g[i] = (float)sum;
    }
}

static cbe_cap_sums row_cap_ref(size_t n, const float *z0, const float *z, const float *u,
                                const float *offset, const cbe_cap_row *row, float *ef, float *pf)
{
    cbe_cap_sums sum = {0, 0, 0, 0, 0, 0};
    const double cap = row->softcap;
    for (size_t i = 0; i < n; i++) {
        const double base = offset ? (double)offset[i] : 0;
        const double clean = cap * tanh((row->clean_scale * z0[i] + base) / cap);
        const double y = (double)z[i] - row->c * u[i],
                     tangent = tanh((row->scale * y + base) / cap);
        const double p = exp(clean - row->clean_shift), e = exp(cap * tangent - row->shift);
        const double f = 1 - tangent * tangent;
        if (ef) {
            ef[i] = (float)(e * f);
            pf[i] = (float)(p * f);
        }
        sum.e += e;
        sum.efy += e * f * y;
        sum.efu += e * f * u[i];
        sum.pfy += p * f * y;
        sum.pfu += p * f * u[i];
        sum.p_change += p * (cap * tangent - clean);
    }
    return sum;
}

static void rows_dot_ref(size_t n, size_t d, const float *w, size_t ldw, size_t m, const float *a,
                         float *out, size_t ldo)
{
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < n; i++) {
            double sum = 0;
            for (size_t k = 0; k < d; k++) sum += (double)w[i * ldw + k] * a[j * d + k];
            out[j * ldo + i] = (float)sum;
        }
}

static void rows_sum_ref(size_t n, size_t d, const float *w, size_t ldw, size_t m,
                         const float *coeff, size_t ldc, double *out)
{
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < d; k++)
                out[j * d + k] += (double)coeff[j * ldc + i] * w[i * ldw + k];
}

static void rows_dot_f64_ref(size_t n, size_t d, const float *const *rows, size_t m,
                             const double *a, double *out, size_t ldo)
{
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < n; i++) {
            double sum = 0;
            for (size_t k = 0; k < d; k++) sum += (double)rows[i][k] * a[j * d + k];
            out[j * ldo + i] = sum;
        }
}

static void rows_sum_f64_ref(size_t n, size_t d, const float *const *rows, size_t m,
                             const double *coeff, size_t ldc, double *out)
{
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < d; k++)
                out[j * d + k] += coeff[j * ldc + i] * (double)rows[i][k];
}

static int always(void)
{
    return 1;
}

static const cbe_kernels kernels_ref = {
    "ref",        always,       row_max_ref,      range_ref,        row_sum_ref,    row_exp_ref,
    rows_exp_ref, subtract_ref, to_half_ref,      from_half_ref,    accumulate_ref, row_cap_ref,
    rows_dot_ref, rows_sum_ref, rows_dot_f64_ref, rows_sum_f64_ref,
};

/* Defined by kernels_simd.c, which is compiled once for each instruction set. */
extern const cbe_kernels cbe_kernels_plain;
#ifdef CBE_KERNELS_X86
extern const cbe_kernels cbe_kernels_avx2, cbe_kernels_avx512;
#endif

const cbe_kernels *const cbe_kernels_table[] = {
#ifdef CBE_KERNELS_X86
    &cbe_kernels_avx512, &cbe_kernels_avx2,
#endif
    &cbe_kernels_plain,  &kernels_ref,      NULL,
};

const cbe_kernels *cbe_kernels_choose(const char *name)
{
    for (size_t i = 0; cbe_kernels_table[i]; i++) {
        const cbe_kernels *kernels = cbe_kernels_table[i];
        if ((!name || strcmp(name, kernels->name) == 0) && kernels->usable()) return kernels;
    }
    return NULL;
}
