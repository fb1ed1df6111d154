/*
 * guided.c - all vectors of a basis by a few evaluations, led by second-order energies: the default
 * search in the whole model (strategy.h, docs/search.md).
 *
 *   start   the guide's maxima, one after another, each together with those before: no evaluation
 *   rounds  the energy of removing the first r vectors together, r = 2, 4, .. and all, twice, each
 *           on fresh tokens, has a gradient in all r vectors; each vector leaps to the mean of its
 *           unit gradients and some of where it stands, orthogonal to the vectors before it
 *
 * Where removal costs much more than to second order, it acts past a threshold: later layers fall
 * back on the attention sink, say, and the model breaks. Vectors leap along second-order gradients
 * then, back to where energies are those of what is removed.
 *
 * The vectors of a basis are removed together, and what matters to the model together need not
 * matter alone. A round costs as many evaluations as there are such r, whatever the number of
 * vectors, and a vector's direction is a mean over the tokens of several rounds.
 *
 * A leap is a step of the generalised power method (leaps.c); several vectors at once are its form
 * on orthonormal frames (Journee, Nesterov, Richtarik and Sepulchre 2010, section 3.4).
 */
#include <math.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "search/guide.h"
#include "search/rules.h"
#include "search/strategy.h"

enum { RANKS_MOST = 66 }; /* powers of two below 2^64, and all, twice */

typedef struct {
    cbe_proposals *proposals;
    size_t part; /* of the sample, that the next evaluation is on */
    size_t n_ranks, ranks[RANKS_MOST];
    double energies[RANKS_MOST]; /* of each rank: means of the rounds, the last ones foremost */
    double *grad;                /* (n_vectors, d) */
    double *sum;                 /* (n_vectors, d): unit gradients of a round */
} guided_search;

static void free_search(void *self)
{
    guided_search *g = self;
    if (!g) return;
    cbe_proposals_free(g->proposals);
    cbe_free(g->grad);
    cbe_free(g->sum);
    cbe_free(g);
}

static cbe_status create(void **out, const cbe_search *s, cbe_error *err)
{
    guided_search *g = cbe_alloc_zero(1, sizeof *g, "search", err);
    if (!g) return CBE_ERR_NOMEM;
    g->grad = cbe_alloc(s->n_vectors, s->d * sizeof *g->grad, "search", err);
    g->sum = cbe_alloc(s->n_vectors, s->d * sizeof *g->sum, "search", err);
    if (!g->grad || !g->sum || cbe_proposals_create(&g->proposals, s, err) != CBE_OK) {
        free_search(g);
        return CBE_ERR_NOMEM;
    }
    for (size_t r = 2; r < s->n_vectors; r *= 2) g->ranks[g->n_ranks++] = r;
    /* twice: the last vectors have gradients from it alone */
    for (size_t i = 0; i < (s->n_vectors > 1 ? 2 : 1); i++) g->ranks[g->n_ranks++] = s->n_vectors;
    *out = g;
    return CBE_OK;
}

/* Evaluations take long in a model's first layers and in large models: rounds are as many as
 * `effort` allows. */
static size_t count_rounds(const cbe_search *s, const guided_search *g)
{
    const double n_tokens = (double)cbe_objective_n_tokens(s->objective),
                 sample = fmin((double)s->options->sample, n_tokens),
                 each = 2 * s->options->evaluation_cost * sample / n_tokens * (double)g->n_ranks,
                 rounds = each > 0 ? cbe_guided_rules.effort / each : HUGE_VAL;
    if (!(rounds < (double)cbe_guided_rules.most)) return cbe_guided_rules.most;
    return rounds > (double)cbe_guided_rules.least ? (size_t)rounds : cbe_guided_rules.least;
}

/* Makes x the vector at a place, orthogonal to those before it; false: nothing of it is left. */
static bool place_vector(cbe_search *s, size_t place, const double *x)
{
    s->sphere = cbe_search_sphere(s, place, s->found, 0);
    const double before = sqrt(cbe_sphere_dot(s->d, x, x));
    double *v = s->found + place * s->d;
    /* the second pass takes what rounding left in the first */
    if (!(cbe_sphere_point(&s->sphere, x, v) > cbe_common_rules.none_left * before)) return false;
    return cbe_sphere_point(&s->sphere, v, v) > 0;
}

/* The caller's vector that is meant for a place. */
static const double *given_vector(const cbe_search *s, size_t place)
{
    for (size_t i = 0, n = 0; i < s->given.n; i++)
        if (s->given.kinds[i] == CBE_FROM_GIVEN && n++ == place) return s->given.v + i * s->d;
    return NULL;
}

/* Where the vector at a place starts: the caller's vector, the guide's best direction, or a random
 * one. */
static cbe_start_kind start_vector(cbe_search *s, guided_search *g, size_t place)
{
    const double *given = given_vector(s, place);
    s->vector = place;
    if (given && place_vector(s, place, given)) return CBE_FROM_GIVEN;
    s->sphere = cbe_search_sphere(s, place, s->found, 0);
    const cbe_maximum *best = cbe_proposals_best(g->proposals, s);
    if (best && place_vector(s, place, best->v)) return best->kind;
    do cbe_search_random_direction(s, s->batch_v);
    while (!place_vector(s, place, s->batch_v));
    return CBE_FROM_RANDOM;
}

/* Adds the unit gradients of the energy of removing the first r vectors, r of a place of the ranks;
 * where the energy has run away from second order, of the second-order energy. */
static cbe_status add_gradients(cbe_search *s, guided_search *g, size_t place, cbe_error *err)
{
    const size_t r = g->ranks[place];
    double energy, *mean = &g->energies[place];
    cbe_objective_set_part(s->objective, s->options->sample, g->part++);
    const cbe_status st =
        cbe_objective_eval_together(s->objective, r, s->found, &energy, g->grad, err);
    if (st != CBE_OK) return st;
    s->record.sample_evaluations++; /* of all vectors, for progress */
    if (isfinite(energy)) {
        s->best_energy = energy;
        *mean = *mean > 0 ? (*mean + energy) / 2 : energy;
    }
    if (*mean > cbe_guided_rules.amplification * cbe_proposals_energy(g->proposals, s, r, NULL))
        cbe_proposals_energy(g->proposals, s, r, g->grad);
    for (size_t j = 0; j < r; j++) {
        const double *grad = g->grad + j * s->d, length = sqrt(cbe_sphere_dot(s->d, grad, grad));
        if (!(length > 0) || !isfinite(length)) continue;
        for (size_t k = 0; k < s->d; k++) g->sum[j * s->d + k] += grad[k] / length;
    }
    return cbe_search_tell_progress(s, err);
}

static cbe_status run_round(cbe_search *s, guided_search *g, cbe_error *err)
{
    memset(g->sum, 0, s->n_vectors * s->d * sizeof *g->sum);
    for (size_t i = 0; i < g->n_ranks; i++) {
        const cbe_status st = add_gradients(s, g, i, err);
        if (st != CBE_OK) return st;
    }
    for (size_t j = 0; j < s->n_vectors; j++) {
        double *sum = g->sum + j * s->d, n = 0;
        for (size_t i = 0; i < g->n_ranks; i++) n += j < g->ranks[i];
        for (size_t k = 0; k < s->d; k++)
            sum[k] = sum[k] / n + cbe_guided_rules.kept * s->found[j * s->d + k];
        while (!place_vector(s, j, sum)) cbe_search_random_direction(s, sum);
    }
    return CBE_OK;
}

/* Single energies, where a vector's decides on the end of the layer. */
static cbe_status estimate(cbe_search *s, cbe_vector_record *records, cbe_error *err)
{
    cbe_status st = CBE_OK;
    cbe_objective_set_sample(s->objective, s->options->sample);
    for (size_t j = 0; j < s->n_vectors && st == CBE_OK; j++) {
        st = cbe_objective_eval(s->objective, 1, s->found + j * s->d, &records[j].energy, NULL,
                                NULL, err);
        records[j].sample_evaluations++;
    }
    return st;
}

static cbe_status find_basis(void *self, cbe_search *s, cbe_vector_record *records, cbe_error *err)
{
    guided_search *g = self;
    const double began = cbe_now();
    const size_t k = s->n_vectors, n_rounds = count_rounds(s, g);
    cbe_status st = CBE_OK;
    memset(g->energies, 0, sizeof g->energies);
    for (size_t j = 0; j < k; j++) {
        s->record = (cbe_vector_record){0};
        records[j] = s->record;
        records[j].start = start_vector(s, g, j);
        records[j].by_kind[records[j].start].starts = records[j].starts = 1;
        records[j].stop = CBE_STOP_EVALUATIONS;
    }
    for (size_t t = 0; t < n_rounds && st == CBE_OK; t++) {
        s->vector = t * k / n_rounds; /* for progress */
        st = run_round(s, g, err);
    }
    for (size_t j = 0; j < k; j++) {
        records[j].energy = NAN;
        records[j].sample_evaluations = n_rounds * g->n_ranks * (j + 1) / k -
                                        n_rounds * g->n_ranks * j / k; /* a share of all */
    }
    if (st == CBE_OK && s->options->min_energy > 0) st = estimate(s, records, err);
    cbe_objective_set_sample(s->objective, 0);
    for (size_t j = 0; j < k; j++) records[j].seconds = (cbe_now() - began) / (double)k;
    return st;
}

const cbe_search_strategy cbe_guided_strategy = {
    .create = create, .free = free_search, .basis = find_basis};
