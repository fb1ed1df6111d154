/* stored_point.h - a search's point (search/point.h) that owns its arrays: read from a checkpoint,
 * or told by another process. */
#ifndef CBE_EXTRACT_STORED_POINT_H
#define CBE_EXTRACT_STORED_POINT_H

#include "search/point.h"

typedef struct {
    double *vectors, *runner_ups, *energies;
    cbe_vector_record *records;
    cbe_start_kind *kinds;
    cbe_search_point view; /* of the arrays; n_vectors 0: no point is stored */
} cbe_stored_point;

/** Makes room for n vectors and m runner-ups of d numbers, and sets view. Frees the point stored
 * before. On failure none is stored. */
cbe_status cbe_stored_point_make(cbe_stored_point *point, size_t d, size_t n, size_t m,
                                 cbe_error *err);
/** Leaves no point stored; a zeroed one is allowed. */
void cbe_stored_point_free(cbe_stored_point *point);

#endif
