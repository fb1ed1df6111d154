/* optimal.h - optimal ablation in the whole model: see cbe_objective_eval_optimal. */
#ifndef CBE_OBJECTIVE_MODEL_OPTIMAL_H
#define CBE_OBJECTIVE_MODEL_OPTIMAL_H

#include "objective/calls.h"

cbe_status cbe_model_eval_optimal(cbe_objective *self, size_t m, const double *v, double *energy,
                                  double *constant, double *grad, double *per_token,
                                  cbe_error *err);

#endif
