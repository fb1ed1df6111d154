/* ascent.c - many L-BFGS runs side by side on a sphere, evaluated in batches (search_state.h). */
#include <math.h>
#include <string.h>

#include "causal/search_state.h"
#include "core/fail.h"
#include "core/memory.h"

cbe_runner *cbe_runners_create(size_t n, size_t d, const cbe_lbfgs_options *options, cbe_error *err)
{
    cbe_runner *runners = cbe_alloc_zero(n, sizeof *runners, "optimisers", err);
    for (size_t i = 0; runners && i < n; i++) {
        cbe_runner *r = &runners[i];
        if (cbe_lbfgs_create(&r->opt, d, options, err) != CBE_OK ||
            !(r->start = cbe_alloc_zero(3 * d, sizeof(double), "optimisers", err))) {
            cbe_runners_free(n, runners);
            return NULL;
        }
        r->v = r->start + d;
        r->grad = r->v + d;
    }
    return runners;
}

void cbe_runners_free(size_t n, cbe_runner *runners)
{
    for (size_t i = 0; runners && i < n; i++) {
        cbe_lbfgs_free(runners[i].opt);
        cbe_free(runners[i].start);
    }
    cbe_free(runners);
}

void cbe_runner_finish(const cbe_search *s, cbe_runner *r)
{
    double f;
    const double *x = cbe_lbfgs_stopped(r->opt) == CBE_STOP_GRADIENT ? cbe_lbfgs_x(r->opt, &f)
                                                                     : cbe_lbfgs_best(r->opt, &f);
    cbe_sphere_point(&s->sphere, x, r->v);
    r->energy = isfinite(f) ? -f : 0;
}

static bool is_near(const cbe_search *s, const double *a, const double *b)
{
    return fabs(cbe_search_dot(s->d, a, b)) > s->join_cosine;
}

/* Stops runner i where a known maximum or another runner is as high and near. */
static void join(const cbe_search *s, size_t n, cbe_runner *runners, size_t i, const cbe_maxima *known)
{
    cbe_runner *r = &runners[i];
    for (size_t j = 0; j < known->n && !r->joined; j++)
        r->joined = r->energy <= known->list[j].energy && is_near(s, r->v, known->list[j].v);
    for (size_t j = 0; j < n && !r->joined; j++) {
        const cbe_runner *other = &runners[j];
        if (j == i || other->joined || cbe_lbfgs_evaluations(other->opt) == 0) continue;
        r->joined = (r->energy < other->energy || (r->energy == other->energy && j < i)) &&
                    is_near(s, r->v, other->v);
    }
}

static cbe_status tell_progress(cbe_search *s, cbe_error *err)
{
    if (s->progress && !s->progress(s->context, s->vector, s->n_vectors, s->best_energy,
                                    s->record.evaluations + s->record.sample_evaluations))
        return cbe_fail(err, CBE_ERR_CANCELLED, -1, "the search was cancelled");
    return CBE_OK;
}

cbe_status cbe_ascend(cbe_search *s, size_t n, cbe_runner *runners, const cbe_maxima *known, size_t *evaluations,
                      cbe_error *err)
{
    const size_t d = s->d;
    for (size_t i = 0; i < n; i++) runners[i].joined = false;
    for (;;) {
        size_t m = 0;
        for (size_t i = 0; i < n && m < s->batch; i++) {
            const double *x = runners[i].joined ? NULL : cbe_lbfgs_ask(runners[i].opt);
            if (!x) continue;
            runners[i].length = cbe_sphere_point(&s->sphere, x, runners[i].v);
            memcpy(s->batch_v + m * d, runners[i].v, d * sizeof *x);
            s->batch_runner[m++] = i;
        }
        if (m == 0) return CBE_OK;
        cbe_status st = cbe_objective_eval(s->objective, m, s->batch_v, s->batch_energy, s->batch_grad, NULL, err);
        if (st != CBE_OK) return st;
        *evaluations += m;
        for (size_t b = 0; b < m; b++) {
            cbe_runner *r = &runners[s->batch_runner[b]];
            r->energy = s->batch_energy[b];
            cbe_sphere_gradient(&s->sphere, r->v, r->length, s->batch_grad + b * d, r->grad);
            for (size_t k = 0; k < d; k++) r->grad[k] = -r->grad[k];
            cbe_lbfgs_tell(r->opt, -r->energy, r->grad);
            if (r->energy > s->best_energy) s->best_energy = r->energy;
        }
        for (size_t b = 0; known && b < m; b++) join(s, n, runners, s->batch_runner[b], known);
        if ((st = tell_progress(s, err)) != CBE_OK) return st;
    }
}
