/* gradient.h - the gradients of an evaluation, from what its rows left. */
#ifndef CBE_OBJECTIVE_LENS_GRADIENT_H
#define CBE_OBJECTIVE_LENS_GRADIENT_H

#include "objective/lens/state.h"

/** Sums over the rows of all processes, one behind the other in work.sums. */
typedef struct {
    cbe_long_sum *energy; /* (m): of energies */
    cbe_long_sum *c;      /* (m): of c_coeff */
    cbe_long_sum *ac;     /* (m): of ac_coeff */
    cbe_long_sum *lens;   /* (m, d): sum w E - W~' G + sum xc_coeff x */
    cbe_long_sum *hidden; /* (m, d): sum c_coeff h */
    size_t count;         /* numbers in all of them together */
} cbe_lens_totals;

/** Adds the process's share to t->lens and t->hidden. @param exact whether rows were set aside */
void cbe_lens_add_gradients(cbe_lens_objective *o, size_t m, bool exact, const cbe_lens_totals *t);
/** Makes gradients of the sums, once t is that of all processes. @param grad [out] (m, d) */
void cbe_lens_finish_gradient(const cbe_lens_setup *setup, const cbe_lens_layer *layer,
                              cbe_lens_work *work, size_t m, const cbe_lens_totals *t,
                              double *grad);

#endif
