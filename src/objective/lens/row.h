/*
 * row.h - one row and one column of an evaluation: from logits to the energy and to the factors of
 * its gradient.
 */
#ifndef CBE_OBJECTIVE_LENS_ROW_H
#define CBE_OBJECTIVE_LENS_ROW_H

#include "objective/lens/state.h"

/** A row of logits to work on, y = z - c u: the stored one with its rank-1 change, or one made
 * anew. */
typedef struct {
    const float *clean; /* the stored row; of a row made anew, with a cap alone */
    const float *z;     /* the stored row, or ablated logits made anew, less offset */
    float low, high;    /* smallest and largest entry of z */
    double scale, c;    /* logits' = scale y + offset */
    const double *left; /* xc - c ac of a row made anew; NULL for a stored row */
} cbe_lens_row_source;

/** A row's factors as kernels take them. */
typedef struct {
    float a, c, level;
    bool bounded; /* exponents are known to need no clamping at this level */
} cbe_lens_exp_factors;

cbe_lens_exp_factors cbe_lens_factors(const cbe_lens_view *view, const cbe_lens_work *work,
                                      size_t direction, const cbe_lens_row_source *source);

/** Takes sums that may have overflowed or vanished again, at the level of the largest exponent.
 * @param slopes  all sums are wanted, else that of e alone
 * @return logsumexp of logits' */
double cbe_lens_settle_sums(const cbe_lens_objective *o, size_t direction,
                            const cbe_lens_row_source *source, const cbe_lens_exp_factors *by,
                            bool slopes, float *e, cbe_row_sums *sums);
/** Fills work.rows of column j and active row i from the row's sums. Without a cap. */
void cbe_lens_plain_result(cbe_lens_objective *o, size_t j, size_t i,
                           const cbe_lens_row_source *source, const cbe_row_sums *sums,
                           double log_sum);

/** Fills work.rows of column j and active row i. Without a cap.
 * @param slopes  factors of the gradient are wanted too
 * @param e       [out] (V) exponentials; NULL: not wanted
 * @return the sum of e */
double cbe_lens_plain_row(cbe_lens_objective *o, size_t j, size_t i,
                          const cbe_lens_row_source *source, bool slopes, float *e);
/** The same with a cap, whose clean probabilities are made again from the stored row.
 * @param ef, pf  [out] (V) e and clean p, times the cap's slope; NULL: not wanted */
double cbe_lens_capped_row(cbe_lens_objective *o, size_t j, size_t i, cbe_lens_row_source source,
                           float *ef, float *pf);

#endif
