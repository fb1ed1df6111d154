/* skip_positions.h - how many first positions of every sequence a run should leave out. */
#ifndef CBE_EXTRACT_SKIP_POSITIONS_H
#define CBE_EXTRACT_SKIP_POSITIONS_H

#include "extract/site.h"
#include "model/hidden_states.h"

/** Sets *skip to 1 if first positions of any of the layers have a norm more than 10 times the
 * median, else to 0. Looks at the states at hand: over processes the largest result counts. */
cbe_status cbe_choose_skip_positions(const cbe_hidden_states *states, cbe_site site,
                                     size_t n_layers, const size_t *layers, size_t *skip,
                                     cbe_error *err);

#endif
