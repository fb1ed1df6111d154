/*
 * kernels.h - the inner loops of the lens objective, one table row for each instruction set.
 *
 * Each kernel walks one row of V entries: y(i) = z(i) - c u(i) is the ablated row before the norm's
 * scale. Exponentials are powers of two:  t(i) = a y(i) + offset(i) + level  with a, offset and
 * level already multiplied by log2(e). Each lane sums in float over blocks of CBE_SUM_BLOCK
 * entries; the sums of blocks are added in double. Maths: docs/maths.md. Plain twin: the row "ref"
 * of the table. Tests: tests/math/test_kernels.c.
 */
#ifndef CBE_MATH_KERNELS_H
#define CBE_MATH_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CBE_SUM_BLOCK = 1024, /* entries summed in float before the sum is added to a double */
    CBE_ROW_GROUP = 4,    /* most rows that `accumulate` adds in one pass */
    /* Most rows that rows_exp takes together: 4 rows are slower (docs/performance.md). */
    CBE_EXP_ROWS = 2
};

/** Weighted sums of e(i) = 2^t(i). */
typedef struct {
    double e, ey, eu; /* sum e, sum e y, sum e u */
} cbe_row_sums;

/** One row of rows_exp; a, c, level, bounded and e as row_exp takes them. */
typedef struct {
    const float *z;
    float a, c, level;
    bool bounded;
    float *e;
} cbe_exp_row;

/** One row behind a final soft cap: logit l = softcap tanh((scale y + offset) / softcap). */
typedef struct {
    double clean_scale; /* 1 / s: the clean row is clean_scale z0 + offset, natural units */
    double clean_shift; /* logsumexp of the clean capped row */
    double scale, c;    /* the ablated row: scale (z - c u) + offset */
    double shift;       /* subtracted from ablated logits before exp */
    double softcap;
} cbe_cap_row;

typedef struct {
    double e;        /* sum e(i), e = exp(l' - shift) */
    double efy, efu; /* sum e f y, sum e f u; f = 1 - tanh^2 of the ablated row */
    double pfy, pfu; /* sum p f y, sum p f u; p the clean probabilities */
    double p_change; /* sum p (l' - l) */
} cbe_cap_sums;

typedef struct {
    const char *name;
    int (*usable)(void);

    /** Largest a y(i) + offset(i); offset may be NULL. */
    double (*row_max)(size_t n, const float *z, const float *u, const float *offset, float a,
                      float c);
    /** Smallest and largest of n numbers; NaN is ignored. */
    void (*range)(size_t n, const float *x, float *low, float *high);
    /** sum over i of 2^t(i). bounded: all t(i) are known to lie in [-126, 127], and level is a
     * whole number; otherwise t(i) is clamped to [-100, 127], which takes longer. */
    double (*row_sum)(size_t n, const float *z, const float *u, const float *offset, float a,
                      float c, float level, bool bounded);
    /** row_sum with the sums of a gradient; e(i) is stored unless e is NULL. */
    cbe_row_sums (*row_exp)(size_t n, const float *z, const float *u, const float *offset, float a,
                            float c, float level, bool bounded, float *e);
    /** row_exp of up to CBE_EXP_ROWS rows, with the same bits. Unless w is NULL, the old contents
     * of the rows' e are added to g first: g(i) += sum over r of w[r] e_r(i), with the bits of
     * accumulate; between exponentials the addition takes next to no time. The call is fast for
     * CBE_EXP_ROWS rows that are bounded. */
    void (*rows_exp)(size_t rows, size_t n, const cbe_exp_row *row, const float *u,
                     const float *offset, const float *w, float *g, cbe_row_sums *sums);
    /** z(i) = z(i) - shift, in double, rounded to float. */
    void (*subtract)(size_t n, float *z, double shift);
    /** half(i) = scale z(i) in half precision, rounded to even, clamped to 65504 in size;
     * from_half: z(i) = scale half(i). */
    void (*to_half)(size_t n, const float *z, float scale, uint16_t *half);
    void (*from_half)(size_t n, const uint16_t *half, float scale, float *z);
    /** g(i) = (first ? 0 : g(i)) + sum over r of w[r] e[r](i), 1 <= rows <= CBE_ROW_GROUP. */
    void (*accumulate)(size_t n, size_t rows, const float *const *e, const float *w, int first,
                       float *g);
    /** Sums of a soft-capped row, whose clean logits come from z0; ef(i) = e f and pf(i) = p f are
     * stored unless ef is NULL. */
    cbe_cap_sums (*row_cap)(size_t n, const float *z0, const float *z, const float *u,
                            const float *offset, const cbe_cap_row *row, float *ef, float *pf);
    /** out[j * ldo + i] = row i of w . a[j], for n rows (leading dimension ldw) and m vectors of
     * d. */
    void (*rows_dot)(size_t n, size_t d, const float *w, size_t ldw, size_t m, const float *a,
                     float *out, size_t ldo);
    /** out[j * d ..] += sum over n rows of coeff[j * ldc + i] * row i of w, in float over a few
     * rows, in double over such groups of rows. */
    void (*rows_sum)(size_t n, size_t d, const float *w, size_t ldw, size_t m, const float *coeff,
                     size_t ldc, double *out);
    /** rows_dot and rows_sum with double vectors and coefficients, all in double, of rows given by
     * pointers; rows are added in their order. */
    void (*rows_dot_f64)(size_t n, size_t d, const float *const *rows, size_t m, const double *a,
                         double *out, size_t ldo);
    void (*rows_sum_f64)(size_t n, size_t d, const float *const *rows, size_t m,
                         const double *coeff, size_t ldc, double *out);
} cbe_kernels;

/** All kernels that were built, best first; the last is "ref", plain loops in double. A NULL ends
 * the table. */
extern const cbe_kernels *const cbe_kernels_table[];

/** The best usable row of the table (name NULL), or the row called name; NULL if there is none or
 * the CPU lacks its instructions. */
const cbe_kernels *cbe_kernels_choose(const char *name);

#endif
