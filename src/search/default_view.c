/* default_view.c - on what the default search takes energies (default_state.h). */
#include <math.h>

#include "search/default_state.h"

bool cbe_default_set_view(cbe_search *s, const cbe_default_search *ds, size_t tokens, bool rough)
{
    s->join_cosine = ds->sampled && tokens ? cbe_sample_rules.near : cbe_sample_rules.whole_near;
    if (!ds->sampled) return false;
    cbe_objective_set_sample(s->objective, tokens);
    s->best_energy = -HUGE_VAL;
    return cbe_objective_set_rough(s->objective, rough);
}

cbe_status cbe_default_score(cbe_search *s, const cbe_default_search *ds, double *scores,
                             cbe_error *err)
{
    const size_t n = ds->n_candidates;
    for (size_t first = 0; first < n; first += s->batch) {
        const size_t m = n - first < s->batch ? n - first : s->batch;
        cbe_status st = cbe_objective_eval(s->objective, m, ds->candidates + first * s->d,
                                           scores + first, NULL, NULL, err);
        if (st == CBE_OK) st = cbe_search_tell_progress(s, err);
        if (st != CBE_OK) return st;
    }
    for (size_t i = 0; i < n; i++)
        if (!isfinite(scores[i])) scores[i] = -HUGE_VAL;
    return CBE_OK;
}

size_t *cbe_default_counter(cbe_search *s, bool cheap)
{
    return cheap ? &s->record.sample_evaluations : &s->record.evaluations;
}
