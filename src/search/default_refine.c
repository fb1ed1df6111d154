/* default_refine.c - from starts to maxima, on samples if there are enough tokens
 * (default_state.h). */
#include <math.h>

#include "search/default_state.h"
#include "core/sizes.h"

/* Climbs from n starts, and adds where they end to fresh. @param counted  whether the record counts
 * these starts */
static cbe_status refine(cbe_search *s, cbe_default_search *ds, size_t n, bool counted,
                         cbe_error *err)
{
    const cbe_ascent rules = {
        .known = &ds->fresh,
        .fewest = ds->sampled && n > 2 * cbe_sample_rules.fewest ? cbe_sample_rules.fewest : 0};
    for (size_t i = 0; i < n; i++) cbe_lbfgs_start(ds->refined[i].opt, ds->refined[i].start);
    const cbe_status st =
        cbe_ascend(s, n, ds->refined, &rules, cbe_default_counter(s, ds->sampled), err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < n; i++) {
        cbe_runner *r = &ds->refined[i];
        if (!r->joined) cbe_runner_finish(s, r);
        if (counted) cbe_search_count_start(s, r->kind, r->energy);
        if (!r->joined && !r->given_up) cbe_maxima_add(&ds->fresh, r->v, r->energy, r->kind);
    }
    return CBE_OK;
}

/* Whether the highest maximum is 0, or below 0 by rounding alone. */
static bool nothing_found(const cbe_maxima *maxima)
{
    return maxima->n == 0 ||
           (maxima->list[0].energy <= 0 && maxima->list[0].energy >= -CBE_ENERGY_NOISE_FLOOR);
}

/* After n starts that found w maxima, the share of starts that lead to unknown maxima is expected
 * to be w (w + 1) / (n (n - 1)): Boender and Rinnooy Kan 1987, Mathematical Programming 37,
 * 59-80. */
static bool enough_starts(const cbe_search *s, const cbe_default_search *ds)
{
    const double n = (double)s->record.starts, w = (double)ds->fresh.n;
    const double unseen = s->vector == 0 ? cbe_start_rules.unseen : cbe_start_rules.unseen_later;
    const double spent =
        (double)s->record.evaluations + (double)s->record.sample_evaluations * ds->sample_share;
    return s->options->n_starts > 0 || s->options->evaluation_cost == 0 ||
           cbe_search_dimensions(s->options, s->d) - s->sphere.n_found < 2 ||
           nothing_found(&ds->fresh) || s->record.starts >= cbe_start_rules.most ||
           spent * s->options->evaluation_cost >= cbe_start_rules.effort ||
           w * (w + 1) <= unseen * n * (n - 1);
}

/* Estimates the energies of the candidates on all tokens, into scores: the exact energy on the
 * sample times the ratio of the rough energies on all tokens and on the sample. Without rough
 * energies the scores are exact energies on all tokens, which take as long as the rest of a
 * vector. */
static cbe_status estimate_candidates(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    cbe_status st;
    if (!ds->rough) {
        cbe_default_set_view(s, ds, 0, false);
        return cbe_default_score(s, ds, ds->scores, err);
    }
    cbe_default_set_view(s, ds, s->options->sample, true);
    if ((st = cbe_default_score(s, ds, ds->rough_sampled, err)) != CBE_OK) return st;
    cbe_default_set_view(s, ds, s->options->sample, false);
    if ((st = cbe_default_score(s, ds, ds->exact_scores, err)) != CBE_OK) return st;
    cbe_default_set_view(s, ds, 0, true);
    if ((st = cbe_default_score(s, ds, ds->scores, err)) != CBE_OK) return st;
    for (size_t i = 0; i < ds->n_candidates; i++) {
        const double rough = ds->rough_sampled[i], exact = ds->exact_scores[i];
        const bool scales = rough > 0 && isfinite(ds->scores[i]) && isfinite(exact);
        ds->scores[i] = scales ? ds->scores[i] * exact / rough : exact;
    }
    return CBE_OK;
}

/* Adds the candidates to known, with estimates of their energies on all tokens. */
static cbe_status rescore(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    const cbe_status st = estimate_candidates(s, ds, err);
    for (size_t i = 0; i < ds->n_candidates && st == CBE_OK; i++)
        cbe_maxima_add(&ds->known, ds->candidates + i * s->d, ds->scores[i], ds->kinds[i]);
    return st;
}

size_t cbe_default_list_energies(const cbe_maxima *maxima, double energies[CBE_MAXIMA_LISTED])
{
    for (size_t i = 0; i < maxima->n && i < CBE_MAXIMA_LISTED; i++)
        energies[i] = maxima->list[i].energy;
    return maxima->n;
}

/* Makes more starts, random ones, until there are enough. */
static cbe_status find_more(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    cbe_status st = CBE_OK;
    while (st == CBE_OK && !enough_starts(s, ds)) {
        for (size_t i = 0; i < ds->n_refined; i++) cbe_default_random_start(s, &ds->refined[i]);
        st = refine(s, ds, ds->n_refined, true, err);
    }
    return st;
}

/* Adds to fresh where climbs on a sample were given up: a maximum may be near. */
static void keep_given_up(cbe_default_search *ds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ds->refined[i].given_up)
            cbe_maxima_add(&ds->fresh, ds->refined[i].v, ds->refined[i].energy,
                           ds->refined[i].kind);
}

/* Makes the highest fresh maxima candidates. */
static void take_fresh(cbe_search *s, cbe_default_search *ds)
{
    for (size_t i = 0; i < ds->fresh.n && i < cbe_start_rules.runner_ups; i++)
        cbe_default_add_candidate(s, ds, ds->fresh.list[i].v, ds->fresh.list[i].kind);
    ds->fresh.n = 0;
}

/* Refines the starts of this vector and scores what they found on all tokens. With rough energies
 * two samples are climbed on: a direction that matters to few tokens stands out in a small sample
 * that has these tokens, and what a small sample makes of few tokens a larger one does not. Without
 * rough energies two samples would take too long. */
cbe_status cbe_default_find_maxima(cbe_search *s, cbe_default_search *ds, cbe_error *err)
{
    const size_t least =
                     s->vector == 0 || !ds->sampled ? cbe_start_rules.first : cbe_start_rules.later,
                 small = s->options->sample;
    size_t n = s->options->n_starts ? s->options->n_starts : least;
    cbe_status st;
    cbe_default_gather(s, ds);
    ds->rough =
        cbe_default_set_view(s, ds, cbe_min_size(cbe_start_rules.score_sample, small), true);
    if ((st = cbe_default_score(s, ds, ds->scores, err)) != CBE_OK) return st;
    cbe_default_choose_starts(s, ds, n);
    if (!ds->sampled) {
        if ((st = refine(s, ds, n, true, err)) == CBE_OK) st = find_more(s, ds, err);
        cbe_maxima_add_all(&ds->known, &ds->fresh);
        return st;
    }
    ds->n_candidates = 0;
    cbe_default_add_runner_ups(s, ds);
    if (ds->rough) {
        cbe_default_set_view(s, ds, cbe_rough_rules.larger * small, true);
        if ((st = refine(s, ds, n, false, err)) != CBE_OK) return st;
        keep_given_up(ds, n);
        take_fresh(s, ds);
    }
    cbe_default_set_view(s, ds, small, true);
    if ((st = refine(s, ds, n, true, err)) != CBE_OK) return st;
    if ((st = find_more(s, ds, err)) != CBE_OK) return st;
    s->record.n_sample_maxima = cbe_default_list_energies(&ds->fresh, s->record.sample_maxima);
    keep_given_up(ds, n);
    take_fresh(s, ds);
    return rescore(s, ds, err);
}
