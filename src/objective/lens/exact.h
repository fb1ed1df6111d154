/* exact.h - the rows that the pass sets aside, since their stored logits have lost their digits. */
#ifndef CBE_OBJECTIVE_LENS_EXACT_H
#define CBE_OBJECTIVE_LENS_EXACT_H

#include "objective/lens/state.h"

/** Fills work.rows of the n_pairs pairs in work.exact.pairs, and where gradients are wanted the
 * last of the gradient vectors over V, and work.exact.grad with the pairs' terms in xc and ac. */
void cbe_lens_exact_pass(cbe_lens_objective *o, size_t m, size_t n_pairs, cbe_lens_want want);

#endif
