/* site.h - where the output of a run is read: before a block or behind it. */
#ifndef CBE_EXTRACT_SITE_H
#define CBE_EXTRACT_SITE_H

#include <stddef.h>

/** Which hidden states a layer is. */
typedef enum {
    CBE_SITE_PRE = 0, /* layer i is hidden_states.i, the input of block i */
    CBE_SITE_POST,    /* layer i is hidden_states.(i + 1), the output of block i */
    CBE_N_SITES
} cbe_site;

const char *cbe_site_name(cbe_site site); /* "pre", "post" */
/** Returns i of hidden_states.i that is a layer at a site. */
size_t cbe_site_state(cbe_site site, size_t layer);

#endif
