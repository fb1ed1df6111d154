/* default.c - one vector by the default search (default_state.h, docs/search.md). */
#include <math.h>
#include <string.h>

#include "search/default_state.h"
#include "search/strategy.h"
#include "core/memory.h"
#include "core/sizes.h"

static cbe_maxima *runner_ups(void *self)
{
    cbe_default_search *ds = self;
    return &ds->runner_ups;
}

static cbe_status find_vector(void *self, cbe_search *s, cbe_error *err)
{
    cbe_default_search *ds = self;
    ds->fresh.n = ds->known.n = ds->peaks.n = 0;
    cbe_status st = cbe_default_find_maxima(s, ds, err);
    size_t peak = 0;
    if (st == CBE_OK) st = cbe_default_polish(s, ds, err);
    if (st == CBE_OK) st = cbe_default_choose_peak(s, ds, &peak, err);
    cbe_default_set_view(s, ds, 0, false);
    if (st != CBE_OK) return st;
    s->record.energy = ds->peaks.list[peak].energy;
    s->record.start = ds->peaks.list[peak].kind;
    memcpy(s->found + s->vector * s->d, ds->peaks.list[peak].v, s->d * sizeof(double));
    if (ds->sampled) s->record.n_maxima = cbe_default_list_energies(&ds->peaks, s->record.maxima);
    cbe_maxima_add_all(&ds->peaks, &ds->known);
    if (!ds->sampled) s->record.n_maxima = cbe_default_list_energies(&ds->peaks, s->record.maxima);
    ds->runner_ups.n = 0;
    cbe_maxima_add_all(&ds->runner_ups, &ds->peaks);
    cbe_maxima_remove(&ds->runner_ups, peak);
    return CBE_OK;
}

static void free_search(void *self)
{
    cbe_default_search *ds = self;
    if (!ds) return;
    cbe_runners_free(ds->n_refined, ds->refined);
    cbe_runners_free(ds->n_polished, ds->polished);
    cbe_runners_free(cbe_polish_rules.left_starts, ds->left);
    cbe_maxima *lists[] = {&ds->fresh, &ds->known, &ds->peaks, &ds->runner_ups};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) cbe_maxima_free(lists[i]);
    cbe_free(ds->candidates);
    cbe_free(ds->scores);
    cbe_free(ds->rough_sampled);
    cbe_free(ds->exact_scores);
    cbe_free(ds->kinds);
    cbe_free(ds->order);
    cbe_free(ds);
}

static cbe_status create(void **out, const cbe_search *s, cbe_error *err)
{
    const cbe_search_options *o = s->options;
    const size_t d = s->d, n_tokens = cbe_objective_n_tokens(s->objective);
    cbe_default_search *ds = cbe_alloc_zero(1, sizeof *ds, "search", err);
    if (!ds) return CBE_ERR_NOMEM;
    ds->sampled = o->sample > 0 && n_tokens >= 2 * o->sample;
    ds->sample_share = ds->sampled ? (double)o->sample / (double)n_tokens : 1;
    ds->n_refined = o->n_starts ? o->n_starts : cbe_start_rules.first;
    ds->n_polished = cbe_min_size(o->n_polished, CBE_POLISHED_MOST);
    ds->max_candidates =
        s->given.n + cbe_start_rules.random + 3 * cbe_start_rules.runner_ups + CBE_POLISHED_MOST;
    cbe_lbfgs_options polish = cbe_climb_options(&cbe_default_climb, o->max_iterations),
                      left = polish, refine = polish;
    polish.relative_stop = cbe_polish_rules.stop;
    left.relative_stop = cbe_polish_rules.left_stop;
    refine.relative_stop = ds->sampled ? cbe_sample_rules.stop : cbe_sample_rules.whole_stop;
    if (ds->sampled)
        refine.max_iterations = cbe_min_size(refine.max_iterations, cbe_sample_rules.iterations);
    ds->polished = cbe_runners_create(ds->n_polished, d, &polish, err);
    ds->left =
        ds->polished ? cbe_runners_create(cbe_polish_rules.left_starts, d, &left, err) : NULL;
    ds->refined = ds->left ? cbe_runners_create(ds->n_refined, d, &refine, err) : NULL;
    ds->candidates = cbe_alloc(ds->max_candidates * d, sizeof(double), "search", err);
    ds->scores = cbe_alloc(ds->max_candidates, sizeof(double), "search", err);
    ds->rough_sampled = cbe_alloc(ds->max_candidates, sizeof(double), "search", err);
    ds->exact_scores = cbe_alloc(ds->max_candidates, sizeof(double), "search", err);
    ds->kinds = cbe_alloc(ds->max_candidates, sizeof *ds->kinds, "search", err);
    ds->order = cbe_alloc(ds->max_candidates, sizeof(size_t), "search", err);
    cbe_maxima *lists[] = {&ds->fresh, &ds->known, &ds->peaks, &ds->runner_ups};
    bool ok = ds->polished && ds->left && ds->refined && ds->candidates && ds->scores &&
              ds->rough_sampled && ds->exact_scores && ds->kinds && ds->order;
    for (size_t i = 0; i < sizeof lists / sizeof *lists && ok; i++)
        ok = cbe_maxima_init(lists[i], d, err) == CBE_OK;
    if (!ok) {
        free_search(ds);
        return CBE_ERR_NOMEM;
    }
    *out = ds;
    return CBE_OK;
}

const cbe_search_strategy cbe_default_strategy = {
    .create = create, .free = free_search, .vector = find_vector, .runner_ups = runner_ups};
