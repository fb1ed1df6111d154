/* state.h - the state of a layer's search, and what the searches do with it. */
#ifndef CBE_SEARCH_STATE_H
#define CBE_SEARCH_STATE_H

#include <stdbool.h>

#include "math/random.h"
#include "search/search.h"
#include "search/sphere.h"

typedef struct {
    cbe_objective *objective;
    const cbe_search_options *options;
    size_t d, batch, n_vectors;
    cbe_sphere sphere;
    double *found; /* (n_vectors, d) */
    cbe_rng rng;
    /* (batch, d), (batch), (batch, d), (batch): points of one evaluation and its answers */
    double *batch_v, *batch_energy, *batch_grad;
    size_t *batch_runner;
    double *within_scratch; /* (n_within), of the sphere */
    cbe_start_list given;   /* the caller's candidates */
    cbe_search_progress *progress;
    void *context; /* of progress, and of options->found */
    /* Within this |cosine| of a higher point a climb is taken to lead to the same maximum. */
    double join_cosine;
    size_t vector;      /* index of the vector in work */
    double best_energy; /* of the vector in work so far; -HUGE_VAL: none is finite */
    cbe_vector_record record;
} cbe_search;

/** Room for the search of n_vectors. Sets options, objective and sizes; the rest is zero.
 * @return CBE_OK, CBE_ERR_NOMEM (call cbe_search_release all the same) */
cbe_status cbe_search_prepare(cbe_search *s, cbe_objective *objective,
                              const cbe_search_options *options, size_t n_vectors, cbe_error *err);
void cbe_search_release(cbe_search *s); /* a zeroed one is allowed */

/** The sphere orthogonal to n found vectors (n, d), within what the options say. */
cbe_sphere cbe_search_sphere(const cbe_search *s, size_t n, const double *found, double tau);
/** Number of dimensions that vectors may lie in. */
size_t cbe_search_dimensions(const cbe_search_options *options, size_t hidden_size);
/** The energy that counts as a share, 0 to 1, of the highest. Below zero it lies as far under the
 * highest as above zero. */
double cbe_search_share(double share, double highest);
void cbe_search_random_direction(cbe_search *s, double *v);
/** Counts a start of the vector in work, and the energy that it came to. */
void cbe_search_count_start(cbe_search *s, cbe_start_kind kind, double energy);
/** Tells the caller how far the search is. @return CBE_OK, CBE_ERR_CANCELLED */
cbe_status cbe_search_tell_progress(cbe_search *s, cbe_error *err);

#endif
