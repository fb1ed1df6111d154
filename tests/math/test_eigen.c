/* Eigenvectors of symmetric matrices: known ones, and the definition on random ones. */
#include "math/eigen.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/random.h"

static cbe_error err;

static double dot(size_t n, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void eigen__solves_a_matrix_of_two(void **state)
{
    (void)state;
    double a[4] = {2, 1, 1, 2}, values[2];
    const double want_values[2] = {3, 1}, r = sqrt(0.5);
    cbe_assert_ok(cbe_eigen_symmetric(2, a, values, &err), &err);
    cbe_assert_close(values, want_values, 2, 1e-14, 0, "values");
    const double products[2] = {fabs(r * a[0] + r * a[1]), fabs(r * a[2] - r * a[3])},
                 ones[2] = {1, 1};
    cbe_assert_close(products, ones, 2, 1e-14, 0, "cosines with (1, 1) and (1, -1)");
}

static void eigen__meets_the_second_difference_matrix(void **state)
{
    (void)state;
    enum { N = 30 };
    double a[N * N] = {0}, values[N], want[N];
    for (size_t i = 0; i < N; i++) {
        a[i * N + i] = 2;
        if (i + 1 < N) a[i * N + i + 1] = a[(i + 1) * N + i] = -1;
        want[i] = 2 - 2 * cos(3.14159265358979323846 * (double)(N - i) / (N + 1));
    }
    cbe_assert_ok(cbe_eigen_symmetric(N, a, values, &err), &err);
    cbe_assert_close(values, want, N, 1e-13, 0, "values");
}

static void eigen__rows_are_orthonormal_eigenvectors_of_falling_values(void **state)
{
    (void)state;
    enum { N = 41 };
    double a[N * N], vectors[N * N], values[N];
    cbe_test_random r = {1};
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++) a[i * N + j] = a[j * N + i] = cbe_test_normal(&r);
    memcpy(vectors, a, sizeof a);
    cbe_assert_ok(cbe_eigen_symmetric(N, vectors, values, &err), &err);
    for (size_t i = 0; i < N; i++) {
        const double *v = vectors + i * N;
        double product[N], want[N];
        if (i) assert_true(values[i - 1] >= values[i]);
        for (size_t k = 0; k < N; k++) {
            product[k] = dot(N, a + k * N, v);
            want[k] = values[i] * v[k];
        }
        /* The norm of a is about 2 sqrt(N) = 13; N epsilon of that is 1e-13. */
        cbe_assert_close(product, want, N, 1e-12, 0, "A v = value v of vector %zu", i);
        for (size_t j = 0; j <= i; j++) {
            const double got = dot(N, v, vectors + j * N), one = i == j;
            cbe_assert_close(&got, &one, 1, 1e-13, 0, "vectors %zu and %zu", i, j);
        }
    }
}

static void eigen__takes_orders_nought_and_one(void **state)
{
    (void)state;
    double a = -3, value = 0;
    cbe_assert_ok(cbe_eigen_symmetric(0, NULL, NULL, &err), &err);
    cbe_assert_ok(cbe_eigen_symmetric(1, &a, &value, &err), &err);
    assert_true(value == -3 && fabs(a) == 1);
}

static void eigen__says_when_memory_is_short(void **state)
{
    (void)state;
    for (long allowed = 0; allowed < 2; allowed++) {
        double a[4] = {2, 1, 1, 2}, values[2];
        cbe_memory_fail_after(allowed);
        const cbe_status st = cbe_eigen_symmetric(2, a, values, &err);
        cbe_memory_fail_after(-1);
        assert_int_equal(st, CBE_ERR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eigen__solves_a_matrix_of_two),
        cmocka_unit_test(eigen__meets_the_second_difference_matrix),
        cmocka_unit_test(eigen__rows_are_orthonormal_eigenvectors_of_falling_values),
        cmocka_unit_test(eigen__takes_orders_nought_and_one),
        cmocka_unit_test(eigen__says_when_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
