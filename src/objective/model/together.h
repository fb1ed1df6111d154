/* together.h - directions that are removed together: see cbe_objective_eval_together. */
#ifndef CBE_OBJECTIVE_MODEL_TOGETHER_H
#define CBE_OBJECTIVE_MODEL_TOGETHER_H

#include "objective/model/state.h"

cbe_status cbe_model_eval_together(cbe_objective *self, size_t n, const double *v, double *energy,
                                   double *grad, cbe_error *err);
void cbe_model_together_free(cbe_model_together *together); /* a zeroed struct is allowed */

#endif
