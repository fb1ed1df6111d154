/* default_polish.c - the best maxima climb on all tokens, and one of them is chosen
 * (default_state.h). */
#include <math.h>
#include <string.h>

#include "search/default_state.h"

/* Climbs on all tokens with n runners that have been started. Those that will not come to a
 * share of the highest are given up. */
static cbe_status climb(cbe_search *s, size_t n, cbe_runner *runners, double share,
                        size_t *evaluations, cbe_error *err)
{
    static const cbe_maxima none = {0};
    const cbe_ascent rules = {.known = &none, .share = share};
    const cbe_status st = cbe_ascend(s, n, runners, &rules, evaluations, err);
    for (size_t i = 0; st == CBE_OK && i < n; i++)
        if (!runners[i].joined) cbe_runner_finish(s, &runners[i]);
    return st;
}

/* Trusts a trusted one of n runners no more if the rough energy of its v on all tokens is not
 * near the exact one. */
static cbe_status trust(cbe_search *s, cbe_default_search *ds, size_t n, const cbe_runner *runners,
                        bool *trusted, cbe_error *err)
{
    cbe_status st;
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (trusted[i]) cbe_sphere_point(&s->sphere, runners[i].v, ds->candidates + m++ * s->d);
    ds->n_candidates = m;
    cbe_default_set_view(s, ds, 0, false);
    if ((st = cbe_default_score(s, ds, ds->exact_scores, err)) != CBE_OK) return st;
    cbe_default_set_view(s, ds, 0, true);
    if ((st = cbe_default_score(s, ds, ds->scores, err)) != CBE_OK) return st;
    for (size_t i = n; i-- > 0;)
        if (trusted[i]) {
            m--;
            trusted[i] = fabs(ds->scores[m] - ds->exact_scores[m]) <=
                         cbe_rough_rules.trusted * fabs(ds->exact_scores[m]);
        }
    return CBE_OK;
}

/* Starts n runners for the climb by exact energies. If rough energies can be trusted from a start
 * on, the runner starts at the maximum that they lead to, with the curvature that it learned on the
 * way. */
static cbe_status start_polish(cbe_search *s, cbe_default_search *ds, size_t n, cbe_runner *runners,
                               cbe_error *err)
{
    bool trusted[CBE_POLISHED_MOST] = {false};
    for (size_t i = 0; i < n; i++) {
        cbe_lbfgs_start(runners[i].opt, runners[i].start);
        memcpy(runners[i].v, runners[i].start, s->d * sizeof(double));
        trusted[i] = true;
    }
    if (!ds->rough) {
        cbe_default_set_view(s, ds, 0, false);
        return CBE_OK;
    }
    cbe_status st = trust(s, ds, n, runners, trusted, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        if (trusted[i]) st = climb(s, 1, &runners[i], 0, cbe_default_counter(s, true), err);
    if (st != CBE_OK) return st;
    if ((st = trust(s, ds, n, runners, trusted, err)) != CBE_OK) return st;
    for (size_t i = 0; i < n; i++)
        if (trusted[i])
            cbe_lbfgs_restart(runners[i].opt, cbe_lbfgs_x(runners[i].opt, NULL));
        else
            cbe_lbfgs_start(runners[i].opt, runners[i].start);
    cbe_default_set_view(s, ds, 0, false);
    return CBE_OK;
}

/* Returns the highest of n climbs if none came to its own end: each was given up for another climb,
 * or joined one that was given up later. Returns NULL if one did. So there is always a peak. */
static const cbe_runner *last_resort(size_t n, const cbe_runner *runners)
{
    const cbe_runner *highest = &runners[0];
    for (size_t i = 0; i < n; i++) {
        if (!runners[i].joined && !runners[i].given_up) return NULL;
        if (highest->joined || (!runners[i].joined && runners[i].energy > highest->energy))
            highest = &runners[i];
    }
    return highest;
}

cbe_status cbe_default_polish(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    const double worth = cbe_search_share(cbe_polish_rules.contender, ds->known.list[0].energy);
    size_t n = 0;
    while (n < ds->n_polished && ds->known.n && (n == 0 || ds->known.list[0].energy > worth)) {
        ds->polished[n].kind = ds->known.list[0].kind;
        memcpy(ds->polished[n++].start, ds->known.list[0].v, s->d * sizeof(double));
        cbe_maxima_remove(&ds->known, 0);
    }
    cbe_status st = start_polish(s, ds, n, ds->polished, err);
    if (st == CBE_OK)
        st = climb(s, n, ds->polished, cbe_polish_rules.close, cbe_default_counter(s, false), err);
    if (st != CBE_OK) return st;
    const cbe_runner *last = last_resort(n, ds->polished);
    for (size_t i = 0; i < n; i++) {
        const cbe_runner *r = &ds->polished[i];
        if (r->joined && r != last) continue;
        cbe_maxima_add(r->given_up && r != last ? &ds->known : &ds->peaks, r->v, r->energy,
                       r->kind);
        if (ds->peaks.n && ds->peaks.list[0].energy == r->energy)
            s->record.stop = cbe_lbfgs_stopped(r->opt);
    }
    return CBE_OK;
}

/* The highest energy that is left to the next vector if a peak is taken for this one, as far as the
 * maxima known now lead to it. */
static cbe_status energy_left(cbe_search *s, cbe_default_search *ds, size_t peak, double *energy,
                              cbe_error *err)
{
    const cbe_sphere sphere = s->sphere;
    size_t n = 0;
    memcpy(s->found + s->vector * s->d, ds->peaks.list[peak].v, s->d * sizeof(double));
    s->sphere.n_found = s->vector + 1;
    for (int known = 0; known < 2; known++) {
        const cbe_maxima *from = known ? &ds->known : &ds->peaks;
        for (size_t i = 0; i < from->n && n < cbe_polish_rules.left_starts; i++)
            if (known || i != peak)
                n += cbe_sphere_point(&s->sphere, from->list[i].v, ds->left[n].start) >
                     cbe_common_rules.none_left;
    }
    for (size_t i = 0; i < n; i++) cbe_lbfgs_start(ds->left[i].opt, ds->left[i].start);
    const cbe_status st = climb(s, n, ds->left, 1, cbe_default_counter(s, ds->rough), err);
    *energy = -HUGE_VAL;
    for (size_t i = 0; st == CBE_OK && i < n; i++)
        if (!ds->left[i].joined) *energy = fmax(*energy, ds->left[i].energy);
    s->sphere = sphere;
    return st;
}

/* The first vector is the highest peak. A later vector is, of peaks of nearly the same energy, the
 * one that has the highest sum with the best that it leaves to the next vector. */
cbe_status cbe_default_choose_peak(cbe_search *s, cbe_default_search *ds, size_t *peak,
                                   cbe_error *err)
{
    const cbe_maxima *peaks = &ds->peaks;
    size_t n = 1;
    *peak = 0;
    if (s->vector == 0 || s->vector + 1 >= s->n_vectors) return CBE_OK;
    while (n < peaks->n && n < cbe_polish_rules.ahead &&
           peaks->list[n].energy >= cbe_search_share(cbe_polish_rules.close, peaks->list[0].energy))
        n++;
    double highest = -HUGE_VAL;
    if (n > 1) cbe_default_set_view(s, ds, 0, true);
    for (size_t i = 0; i < n && n > 1; i++) {
        double left;
        const cbe_status st = energy_left(s, ds, i, &left, err);
        if (st != CBE_OK) return st;
        if (peaks->list[i].energy + left > highest) {
            highest = peaks->list[i].energy + left;
            *peak = i;
        }
    }
    return CBE_OK;
}
