/* The lists of directions of a layer: their lengths, kappa, and the law of the random ones. */
#include "fidelity/directions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "math/random.h"
#include "support/assert_close.h"

enum { D = 12, N = 600, SPAN = 5 /* dimensions in which states vary */ };

static cbe_error err;

/* States whose coordinates 0 .. SPAN - 1, turned a little, vary by 16, 8, 4, 2, 1. */
static cbe_covariance *make_covariance(void)
{
    float *rows = calloc(N * D, sizeof *rows);
    cbe_covariance *covariance = NULL;
    cbe_rng rng;
    assert_non_null(rows);
    cbe_rng_seed(&rng, 2);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < SPAN; j++) {
            const double along = ldexp(cbe_rng_normal(&rng), (int)(SPAN - 1 - j));
            rows[i * D + j] += (float)(0.8 * along);
            rows[i * D + j + SPAN] += (float)(0.6 * along);
        }
    const cbe_covariance_block block = {N, rows};
    cbe_assert_ok(cbe_covariance_create(&covariance, D, 1, &block, NULL, &err), &err);
    free(rows);
    return covariance;
}

static double along(const double *v, const double *component)
{
    double sum = 0;
    for (size_t k = 0; k < D; k++) sum += v[k] * component[k];
    return sum;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void lists__have_what_they_say(void **state)
{
    (void)state;
    cbe_covariance *c = make_covariance();
    double given[2 * D] = {0}, *v = NULL;
    given[0] = 3;
    given[D + 1] = given[D + 11] = -1e-200;
    cbe_layer_fidelity layer = {.layer = 4, .state = 5, .n_vectors = 2, .vectors = given};
    cbe_assert_ok(cbe_directions_make(&v, &layer, 8, c, 1, &err), &err);
    assert_int_equal(layer.n_directions, 2 + SPAN + 8);
    for (size_t i = 0; i < layer.n_directions; i++) {
        const cbe_direction *d = &layer.directions[i];
        const double length = along(v + i * D, v + i * D), one = 1;
        cbe_assert_close(&length, &one, 1, 1e-12, 0, "direction %zu", i);
        assert_int_equal(d->list, i < 2          ? CBE_LIST_BASIS
                                  : i < 2 + SPAN ? CBE_LIST_PRINCIPAL
                                                 : CBE_LIST_RANDOM);
        const double kappa = cbe_covariance_kappa(c, CBE_COVARIANCE_RIDGE, v + i * D);
        assert_true(d->kappa == kappa);
    }
    assert_true(v[0] == 1 && v[D + 1] < -0.7 && v[D + 11] < -0.7);
    for (size_t i = 0; i < SPAN; i++) {
        cbe_assert_close(v + (2 + i) * D, c->components + i * D, D, 1e-12, 0, "component %zu", i);
        assert_true(layer.directions[2 + i].kappa <= 1);
    }
    cbe_layer_fidelity_free(&layer);
    cbe_free(v);
    cbe_covariance_free(c);
}

/* In N(0, Sigma), the ratio of two components has the law of Cauchy about 0, with the root of the
 * ratio of their variances as the median of its size; of 400, that is known to 8%. */
static void random_directions__are_drawn_from_the_covariance(void **state)
{
    (void)state;
    enum { MANY = 400 };
    cbe_covariance *c = make_covariance();
    double *v = NULL, *again = NULL, ratios[MANY];
    cbe_layer_fidelity layer = {.state = 5}, few = {.state = 5}, other = {.state = 6};
    cbe_assert_ok(cbe_directions_make(&v, &layer, MANY, c, 1, &err), &err);
    assert_int_equal(layer.n_directions, SPAN + MANY);
    const double *random = v + SPAN * D;
    for (size_t j = 0; j + 1 < SPAN; j++) {
        for (size_t i = 0; i < MANY; i++)
            ratios[i] = fabs(along(random + i * D, c->components + j * D) /
                             along(random + i * D, c->components + (j + 1) * D));
        qsort(ratios, MANY, sizeof *ratios, compare);
        const double want = sqrt(c->values[j] / c->values[j + 1]);
        cbe_assert_close(&ratios[MANY / 2], &want, 1, 0, 0.3, "components %zu and the next", j);
    }
    for (size_t i = 0; i < MANY; i++)
        for (size_t j = SPAN; j < D; j++)
            assert_true(fabs(along(random + i * D, c->components + j * D)) < 1e-6);
    /* The first are the same, however many there are; another state has others. */
    cbe_assert_ok(cbe_directions_make(&again, &few, SPAN, c, 1, &err), &err);
    assert_memory_equal(again + SPAN * D, random, SPAN * D * sizeof *again);
    cbe_free(again);
    cbe_assert_ok(cbe_directions_make(&again, &other, SPAN, c, 1, &err), &err);
    assert_true(memcmp(again + SPAN * D, random, SPAN * D * sizeof *again) != 0);
    cbe_free(again);
    cbe_layer_fidelity_free(&layer);
    cbe_layer_fidelity_free(&few);
    cbe_layer_fidelity_free(&other);
    cbe_free(v);
    cbe_covariance_free(c);
}

static void nothing__is_no_direction(void **state)
{
    (void)state;
    cbe_covariance *c = make_covariance(), *flat = NULL;
    double given[2 * D] = {1}, *v = NULL;
    cbe_layer_fidelity layer = {.layer = 4, .state = 5, .n_vectors = 2, .vectors = given};
    assert_int_equal(cbe_directions_make(&v, &layer, 8, c, 1, &err), CBE_ERR_ARG);
    assert_string_equal(err.message, "vector 1 of layer 4 is 0: no direction");
    cbe_layer_fidelity_free(&layer);
    const float same[2 * D] = {0};
    const cbe_covariance_block block = {2, same};
    cbe_assert_ok(cbe_covariance_create(&flat, D, 1, &block, NULL, &err), &err);
    assert_int_equal(cbe_directions_make(&v, &layer, 8, flat, 1, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "the states of layer 4 do not vary"));
    assert_null(v);
    cbe_layer_fidelity_free(&layer);
    cbe_covariance_free(c);
    cbe_covariance_free(flat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists__have_what_they_say),
        cmocka_unit_test(random_directions__are_drawn_from_the_covariance),
        cmocka_unit_test(nothing__is_no_direction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
