/* stored_point.h - a search's point (search/search.h) that owns its arrays: read from a checkpoint,
 * or told by another process. */
#ifndef CBE_EXTRACT_STORED_POINT_H
#define CBE_EXTRACT_STORED_POINT_H

#include "search/search.h"

typedef struct {
    double *vectors, *runner_ups, *energies;
    cbe_vector_record *records;
    cbe_start_kind *kinds;
    cbe_search_point view; /* of them; n_vectors 0: none is stored */
} cbe_stored_point;

/** Room for n vectors and m runner-ups of d numbers, in view too; what was stored is freed. On
 * failure none is stored. */
cbe_status cbe_stored_point_make(cbe_stored_point *point, size_t d, size_t n, size_t m,
                                 cbe_error *err);
/* leaves none stored; a zeroed one is allowed */
void cbe_stored_point_free(cbe_stored_point *point);

#endif
