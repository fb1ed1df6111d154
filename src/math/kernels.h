/*
 * kernels.h - the inner loops of the lens objective, one table row for each instruction set.
 *
 * All of them walk one row of V entries: y(i) = z(i) - c u(i) is the ablated row before the norm's
 * scale. Exponentials are powers of two:  t(i) = a y(i) + offset(i) + level  with a, offset and
 * level already multiplied by log2(e). Sums over V are taken in float, a lane each, over blocks of
 * CBE_SUM_BLOCK entries and in double over the blocks. Maths: docs/maths.md. Plain twin: the row
 * "ref" of the table. Tests: tests/math/test_kernels.c.
 */
#ifndef CBE_MATH_KERNELS_H
#define CBE_MATH_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CBE_SUM_BLOCK = 1024, /* entries summed in float before the sum goes on in double */
    CBE_ROW_GROUP = 4,    /* rows that accumulate adds in one pass, at most */
    /* rows that rows_exp takes together, at most: with 4 it is slower (docs/performance.md) */
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

    /** Largest a y + offset; offset may be NULL. */
    double (*row_max)(size_t n, const float *z, const float *u, const float *offset, float a,
                      float c);
    /** Smallest and largest of n numbers; NaN is passed over. */
    void (*range)(size_t n, const float *x, float *low, float *high);
    /** sum over i of 2^t(i). bounded: all t(i) are known to lie in [-126, 127], and level is a
     * whole number; otherwise they are clamped to [-100, 127], which takes longer. */
    double (*row_sum)(size_t n, const float *z, const float *u, const float *offset, float a,
                      float c, float level, bool bounded);
    /** The same, with the sums of a gradient; e(i) is stored unless e is NULL. */
    cbe_row_sums (*row_exp)(size_t n, const float *z, const float *u, const float *offset, float a,
                            float c, float level, bool bounded, float *e);
    /** row_exp of up to CBE_EXP_ROWS rows, with the same bits. What the rows' e hold is first added
     * up, unless w is NULL: g(i) += sum over r of w[r] e_r(i), with the bits of accumulate; between
     * exponentials that takes next to no time. Fast with CBE_EXP_ROWS rows that are bounded. */
    void (*rows_exp)(size_t rows, size_t n, const cbe_exp_row *row, const float *u,
                     const float *offset, const float *w, float *g, cbe_row_sums *sums);
    /** z(i) - shift in double, rounded. */
    void (*subtract)(size_t n, float *z, double shift);
    /** To half precision: scale z(i), to even, at most 65504 in size; and back: scale half(i). */
    void (*to_half)(size_t n, const float *z, float scale, uint16_t *half);
    void (*from_half)(size_t n, const uint16_t *half, float scale, float *z);
    /** g(i) = (first ? 0 : g(i)) + sum over r of w[r] e[r](i), 1 <= rows <= CBE_ROW_GROUP. */
    void (*accumulate)(size_t n, size_t rows, const float *const *e, const float *w, int first,
                       float *g);
    /** Soft-capped row, its clean logits from z0; ef(i) = e f and pf(i) = p f are stored when ef is
     * not NULL. */
    cbe_cap_sums (*row_cap)(size_t n, const float *z0, const float *z, const float *u,
                            const float *offset, const cbe_cap_row *row, float *ef, float *pf);
    /** out[j * ldo + i] = row i of w . a[j], for n rows (leading dimension ldw) and m vectors of
     * d. */
    void (*rows_dot)(size_t n, size_t d, const float *w, size_t ldw, size_t m, const float *a,
                     float *out, size_t ldo);
    /** out[j * d ..] += sum over n rows of coeff[j * ldc + i] * row i of w, in float over a few
     * rows, in double over the rest. */
    void (*rows_sum)(size_t n, size_t d, const float *w, size_t ldw, size_t m, const float *coeff,
                     size_t ldc, double *out);
    /** The two with double vectors and coefficients, in double throughout, of rows wherever they
     * lie; these are added up in their order. */
    void (*rows_dot_f64)(size_t n, size_t d, const float *const *rows, size_t m, const double *a,
                         double *out, size_t ldo);
    void (*rows_sum_f64)(size_t n, size_t d, const float *const *rows, size_t m,
                         const double *coeff, size_t ldc, double *out);
} cbe_kernels;

/** All that were built, best first; the last is "ref", plain loops in double. Ends with NULL. */
extern const cbe_kernels *const cbe_kernels_table[];

/** The best usable one, or the one of that name; NULL when there is none or the CPU lacks it. */
const cbe_kernels *cbe_kernels_choose(const char *name);

#endif
