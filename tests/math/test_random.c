/* Random numbers: the published generator, no bias, and permutations without fixed points. */
#include "math/random.h"

#include <string.h>

#include "support/assert_close.h"

static void seed__fills_the_state_as_splitmix64(void **state)
{
    (void)state;
    /* First four outputs of splitmix64 from 0, as its authors' program prints them. */
    static const uint64_t want[4] = {0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u, 0x06c45d188009454fu,
                                     0xf88bb8a8724c81ecu};
    cbe_rng rng;
    cbe_rng_seed(&rng, 0);
    assert_memory_equal(rng.s, want, sizeof want);
}

static void below__is_xoshiro256_starstar(void **state)
{
    (void)state;
    /* From the state 1, 2, 3, 4; below SIZE_MAX the generator's words come out unchanged. */
    static const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240u};
    cbe_rng rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_true(cbe_rng_below(&rng, SIZE_MAX) == want[i]);
}

static void below__is_even_and_in_range(void **state)
{
    (void)state;
    enum { SIDES = 7, DRAWS = 70000 };
    size_t count[SIDES] = {0};
    cbe_rng rng;
    cbe_rng_seed(&rng, 1);
    for (int i = 0; i < DRAWS; i++) {
        const size_t x = cbe_rng_below(&rng, SIDES);
        assert_true(x < SIDES);
        count[x]++;
    }
    /* Standard deviation of a count: sqrt(70000 * 6 / 49) = 93; five of them. */
    for (int side = 0; side < SIDES; side++) assert_in_range(count[side], 10000 - 463, 10000 + 463);
    for (int i = 0; i < 100; i++) assert_int_equal(cbe_rng_below(&rng, 1), 0);
}

static void normal__has_the_moments_of_a_normal(void **state)
{
    (void)state;
    enum { DRAWS = 200000 };
    double sum[4] = {0};
    cbe_rng rng;
    cbe_rng_seed(&rng, 2);
    for (int i = 0; i < DRAWS; i++) {
        const double x = cbe_rng_normal(&rng);
        double power = 1;
        for (int k = 0; k < 4; k++) sum[k] += (power *= x) / DRAWS;
    }
    /* Standard errors sqrt((m_2k - m_k^2) / 200000): 0.0022, 0.0032, 0.0087, 0.022; five of
     * each. */
    static const double want[4] = {0, 1, 0, 3}, error[4] = {0.011, 0.016, 0.044, 0.11};
    for (int k = 0; k < 4; k++)
        cbe_assert_close(&sum[k], &want[k], 1, error[k], 0, "moment %d", k + 1);
}

static void seed__decides_every_number(void **state)
{
    (void)state;
    cbe_rng a, b, c;
    int64_t order_a[50], order_b[50];
    cbe_rng_seed(&a, 9);
    cbe_rng_seed(&b, 9);
    cbe_rng_seed(&c, 10);
    size_t different = 0;
    for (int i = 0; i < 100; i++) {
        const double x = cbe_rng_normal(&a), y = cbe_rng_normal(&b);
        assert_memory_equal(&x, &y, sizeof x);
        different += cbe_rng_normal(&c) != x;
    }
    assert_int_equal(different, 100);
    cbe_rng_derangement(&a, 50, order_a);
    cbe_rng_derangement(&b, 50, order_b);
    assert_memory_equal(order_a, order_b, sizeof order_a);
}

static void derangement__is_a_permutation_without_fixed_points(void **state)
{
    (void)state;
    enum { MOST = 200 };
    int64_t out[MOST];
    cbe_rng rng;
    cbe_rng_seed(&rng, 3);
    for (size_t n = 2; n <= MOST; n++) {
        int seen[MOST] = {0};
        cbe_rng_derangement(&rng, n, out);
        for (size_t i = 0; i < n; i++) {
            assert_in_range(out[i], 0, n - 1);
            assert_int_not_equal(out[i], i);
            assert_int_equal(seen[out[i]]++, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seed__fills_the_state_as_splitmix64),
        cmocka_unit_test(below__is_xoshiro256_starstar),
        cmocka_unit_test(below__is_even_and_in_range),
        cmocka_unit_test(normal__has_the_moments_of_a_normal),
        cmocka_unit_test(seed__decides_every_number),
        cmocka_unit_test(derangement__is_a_permutation_without_fixed_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
