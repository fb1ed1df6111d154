/*
 * columns.h - evaluations of columns in the whole model: a column is a direction with a constant.
 *
 * Only optimal ablation has constants other than 0, and then there may be several columns of one
 * direction.
 */
#ifndef CBE_OBJECTIVE_MODEL_COLUMNS_H
#define CBE_OBJECTIVE_MODEL_COLUMNS_H

#include "objective/model/state.h"

/** What m directions v (m, d) read and write, and mean . r: evaluations of their columns may
 * follow. v is borrowed until they end. */
void cbe_model_set_directions(const cbe_model_setup *setup, const cbe_model_layer *layer,
                              cbe_model_work *work, size_t m, const double *v);
/** Evaluates columns 0 .. m - 1, whose work.direction and work.constant are filled in.
 * @param slope  [out] (m) d energy / d constant; NULL unless gradients are wanted, and then allowed
 * to be
 * @param grad   [out] (m, d); NULL as slope */
cbe_status cbe_model_eval_columns(cbe_model_objective *o, size_t m, cbe_model_want want,
                                  double *energy, double *slope, double *grad, double *per_token,
                                  cbe_error *err);

#endif
