/*
 * guided.c - one vector by a handful of evaluations, led by second-order energies: the default
 * search in the whole model (strategy.h, docs/search.md).
 *
 *   proposals  directions that the guide climbs to, which costs no evaluation (guide.h)
 *   trial      the best of them are compared by the model, on tokens of their own
 *   leaps      v <- grad E / |grad E| + part of v, each on fresh tokens
 *   check      where leaps ended against where they began, on fresh tokens: the higher one stays
 *
 * All energies are of removing the direction together with the vectors found before: what matters
 * to the model together need not matter alone, and the vectors of a basis are removed together.
 * Vectors stay in the order they were found in. Under optimal ablation, where every direction has a
 * constant of its own, energies are of single directions.
 */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/sizes.h"
#include "search/guide.h"
#include "search/rules.h"
#include "search/strategy.h"

enum { TRIED_MOST = 8 };

typedef struct {
    cbe_proposals *proposals;
    cbe_maxima left;      /* proposals that were tried and not taken */
    bool together;        /* energies are of removing the vectors found too */
    size_t part;          /* of the sample, that the next evaluation is on */
    size_t n_leaps;
    double *tried;        /* (TRIED_MOST, d) */
    double *at, *began;   /* (d) */
} guided_search;

static void free_search(void *self)
{
    guided_search *g = self;
    if (!g) return;
    cbe_proposals_free(g->proposals);
    cbe_maxima_free(&g->left);
    cbe_free(g->tried);
    cbe_free(g->at);
    cbe_free(g->began);
    cbe_free(g);
}

/* Evaluations of the whole model take long in its first layers and in large models: leaps are as
 * many as `effort` allows. */
static size_t count_leaps(const cbe_search_options *o, size_t n_tokens)
{
    const double sample = fmin((double)o->sample, (double)n_tokens),
                 each = 2 * o->evaluation_cost * sample / (double)n_tokens;
    const double leaps = each > 0 ? cbe_guided_rules.effort / each : HUGE_VAL;
    if (!(leaps < (double)cbe_guided_rules.most)) return cbe_guided_rules.most;
    return leaps > (double)cbe_guided_rules.least ? (size_t)leaps : cbe_guided_rules.least;
}

static cbe_status create(void **out, const cbe_search *s, cbe_error *err)
{
    guided_search *g = cbe_alloc_zero(1, sizeof *g, "search", err);
    if (!g) return CBE_ERR_NOMEM;
    g->tried = cbe_alloc(TRIED_MOST, s->d * sizeof *g->tried, "search", err);
    g->at = cbe_alloc(s->d, sizeof *g->at, "search", err);
    g->began = cbe_alloc(s->d, sizeof *g->began, "search", err);
    if (!g->tried || !g->at || !g->began || cbe_maxima_init(&g->left, s->d, err) != CBE_OK ||
        cbe_proposals_create(&g->proposals, s, err) != CBE_OK) {
        free_search(g);
        return CBE_ERR_NOMEM;
    }
    g->n_leaps = count_leaps(s->options, cbe_objective_n_tokens(s->objective));
    g->together = s->options->together;
    *out = g;
    return CBE_OK;
}

static cbe_maxima *left(void *self)
{
    return &((guided_search *)self)->left;
}

/* Energies of n directions (n, d), at most TRIED_MOST, on the next part of the sample; of the first
 * one its gradient too, unless grad is NULL. */
static cbe_status evaluate(cbe_search *s, guided_search *g, size_t n, const double *v,
                           double *energy, double *grad, cbe_error *err)
{
    cbe_status st = CBE_OK;
    cbe_objective_set_part(s->objective, s->options->sample, g->part++);
    for (size_t first = 0; first < n && st == CBE_OK; first += s->batch)
        st = cbe_objective_eval(s->objective, cbe_min_size(n - first, s->batch), v + first * s->d,
                                energy + first, grad, NULL, err);
    s->record.sample_evaluations += n;
    return st == CBE_OK ? cbe_search_tell_progress(s, err) : st;
}

/* The caller's vector that is meant for the vector in work, if enough of it is left. */
static bool take_given(const cbe_search *s, double *v)
{
    size_t place = 0;
    for (size_t i = 0; i < s->given.n; i++) {
        if (s->given.kinds[i] != CBE_FROM_GIVEN) continue;
        if (place++ < s->vector) continue;
        const double *x = s->given.v + i * s->d, before = sqrt(cbe_sphere_dot(s->d, x, x));
        return cbe_sphere_point(&s->sphere, x, v) > cbe_leap_rules.given_left * before;
    }
    return false;
}

/* Compares what the guide proposes, and the caller's vector; g->at is the best. */
static cbe_status try_proposals(cbe_search *s, guided_search *g, cbe_error *err)
{
    const size_t d = s->d;
    double energy[TRIED_MOST];
    cbe_start_kind kinds[TRIED_MOST];
    size_t n, best = 0;
    const cbe_proposal *list = cbe_proposals_make(g->proposals, s, g->together, &g->left,
                                                  cbe_guided_rules.tried, &n);
    for (size_t i = 0; i < n; i++) {
        memcpy(g->tried + i * d, list[i].v, d * sizeof(double));
        kinds[i] = list[i].kind;
    }
    if (take_given(s, g->tried + n * d)) kinds[n++] = CBE_FROM_GIVEN;
    if (n == 0) { /* states that do not vary leave the guide nothing to climb */
        cbe_search_random_direction(s, g->tried);
        cbe_sphere_point(&s->sphere, g->tried, g->tried);
        kinds[n++] = CBE_FROM_RANDOM;
    }
    const cbe_status st = evaluate(s, g, n, g->tried, energy, NULL, err);
    if (st != CBE_OK) return st;
    g->left.n = 0;
    for (size_t i = 0; i < n; i++) {
        cbe_search_count_start(s, kinds[i], energy[i]);
        if (energy[i] > energy[best] || !isfinite(energy[best])) best = i;
    }
    for (size_t i = 0; i < n; i++)
        if (i != best && isfinite(energy[i]))
            cbe_maxima_add(&g->left, g->tried + i * d, energy[i], kinds[i]);
    memcpy(g->at, g->tried + best * d, d * sizeof *g->at);
    s->record.start = kinds[best];
    s->best_energy = energy[best];
    return CBE_OK;
}

static cbe_status leap(cbe_search *s, guided_search *g, cbe_error *err)
{
    double energy, *grad = s->batch_grad;
    for (size_t t = 0; t < g->n_leaps; t++) {
        const cbe_status st = evaluate(s, g, 1, g->at, &energy, grad, err);
        if (st != CBE_OK) return st;
        if (!(cbe_sphere_point(&s->sphere, grad, grad) > 0)) break;
        for (size_t k = 0; k < s->d; k++) grad[k] += cbe_guided_rules.kept * g->at[k];
        cbe_sphere_point(&s->sphere, grad, g->at);
    }
    return CBE_OK;
}

/* Leaves the higher of both in g->at. */
static cbe_status check(cbe_search *s, guided_search *g, cbe_error *err)
{
    double energy[2];
    memcpy(g->tried, g->began, s->d * sizeof *g->tried);
    memcpy(g->tried + s->d, g->at, s->d * sizeof *g->tried);
    const cbe_status st = evaluate(s, g, 2, g->tried, energy, NULL, err);
    if (st != CBE_OK) return st;
    const bool higher = energy[1] > energy[0] || !isfinite(energy[0]);
    if (!higher) memcpy(g->at, g->began, s->d * sizeof *g->at);
    s->best_energy = s->record.energy = energy[higher];
    s->record.stop = higher ? CBE_STOP_EVALUATIONS : CBE_STOP_CHANGE;
    return CBE_OK;
}

static cbe_status search_vector(cbe_search *s, guided_search *g, cbe_error *err)
{
    g->part = s->vector * (g->n_leaps + 2); /* so that a search that goes on has the same tokens */
    cbe_status st = try_proposals(s, g, err);
    if (st != CBE_OK) return st;
    memcpy(g->began, g->at, s->d * sizeof *g->at);
    st = leap(s, g, err);
    return st == CBE_OK ? check(s, g, err) : st;
}

static cbe_status find_vector(void *self, cbe_search *s, cbe_error *err)
{
    guided_search *g = self;
    cbe_status st = g->together
                        ? cbe_objective_set_removed(s->objective, s->vector, s->found, err)
                        : CBE_OK;
    if (st == CBE_OK) st = search_vector(s, g, err);
    const cbe_status back =
        g->together ? cbe_objective_set_removed(s->objective, 0, NULL, err) : CBE_OK;
    cbe_objective_set_sample(s->objective, 0);
    if (st != CBE_OK || back != CBE_OK) return st == CBE_OK ? back : st;
    memcpy(s->found + s->vector * s->d, g->at, s->d * sizeof *g->at);
    s->record.evaluations++;
    return cbe_objective_eval(s->objective, 1, g->at, &s->record.energy, NULL, NULL, err);
}

const cbe_search_strategy cbe_guided_strategy = {.keeps_order = true,
                                                 .create = create,
                                                 .free = free_search,
                                                 .vector = find_vector,
                                                 .runner_ups = left};
