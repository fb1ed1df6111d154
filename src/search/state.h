/*
 * state.h - what the parts of a layer's search share.
 *
 * ascent.c climbs from many starts side by side; default.c, leaps.c and
 * presets.c find one vector after another with it; search.c owns the state, calls them and
 * orders the result.
 */
#ifndef CBE_SEARCH_STATE_H
#define CBE_SEARCH_STATE_H

#include <stdbool.h>

#include "search/maxima.h"
#include "search/sphere.h"
#include "search/search.h"
#include "math/random.h"

/** An optimiser, where it starts, and the point of the sphere it asked for last, or ended at. */
typedef struct {
    cbe_lbfgs *opt;
    double *start, *v, *grad; /* (d) each */
    cbe_start_kind kind;      /* of the start */
    /* not 0: an energy, the unit in which the optimiser is told of E (cbe_runner_tell) */
    double scale;
    double length, energy; /* |P x| of the point asked; energy of the point */
    double reached, gain;  /* energy after the last iteration, and what that added */
    bool joined;           /* stopped because another one was there already */
    bool given_up;         /* stopped on its way: see cbe_ascent */
} cbe_runner;

typedef struct cbe_default_search cbe_default_search;
typedef struct cbe_leap_search cbe_leap_search;

typedef struct {
    cbe_objective *objective;
    const cbe_search_options *options;
    size_t d, batch, n_vectors;
    cbe_sphere sphere;
    double *found; /* (n_vectors, d) */
    cbe_rng rng;
    double *batch_v, *batch_energy, *batch_grad; /* (batch, d), (batch), (batch, d) */
    size_t *batch_runner;                        /* (batch) */

    cbe_start_list given; /* the caller's candidates */

    cbe_search_progress *progress;
    void *context;
    /* within this |cosine| of a higher point a climb is taken to lead to the same maximum */
    double join_cosine;
    size_t vector;      /* in work */
    double best_energy; /* of it so far; -HUGE_VAL: none that is finite */
    cbe_vector_record record;
} cbe_search;

double cbe_search_dot(size_t n, const double *a, const double *b);
/** The energy that counts as a share, 0 to 1, of the highest. Below zero it lies as far under the
 * highest as above zero. */
double cbe_search_share(double share, double highest);
void cbe_search_random_direction(cbe_search *s, double *v);
/** Counts a start of the vector in work, and what it came to. */
void cbe_search_count_start(cbe_search *s, cbe_start_kind kind, double energy);

/* ascent.c */

/** Tells the caller how far the search is. @return CBE_OK, CBE_ERR_CANCELLED */
cbe_status cbe_search_tell_progress(cbe_search *s, cbe_error *err);
/** n runners with optimisers of the same options; NULL when memory is short. */
cbe_runner *cbe_runners_create(size_t n, size_t d, const cbe_lbfgs_options *options,
                               cbe_error *err);
void cbe_runners_free(size_t n, cbe_runner *runners); /* NULL is allowed */

/** Which climbs end before their own end. Zero: none. */
typedef struct {
    /* not NULL: one that comes near one of these, or near another runner, and is no higher, has
     * joined that */
    const cbe_maxima *known;
    /* one that a few more iterations like its last leave below this share of the highest runner is
     * given up; 0: none */
    double share;
    /* when fewer than this still climb, they are given up: evaluated alone they cost more than in a
     * batch */
    size_t fewest;
} cbe_ascent;

/** Runs n optimisers that have been started, in batches, the first ones first, until all have
 * stopped.
 * @param evaluations [in, out] counts directions evaluated */
cbe_status cbe_ascend(cbe_search *s, size_t n, cbe_runner *runners, const cbe_ascent *rules,
                      size_t *evaluations, cbe_error *err);
/** The answer to a runner's question: energy and gradient at r->v, with |P x| = r->length there.
 * With a scale above zero the optimiser is told -1 - log(E / scale): the maxima are the same, and a
 * step that doubles the energy counts alike wherever it is. With a scale below zero, where there is
 * no logarithm, it is told -2 + E / scale. Both are -1 at E = scale. */
void cbe_runner_tell(const cbe_search *s, cbe_runner *r, double energy, const double *gradient);
/** Result of a runner as a unit vector in v, and its energy: where the gradient vanished, else the
 * best point; between the two there is only rounding. The energy is -HUGE_VAL where no energy was
 * finite. */
void cbe_runner_finish(const cbe_search *s, cbe_runner *runner);

/* default.c */

cbe_status cbe_default_search_create(cbe_default_search **out, const cbe_search *s, cbe_error *err);
void cbe_default_search_free(cbe_default_search *d); /* NULL is allowed */
/** Finds vector s->vector: into s->found and s->record. */
cbe_status cbe_default_search_vector(cbe_search *s, cbe_default_search *d, cbe_error *err);
/** What one vector's search leaves to the next one's; borrowed, may be changed between two
 * vectors. */
cbe_maxima *cbe_default_search_runner_ups(cbe_default_search *d);

/* leaps.c, with options->few_evaluations; the calls are those of default.c */

cbe_status cbe_leap_search_create(cbe_leap_search **out, const cbe_search *s, cbe_error *err);
void cbe_leap_search_free(cbe_leap_search *l); /* NULL is allowed */
cbe_status cbe_leap_search_vector(cbe_search *s, cbe_leap_search *l, cbe_error *err);
cbe_maxima *cbe_leap_search_runner_ups(cbe_leap_search *l);

/* presets.c */

/** The options of PyTorch's optimiser as a preset runs it. */
cbe_lbfgs_options cbe_preset_lbfgs_options(const cbe_search_options *options);
/** Finds vector s->vector by the presets seed and tuned-lens, with one runner. */
cbe_status cbe_preset_search_vector(cbe_search *s, cbe_runner *runner, cbe_error *err);
/** What the preset seed does at the end with the n vectors found (docs/search.md, the finishing
 * pass). */
cbe_status cbe_preset_finish(cbe_search *s, cbe_vector_record *records, size_t n, cbe_error *err);

#endif
