/* Second moments of rows against plain loops, and their bits however rows are divided. */
#include "support/assert_close.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "fisher/moments.h"
#include "support/random.h"

/* Two strips of the matrix and a part. */
enum { D = 150, S = 9, SKIP = 2, B = 6 };

static cbe_error err;

static float *rows_of(void)
{
    cbe_test_random r = {1};
    float *rows = malloc(B * S * D * sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < B * S * D; i++) rows[i] = (float)(3 + cbe_test_normal(&r));
    return rows;
}

/* @param at_once  sequences added by one call */
static void moments_of(const float *rows, size_t at_once, double *square, double *mean)
{
    cbe_moments m;
    cbe_moments_room *room = NULL;
    cbe_assert_ok(cbe_moments_init(&m, D, &err), &err);
    cbe_assert_ok(cbe_moments_room_create(&room, D, S, &err), &err);
    cbe_memory_fail_after(0);
    for (size_t first = 0; first < B; first += at_once)
        cbe_moments_add(&m, room, at_once, SKIP, rows + first * S * D);
    cbe_moments_add_up(&m, NULL);
    cbe_memory_fail_after(-1);
    assert_int_equal(m.n, B * (S - SKIP));
    cbe_moments_mean(&m, square, mean);
    cbe_moments_room_free(room);
    cbe_moments_free(&m);
}

static void moments__are_those_of_the_rows_that_are_not_skipped(void **state)
{
    (void)state;
    float *rows = rows_of();
    double *square = malloc((D * D + D) * sizeof *square), *mean = square + D * D;
    assert_non_null(square);
    moments_of(rows, 3, square, mean);
    for (size_t i = 0; i < D; i++) {
        double want = 0;
        for (size_t n = 0; n < B * S; n++)
            if (n % S >= SKIP) want += (double)rows[n * D + i] / (B * (S - SKIP));
        cbe_assert_close(&mean[i], &want, 1, 0, 1e-14, "mean %zu", i);
        for (size_t k = 0; k < D; k++) {
            double product = 0;
            for (size_t n = 0; n < B * S; n++)
                if (n % S >= SKIP)
                    product += (double)rows[n * D + i] * (double)rows[n * D + k] / (B * (S - SKIP));
            cbe_assert_close(&square[i * D + k], &product, 1, 0, 1e-14, "%zu, %zu", i, k);
        }
    }
    free(square);
    free(rows);
}

static void moments__have_the_same_bits_in_any_batches_and_threads(void **state)
{
    (void)state;
    float *rows = rows_of();
    double *want = malloc(2 * (D * D + D) * sizeof *want), *got = want + D * D + D;
    assert_non_null(want);
    const int threads = omp_get_max_threads();
    moments_of(rows, 6, want, want + D * D);
    omp_set_num_threads(threads == 1 ? 3 : 1);
    moments_of(rows, 1, got, got + D * D);
    omp_set_num_threads(threads);
    assert_memory_equal(got, want, (D * D + D) * sizeof *want);
    free(want);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments__are_those_of_the_rows_that_are_not_skipped),
        cmocka_unit_test(moments__have_the_same_bits_in_any_batches_and_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
