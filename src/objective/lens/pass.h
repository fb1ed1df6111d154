/* pass.h - the pass over the rows of an evaluation, once the shifts of m columns are known. */
#ifndef CBE_OBJECTIVE_LENS_PASS_H
#define CBE_OBJECTIVE_LENS_PASS_H

#include "objective/lens/state.h"

/** Fills o->work.rows of the rows that are not set aside, and where gradients are wanted o->work.g and
 * o->work.g_sum. */
void cbe_lens_pass(cbe_lens_objective *o, size_t m, cbe_lens_want want);
/** The same for o->work.exact.pairs, n_pairs of them; o->work.exact.grad += their terms in xc and ac. @param
 * v_m directions (.., d) */
void cbe_lens_exact_pass(cbe_lens_objective *o, size_t m, const double *v_m, size_t n_pairs,
                         cbe_lens_want want);

#endif
