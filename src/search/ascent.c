/* ascent.c - see ascent.h. */
#include "search/ascent.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"

cbe_lbfgs_options cbe_climb_options(const cbe_climb_rules *rules, size_t max_iterations)
{
    cbe_lbfgs_options options;
    cbe_lbfgs_options_init(&options);
    options.history = rules->history;
    options.max_iterations = max_iterations;
    options.max_evaluations = max_iterations + max_iterations / cbe_option_rules.spare;
    options.change_stop = rules->change_stop;
    options.gradient_stop = rules->gradient_stop;
    options.relative_stop = rules->relative_stop;
    options.relative_gradient_stop = rules->relative_gradient_stop;
    options.noise = rules->noise;
    options.noise_floor = rules->noise_floor;
    options.first_length = rules->first_length;
    return options;
}

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
    if (!isfinite(f))
        r->energy = -HUGE_VAL;
    else
        r->energy = r->scale > 0 ? r->scale * exp(-1 - f) : r->scale < 0 ? r->scale * (f + 2) : -f;
}

static bool is_near(const cbe_search *s, const double *a, const double *b)
{
    return fabs(cbe_sphere_dot(s->d, a, b)) > s->join_cosine;
}

/* Stops runner i if a known maximum or another runner is as high, and near. */
static void join(const cbe_search *s, size_t n, cbe_runner *runners, size_t i,
                 const cbe_maxima *known)
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

void cbe_runner_tell(const cbe_search *s, cbe_runner *r, double energy, const double *gradient)
{
    const size_t before = cbe_lbfgs_iterations(r->opt);
    r->energy = energy;
    cbe_sphere_gradient(&s->sphere, r->v, r->length, gradient, r->grad);
    const double factor = r->scale > 0 ? 1 / energy : r->scale < 0 ? -1 / r->scale : 1;
    for (size_t k = 0; k < s->d; k++) r->grad[k] *= -factor;
    /* The logarithm of nothing, or less, is no number: the line search turns back. */
    const double f = r->scale > 0   ? -1 - log(energy / r->scale)
                     : r->scale < 0 ? -2 + energy / r->scale
                                    : -energy;
    cbe_lbfgs_tell(r->opt, f, r->grad);
    if (cbe_lbfgs_iterations(r->opt) == before) return;
    r->gain = energy - r->reached;
    r->reached = energy;
}

/* Whether runner i, after an iteration or two, is too far below the highest to come near it. */
static bool is_hopeless(size_t n, const cbe_runner *runners, size_t i, double share)
{
    const cbe_runner *r = &runners[i];
    double highest = -HUGE_VAL;
    for (size_t j = 0; j < n; j++) highest = fmax(highest, runners[j].reached);
    return cbe_lbfgs_iterations(r->opt) >= 2 && r->reached < highest &&
           r->reached + cbe_common_rules.patience * r->gain < cbe_search_share(share, highest);
}

/* Fills a batch with runners that still climb, the first ones first, and with their points. */
static size_t ask(cbe_search *s, size_t n, cbe_runner *runners)
{
    size_t m = 0;
    for (size_t i = 0; i < n && m < s->batch; i++) {
        cbe_runner *r = &runners[i];
        const double *x = r->joined || r->given_up ? NULL : cbe_lbfgs_ask(r->opt);
        if (!x) continue;
        r->length = cbe_sphere_point(&s->sphere, x, r->v);
        memcpy(s->batch_v + m * s->d, r->v, s->d * sizeof *x);
        s->batch_runner[m++] = i;
    }
    return m;
}

cbe_status cbe_ascend(cbe_search *s, size_t n, cbe_runner *runners, const cbe_ascent *rules,
                      size_t *evaluations, cbe_error *err)
{
    for (size_t i = 0; i < n; i++) {
        runners[i].joined = runners[i].given_up = false;
        runners[i].reached = -HUGE_VAL;
        runners[i].gain = 0;
    }
    for (;;) {
        const size_t m = ask(s, n, runners);
        if (m < rules->fewest)
            for (size_t b = 0; b < m; b++) runners[s->batch_runner[b]].given_up = true;
        if (m == 0 || m < rules->fewest) return CBE_OK;
        cbe_status st = cbe_objective_eval(s->objective, m, s->batch_v, s->batch_energy,
                                           s->batch_grad, NULL, err);
        if (st != CBE_OK) return st;
        *evaluations += m;
        for (size_t b = 0; b < m; b++) {
            cbe_runner_tell(s, &runners[s->batch_runner[b]], s->batch_energy[b],
                            s->batch_grad + b * s->d);
            if (s->batch_energy[b] > s->best_energy) s->best_energy = s->batch_energy[b];
        }
        for (size_t b = 0; rules->known && b < m; b++)
            join(s, n, runners, s->batch_runner[b], rules->known);
        for (size_t b = 0; rules->share > 0 && b < m; b++)
            runners[s->batch_runner[b]].given_up =
                is_hopeless(n, runners, s->batch_runner[b], rules->share);
        if ((st = cbe_search_tell_progress(s, err)) != CBE_OK) return st;
    }
}
