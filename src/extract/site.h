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

enum { CBE_STATE_NAME = 40 /* bytes */ };
/** Writes "hidden_states.16", by which layers of runs at different sites can be compared. */
void cbe_state_name(size_t state, char out[CBE_STATE_NAME]);

#endif
