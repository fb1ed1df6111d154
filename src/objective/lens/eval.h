/* eval.h - evaluations of a lens objective: see cbe_objective_eval and
 * cbe_objective_eval_constant. */
#ifndef CBE_OBJECTIVE_LENS_EVAL_H
#define CBE_OBJECTIVE_LENS_EVAL_H

#include "objective/calls.h"

cbe_status cbe_lens_eval(cbe_objective *self, size_t m, const double *v, double *energy,
                         double *grad, double *per_token, cbe_error *err);
cbe_status cbe_lens_eval_constant(cbe_objective *self, size_t m, const double *v,
                                  const double *constant, double *energy, double *slope,
                                  double *grad, double *per_token, cbe_error *err);

#endif
