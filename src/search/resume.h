/* resume.h - a search tells its points, and goes on from one. */
#ifndef CBE_SEARCH_RESUME_H
#define CBE_SEARCH_RESUME_H

#include "search/maxima.h"
#include "search/state.h"

/** Room for the runner-ups of a point. Start with {0}. */
typedef struct {
    double *runner_ups, *energies; /* (CBE_MAXIMA_MOST, d), (CBE_MAXIMA_MOST) */
    cbe_start_kind *kinds;         /* (CBE_MAXIMA_MOST) */
} cbe_point_room;

cbe_status cbe_point_room_make(cbe_point_room *room, size_t d, cbe_error *err);
void cbe_point_room_free(cbe_point_room *room); /* a zeroed one is allowed */

/** Tells options->found where the search stands after n vectors.
 * @param runner_ups  of the strategy; NULL: it has none
 * @return what options->found returned; CBE_OK without it */
cbe_status cbe_search_tell_point(const cbe_search *s, size_t n, const cbe_vector_record *records,
                                 const cbe_maxima *runner_ups, const cbe_point_room *room,
                                 cbe_error *err);
/** Goes to options->from, if there is one. @param n [out] vectors that are known then
 * @return CBE_OK; CBE_ERR_ARG (a point of another search) */
cbe_status cbe_search_restore(cbe_search *s, size_t *n, cbe_vector_record *records,
                              cbe_maxima *runner_ups, cbe_error *err);

#endif
