/* Matrix products against plain loops, on small integers, which every order of summation gets
 * exactly. */
#include "math/gemm.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/random.h"

typedef struct {
    size_t m, n, k;
} sizes;

static float *small_integers(cbe_test_random *r, size_t count)
{
    float *x = malloc((count + 1) * sizeof *x);
    for (size_t i = 0; i < count; i++) x[i] = (float)((int)(9 * cbe_test_uniform(r)) - 4);
    return x;
}

/* One product with every leading dimension longer than its rows; what lies between rows must
 * stay. */
static void check_product(cbe_test_random *r, sizes s, bool trans_a, bool trans_b, float alpha,
                          float beta)
{
    const size_t lda = (trans_a ? s.m : s.k) + 3, ldb = (trans_b ? s.k : s.n) + 2, ldc = s.n + 5;
    float *a = small_integers(r, (trans_a ? s.k : s.m) * lda),
          *b = small_integers(r, (trans_b ? s.n : s.k) * ldb);
    float *c = small_integers(r, s.m * ldc), *want = malloc((s.m * ldc + 1) * sizeof *want);
    memcpy(want, c, s.m * ldc * sizeof *c);
    for (size_t i = 0; i < s.m; i++)
        for (size_t j = 0; j < s.n; j++) {
            float sum = 0;
            for (size_t l = 0; l < s.k; l++)
                sum += (trans_a ? a[l * lda + i] : a[i * lda + l]) *
                       (trans_b ? b[j * ldb + l] : b[l * ldb + j]);
            want[i * ldc + j] = alpha * sum + (beta != 0 ? beta * c[i * ldc + j] : 0);
            /* With beta = 0 the output is not read: it may be memory never written. */
            if (beta == 0) c[i * ldc + j] = NAN;
        }
    cbe_gemm(trans_a, trans_b, s.m, s.n, s.k, alpha, a, lda, b, ldb, beta, c, ldc);
    cbe_assert_close_f32(c, want, s.m * ldc, 0, 0,
                         "%zu x %zu x %zu, transposed %d %d, alpha %g, beta %g", s.m, s.n, s.k,
                         trans_a, trans_b, (double)alpha, (double)beta);
    free(a);
    free(b);
    free(c);
    free(want);
}

static void gemm__meets_plain_loops_in_every_form(void **state)
{
    (void)state;
    static const sizes shapes[] = {{1, 1, 1}, {1, 7, 5},    {7, 1, 3},
                                   {3, 5, 7}, {17, 33, 65}, {2, 67, 1}};
    static const float factors[][2] = {{1, 0}, {1, 1}, {-2, 0}, {-2, 3}, {0, 2}};
    cbe_test_random r = {1};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t f = 0; f < sizeof factors / sizeof *factors; f++)
            for (int form = 0; form < 4; form++)
                check_product(&r, shapes[i], form & 1, form >> 1, factors[f][0], factors[f][1]);
}

static void gemm__meets_plain_loops_across_tiles(void **state)
{
    (void)state;
    /* Tiles have 256 rows, and 64 to 1024 columns: sizes around their edges. */
    static const sizes shapes[] = {
        {257, 65, 3}, {513, 129, 2}, {255, 1025, 3}, {3, 2100, 5}, {700, 3, 9}};
    cbe_test_random r = {2};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int form = 0; form < 4; form++)
            check_product(&r, shapes[i], form & 1, form >> 1, 1, 1);
}

static void gemm__of_nothing_scales_or_leaves_alone(void **state)
{
    (void)state;
    float c[6] = {1, 2, 3, 4, 5, 6};
    const float a[1] = {1}, same[6] = {1, 2, 3, 4, 5, 6}, twice[6] = {2, 4, 6, 8, 10, 12};
    cbe_gemm(false, false, 0, 3, 2, 1, a, 2, a, 3, 0, c, 3);
    cbe_gemm(false, false, 2, 0, 2, 1, a, 2, a, 1, 0, c, 3);
    cbe_assert_close_f32(c, same, 6, 0, 0, "no rows or columns");
    cbe_gemm(false, false, 2, 3, 0, 1, a, 1, a, 3, 2, c, 3);
    cbe_assert_close_f32(c, twice, 6, 0, 0, "no terms");
}

static void gemm__has_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    static const sizes shapes[] = {{300, 1500, 64}, {5, 3000, 100}, {64, 64, 700}};
    const int threads = omp_get_max_threads();
    cbe_test_random r = {3};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int form = 0; form < 4; form++) {
            const sizes s = shapes[i];
            const bool ta = form & 1, tb = form >> 1;
            float *a = malloc(s.m * s.k * sizeof *a), *b = malloc(s.k * s.n * sizeof *b);
            float *one = malloc(s.m * s.n * sizeof *one),
                  *three = malloc(s.m * s.n * sizeof *three);
            for (size_t j = 0; j < s.m * s.k; j++) a[j] = (float)cbe_test_normal(&r);
            for (size_t j = 0; j < s.k * s.n; j++) b[j] = (float)cbe_test_normal(&r);
            omp_set_num_threads(1);
            cbe_gemm(ta, tb, s.m, s.n, s.k, 1, a, ta ? s.m : s.k, b, tb ? s.k : s.n, 0, one, s.n);
            omp_set_num_threads(3);
            cbe_gemm(ta, tb, s.m, s.n, s.k, 1, a, ta ? s.m : s.k, b, tb ? s.k : s.n, 0, three, s.n);
            assert_memory_equal(one, three, s.m * s.n * sizeof *one);
            free(a);
            free(b);
            free(one);
            free(three);
        }
    omp_set_num_threads(threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm__meets_plain_loops_in_every_form),
        cmocka_unit_test(gemm__meets_plain_loops_across_tiles),
        cmocka_unit_test(gemm__of_nothing_scales_or_leaves_alone),
        cmocka_unit_test(gemm__has_the_same_bits_for_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
