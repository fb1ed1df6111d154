/*
 * row_measures.h - how far one row of lens logits is from the final distribution, in five passes
 * over V, which stay in the cache.
 *
 * Rows are shifted by their largest entry first, so that what is summed is small where
 * probabilities are large. The divergence is summed as p (log p - log q), entry by entry: two terms
 * that nearly cancel never meet as sums. Exponentials and sums are those of math/kernels.h: float
 * lanes over 1,024 entries, double beyond. Twin: tests/ref/lens_measures_ref.c.
 */
#ifndef CBE_LENS_ROW_MEASURES_H
#define CBE_LENS_ROW_MEASURES_H

#include <stddef.h>
#include <stdint.h>

#include "math/kernels.h"
#include "lens/evaluate.h"

/** The final distribution of one token. */
typedef struct {
    const float *log2_probs; /* (V) */
    size_t top;              /* the first of the most probable tokens */
} cbe_row_reference;

/** Turns final logits into the reference and measures them against themselves: a divergence of 0,
 * agreement 1.
 * @param logits [in, out] (V): becomes log2 p  @param label -1: none, and the cross-entropy is 0
 * @param out [out] by cbe_lens_measure; not finite where a logit is not */
void cbe_row_reference_set(cbe_row_reference *reference, const cbe_kernels *kernels,
                           size_t vocab_size, float *logits, int64_t label,
                           double out[CBE_N_LENS_MEASURES]);
/** Measures lens logits. @param logits [in, out] (V): become log q */
void cbe_row_measure(const cbe_row_reference *reference, const cbe_kernels *kernels,
                     size_t vocab_size, float *logits, int64_t label,
                     double out[CBE_N_LENS_MEASURES]);

#endif
