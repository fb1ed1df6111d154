/*
 * columns.h - evaluations of columns: a column is a direction with a constant.
 *
 * Only optimal ablation has constants other than 0, and then there may be several columns of one
 * direction.
 */
#ifndef CBE_OBJECTIVE_LENS_COLUMNS_H
#define CBE_OBJECTIVE_LENS_COLUMNS_H

#include "objective/lens/state.h"

/** What m directions read and write, and its products with vocabulary and tokens: evaluations of
 * their columns may follow, while v is borrowed. */
void cbe_lens_set_directions(cbe_lens_objective *o, size_t m, const double *v);
/** Evaluates columns 0 .. m - 1, whose work.direction and work.constant are filled in.
 * @param slope  [out] (m) d energy / d constant; NULL unless slopes or gradients are wanted
 * @param grad   [out] (m, d); NULL unless gradients are wanted */
void cbe_lens_eval_columns(cbe_lens_objective *o, size_t m, cbe_lens_want want, double *energy,
                           double *slope, double *grad, double *per_token);

#endif
