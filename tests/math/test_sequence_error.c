/* test_sequence_error.c - standard errors with sequences as clusters, against numbers made by hand,
 * by statsmodels' formula written out, and by drawing. */
#include "math/sequence_error.h"

#include <math.h>

#include "math/random.h"
#include "support/assert_close.h"

static void error__of_sequences_of_different_lengths(void **state)
{
    (void)state;
    /* Mean 3, residuals summed by sequence -3, -2, 5: sqrt(3 / 2 (9 + 4 + 25)) / 6. */
    const size_t counts[] = {2, 1, 0, 3};
    const double values[] = {1, 2, 1, 3, 5, 6}, want = 1.2583057392117916;
    const double got = cbe_sequence_error(4, counts, values);
    cbe_assert_close(&got, &want, 1, 0, 1e-15, "clusters");
}

static void error__of_even_sequences_is_the_one_of_their_means(void **state)
{
    (void)state;
    enum { N = 7, EACH = 5 };
    size_t counts[N];
    double values[N * EACH], means[N] = {0}, mean = 0, squares = 0;
    cbe_rng rng;
    cbe_rng_seed(&rng, 3);
    for (size_t i = 0; i < N * EACH; i++) {
        values[i] = cbe_rng_normal(&rng);
        means[i / EACH] += values[i] / EACH;
        counts[i / EACH] = EACH;
    }
    for (size_t s = 0; s < N; s++) mean += means[s] / N;
    for (size_t s = 0; s < N; s++) squares += (means[s] - mean) * (means[s] - mean);
    const double got = cbe_sequence_error(N, counts, values),
                 even = cbe_sequence_error_even(N, squares), want = sqrt(squares / (N * (N - 1)));
    cbe_assert_close(&got, &want, 1, 0, 1e-13, "tokens");
    cbe_assert_close(&even, &want, 1, 0, 1e-15, "means");
}

/* Values of a sequence share a part, so that errors over tokens would be far too small. */
static void error__is_the_spread_of_means(void **state)
{
    (void)state;
    enum { DRAWS = 4000, N = 30, MOST = 8 };
    double sum = 0, squares = 0, variance = 0;
    cbe_rng rng;
    cbe_rng_seed(&rng, 5);
    for (size_t draw = 0; draw < DRAWS; draw++) {
        size_t counts[N], n = 0;
        double values[N * MOST], mean = 0;
        for (size_t s = 0; s < N; s++) {
            const double shared = cbe_rng_normal(&rng);
            counts[s] = MOST / 2 + s % 2 * (MOST / 2);
            for (size_t i = 0; i < counts[s]; i++) values[n++] = shared + cbe_rng_normal(&rng) / 2;
        }
        for (size_t i = 0; i < n; i++) mean += values[i] / (double)n;
        sum += mean / DRAWS;
        squares += mean * mean / DRAWS;
        const double error = cbe_sequence_error(N, counts, values);
        variance += error * error / DRAWS;
    }
    /* The variance of DRAWS means is known to 2 / sqrt(2 DRAWS), 2%; the estimate is biased by
     * about 1 / N. */
    const double want = squares - sum * sum;
    cbe_assert_close(&variance, &want, 1, 0, 0.1, "variance of the mean");
}

static void error__of_one_sequence_is_not_known(void **state)
{
    (void)state;
    const size_t counts[] = {0, 3, 0};
    const double values[] = {1, 2, 3};
    assert_true(isnan(cbe_sequence_error(3, counts, values)));
    assert_true(isnan(cbe_sequence_error(0, counts, values)));
    assert_true(isnan(cbe_sequence_error_even(1, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error__of_sequences_of_different_lengths),
        cmocka_unit_test(error__of_even_sequences_is_the_one_of_their_means),
        cmocka_unit_test(error__is_the_spread_of_means),
        cmocka_unit_test(error__of_one_sequence_is_not_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
