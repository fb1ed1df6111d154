/* affine_fit.h - a pass over a text, which fitting and training share; see lens/fit.h. */
#ifndef CBE_LENS_AFFINE_FIT_H
#define CBE_LENS_AFFINE_FIT_H

#include "lens/fit.h"

/** Computes the number of sequences that a share of n_sequences is: at least 1, at most n_sequences
 * - 1. @return CBE_OK, CBE_ERR_ARG */
cbe_status cbe_hold_out_count(double share, size_t n_sequences, size_t *count, cbe_error *err);

/** Sums the fitted sequences of a text, and apart from them the held-out sequences. Creates both
 * sums; the caller frees them, also on failure.
 * @param order (n_sequences), order of the rows of ids; NULL: as they are
 * @return as cbe_affine_sums_add and cbe_model_forward */
cbe_status cbe_affine_sum_text(cbe_affine_sums **fitted, cbe_affine_sums **held_out,
                               const cbe_model *model, size_t n_sequences, size_t context_length,
                               const int64_t *ids, const size_t *order, size_t n_held_out,
                               bool (*progress)(void *context, size_t done, size_t total),
                               void *context, cbe_error *err);

#endif
