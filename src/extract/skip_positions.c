/* skip_positions.c - see skip_positions.h. */
#include "extract/skip_positions.h"

/* A first token whose state has a norm above this many times the median would decide on every
 * direction alone. */
static const double HUGE_NORM = 10;

cbe_status cbe_choose_skip_positions(const cbe_hidden_states *states, cbe_site site,
                                     size_t n_layers, const size_t *layers, size_t *skip,
                                     cbe_error *err)
{
    *skip = 0;
    if (cbe_hidden_states_context_length(states) < 2) return CBE_OK;
    for (size_t i = 0; i < n_layers && *skip == 0; i++) {
        double ratio;
        const cbe_status st = cbe_hidden_states_first_norm_ratio(
            states, cbe_site_state(site, layers[i]), &ratio, err);
        if (st != CBE_OK) return st;
        if (ratio > HUGE_NORM) *skip = 1;
    }
    return CBE_OK;
}
