/* ascent.h - many L-BFGS runs side by side on a sphere, evaluated in batches. */
#ifndef CBE_SEARCH_ASCENT_H
#define CBE_SEARCH_ASCENT_H

#include "math/lbfgs.h"
#include "search/maxima.h"
#include "search/rules.h"
#include "search/state.h"

/** One climb: an optimiser, where it starts, and the point of the sphere that it asked for last, or
 * ended at. */
typedef struct {
    cbe_lbfgs *opt;
    double *start, *v, *grad; /* (d) each */
    cbe_start_kind kind;      /* of the start */
    /* The energy that is the unit in which the optimiser is told of E (cbe_runner_tell). 0:
     * none. */
    double scale;
    double length;  /* |P x| of the point asked for */
    double energy;  /* of the point */
    double reached; /* energy after the last iteration */
    double gain;    /* what the last iteration added to it */
    bool joined;    /* stopped because another climb was there already */
    bool given_up;  /* stopped on its way: see cbe_ascent */
} cbe_runner;

/** Options of an optimiser that may take max_iterations, and evaluations to match. */
cbe_lbfgs_options cbe_climb_options(const cbe_climb_rules *rules, size_t max_iterations);

/** n runners with optimisers of the same options; NULL when memory is short. */
cbe_runner *cbe_runners_create(size_t n, size_t d, const cbe_lbfgs_options *options,
                               cbe_error *err);
void cbe_runners_free(size_t n, cbe_runner *runners); /* NULL is allowed */

/** Which climbs end before their own end. Zero: none. */
typedef struct {
    /* A climb that comes near one of these maxima, or near another runner, and is no higher, has
     * joined it. NULL: none does. */
    const cbe_maxima *known;
    /* A climb that a few more iterations like its last leave below this share of the highest runner
     * is given up. 0: none is. */
    double share;
    /* If fewer climbs than this are left, they are given up: evaluated alone they cost more than in
     * a batch. */
    size_t fewest;
} cbe_ascent;

/** Runs n optimisers that have been started, in batches, the first ones first, until all have
 * stopped.
 * @param evaluations [in, out] counts directions evaluated */
cbe_status cbe_ascend(cbe_search *s, size_t n, cbe_runner *runners, const cbe_ascent *rules,
                      size_t *evaluations, cbe_error *err);
/** The answer to a runner's question: energy and gradient at r->v, with |P x| = r->length there.
 * With a scale above zero the optimiser is told -1 - log(E / scale): the maxima are the same, and a
 * step that doubles the energy counts alike wherever it is. Below zero there is no logarithm:
 * with a scale below zero it is told -2 + E / scale. Both are -1 at E = scale. */
void cbe_runner_tell(const cbe_search *s, cbe_runner *r, double energy, const double *gradient);
/** Puts the result of a runner, a unit vector, in v, and its energy in energy: the last point if
 * the gradient vanished there, else the best point; between the two there is only rounding. The
 * energy is -HUGE_VAL if no energy was finite. */
void cbe_runner_finish(const cbe_search *s, cbe_runner *runner);

#endif
