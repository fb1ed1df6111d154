/* removed.h - directions that are taken out of all states besides those that are evaluated: see
 * cbe_objective_set_removed. */
#ifndef CBE_OBJECTIVE_MODEL_REMOVED_H
#define CBE_OBJECTIVE_MODEL_REMOVED_H

#include "objective/model/state.h"

cbe_status cbe_model_set_removed(cbe_objective *self, size_t n, const double *v, cbe_error *err);
/** Takes the directions out of the state of token n, row (d). */
void cbe_model_take_out(const cbe_model_objective *o, size_t n, float *row);
void cbe_model_removed_free(cbe_model_removed *removed);

#endif
