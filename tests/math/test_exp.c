/* The polynomial exp: its error all over the range, and what it does outside. */
#include "support/assert_close.h"

#include <math.h>

#include "math/exp.h"

static void exp__is_within_two_roundings_over_the_range(void **state)
{
    (void)state;
    double worst = 0;
    for (float x = -64; x < 64; x += 1e-4f * (1 + fabsf(x)))
        worst = fmax(worst, fabs((double)cbe_expf(x) / exp((double)x) - 1));
    /* 8.1e-8 measured; half a unit in the last place is 6e-8. */
    assert_true(worst < 1.5e-7);
    assert_true(cbe_expf(0) == 1);
}

static void exp__is_clamped_to_normal_numbers(void **state)
{
    (void)state;
    assert_true(cbe_expf(-65) == cbe_expf(-64) && cbe_expf(-INFINITY) == cbe_expf(-64));
    assert_true(cbe_expf(65) == cbe_expf(64) && cbe_expf(INFINITY) == cbe_expf(64));
    assert_true(isnormal(cbe_expf(-INFINITY)) && isnormal(cbe_expf(INFINITY)));
}

static void exp__passes_nan_on(void **state)
{
    (void)state;
    assert_true(isnan(cbe_expf(NAN)) && isnan(cbe_expf(-NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp__is_within_two_roundings_over_the_range),
        cmocka_unit_test(exp__is_clamped_to_normal_numbers),
        cmocka_unit_test(exp__passes_nan_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
