/*
 * row_measures.h - measures of one row of lens logits against the final distribution, in five
 * passes over V that stay in the cache.
 *
 * Rows are shifted by their largest entry first, so that summands are small where probabilities are
 * large. The divergence is summed as p (log p - log q), entry by entry, so that no two large sums
 * cancel. Exponentials and sums are those of math/kernels.h: lanes of float over 1,024 entries,
 * double over blocks. Twin: tests/ref/lens_measures_ref.c.
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
 * top-1 1.
 * @param logits [in, out] (V): becomes log2 p
 * @param label -1: there is no label, and the cross-entropy is 0
 * @param out [out] by cbe_lens_measure; not finite if a logit is not */
void cbe_row_reference_set(cbe_row_reference *reference, const cbe_kernels *kernels,
                           size_t vocab_size, float *logits, int64_t label,
                           double out[CBE_N_LENS_MEASURES]);
/** Measures lens logits. @param logits [in, out] (V): become log q */
void cbe_row_measure(const cbe_row_reference *reference, const cbe_kernels *kernels,
                     size_t vocab_size, float *logits, int64_t label,
                     double out[CBE_N_LENS_MEASURES]);

#endif
