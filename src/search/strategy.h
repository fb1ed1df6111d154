/* strategy.h - how one vector after another is found: what search.c asks of a strategy. */
#ifndef CBE_SEARCH_STRATEGY_H
#define CBE_SEARCH_STRATEGY_H

#include "search/maxima.h"
#include "search/state.h"

typedef struct {
    double tau; /* of the sphere that it searches on (sphere.h) */
    /** @param out [out] what it keeps between vectors */
    cbe_status (*create)(void **out, const cbe_search *s, cbe_error *err);
    void (*free)(void *self); /* NULL is allowed as its argument */
    /** Finds all s->n_vectors at once, into s->found and records (n_vectors), orthonormal; their
     * energies are estimates, or NaN. NULL: vectors are found one after another. */
    cbe_status (*basis)(void *self, cbe_search *s, cbe_vector_record *records, cbe_error *err);
    /** Finds vector s->vector: into s->found and s->record. */
    cbe_status (*vector)(void *self, cbe_search *s, cbe_error *err);
    /** What one vector's search leaves to the next one's; borrowed, may be changed between two
     * vectors. NULL: nothing is left. */
    cbe_maxima *(*runner_ups)(void *self);
    /** What is done at the end with the n vectors found. NULL: nothing. */
    cbe_status (*finish)(cbe_search *s, cbe_vector_record *records, size_t n, cbe_error *err);
} cbe_search_strategy;

extern const cbe_search_strategy cbe_default_strategy;    /* default.c */
extern const cbe_search_strategy cbe_leap_strategy;       /* leaps.c: few evaluations */
extern const cbe_search_strategy cbe_guided_strategy;     /* guided.c: fewer */
extern const cbe_search_strategy cbe_seed_strategy;       /* presets.c: the preset seed */
extern const cbe_search_strategy cbe_tuned_lens_strategy; /* presets.c: the preset tuned-lens */

#endif
