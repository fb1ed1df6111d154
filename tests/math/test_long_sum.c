/* test_long_sum.c - sums with twice a double's digits: what is lost in a plain sum, and that order
 * and shares do not show. */
#include "math/long_sum.h"

#include <math.h>

#include "core/groups.h"
#include "support/assert_close.h"
#include "support/random.h"

static void sum__keeps_what_a_double_would_lose(void **state)
{
    (void)state;
    cbe_long_sum sum = {0, 0};
    for (int i = 0; i < 1000; i++) {
        cbe_long_add(&sum, 1e16);
        cbe_long_add(&sum, 1);
        cbe_long_add(&sum, -1e16);
    }
    assert_true(cbe_long_value(&sum) == 1000);
}

/* Numbers of both signs, from 1e-8 to 1e8. */
static void sum__has_the_same_bits_in_any_order_and_shares(void **state)
{
    (void)state;
    enum { N = 3000 };
    static double x[N];
    cbe_test_random r = {3};
    double first = 0, plain[2] = {0, 0};
    for (int i = 0; i < N; i++) x[i] = cbe_test_normal(&r) * exp(36 * cbe_test_uniform(&r) - 18);
    for (int i = 0; i < N; i++) plain[0] += x[i], plain[1] += x[N - 1 - i];
    assert_true(plain[0] != plain[1]);
    for (int round = 0; round < 20; round++) {
        cbe_long_sum shares[3] = {{0, 0}, {0, 0}, {0, 0}}, sum = {0, 0};
        for (int i = 0; i < N; i++)
            cbe_long_add(&shares[round ? (size_t)(3 * cbe_test_uniform(&r)) : 0], x[i]);
        for (int i = 0; i < 3; i++) cbe_long_add_sum(&sum, &shares[(i + round) % 3]);
        if (round == 0) first = cbe_long_value(&sum);
        assert_true(cbe_long_value(&sum) == first);
        for (int i = N - 1; i > 0; i--) {
            const int j = (int)((i + 1) * cbe_test_uniform(&r));
            const double swapped = x[i];
            x[i] = x[j];
            x[j] = swapped;
        }
    }
}

/* Shares of 2, 3, 4, 6, 8, 12 and 24 processes are of whole groups, whatever the number of
 * sequences. */
static void groups__are_not_cut_by_processes(void **state)
{
    (void)state;
    static const size_t processes[] = {2, 3, 4, 6, 8, 12, 24};
    for (size_t n = 1; n < 400; n++)
        for (int long_enough = 0; long_enough < 2; long_enough++) {
            size_t most = 0;
            for (size_t s = 0; s + 1 < n; s++) {
                const size_t group = cbe_group_of_sequence(n, s, long_enough),
                             next = cbe_group_of_sequence(n, s + 1, long_enough);
                assert_true(next == group || next > group);
                most = next;
                for (size_t p = 0; p < sizeof processes / sizeof *processes; p++)
                    for (size_t rank = 1; rank < processes[p]; rank++)
                        if (n * rank / processes[p] == s + 1) assert_true(next != group);
            }
            assert_true(most < (long_enough || n < CBE_GROUPS ? n : CBE_GROUPS));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sum__keeps_what_a_double_would_lose),
        cmocka_unit_test(sum__has_the_same_bits_in_any_order_and_shares),
        cmocka_unit_test(groups__are_not_cut_by_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
