/* calls.h - what every kind of objective has: the head of its struct, and its calls. */
#ifndef CBE_OBJECTIVE_CALLS_H
#define CBE_OBJECTIVE_CALLS_H

#include "objective/objective.h"

struct cbe_objective {
    size_t hidden_size, max_batch;
    bool divergence; /* energies are divergences, which are not below 0 */
    cbe_status (*eval)(cbe_objective *self, size_t m, const double *v, double *energy, double *grad,
                       double *per_token, cbe_error *err);
    size_t (*n_tokens)(const cbe_objective *self); /* tokens of the sample in force */
    void (*set_sample)(cbe_objective *self, size_t n, size_t part);
    size_t (*n_parts)(const cbe_objective *self, size_t n);
    void (*set_held_out)(cbe_objective *self);
    cbe_status (*eval_optimal)(cbe_objective *self, size_t m, const double *v, double *energy,
                               double *constant, double *grad, double *per_token, cbe_error *err);
    cbe_status (*eval_constant)(cbe_objective *self, size_t m, const double *v,
                                const double *constant, double *energy, double *slope, double *grad,
                                double *per_token, cbe_error *err);
    void (*destroy)(cbe_objective *self);               /* frees self too */
    bool (*set_rough)(cbe_objective *self, bool rough); /* NULL: evaluations are always exact */
    /* NULL: single directions alone */
    cbe_status (*eval_together)(cbe_objective *self, size_t n, const double *v, double *energy,
                                double *grad, cbe_error *err);
};

#endif
