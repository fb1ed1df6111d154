/* point.h - where the search of a layer stands between two vectors. */
#ifndef CBE_SEARCH_POINT_H
#define CBE_SEARCH_POINT_H

#include <stdint.h>

#include "search/basis.h"

enum { CBE_RUNNER_UPS_MOST = 64 };

/** All that the next vector depends on, besides objective, options and candidates. */
typedef struct {
    size_t hidden_size, n_vectors;
    const double *vectors;            /* (n_vectors, hidden_size), in the order they were found */
    const cbe_vector_record *records; /* (n_vectors) */
    uint64_t random[4];               /* state of the random numbers */
    size_t n_runner_ups;              /* starts for the next vector, CBE_RUNNER_UPS_MOST at most */
    const double *runner_ups;         /* (n_runner_ups, hidden_size) */
    const double *runner_up_energies; /* (n_runner_ups) */
    const cbe_start_kind *runner_up_kinds; /* (n_runner_ups) */
} cbe_search_point;

/** Called after each vector with where the search stands. The point is borrowed until the function
 * returns. Any status but CBE_OK ends the search with it. */
typedef cbe_status cbe_search_found(void *context, const cbe_search_point *point, cbe_error *err);

#endif
