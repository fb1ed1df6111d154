/* lens_measures_ref.h - measures of one row of lens logits in float64, by their definitions: the
 * twin of src/lens/row_measures.c. */
#ifndef CBE_TESTS_LENS_MEASURES_REF_H
#define CBE_TESTS_LENS_MEASURES_REF_H

#include <stddef.h>
#include <stdint.h>

#include "lens/evaluate.h"

/** Computes the measures of lens logits.
 * @param final_logits, lens_logits (V)
 * @param label  -1: there is no label, and the cross-entropy is 0 */
void cbe_lens_measures_ref(size_t vocab_size, const double *final_logits, const double *lens_logits,
                           int64_t label, double out[CBE_N_LENS_MEASURES]);

#endif
