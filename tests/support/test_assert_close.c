/* The comparison that all numeric tests rely on must itself fail when it should. */
#include "support/assert_close.h"

#include <math.h>

static void first_difference__accepts_only_numbers_within_the_tolerance(void **state)
{
    (void)state;
    const double want[] = {1.0, -2.0, 0.0};
    const double close[] = {1.0 + 1e-9, -2.0 - 1e-9, 1e-9};
    assert_int_equal(cbe_first_difference(close, want, 3, 1e-8, 0), 3);
    assert_int_equal(cbe_first_difference(close, want, 3, 0, 1e-8), 2);
    assert_int_equal(cbe_first_difference(close, want, 3, 1e-10, 0), 0);
}

static void first_difference__rejects_nan_and_infinity(void **state)
{
    (void)state;
    const double want[] = {1.0}, nan_value[] = {NAN}, infinite[] = {INFINITY};
    assert_int_equal(cbe_first_difference(nan_value, want, 1, 1e9, 1e9), 0);
    assert_int_equal(cbe_first_difference(infinite, want, 1, 1e9, 1e9), 0);
    assert_int_equal(cbe_first_difference(want, nan_value, 1, 1e9, 1e9), 0);
    const float want32[] = {1.0f}, nan32[] = {NAN};
    assert_int_equal(cbe_first_difference_f32(nan32, want32, 1, 1e9, 1e9), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_difference__accepts_only_numbers_within_the_tolerance),
        cmocka_unit_test(first_difference__rejects_nan_and_infinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
