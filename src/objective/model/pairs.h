/* pairs.h - ablated sequences run behind the layer: what single directions and directions that are
 * removed together have in common. */
#ifndef CBE_OBJECTIVE_MODEL_PAIRS_H
#define CBE_OBJECTIVE_MODEL_PAIRS_H

#include "objective/model/state.h"

/** Ablates a pair: rows (S, d) are the clean states of the sequence. Several threads call it.
 * @param sequence  among those of this process
 * @param place     of the pair among those that run at once */
typedef void cbe_model_ablate(cbe_model_objective *o, size_t column, size_t sequence, size_t place,
                              float *rows);

/** Runs pairs first .. first + n - 1, each a column and an active sequence, all sequences of a
 * column together: energies of their rows are in work.row_energy then, pair after pair.
 * @param grad  whether cbe_suffix_backward may follow: gradients in the output are in the suffix
 * @return CBE_OK, CBE_ERR_NUMERIC */
cbe_status cbe_model_run_pairs(cbe_model_objective *o, size_t first, size_t n,
                               cbe_model_ablate *ablate, bool grad, cbe_error *err);

#endif
