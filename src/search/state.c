/* state.c - see state.h. */
#include "search/state.h"

#include "core/fail.h"
#include "core/memory.h"

cbe_status cbe_search_prepare(cbe_search *s, cbe_objective *objective,
                              const cbe_search_options *options, size_t n_vectors, cbe_error *err)
{
    const size_t d = cbe_objective_hidden_size(objective),
                 batch = cbe_objective_max_batch(objective);
    *s = (cbe_search){
        .objective = objective, .options = options, .d = d, .n_vectors = n_vectors, .batch = batch};
    cbe_rng_seed(&s->rng, options->seed);
    s->found = cbe_alloc(n_vectors * d, sizeof(double), "basis", err);
    s->batch_v = cbe_alloc(batch * d, sizeof(double), "search", err);
    s->batch_energy = cbe_alloc(batch, sizeof(double), "search", err);
    s->batch_grad = cbe_alloc(batch * d, sizeof(double), "search", err);
    s->batch_runner = cbe_alloc(batch, sizeof(size_t), "search", err);
    s->within_scratch = cbe_alloc(options->n_within, sizeof(double), "search", err);
    const bool ok = s->found && s->batch_v && s->batch_energy && s->batch_grad && s->batch_runner &&
                    s->within_scratch;
    return ok ? CBE_OK : CBE_ERR_NOMEM;
}

void cbe_search_release(cbe_search *s)
{
    void *owned[] = {s->found,      s->batch_v,      s->batch_energy,
                     s->batch_grad, s->batch_runner, s->within_scratch};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
    *s = (cbe_search){0};
}

cbe_sphere cbe_search_sphere(const cbe_search *s, size_t n, const double *found, double tau)
{
    return (cbe_sphere){.hidden_size = s->d,
                        .n_found = n,
                        .found = found,
                        .tau = tau,
                        .n_within = s->options->n_within,
                        .within = s->options->within,
                        .scratch = s->within_scratch};
}

size_t cbe_search_dimensions(const cbe_search_options *options, size_t hidden_size)
{
    return options->n_within ? options->n_within : hidden_size;
}

double cbe_search_share(double share, double highest)
{
    return (highest < 0 ? 2 - share : share) * highest;
}

void cbe_search_count_start(cbe_search *s, cbe_start_kind kind, double energy)
{
    s->record.starts++;
    if (s->record.by_kind[kind].starts++ == 0 || energy > s->record.by_kind[kind].energy)
        s->record.by_kind[kind].energy = energy;
}

void cbe_search_random_direction(cbe_search *s, double *v)
{
    for (size_t k = 0; k < s->d; k++) v[k] = cbe_rng_normal(&s->rng);
}

cbe_status cbe_search_tell_progress(cbe_search *s, cbe_error *err)
{
    if (s->progress && !s->progress(s->context, s->vector, s->n_vectors, s->best_energy,
                                    s->record.evaluations + s->record.sample_evaluations))
        return cbe_fail(err, CBE_ERR_CANCELLED, -1, "the search was cancelled");
    return CBE_OK;
}
