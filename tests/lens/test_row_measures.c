/* Measures of single rows against their float64 twin, on every instruction set that this machine
 * has. */
#include "lens/row_measures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ref/lens_measures_ref.h"
#include "support/assert_close.h"
#include "support/random.h"

enum { MOST = 5000 };

static float p[MOST], q[MOST];
static double p64[MOST], q64[MOST];

/* Measures p and q on all kernels; `absolute` bounds errors of nats. */
static void compare(size_t n, int64_t label, double absolute, double relative)
{
    static float reference_row[MOST], row[MOST];
    double want[CBE_N_LENS_MEASURES], want_final[CBE_N_LENS_MEASURES], got[CBE_N_LENS_MEASURES];
    for (size_t i = 0; i < n; i++) {
        p64[i] = (double)p[i];
        q64[i] = (double)q[i];
    }
    cbe_lens_measures_ref(n, p64, q64, label, want);
    cbe_lens_measures_ref(n, p64, p64, label, want_final);
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *kernels = cbe_kernels_table[k];
        if (!kernels->usable()) continue;
        cbe_row_reference reference;
        memcpy(reference_row, p, n * sizeof *p);
        memcpy(row, q, n * sizeof *q);
        cbe_row_reference_set(&reference, kernels, n, reference_row, label, got);
        cbe_assert_close(got, want_final, CBE_N_LENS_MEASURES, absolute, relative,
                         "final, %zu entries, %s", n, kernels->name);
        cbe_row_measure(&reference, kernels, n, row, label, got);
        cbe_assert_close(got, want, CBE_N_LENS_MEASURES, absolute, relative,
                         "lens, %zu entries, %s", n, kernels->name);
    }
}

static void measures__meet_the_twin_at_any_length_and_scale(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 7, 16, 33, 131, 1023, 1024, 1025, 4999};
    static const double scales[] = {0, 1e-3, 1, 5, 30};
    cbe_test_random r = {7};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
            for (int label = -1; label < 2; label++) {
                const size_t n = lengths[l];
                for (size_t i = 0; i < n; i++) {
                    p[i] = (float)(scales[s] * cbe_test_normal(&r) - 3);
                    q[i] = (float)(scales[s] * cbe_test_normal(&r) + 40);
                }
                compare(n, label < 0 ? -1 : label == 0 ? 0 : (int64_t)n - 1, 4e-6, 1e-6);
            }
}

/* Where a lens is nearly the model, the divergence is of second order in the difference: sums that
 * were subtracted would leave nothing of it but their rounding. */
static void divergence__of_nearly_the_same_row(void **state)
{
    (void)state;
    enum { N = 4000 };
    static const double steps[] = {1e-1, 1e-2, 3e-3, 0};
    cbe_test_random r = {3};
    for (size_t s = 0; s < 4; s++) {
        for (size_t i = 0; i < N; i++) {
            p[i] = (float)(3 * cbe_test_normal(&r));
            q[i] = (float)((double)p[i] + steps[s] * cbe_test_normal(&r));
        }
        compare(N, 5, 1e-6, 1e-6);
    }
}

static void extremes__neither_overflow_nor_lose_the_largest(void **state)
{
    (void)state;
    static const float values[] = {1e4f, -1e4f, 3e4f, 0, -200, 90, 89.5f, -1e-20f};
    for (size_t i = 0; i < 8; i++) {
        p[i] = values[i];
        q[i] = values[(i * 3 + 1) % 8];
    }
    for (int64_t label = -1; label < 8; label++) compare(8, label, 4e-6, 1e-6);
    for (size_t i = 0; i < 8; i++) q[i] = values[i] / 1000;
    compare(8, 1, 4e-6, 1e-6);
}

static void top1__takes_the_first_of_equals(void **state)
{
    (void)state;
    for (size_t i = 0; i < 40; i++) p[i] = q[i] = 0;
    compare(40, 3, 4e-6, 0); /* the first of both */
    p[20] = p[30] = q[20] = q[30] = 2;
    compare(40, 3, 4e-6, 0);
    q[10] = 2; /* now another is the first */
    compare(40, 3, 4e-6, 0);
    q[10] = 2.0001f;
    compare(40, 3, 4e-6, 1e-6);
    p[10] = 3;
    q[10] = 2;
    compare(40, 3, 4e-6, 1e-6);
}

static void not_finite__shows_in_a_measure(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t k = 0; cbe_kernels_table[k]; k++)
        for (size_t b = 0; b < 3 && cbe_kernels_table[k]->usable(); b++)
            for (size_t at = 0; at < 50; at++) {
                float row[50], final[50];
                double got[CBE_N_LENS_MEASURES];
                cbe_row_reference reference;
                for (size_t i = 0; i < 50; i++) row[i] = final[i] = 0.1f * (float)i;
                row[at] = bad[b];
                cbe_row_reference_set(&reference, cbe_kernels_table[k], 50, final, 3, got);
                cbe_row_measure(&reference, cbe_kernels_table[k], 50, row, 3, got);
                bool finite = true;
                for (int m = 0; m < CBE_N_LENS_MEASURES; m++) finite &= isfinite(got[m]) != 0;
                assert_false(finite);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures__meet_the_twin_at_any_length_and_scale),
        cmocka_unit_test(divergence__of_nearly_the_same_row),
        cmocka_unit_test(extremes__neither_overflow_nor_lose_the_largest),
        cmocka_unit_test(top1__takes_the_first_of_equals),
        cmocka_unit_test(not_finite__shows_in_a_measure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
