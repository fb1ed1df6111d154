/*
 * The search on objectives whose basis is known: E(v) = v'Mv has the eigenvectors of M, and no
 * other maximum than the first; E(v) = sum of w_i (u_i . v)^4 has a maximum at each u_i, and the
 * basis in the order of w.
 */
#include "search/search.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "objective/calls.h"
#include "core/memory.h"
#include "support/assert_close.h"
#include "support/random.h"

enum { D = 9 };

typedef struct {
    cbe_objective head;
    double values[D], axes[D * D]; /* rows orthonormal */
    int power;                     /* 2 or 4 */
    bool nan_side, nan_everywhere; /* NaN where the first coordinate is negative */
    bool fails;
    size_t tokens, sample;
    double sample_error; /* energies of the sample differ by this share, alternating in sign */
    bool rough;          /* in force: weight i counts rough_factor[i] times */
    double rough_factor[D];
    size_t rough_evaluations;
    /* subtracted from every energy: maxima stay where they are, energies change their sign */
    double below;
    size_t evaluations;
} known;

static size_t n_tokens(const cbe_objective *self)
{
    const known *q = (const known *)self;
    return q->sample ? q->sample : q->tokens;
}

static void set_sample(cbe_objective *self, size_t n, size_t part)
{
    (void)part;
    ((known *)self)->sample = n;
}

static bool set_rough(cbe_objective *self, bool rough)
{
    return ((known *)self)->rough = rough;
}

static cbe_status eval(cbe_objective *self, size_t m, const double *v, double *energy, double *grad,
                       double *per_token, cbe_error *err)
{
    known *q = (known *)self;
    (void)per_token;
    if (q->fails) {
        err->code = CBE_ERR_NUMERIC;
        return CBE_ERR_NUMERIC;
    }
    for (size_t j = 0; j < m; j++) {
        energy[j] = -q->below;
        if (grad) memset(grad + j * D, 0, D * sizeof *grad);
        for (size_t i = 0; i < D; i++) {
            const double share = 1 + (q->sample ? q->sample_error * (i % 2 ? 1 : -1) : 0);
            const double weight = q->values[i] * share * (q->rough ? q->rough_factor[i] : 1);
            double along = 0;
            for (size_t k = 0; k < D; k++) along += q->axes[i * D + k] * v[j * D + k];
            energy[j] += weight * pow(along, q->power);
            for (size_t k = 0; k < D && grad; k++)
                grad[j * D + k] +=
                    weight * q->power * pow(along, q->power - 1) * q->axes[i * D + k];
        }
        if (q->nan_everywhere || (q->nan_side && v[j * D] < 0)) energy[j] = NAN;
    }
    q->evaluations += m;
    if (q->rough) q->rough_evaluations += m;
    return CBE_OK;
}

static known make(int power)
{
    known q = {.head = {.hidden_size = D,
                        .max_batch = 4,
                        .eval = eval,
                        .n_tokens = n_tokens,
                        .set_sample = set_sample},
               .power = power,
               .tokens = 10};
    cbe_test_random r = {3};
    for (size_t i = 0; i < D; i++) {
        q.values[i] = (double)(D - i) * (double)(D - i);
        double *a = q.axes + i * D, norm = 0;
        for (size_t k = 0; k < D; k++) a[k] = cbe_test_normal(&r);
        for (int pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < i; j++) {
                double along = 0;
                for (size_t k = 0; k < D; k++) along += a[k] * q.axes[j * D + k];
                for (size_t k = 0; k < D; k++) a[k] -= along * q.axes[j * D + k];
            }
        for (size_t k = 0; k < D; k++) norm += a[k] * a[k];
        for (size_t k = 0; k < D; k++) a[k] /= sqrt(norm);
    }
    return q;
}

static cbe_search_options make_options(size_t n_vectors)
{
    cbe_search_options options;
    cbe_search_options_init(&options);
    options.n_vectors = n_vectors;
    return options;
}

static cbe_error err;

static cbe_basis search(known *q, const cbe_search_options *options, size_t n_candidates,
                        const double *candidates)
{
    cbe_basis b = {0};
    cbe_start_kind kinds[D];
    assert_true(n_candidates <= D);
    for (size_t i = 0; i < n_candidates; i++) kinds[i] = CBE_FROM_GIVEN;
    const cbe_start_list list = {n_candidates, candidates, kinds};
    cbe_assert_ok(cbe_search_layer(&b, &q->head, options, &list, NULL, NULL, &err), &err);
    assert_int_equal(b.hidden_size, D);
    assert_int_equal(q->sample, 0);
    return b;
}

static void assert_orthonormal_and_falling(const cbe_basis *b)
{
    for (size_t i = 0; i < b->n_vectors; i++) {
        assert_true(i == 0 || !(b->records[i].energy > b->records[i - 1].energy));
        for (size_t j = 0; j <= i; j++) {
            double dot = 0;
            const double want = i == j ? 1 : 0;
            for (size_t k = 0; k < D; k++) dot += b->vectors[i * D + k] * b->vectors[j * D + k];
            cbe_assert_close(&dot, &want, 1, 1e-12, 0, "vectors %zu and %zu", i, j);
        }
    }
}

/* The vectors are the axes in order, with their values. */
static void assert_is_known(const known *q, const cbe_basis *b, const char *what)
{
    assert_orthonormal_and_falling(b);
    for (size_t j = 0; j < b->n_vectors; j++) {
        double cosine = 0;
        const double one = 1;
        for (size_t k = 0; k < D; k++) cosine += q->axes[j * D + k] * b->vectors[j * D + k];
        cosine = fabs(cosine);
        const double value = q->values[j] - q->below;
        cbe_assert_close(&b->records[j].energy, &value, 1, 1e-5 * q->below, 1e-5, "%s, vector %zu",
                         what, j);
        cbe_assert_close(&cosine, &one, 1, 1e-4, 0, "%s, cosine of vector %zu", what, j);
    }
}

/* Each energy is that of its vector, and so are those that kinds of starts came to. */
static void assert_energies_are_told(known *q, const cbe_basis *b, const char *what)
{
    assert_orthonormal_and_falling(b);
    for (size_t j = 0; j < b->n_vectors; j++) {
        const cbe_vector_record *r = &b->records[j];
        double energy;
        cbe_assert_ok(
            cbe_objective_eval(&q->head, 1, b->vectors + j * D, &energy, NULL, NULL, &err), &err);
        /* Presets shorten their vectors by 1.2e-7, as PyTorch code does, and energies of up to 81
         * by twice that share. */
        cbe_assert_close(&r->energy, &energy, 1, 3e-7 * 81, 1e-9, "%s, vector %zu", what, j);
        for (int kind = 0; kind < CBE_N_START_KINDS; kind++)
            if (r->by_kind[kind].starts) assert_true(r->by_kind[kind].energy <= 82 - q->below);
    }
}

static void search__finds_the_eigenvectors_of_a_quadratic_form(void **state)
{
    (void)state;
    for (int preset = 0; preset < CBE_PRESET_LEAPS;
         preset++) { /* leaps end where that pays no more */
        known q = make(2);
        cbe_search_options options = make_options(0); /* all */
        options.preset = (cbe_preset)preset;
        cbe_basis b = search(&q, &options, 0, NULL);
        assert_int_equal(b.n_vectors, D);
        assert_is_known(&q, &b, cbe_preset_name((cbe_preset)preset));
        cbe_basis_free(&b);
        options.n_vectors = 1;
        b = search(&q, &options, 0, NULL);
        assert_int_equal(b.n_vectors, 1);
        assert_is_known(&q, &b, "one vector");
        cbe_basis_free(&b);
    }
}

/* The span leaves out the three highest axes: the others are found in their order, from starts that
 * lie outside too. */
static void search__within_a_span_finds_what_is_highest_there(void **state)
{
    (void)state;
    enum { LEFT_OUT = 3, WITHIN = D - LEFT_OUT };
    for (int few = 0; few < 2; few++)
        for (size_t n_candidates = 0; n_candidates <= D; n_candidates += D) {
            known q = make(2), shown = q;
            cbe_search_options options = make_options(0); /* as many as there can be */
            options.preset = few ? CBE_PRESET_LEAPS : CBE_PRESET_DEFAULT;
            options.sample = 0;
            options.n_within = WITHIN;
            /* Other rows of the same span: neighbours turned by 45 degrees. */
            double within[WITHIN * D];
            memcpy(within, q.axes + LEFT_OUT * D, sizeof within);
            for (size_t k = 0; k < D; k++) {
                const double a = within[k], b = within[D + k];
                within[k] = (a + b) / sqrt(2);
                within[D + k] = (a - b) / sqrt(2);
            }
            options.within = within;
            cbe_basis b = search(&q, &options, n_candidates, q.axes);
            assert_int_equal(b.n_vectors, WITHIN);
            memcpy(shown.axes, q.axes + LEFT_OUT * D, sizeof within);
            memcpy(shown.values, q.values + LEFT_OUT, WITHIN * sizeof *q.values);
            if (!few) assert_is_known(&shown, &b, "within");
            assert_energies_are_told(&q, &b, few ? "leaps within" : "within");
            /* Leaps end where the energy has settled to a thousandth. */
            for (size_t j = 0; j < WITHIN; j++)
                cbe_assert_close(&b.records[j].energy, &shown.values[j], 1, 0, 1e-3,
                                 "leaps within, vector %zu", j);
            for (size_t j = 0; j < WITHIN; j++)
                for (size_t i = 0; i < LEFT_OUT; i++) {
                    double cosine = 0;
                    const double zero = 0;
                    for (size_t k = 0; k < D; k++)
                        cosine += q.axes[i * D + k] * b.vectors[j * D + k];
                    cbe_assert_close(&cosine, &zero, 1, 1e-14, 0, "vector %zu and axis %zu", j, i);
                }
            cbe_basis_free(&b);
        }
}

static void search__finds_the_highest_of_many_maxima(void **state)
{
    (void)state;
    known q = make(4);
    /* Near the axes, lowest first; and weights so near each other that order is not the only
     * guide. */
    double candidates[D * D];
    cbe_test_random r = {5};
    for (size_t i = 0; i < D; i++) {
        q.values[i] = 1 + 0.1 * (double)(D - i);
        for (size_t k = 0; k < D; k++)
            candidates[i * D + k] = 7 * q.axes[(D - 1 - i) * D + k] + cbe_test_normal(&r);
    }
    const cbe_search_options options = make_options(D);
    cbe_basis b = search(&q, &options, D, candidates);
    assert_is_known(&q, &b, "many maxima");
    /* what an evaluation costs is unknown */
    for (size_t j = 0; j < D; j++) assert_int_equal(b.records[j].starts, 16);
    cbe_basis_free(&b);
    /* One start alone, from the identity's column, does not find them: the objective tells them
     * apart. */
    cbe_search_options seed = make_options(1);
    seed.preset = CBE_PRESET_SEED;
    b = search(&q, &seed, 0, NULL);
    assert_orthonormal_and_falling(&b);
    assert_true(b.records[0].energy < 0.99 * q.values[0]);
    cbe_basis_free(&b);
}

static void search__lists_the_maxima_it_met(void **state)
{
    (void)state;
    known q = make(4);
    cbe_search_options options = make_options(1);
    for (size_t i = 0; i < D; i++) q.values[i] = 1 + 0.1 * (double)(D - i);
    options.evaluation_cost = 1; /* cheap: all nine are found from random starts */
    cbe_basis b = search(&q, &options, 0, NULL);
    const cbe_vector_record *r = &b.records[0];
    assert_is_known(&q, &b, "random starts");
    assert_int_equal(r->n_maxima, D);
    assert_int_equal(r->n_sample_maxima, 0);
    assert_true(r->maxima[0] == r->energy);
    /* Maxima that were not polished are known to the coarser stop of their climbs. */
    cbe_assert_close(r->maxima, q.values, D, 0, 1e-3, "maxima");
    /* 9 x 10 / (n (n - 1)) <= 2e-4: 672 starts, in sixteens. */
    assert_int_equal(r->starts, 672);
    cbe_basis_free(&b);
    /* A number asked for is kept, and so is what an evaluation may cost. */
    options.n_starts = 5;
    b = search(&q, &options, 0, NULL);
    assert_int_equal(b.records[0].starts, 5);
    cbe_basis_free(&b);
    options.n_starts = 0;
    options.evaluation_cost = 1e9;
    b = search(&q, &options, 0, NULL);
    assert_int_equal(b.records[0].starts, 16);
    cbe_basis_free(&b);
    /* With a sample the list of its maxima comes besides. */
    q.tokens = 2000;
    b = search(&q, &options, 0, NULL);
    assert_in_range(b.records[0].n_sample_maxima, 1, D);
    assert_in_range(b.records[0].n_maxima, 1, options.n_polished);
    assert_true(b.records[0].maxima[0] == b.records[0].energy);
    cbe_basis_free(&b);
}

static void search__with_a_sample_returns_energies_of_all_tokens(void **state)
{
    (void)state;
    known q = make(2);
    q.tokens = 2000;
    q.sample_error = 0.1;
    const cbe_search_options options = make_options(4);
    cbe_basis b = search(&q, &options, 0, NULL);
    assert_is_known(&q, &b, "sampled");
    size_t counted = 0;
    for (size_t j = 0; j < 4; j++) {
        assert_true(b.records[j].sample_evaluations > 0);
        counted += b.records[j].evaluations + b.records[j].sample_evaluations;
    }
    assert_true(counted < q.evaluations); /* scoring candidates comes on top */
    cbe_basis_free(&b);
}

/* Rough energies that are near the exact ones but at one maximum, which they make far too low or
 * too high, whichever of the maxima that is. The basis is the exact one, and so are its
 * energies. */
static void search__by_rough_energies_ends_at_the_exact_maxima(void **state)
{
    (void)state;
    static const double wrong[] = {1, 0.3, 0.7, 1.05, 3, 20};
    for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++)
        for (size_t at = 0; at < 4; at++) {
            known q = make(4);
            q.head.set_rough = set_rough;
            q.tokens = 2000;
            q.sample_error = 0.02;
            for (size_t i = 0; i < D; i++)
                q.rough_factor[i] = i == at ? wrong[w] : 1 - 0.002 * (double)(i % 3);
            const cbe_search_options options = make_options(4);
            char what[64];
            snprintf(what, sizeof what, "rough energies %g times as high at maximum %zu", wrong[w],
                     at);
            cbe_basis b = search(&q, &options, 0, NULL);
            assert_false(q.rough);
            assert_true(q.rough_evaluations > 0 && q.rough_evaluations < q.evaluations);
            assert_is_known(&q, &b, what);
            for (size_t j = 0; j < b.n_vectors; j++) {
                double energy;
                cbe_assert_ok(
                    cbe_objective_eval(&q.head, 1, b.vectors + j * D, &energy, NULL, NULL, &err),
                    &err);
                cbe_assert_close(&b.records[j].energy, &energy, 1, 0, 1e-12, "%s, energy %zu", what,
                                 j);
            }
            cbe_basis_free(&b);
        }
}

static bool same_bits(const cbe_basis *a, const cbe_basis *b)
{
    bool same = a->n_vectors == b->n_vectors &&
                memcmp(a->vectors, b->vectors, a->n_vectors * D * sizeof(double)) == 0;
    for (size_t j = 0; same && j < a->n_vectors; j++)
        same = memcmp(&a->records[j].energy, &b->records[j].energy, sizeof(double)) == 0;
    return same;
}

static void search__is_the_same_in_two_runs_and_another_with_another_seed(void **state)
{
    (void)state;
    known q = make(4);
    cbe_search_options options = make_options(3);
    cbe_basis a = search(&q, &options, 0, NULL), b = search(&q, &options, 0, NULL);
    assert_true(same_bits(&a, &b));
    cbe_basis_free(&b);
    options.seed = 1;
    b = search(&q, &options, 0, NULL);
    assert_false(same_bits(&a, &b));
    cbe_basis_free(&a);
    cbe_basis_free(&b);
}

/* Leaps end in the neighbourhood of one maximum and L-BFGS on it: each energy is one of the
 * weights, and few evaluations were needed. The best of the caller's candidates leads to the
 * highest. */
static void search__of_few_evaluations_leaps_and_climbs(void **state)
{
    (void)state;
    for (int sampled = 0; sampled < 2; sampled++) {
        known q = make(4);
        cbe_search_options options = make_options(3);
        options.preset = CBE_PRESET_LEAPS;
        options.n_starts = 6;
        options.sample = sampled ? 5 : 0;
        q.sample_error = 0.01;
        double candidates[2 * D] = {0};
        for (size_t k = 0; k < D; k++) candidates[k] = q.axes[k] + 0.3 * q.axes[D + k];
        cbe_basis b = search(&q, &options, 2, candidates); /* the second is zero: no start */
        assert_orthonormal_and_falling(&b);
        const cbe_vector_record *first = &b.records[0];
        assert_true(fabs(first->energy - q.values[0]) <= 1e-3 * q.values[0]);
        assert_int_equal(first->start, CBE_FROM_GIVEN);
        assert_int_equal(first->starts, 6);
        assert_int_equal(first->by_kind[CBE_FROM_GIVEN].starts, 1);
        assert_int_equal(first->by_kind[CBE_FROM_RANDOM].starts, 5);
        assert_true(first->by_kind[CBE_FROM_RANDOM].energy > 0);
        assert_true(b.records[1].by_kind[CBE_FROM_RUNNER_UP].starts >= 1);
        for (size_t j = 0; j < 3; j++) {
            double off = HUGE_VAL;
            for (size_t i = 0; i < D; i++)
                off = fmin(off, fabs(b.records[j].energy / q.values[i] - 1));
            assert_true(off <= 2e-3);
            /* 6, 3 and 2 scouts, two leaps each */
            assert_int_equal(sampled ? b.records[j].sample_evaluations : 22, 22);
            assert_true(b.records[j].evaluations <= (sampled ? 20u : 42u));
        }
        cbe_basis_free(&b);
        /* And the same twice. */
        known again = make(4);
        again.sample_error = 0.01;
        cbe_basis c = search(&again, &options, 2, candidates);
        assert_int_equal(again.evaluations, q.evaluations);
        cbe_basis_free(&c);
    }
}

/* With --objective ce a direction's removal may help: energies lie on both sides of zero, or all
 * below it. */
static void search__finds_the_same_vectors_where_energies_are_negative(void **state)
{
    (void)state;
    static const double below[] = {30, 81, 100, 1e4}; /* energies run from 81 to 1 */
    for (size_t i = 0; i < sizeof below / sizeof *below; i++)
        for (int kind = 0; kind < CBE_N_PRESETS + 1; kind++) {
            known q = make(2);
            q.below = below[i];
            cbe_search_options options = make_options(0);
            options.evaluation_cost = 1000;
            options.preset = kind < CBE_N_PRESETS ? (cbe_preset)kind : CBE_PRESET_DEFAULT;
            if (kind == CBE_N_PRESETS) {
                q.tokens = 100; /* a sample */
                q.sample_error = 0.05;
                options.sample = 20;
            }
            char what[64];
            snprintf(what, sizeof what, "search %d, energies less %g", kind, below[i]);
            cbe_basis b = search(&q, &options, 0, NULL);
            assert_int_equal(b.n_vectors, D);
            assert_energies_are_told(&q, &b, what);
            /* leaps end some way below a maximum */
            if (kind != CBE_PRESET_LEAPS) assert_is_known(&q, &b, what);
            cbe_basis_free(&b);
        }
}

/* Nothing to climb, and energies that are no numbers: no vector, no endless search. */
static void search__of_few_evaluations_survives_flat_and_broken_objectives(void **state)
{
    (void)state;
    for (int broken = 0; broken < 3; broken++) {
        known q = make(4);
        q.nan_everywhere = broken == 1;
        q.nan_side = broken == 2;
        if (broken == 0) memset(q.values, 0, sizeof q.values);
        cbe_search_options options = make_options(D);
        options.preset = CBE_PRESET_LEAPS;
        cbe_basis b = search(&q, &options, 0, NULL);
        assert_orthonormal_and_falling(&b);
        assert_int_equal(b.n_vectors, D);
        if (broken == 0) assert_true(b.records[0].energy == 0);
        if (broken == 1) assert_true(isnan(b.records[0].energy));
        if (broken == 2) assert_true(b.records[0].energy > 0);
        cbe_basis_free(&b);
    }
}

static void search__of_a_flat_objective_ends_with_zeros(void **state)
{
    (void)state;
    for (int preset = 0; preset < CBE_N_PRESETS; preset++) {
        known q = make(2);
        memset(q.values, 0, sizeof q.values);
        cbe_search_options options = make_options(D);
        options.preset = (cbe_preset)preset;
        options.evaluation_cost = 1; /* cheap, and yet there is nothing to look for */
        cbe_basis b = search(&q, &options, 0, NULL);
        assert_int_equal(b.n_vectors, D);
        assert_orthonormal_and_falling(&b);
        for (size_t j = 0; j < D; j++) assert_true(b.records[j].energy == 0);
        assert_true(q.evaluations < 50 * D);
        cbe_basis_free(&b);
    }
}

static void search__survives_energies_that_are_no_numbers(void **state)
{
    (void)state;
    for (int preset = 0; preset < CBE_N_PRESETS; preset++)
        for (int everywhere = 0; everywhere < 2; everywhere++) {
            known q = make(2);
            q.nan_side = true;
            q.nan_everywhere = everywhere;
            cbe_search_options options = make_options(D);
            options.preset = (cbe_preset)preset;
            cbe_basis b = search(&q, &options, 0, NULL);
            assert_int_equal(b.n_vectors, D);
            assert_orthonormal_and_falling(&b);
            for (size_t j = 0; j < D && preset == CBE_PRESET_DEFAULT; j++)
                assert_true(everywhere ? isnan(b.records[j].energy)
                                       : isfinite(b.records[j].energy));
            assert_true(q.evaluations < 2000 * D);
            cbe_basis_free(&b);
        }
}

static void search__ignores_candidates_of_no_use(void **state)
{
    (void)state;
    known q = make(2);
    double candidates[4 * D] = {0}; /* zero, one twice, and an axis that is found before */
    memcpy(candidates + D, q.axes, D * sizeof *candidates);
    memcpy(candidates + 2 * D, q.axes, D * sizeof *candidates);
    memcpy(candidates + 3 * D, q.axes + D, D * sizeof *candidates);
    const cbe_search_options options = make_options(D);
    cbe_basis b = search(&q, &options, 4, candidates);
    assert_is_known(&q, &b, "poor candidates");
    cbe_basis_free(&b);
}

static void search__ends_a_layer_below_min_energy(void **state)
{
    (void)state;
    for (int preset = 0; preset < CBE_N_PRESETS; preset++) {
        known q = make(2);
        cbe_search_options options = make_options(D);
        options.preset = (cbe_preset)preset;
        options.min_energy = 1e-3; /* never reached */
        cbe_basis b = search(&q, &options, 0, NULL);
        assert_int_equal(b.n_vectors, D);
        assert_false(b.below_min_energy);
        cbe_basis_free(&b);
        options.min_energy = 1e6;
        b = search(&q, &options, 0, NULL);
        assert_int_equal(b.n_vectors, 1);
        assert_true(b.below_min_energy);
        cbe_basis_free(&b);
    }
    known q = make(2);
    cbe_search_options options = make_options(D);
    options.min_energy = 40; /* 81, 64, 49, 36: the fourth is kept */
    cbe_basis b = search(&q, &options, 0, NULL);
    assert_int_equal(b.n_vectors, 4);
    assert_is_known(&q, &b, "ended early");
    assert_true(b.below_min_energy);
    cbe_basis_free(&b);
}

static bool cancel_third(void *context, size_t vector, size_t n_vectors, double energy,
                         size_t evaluations)
{
    size_t *calls = context;
    ++*calls;
    assert_true(vector < n_vectors);
    assert_true(isfinite(energy) ? evaluations > 0 : energy == -HUGE_VAL); /* starts are scored */
    return vector < 2;
}

static void search__can_be_cancelled(void **state)
{
    (void)state;
    for (int preset = 0; preset < CBE_N_PRESETS; preset++) {
        known q = make(2);
        q.tokens = 2000;
        cbe_search_options options = make_options(D);
        options.preset = (cbe_preset)preset;
        cbe_basis b = {0};
        size_t calls = 0;
        assert_int_equal(cbe_search_layer(&b, &q.head, &options, NULL, cancel_third, &calls, &err),
                         CBE_ERR_CANCELLED);
        assert_true(calls > 2 && !b.vectors);
        assert_int_equal(q.sample, 0);
    }
}

static void search__refuses_what_it_cannot_do(void **state)
{
    (void)state;
    known q = make(2);
    cbe_basis b = {0};
    cbe_search_options options = make_options(D + 1);
    for (int preset = 0; preset < CBE_N_PRESETS; preset++) {
        options.preset = (cbe_preset)preset;
        assert_int_equal(cbe_search_layer(&b, &q.head, &options, NULL, NULL, NULL, &err),
                         CBE_ERR_ARG);
    }
    options = make_options(3);
    options.n_within = 2;
    options.within = q.axes;
    assert_int_equal(cbe_search_layer(&b, &q.head, &options, NULL, NULL, NULL, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "within 2 dimensions"));
    options.n_vectors = 1;
    options.preset = CBE_PRESET_SEED;
    assert_int_equal(cbe_search_layer(&b, &q.head, &options, NULL, NULL, NULL, &err), CBE_ERR_ARG);
    options = make_options(1);
    options.n_polished = 0;
    assert_int_equal(cbe_search_layer(&b, &q.head, &options, NULL, NULL, NULL, &err), CBE_ERR_ARG);
    assert_null(b.vectors);
}

static void search__passes_an_objective_s_error_on(void **state)
{
    (void)state;
    known q = make(2);
    q.fails = true;
    const cbe_search_options options = make_options(2);
    cbe_basis b = {0};
    assert_int_equal(cbe_search_layer(&b, &q.head, &options, NULL, NULL, NULL, &err),
                     CBE_ERR_NUMERIC);
    assert_null(b.vectors);
}

static void search__says_when_memory_is_short(void **state)
{
    (void)state;
    for (int preset = 0; preset < 2; preset++) {
        known q = make(2);
        cbe_search_options options = make_options(2);
        options.preset = (cbe_preset)preset;
        cbe_status st = CBE_ERR_NOMEM;
        for (long allowed = 0; st != CBE_OK; allowed++) {
            cbe_basis b = {0};
            assert_true(allowed < 1000);
            cbe_memory_fail_after(allowed);
            st = cbe_search_layer(&b, &q.head, &options, NULL, NULL, NULL, &err);
            cbe_memory_fail_after(-1);
            assert_true(st == CBE_OK ? b.vectors != NULL : st == CBE_ERR_NOMEM && !b.vectors);
            cbe_basis_free(&b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search__finds_the_eigenvectors_of_a_quadratic_form),
        cmocka_unit_test(search__within_a_span_finds_what_is_highest_there),
        cmocka_unit_test(search__finds_the_highest_of_many_maxima),
        cmocka_unit_test(search__lists_the_maxima_it_met),
        cmocka_unit_test(search__with_a_sample_returns_energies_of_all_tokens),
        cmocka_unit_test(search__by_rough_energies_ends_at_the_exact_maxima),
        cmocka_unit_test(search__is_the_same_in_two_runs_and_another_with_another_seed),
        cmocka_unit_test(search__of_few_evaluations_leaps_and_climbs),
        cmocka_unit_test(search__of_few_evaluations_survives_flat_and_broken_objectives),
        cmocka_unit_test(search__finds_the_same_vectors_where_energies_are_negative),
        cmocka_unit_test(search__of_a_flat_objective_ends_with_zeros),
        cmocka_unit_test(search__survives_energies_that_are_no_numbers),
        cmocka_unit_test(search__ignores_candidates_of_no_use),
        cmocka_unit_test(search__ends_a_layer_below_min_energy),
        cmocka_unit_test(search__can_be_cancelled),
        cmocka_unit_test(search__refuses_what_it_cannot_do),
        cmocka_unit_test(search__passes_an_objective_s_error_on),
        cmocka_unit_test(search__says_when_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
