/* site.c - see site.h. */
#include "extract/site.h"

#include <stdio.h>

const char *cbe_site_name(cbe_site site)
{
    static const char *const names[] = {"pre", "post"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_SITES, "one name for each site");
    return names[site];
}

size_t cbe_site_state(cbe_site site, size_t layer)
{
    return site == CBE_SITE_POST ? layer + 1 : layer;
}

void cbe_state_name(size_t state, char out[CBE_STATE_NAME])
{
    snprintf(out, CBE_STATE_NAME, "hidden_states.%zu", state);
}
