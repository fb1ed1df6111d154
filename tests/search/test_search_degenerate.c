/*
 * Searches through a lens where there is nothing, or next to nothing, to find: energies of zero,
 * orthonormal vectors, no NaN, and an end.
 */
#include "objective/lens/objective.h"
#include "search/search.h"

#include <math.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/random.h"

enum { MOST_D = 6, MOST_V = 9, MOST_N = 12 };

typedef struct {
    size_t d, v, n;
    float hidden[MOST_N * MOST_D], unembedding[MOST_V * MOST_D], gamma[MOST_D];
    cbe_decoder decoder;
} problem;

static cbe_error err;

static void fill(problem *p, size_t d, size_t v, size_t n, cbe_norm norm)
{
    cbe_test_random r = {7};
    memset(p, 0, sizeof *p);
    p->d = d;
    p->v = v;
    p->n = n;
    for (size_t i = 0; i < n * d; i++) p->hidden[i] = (float)cbe_test_normal(&r);
    for (size_t i = 0; i < v * d; i++) p->unembedding[i] = (float)cbe_test_normal(&r);
    for (size_t k = 0; k < d; k++) p->gamma[k] = 1;
    p->decoder = (cbe_decoder){.hidden_size = d,
                               .vocab_size = v,
                               .norm = norm,
                               .norm_eps = 1e-5,
                               .gamma = p->gamma,
                               .unembedding = p->unembedding};
}

/* A full basis by every preset; energies are at most `most`. */
static void check(const problem *p, cbe_ablation ablation, double most, const char *what)
{
    int64_t derangement[MOST_N];
    for (size_t i = 0; i < p->n; i++) derangement[i] = (int64_t)((i + 1) % p->n);
    const cbe_lens_options lens = {
        .n_tokens = p->n, .ablation = ablation, .kind = CBE_LOSS_KL, .derangement = derangement};
    cbe_objective *o = NULL;
    cbe_assert_ok(cbe_lens_objective_create(&o, &p->decoder, &lens, &err), &err);
    cbe_assert_ok(
        cbe_lens_objective_set_layer(o, p->hidden, (cbe_translator){NULL, NULL}, NULL, &err), &err);
    for (int preset = 0; preset < CBE_N_PRESETS; preset++) {
        cbe_search_options options;
        cbe_search_options_init(&options);
        options.preset = (cbe_preset)preset;
        options.evaluation_cost = 100;
        cbe_basis b = {0};
        cbe_assert_ok(cbe_search_layer(&b, o, &options, NULL, NULL, NULL, &err), &err);
        assert_int_equal(b.n_vectors, p->d);
        for (size_t i = 0; i < b.n_vectors; i++) {
            if (!(fabs(b.records[i].energy) <= most))
                fail_msg("%s, %s, preset %s: energy %g of vector %zu", what,
                         cbe_ablation_name(ablation), cbe_preset_name((cbe_preset)preset),
                         b.records[i].energy, i);
            for (size_t j = 0; j <= i; j++) {
                double dot = 0;
                const double want = i == j;
                for (size_t k = 0; k < p->d; k++)
                    dot += b.vectors[i * p->d + k] * b.vectors[j * p->d + k];
                cbe_assert_close(&dot, &want, 1, 1e-12, 0, "%s: vectors %zu and %zu", what, i, j);
            }
        }
        cbe_basis_free(&b);
    }
    cbe_objective_free(o);
}

/* Float32 logits of order 1 leave 1e-7 nats a token. */
static const double ZERO = 1e-6;

static void search__of_states_that_are_all_equal(void **state)
{
    (void)state;
    problem p;
    for (int norm = 0; norm < CBE_N_NORMS; norm++) {
        fill(&p, MOST_D, MOST_V, MOST_N, (cbe_norm)norm);
        for (size_t i = 1; i < p.n; i++)
            memcpy(p.hidden + i * p.d, p.hidden, p.d * sizeof *p.hidden);
        check(&p, CBE_ABLATE_MEAN, ZERO, "equal states");
        check(&p, CBE_ABLATE_RESAMPLE, ZERO, "equal states");
        check(&p, CBE_ABLATE_ZERO, 100, "equal states");
    }
}

static void search__of_a_layer_of_zeros(void **state)
{
    (void)state;
    problem p;
    for (int norm = 0; norm < CBE_N_NORMS; norm++)
        for (int ablation = 0; ablation < CBE_N_ABLATIONS; ablation++) {
            fill(&p, MOST_D, MOST_V, MOST_N, (cbe_norm)norm);
            memset(p.hidden, 0, sizeof p.hidden);
            check(&p, (cbe_ablation)ablation, ZERO, "zeros");
        }
}

static void search__of_a_constant_unembedding(void **state)
{
    (void)state;
    problem p;
    for (int ablation = 0; ablation < CBE_N_ABLATIONS; ablation++) {
        fill(&p, MOST_D, MOST_V, MOST_N, CBE_NORM_RMS);
        for (size_t t = 1; t < p.v; t++)
            memcpy(p.unembedding + t * p.d, p.unembedding, p.d * sizeof *p.unembedding);
        check(&p, (cbe_ablation)ablation, ZERO, "constant unembedding");
        memset(p.unembedding, 0, sizeof p.unembedding);
        check(&p, (cbe_ablation)ablation, ZERO, "unembedding of zeros");
    }
}

static void search__of_directions_without_effect(void **state)
{
    (void)state;
    problem p;
    for (int ablation = 0; ablation < CBE_N_ABLATIONS; ablation++) {
        fill(&p, MOST_D, MOST_V, MOST_N, CBE_NORM_RMS);
        for (size_t i = 0; i < p.n; i++)
            memset(p.hidden + i * p.d + 2, 0, (p.d - 2) * sizeof *p.hidden);
        check(&p, (cbe_ablation)ablation, 100, "two dimensions used");
    }
}

static void search__of_the_smallest_problems(void **state)
{
    (void)state;
    problem p;
    for (int norm = 0; norm < CBE_N_NORMS; norm++)
        for (int ablation = 0; ablation < CBE_N_ABLATIONS; ablation++) {
            fill(&p, 1, MOST_V, MOST_N, (cbe_norm)norm);
            check(&p, (cbe_ablation)ablation, 100, "one dimension");
            fill(&p, MOST_D, 1, MOST_N, (cbe_norm)norm);
            check(&p, (cbe_ablation)ablation, ZERO, "one vocabulary entry");
            fill(&p, 1, 1, 2, (cbe_norm)norm);
            check(&p, (cbe_ablation)ablation, ZERO, "one of each");
        }
    fill(&p, MOST_D, MOST_V, 1, CBE_NORM_RMS);
    check(&p, CBE_ABLATE_ZERO, 100, "one token");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search__of_states_that_are_all_equal),
        cmocka_unit_test(search__of_a_layer_of_zeros),
        cmocka_unit_test(search__of_a_constant_unembedding),
        cmocka_unit_test(search__of_directions_without_effect),
        cmocka_unit_test(search__of_the_smallest_problems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
