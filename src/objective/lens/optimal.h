/* optimal.h - optimal ablation of a lens objective: see cbe_objective_eval_optimal. */
#ifndef CBE_OBJECTIVE_LENS_OPTIMAL_H
#define CBE_OBJECTIVE_LENS_OPTIMAL_H

#include "objective/calls.h"

cbe_status cbe_lens_eval_optimal(cbe_objective *self, size_t m, const double *v, double *energy,
                                 double *constant, double *grad, double *per_token, cbe_error *err);

#endif
