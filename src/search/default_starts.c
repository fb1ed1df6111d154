/* default_starts.c - which candidates become starts of the default search (default_state.h). */
#include <math.h>
#include <string.h>

#include "search/default_state.h"

void cbe_default_add_candidate(cbe_search *s, cbe_default_search *ds, const double *x,
                               cbe_start_kind kind)
{
    ds->kinds[ds->n_candidates] = kind;
    double *c = ds->candidates + ds->n_candidates * s->d;
    const double before = sqrt(cbe_sphere_dot(s->d, x, x));
    const double left = cbe_sphere_point(&s->sphere, x, c);
    if (left > cbe_common_rules.none_left * before) ds->n_candidates++;
}

void cbe_default_add_runner_ups(cbe_search *s, cbe_default_search *ds)
{
    for (size_t i = 0; i < ds->runner_ups.n && i < cbe_start_rules.runner_ups; i++)
        cbe_default_add_candidate(s, ds, ds->runner_ups.list[i].v, CBE_FROM_RUNNER_UP);
}

/* With a sample, runner-ups are no candidates for starts: they are maxima of all tokens, or nearly,
 * and go on from there. */
void cbe_default_gather(cbe_search *s, cbe_default_search *ds)
{
    ds->n_candidates = 0;
    if (!ds->sampled) cbe_default_add_runner_ups(s, ds);
    for (size_t i = 0; i < s->given.n; i++)
        cbe_default_add_candidate(s, ds, s->given.v + i * s->d, s->given.kinds[i]);
    for (size_t i = 0; i < cbe_start_rules.random; i++) {
        cbe_search_random_direction(s, s->batch_v);
        cbe_default_add_candidate(s, ds, s->batch_v, CBE_FROM_RANDOM);
    }
}

/* Takes a candidate for the next of n starts unless a similar one is there. */
static bool add_start(const cbe_search *s, cbe_default_search *ds, size_t candidate, size_t *n)
{
    const double *v = ds->candidates + candidate * s->d;
    for (size_t j = 0; j < *n; j++)
        if (fabs(cbe_sphere_dot(s->d, v, ds->refined[j].start)) > cbe_common_rules.same_start)
            return false;
    ds->refined[*n].kind = ds->kinds[candidate];
    memcpy(ds->refined[(*n)++].start, v, s->d * sizeof *v);
    return true;
}

void cbe_default_random_start(cbe_search *s, cbe_runner *runner)
{
    cbe_search_random_direction(s, s->batch_v);
    cbe_sphere_point(&s->sphere, s->batch_v, runner->start);
    runner->kind = CBE_FROM_RANDOM;
}

/* Starts are the vectors of a basis that was given; then, in turn, the best scored candidate
 * that is left, the first of the list, and the last of it. A score says little about the maximum
 * that a start leads to, and candidates of different kinds lead to different maxima. Starts that
 * are missing then are random. */
void cbe_default_choose_starts(cbe_search *s, cbe_default_search *ds, size_t wanted)
{
    const size_t n_candidates = ds->n_candidates;
    for (size_t i = 0; i < n_candidates; i++) {
        size_t j = i;
        for (; j > 0 && ds->scores[ds->order[j - 1]] < ds->scores[i]; j--)
            ds->order[j] = ds->order[j - 1];
        ds->order[j] = i;
    }
    size_t n = 0, best = 0, first = 0, last = n_candidates;
    for (size_t i = 0; i < n_candidates && n < wanted; i++)
        if (ds->kinds[i] == CBE_FROM_GIVEN) add_start(s, ds, i, &n);
    for (size_t turn = 0; n < wanted && best < n_candidates && first < last; turn++) {
        bool added = false;
        while (!added && best < n_candidates && first < last)
            added = add_start(s, ds,
                              turn % 3 == 0   ? ds->order[best++]
                              : turn % 3 == 1 ? first++
                                              : --last,
                              &n);
    }
    for (; n < wanted; n++) cbe_default_random_start(s, &ds->refined[n]);
}
