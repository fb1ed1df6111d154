/*
 * leaps.c - one vector by few evaluations, where each takes seconds: in the whole model
 * (strategy.h, docs/search.md).
 *
 * Directions that no search has led to have energies near nothing. There the energy is nearly
 * a form of degree four in v that is nowhere negative, and v <- grad E / |grad E| climbs it as far
 * as the gradient reaches: the generalised power method (Journee, Nesterov, Richtarik and Sepulchre
 * 2010, Journal of Machine Learning Research 11, 517-553). Each leap costs one evaluation and has
 * no step to choose; it multiplies the energy, where L-BFGS has to find a scale first. Farther up
 * the energy saturates and leaps overshoot: from there L-BFGS climbs, on the energy's logarithm.
 *
 *   scouts  starts of several kinds leap on the sample; each round leaves the lower half behind
 *   leader  the highest scout climbs on the sample, coarsely; then it, or a vector of the caller's
 *           basis as it is, climbs on all tokens.
 *           Without a sample it goes on leaping while that pays, and climbs
 */
#include <math.h>
#include <string.h>

#include "search/ascent.h"
#include "search/maxima.h"
#include "search/rules.h"
#include "search/strategy.h"
#include "core/memory.h"
#include "core/sizes.h"

/* A start on its way. */
typedef struct {
    double *at;    /* (d), where it stands */
    double *best;  /* (d), the highest point it met */
    double *grad;  /* (d), the gradient at best */
    double energy; /* of best; -HUGE_VAL: none yet */
    cbe_start_kind kind;
} scout;

typedef struct {
    bool sampled;
    size_t n_scouts;
    scout *scouts;  /* (n_scouts), the highest first once they have leapt */
    double *memory; /* (n_scouts + 1, 3, d), owned: what scouts point to */
    bool has_given;
    /* The caller's vector that is meant for the one in work, where it started: on the sample it may
     * leap too far. */
    scout given;
    scout leader;               /* one of the scouts, or given; its memory is theirs */
    cbe_runner *climber;        /* on all tokens */
    cbe_runner *sample_climber; /* on the sample */
    /* Where scouts of the vector before ended, with their energies on the sample. */
    cbe_maxima runner_ups;
} leap_search;

static void free_search(void *self)
{
    leap_search *l = self;
    if (!l) return;
    cbe_runners_free(l->climber ? 1 : 0, l->climber);
    cbe_runners_free(l->sample_climber ? 1 : 0, l->sample_climber);
    cbe_maxima_free(&l->runner_ups);
    cbe_free(l->scouts);
    cbe_free(l->memory);
    cbe_free(l);
}

static cbe_status create(void **out, const cbe_search *s, cbe_error *err)
{
    const cbe_search_options *o = s->options;
    const size_t d = s->d, n = o->n_starts ? o->n_starts : cbe_leap_rules.starts;
    leap_search *l = cbe_alloc_zero(1, sizeof *l, "search", err);
    if (!l) return CBE_ERR_NOMEM;
    l->sampled = o->sample > 0 && cbe_objective_n_tokens(s->objective) >= 2 * o->sample;
    l->n_scouts = n;
    l->scouts = cbe_alloc_zero(n, sizeof *l->scouts, "search", err);
    size_t rows;
    if (!cbe_add_size(n, 1, &rows)) rows = n;
    l->memory = cbe_alloc(rows, 3 * d * sizeof(double), "search", err);
    const size_t sample_iterations =
        cbe_min_size(cbe_leap_rules.sample_iterations,
                     cbe_times(cbe_leap_rules.sample_share, o->max_iterations, 1));
    const cbe_lbfgs_options on_all = cbe_climb_options(&cbe_leap_rules.climb, o->max_iterations);
    cbe_lbfgs_options on_sample = cbe_climb_options(&cbe_leap_rules.climb, sample_iterations);
    on_sample.relative_stop = cbe_leap_rules.sample_stop;
    l->climber = cbe_runners_create(1, d, &on_all, err);
    l->sample_climber = l->climber ? cbe_runners_create(1, d, &on_sample, err) : NULL;
    if (!l->scouts || !l->memory || !l->sample_climber ||
        cbe_maxima_init(&l->runner_ups, d, err) != CBE_OK) {
        free_search(l);
        return CBE_ERR_NOMEM;
    }
    for (size_t i = 0; i <= n; i++) {
        scout *c = i < n ? &l->scouts[i] : &l->given;
        c->at = l->memory + 3 * i * d;
        c->best = c->at + d;
        c->grad = c->best + d;
    }
    *out = l;
    return CBE_OK;
}

/* Lets the next of n scouts start at x, unless next to nothing of x is left, or another scout
 * starts close by. */
static void add_scout(const cbe_search *s, leap_search *l, const double *x, cbe_start_kind kind,
                      size_t *n)
{
    if (*n == l->n_scouts) return;
    scout *next = &l->scouts[*n];
    const double before = sqrt(cbe_sphere_dot(s->d, x, x)),
                 share = kind == CBE_FROM_GIVEN ? cbe_leap_rules.given_left
                                                : cbe_common_rules.none_left;
    if (!(cbe_sphere_point(&s->sphere, x, next->at) > share * before)) return;
    for (size_t i = 0; i < *n; i++)
        if (kind != CBE_FROM_RANDOM &&
            fabs(cbe_sphere_dot(s->d, next->at, l->scouts[i].at)) > cbe_common_rules.same_start)
            return;
    next->energy = -HUGE_VAL;
    memcpy(next->best, next->at, s->d * sizeof *next->best);
    memset(next->grad, 0, s->d * sizeof *next->grad);
    next->kind = kind;
    (*n)++;
}

/* Starts scouts at runner-ups, at the caller's candidates in their order, and the rest, one in
 * three at least, at random. */
static void gather_scouts(cbe_search *s, leap_search *l)
{
    const size_t not_random = l->n_scouts - l->n_scouts / cbe_leap_rules.random;
    size_t n = 0;
    for (size_t i = 0; i < l->runner_ups.n && i < cbe_leap_rules.runner_ups; i++)
        add_scout(s, l, l->runner_ups.list[i].v, CBE_FROM_RUNNER_UP, &n);
    l->has_given = false;
    for (size_t i = 0; i < s->given.n && n < not_random; i++) {
        const size_t before = n;
        add_scout(s, l, s->given.v + i * s->d, s->given.kinds[i], &n);
        if (n == before || s->given.kinds[i] != CBE_FROM_GIVEN || l->has_given) continue;
        memcpy(l->given.best, l->scouts[before].at, s->d * sizeof(double));
        l->given.kind = CBE_FROM_GIVEN;
        l->has_given = true;
    }
    while (n < l->n_scouts) {
        cbe_search_random_direction(s, s->batch_v);
        add_scout(s, l, s->batch_v, CBE_FROM_RANDOM, &n);
    }
}

/* Moves a scout to where the gradient at its highest point leads, or without a gradient to that
 * point. */
static void leap(const cbe_search *s, scout *c)
{
    if (!(cbe_sphere_point(&s->sphere, c->grad, c->at) > 0))
        memcpy(c->at, c->best, s->d * sizeof *c->at);
}

/* Evaluates n scouts where they stand. Each keeps its highest point, and leaps on from where it
 * stands. */
static cbe_status evaluate_scouts(cbe_search *s, size_t n, scout *scouts, size_t *evaluations,
                                  cbe_error *err)
{
    const size_t d = s->d;
    for (size_t first = 0; first < n; first += s->batch) {
        const size_t m = n - first < s->batch ? n - first : s->batch;
        for (size_t i = 0; i < m; i++)
            memcpy(s->batch_v + i * d, scouts[first + i].at, d * sizeof(double));
        cbe_status st = cbe_objective_eval(s->objective, m, s->batch_v, s->batch_energy,
                                           s->batch_grad, NULL, err);
        if (st != CBE_OK) return st;
        *evaluations += m;
        for (size_t i = 0; i < m; i++) {
            scout *c = &scouts[first + i];
            const double *grad = s->batch_grad + i * d;
            if (isfinite(s->batch_energy[i]) && s->batch_energy[i] > c->energy) {
                c->energy = s->batch_energy[i];
                memcpy(c->best, c->at, d * sizeof *c->best);
                memcpy(c->grad, grad, d * sizeof *c->grad);
            }
            if (!(cbe_sphere_point(&s->sphere, grad, c->at) > 0)) leap(s, c);
            if (c->energy > s->best_energy) s->best_energy = c->energy;
        }
        if ((st = cbe_search_tell_progress(s, err)) != CBE_OK) return st;
    }
    return CBE_OK;
}

/* Sorts scouts, the highest first; scouts of equal energy stay in their order. */
static void sort_scouts(size_t n, scout *scouts)
{
    for (size_t i = 1; i < n; i++) {
        const scout c = scouts[i];
        size_t j = i;
        for (; j > 0 && scouts[j - 1].energy < c.energy; j--) scouts[j] = scouts[j - 1];
        scouts[j] = c;
    }
}

/* Climbs by L-BFGS from the leader's highest point, whose energy and gradient are known. The leader
 * stands where the climb ends. */
static cbe_status climb(cbe_search *s, leap_search *l, cbe_runner *r, size_t *evaluations,
                        cbe_error *err)
{
    static const cbe_ascent to_the_end = {0};
    scout *c = &l->leader;
    r->scale = isfinite(c->energy) ? c->energy : 0;
    cbe_lbfgs_start(r->opt, c->best);
    r->length = cbe_sphere_point(&s->sphere, cbe_lbfgs_ask(r->opt), r->v);
    cbe_runner_tell(s, r, c->energy, c->grad);
    const cbe_status st = cbe_ascend(s, 1, r, &to_the_end, evaluations, err);
    if (st != CBE_OK) return st;
    cbe_runner_finish(s, r);
    c->energy = r->energy;
    memcpy(c->best, r->v, s->d * sizeof *c->best);
    return CBE_OK;
}

/* All scouts leap, then the higher half of them, and so on down to one or two. On a sample the
 * leader climbs then. */
static cbe_status send_scouts(cbe_search *s, leap_search *l, cbe_error *err)
{
    size_t *counter = l->sampled ? &s->record.sample_evaluations : &s->record.evaluations;
    cbe_objective_set_sample(s->objective, l->sampled ? s->options->sample : 0);
    for (size_t n = l->n_scouts;; n = (n + 1) / 2) {
        for (size_t i = 0; i < cbe_leap_rules.round; i++) {
            const cbe_status st = evaluate_scouts(s, n, l->scouts, counter, err);
            if (st != CBE_OK) return st;
        }
        sort_scouts(n, l->scouts);
        if (n <= 2) break;
    }
    sort_scouts(l->n_scouts, l->scouts);
    l->leader = l->scouts[0];
    if (l->sampled) {
        const cbe_status st = climb(s, l, l->sample_climber, counter, err);
        if (st != CBE_OK) return st;
    }
    cbe_search_count_start(s, l->leader.kind, l->leader.energy);
    for (size_t i = 1; i < l->n_scouts; i++)
        cbe_search_count_start(s, l->scouts[i].kind, l->scouts[i].energy);
    cbe_objective_set_sample(s->objective, 0);
    return CBE_OK;
}

/* Lets the leader leap while that pays, without a sample. */
static cbe_status leap_on(cbe_search *s, leap_search *l, cbe_error *err)
{
    leap(s, &l->leader);
    for (size_t i = 0; i < cbe_leap_rules.most; i++) {
        const double before = l->leader.energy;
        const cbe_status st = evaluate_scouts(s, 1, &l->leader, &s->record.evaluations, err);
        if (st != CBE_OK) return st;
        if (!(l->leader.energy > before + cbe_leap_rules.pays * fabs(before))) break;
    }
    return CBE_OK;
}

/* Evaluates on all tokens where the leader came to on the sample, and the caller's vector. The
 * higher of both leads. */
static cbe_status compare_finalists(cbe_search *s, leap_search *l, cbe_error *err)
{
    scout finalists[] = {l->leader, l->given};
    const size_t n = l->has_given ? 2 : 1;
    s->best_energy = -HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        memcpy(finalists[i].at, finalists[i].best, s->d * sizeof(double));
        memset(finalists[i].grad, 0, s->d * sizeof(double));
        finalists[i].energy = -HUGE_VAL;
    }
    const cbe_status st = evaluate_scouts(s, n, finalists, &s->record.evaluations, err);
    if (st != CBE_OK) return st;
    sort_scouts(n, finalists);
    l->leader = finalists[0];
    return CBE_OK;
}

static cbe_maxima *runner_ups(void *self)
{
    leap_search *l = self;
    return &l->runner_ups;
}

static cbe_status find_vector(void *self, cbe_search *s, cbe_error *err)
{
    leap_search *l = self;
    gather_scouts(s, l);
    cbe_status st = send_scouts(s, l, err);
    if (st == CBE_OK) st = l->sampled ? compare_finalists(s, l, err) : leap_on(s, l, err);
    if (st == CBE_OK) st = climb(s, l, l->climber, &s->record.evaluations, err);
    if (st != CBE_OK) {
        cbe_objective_set_sample(s->objective, 0);
        return st;
    }
    s->record.energy = l->climber->energy;
    s->record.start = l->leader.kind;
    s->record.stop = cbe_lbfgs_stopped(l->climber->opt);
    memcpy(s->found + s->vector * s->d, l->climber->v, s->d * sizeof(double));
    l->runner_ups.n = 0;
    for (size_t i = 0; i < l->n_scouts; i++)
        if (l->scouts[i].best != l->leader.best && isfinite(l->scouts[i].energy))
            cbe_maxima_add(&l->runner_ups, l->scouts[i].best, l->scouts[i].energy,
                           l->scouts[i].kind);
    return CBE_OK;
}

const cbe_search_strategy cbe_leap_strategy = {
    .create = create, .free = free_search, .vector = find_vector, .runner_ups = runner_ups};
