/* pass.h - the pass over the rows of an evaluation, once the shifts of m columns are known. */
#ifndef CBE_OBJECTIVE_LENS_PASS_H
#define CBE_OBJECTIVE_LENS_PASS_H

#include "objective/lens/state.h"

/** Fills work.rows of the rows that are not set aside, and where gradients are wanted the parts'
 * gradient vectors over V, work.g and work.g_sum. */
void cbe_lens_pass(cbe_lens_objective *o, size_t m, cbe_lens_want want);

#endif
