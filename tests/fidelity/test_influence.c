/* Ranks with ties, Spearman's correlation, and its bootstrap interval. */
#include "fidelity/influence.h"

#include <math.h>
#include <stdlib.h>

#include "math/random.h"
#include "support/assert_close.h"

static cbe_error err;

static void ranks__are_means_where_numbers_are_equal(void **state)
{
    (void)state;
    const double x[] = {3, -1, 3, 7, 3, -1, 0}, want[] = {5, 1.5, 5, 7, 5, 1.5, 3};
    double ranks[7];
    size_t order[7];
    cbe_ranks(7, x, order, ranks);
    cbe_assert_close(ranks, want, 7, 0, 0, "ranks");
}

/* By counting: 1 + numbers below + half of the other equal ones. */
static void ranks__are_counts_of_smaller_numbers(void **state)
{
    (void)state;
    enum { N = 200 };
    double x[N], ranks[N];
    size_t order[N];
    cbe_rng rng;
    cbe_rng_seed(&rng, 5);
    for (size_t n = 1; n <= N; n += 33) {
        for (size_t i = 0; i < n; i++) x[i] = (double)cbe_rng_below(&rng, 40);
        cbe_ranks(n, x, order, ranks);
        for (size_t i = 0; i < n; i++) {
            double want = 1;
            for (size_t j = 0; j < n; j++)
                want += x[j] < x[i] ? 1 : x[j] == x[i] && j != i ? 0.5 : 0;
            assert_true(ranks[i] == want);
        }
    }
}

static void spearman__is_numpys(void **state)
{
    (void)state;
    /* numpy.corrcoef of the ranks of these lists. */
    const double x[] = {0.3, 5.7, 0.02, 1.1, 0.3, 2.5, 0.07, 0.9},
                 y[] = {0.12, 0.06, 0.001, 0.4, 0.17, 0.17, 0.03, 0.2};
    const double want = 0.5240963855421686;
    cbe_influence got;
    cbe_assert_ok(cbe_influence_measure(&got, 8, x, y, &err), &err);
    assert_int_equal(got.n, 8);
    cbe_assert_close(&got.spearman, &want, 1, 1e-14, 0, "spearman");
    assert_true(got.low < got.spearman && got.spearman < got.high && got.high <= 1);
    /* Ranks alone count. */
    double cubes[8];
    cbe_influence again;
    for (size_t i = 0; i < 8; i++) cubes[i] = x[i] * x[i] * x[i];
    cbe_assert_ok(cbe_influence_measure(&again, 8, cubes, y, &err), &err);
    assert_memory_equal(&again, &got, sizeof got);
}

static void order__is_1_and_reversed_minus_1(void **state)
{
    (void)state;
    double x[24], y[24];
    for (size_t i = 0; i < 24; i++) x[i] = exp((double)i / 3), y[i] = -(double)i;
    cbe_influence got;
    cbe_assert_ok(cbe_influence_measure(&got, 24, x, x, &err), &err);
    assert_true(got.spearman == 1 && got.low == 1 && got.high == 1);
    cbe_assert_ok(cbe_influence_measure(&got, 24, x, y, &err), &err);
    assert_true(got.spearman == -1 && got.low == -1 && got.high == -1);
}

/* Of normal numbers with a correlation of 0.7, the interval's width is about 4 / sqrt(n) times the
 * spread of one pair's share, (1 - 0.7^2): a wide bound around it. */
static void interval__narrows_with_directions(void **state)
{
    (void)state;
    double x[400], y[400];
    cbe_rng rng;
    cbe_rng_seed(&rng, 9);
    for (size_t i = 0; i < 400; i++) {
        x[i] = cbe_rng_normal(&rng);
        y[i] = 0.7 * x[i] + sqrt(1 - 0.49) * cbe_rng_normal(&rng);
    }
    for (size_t n = 25; n <= 400; n *= 4) {
        cbe_influence got;
        cbe_assert_ok(cbe_influence_measure(&got, n, x, y, &err), &err);
        const double width = 4 * 0.51 / sqrt((double)n), given = got.high - got.low;
        assert_true(got.low < 0.68 && 0.68 < got.high); /* 6 / pi asin(0.35) */
        assert_true(0.6 * width < given && given < 1.8 * width);
    }
}

static void unknown__is_nan(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 4}, same[] = {5, 5, 5, 5};
    cbe_influence got;
    for (size_t n = 0; n < 3; n++) {
        cbe_assert_ok(cbe_influence_measure(&got, n, x, x, &err), &err);
        assert_true(got.n == n && isnan(got.spearman) && isnan(got.low) && isnan(got.high));
    }
    cbe_assert_ok(cbe_influence_measure(&got, 4, x, same, &err), &err);
    assert_true(isnan(got.spearman) && isnan(got.low) && isnan(got.high));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks__are_means_where_numbers_are_equal),
        cmocka_unit_test(ranks__are_counts_of_smaller_numbers),
        cmocka_unit_test(spearman__is_numpys),
        cmocka_unit_test(order__is_1_and_reversed_minus_1),
        cmocka_unit_test(interval__narrows_with_directions),
        cmocka_unit_test(unknown__is_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
