/* Spectra: eigenvalues and eigenvectors of S^(1/2) M S^(1/2) by their definition, and how many
 * dimensions share a sum. */
#include "support/assert_close.h"

#include <math.h>
#include <string.h>

#include "fisher/spectrum.h"
#include "math/eigen.h"
#include "support/random.h"

enum { D = 24 };

static cbe_error err;

/* A random symmetric matrix of rank `rank`, none of its eigenvalues below 0. */
static void make(double *a, uint64_t seed, size_t rank)
{
    cbe_test_random r = {seed};
    double x[D];
    memset(a, 0, D * D * sizeof *a);
    for (size_t j = 0; j < rank; j++) {
        for (size_t i = 0; i < D; i++) x[i] = cbe_test_normal(&r);
        for (size_t i = 0; i < D * D; i++) a[i] += x[i / D] * x[i % D];
    }
}

/* out = S^(1/2) x. */
static void root(const double *values, const double *components, const double *x, double *out)
{
    memset(out, 0, D * sizeof *out);
    for (size_t i = 0; i < D; i++) {
        double along = 0;
        for (size_t k = 0; k < D; k++) along += components[i * D + k] * x[k];
        for (size_t k = 0; k < D; k++) out[k] += along * sqrt(values[i]) * components[i * D + k];
    }
}

static void spectrum__is_that_of_the_product(void **state)
{
    (void)state;
    double components[D * D], variances[D], m[D * D], vectors[D * D], work[D * D], energies[D],
        trace = 0, sum = 0;
    make(components, 1, D - 3); /* states that do not vary in three directions */
    cbe_assert_ok(cbe_eigen_symmetric(D, components, variances, &err), &err);
    for (size_t i = 0; i < D; i++) variances[i] = fmax(variances[i], 0);
    make(m, 2, D - 8);
    memcpy(vectors, m, sizeof vectors);
    cbe_assert_ok(cbe_spectrum_solve(D, variances, components, vectors, work, energies, &err),
                  &err);
    for (size_t i = 0; i < D; i++) {
        double once[D], product[D] = {0}, whole[D];
        const double *u = vectors + i * D;
        assert_true(energies[i] >= 0 && (i == 0 || energies[i] <= energies[i - 1]));
        root(variances, components, u, once);
        for (size_t k = 0; k < D * D; k++) product[k / D] += m[k] * once[k % D];
        root(variances, components, product, whole);
        for (size_t k = 0; k < D; k++) {
            const double want = 2 * energies[i] * u[k];
            cbe_assert_close(&whole[k], &want, 1, 1e-11 * energies[0], 0, "%zu, %zu", i, k);
        }
        for (size_t j = 0; j <= i; j++) {
            double dot = 0;
            const double want = i == j;
            for (size_t k = 0; k < D; k++) dot += u[k] * vectors[j * D + k];
            cbe_assert_close(&dot, &want, 1, 1e-13, 0, "%zu, %zu", i, j);
        }
        sum += energies[i];
    }
    /* tr(S M) / 2 */
    for (size_t i = 0; i < D; i++)
        for (size_t k = 0; k < D * D; k++)
            trace += variances[i] * components[i * D + k / D] * m[k] * components[i * D + k % D];
    trace /= 2;
    cbe_assert_close(&sum, &trace, 1, 0, 1e-12, "sum");
}

static void summary__counts_the_dimensions_that_share_the_sum(void **state)
{
    (void)state;
    const double values[] = {50, 30, 10, 9, 1, 0, 0};
    cbe_spectrum_summary s;
    cbe_spectrum_summarise(7, values, &s);
    assert_true(s.sum == 100 && s.largest == 50);
    assert_int_equal(s.half, 1);
    assert_int_equal(s.ninety, 3);
    assert_int_equal(s.ninety_nine, 4);
    const double want = 1e4 / (2500 + 900 + 100 + 81 + 1);
    cbe_assert_close(&s.participation, &want, 1, 0, 1e-15, "participation");
    const double none[] = {0, 0};
    cbe_spectrum_summarise(2, none, &s);
    assert_true(s.sum == 0 && s.half == 0 && s.ninety_nine == 0 && s.participation == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spectrum__is_that_of_the_product),
        cmocka_unit_test(summary__counts_the_dimensions_that_share_the_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
