/* Unit vectors orthogonal to those found, and gradients through that projection. */
#include "search/sphere.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/random.h"

enum { D = 9, FOUND = 3, WITHIN = 6 };

static double dot(const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < D; i++) sum += a[i] * b[i];
    return sum;
}

static void random_vector(cbe_test_random *r, double *x)
{
    for (size_t i = 0; i < D; i++) x[i] = cbe_test_normal(r);
}

/* Orthonormal rows in no special position. */
static void make_found(cbe_test_random *r, double *found)
{
    for (size_t j = 0; j < FOUND; j++) {
        const cbe_sphere before = {.hidden_size = D, .n_found = j, .found = found};
        random_vector(r, found + j * D);
        for (int pass = 0; pass < 2; pass++)
            cbe_sphere_point(&before, found + j * D, found + j * D);
    }
}

/* A smooth function without symmetries, for differences. */
static double energy_of(const double *v, double *grad)
{
    double energy = 0;
    for (size_t i = 0; i < D; i++) {
        const double a = 1 + (double)i, next = v[(i + 1) % D];
        energy += sin(a * v[i]) + v[i] * v[i] * next;
        if (grad) {
            const double last = v[(i + D - 1) % D];
            grad[i] = a * cos(a * v[i]) + 2 * v[i] * next + last * last;
        }
    }
    return energy;
}

static void point__is_unit_and_orthogonal(void **state)
{
    (void)state;
    cbe_test_random r = {1};
    double found[FOUND * D], x[D], v[D], in_place[D];
    make_found(&r, found);
    for (size_t n = 0; n <= FOUND; n++) {
        const cbe_sphere sphere = {.hidden_size = D, .n_found = n, .found = found};
        random_vector(&r, x);
        const double length = cbe_sphere_point(&sphere, x, v), one = 1, zero = 0,
                     norm = sqrt(dot(v, v));
        cbe_assert_close(&norm, &one, 1, 1e-15, 0, "norm with %zu found", n);
        const double along = dot(x, v);
        cbe_assert_close(&length, &along, 1, 0, 1e-14, "length with %zu found", n);
        for (size_t j = 0; j < n; j++) {
            const double cosine = dot(v, found + j * D);
            cbe_assert_close(&cosine, &zero, 1, 1e-15, 0, "vector %zu of %zu", j, n);
        }
        memcpy(in_place, x, sizeof x);
        cbe_sphere_point(&sphere, in_place, in_place);
        assert_memory_equal(in_place, v, sizeof v);
    }
}

static void point__has_tau_in_its_divisor(void **state)
{
    (void)state;
    const double e[D] = {1}, tau = (double)FLT_EPSILON;
    const cbe_sphere sphere = {.hidden_size = D, .n_found = 1, .found = e, .tau = tau};
    const double x[D] = {5, 3e-7, 4e-7};
    double v[D];
    const double length = cbe_sphere_point(&sphere, x, v), want_length = 5e-7;
    const double want[D] = {0, 3e-7 / (5e-7 + tau), 4e-7 / (5e-7 + tau)};
    cbe_assert_close(&length, &want_length, 1, 0, 1e-15, "length");
    cbe_assert_close(v, want, D, 0, 1e-15, "v");
}

static void complement__is_a_projection(void **state)
{
    (void)state;
    cbe_test_random r = {2};
    double found[FOUND * D], x[D], once[D], twice[D];
    make_found(&r, found);
    const cbe_sphere sphere = {.hidden_size = D, .n_found = FOUND, .found = found};
    random_vector(&r, x);
    cbe_sphere_complement(&sphere, x, once);
    cbe_sphere_complement(&sphere, once, twice);
    cbe_assert_close(twice, once, D, 1e-15, 0, "projected twice");
    const cbe_sphere none = {.hidden_size = D};
    cbe_sphere_complement(&none, x, twice);
    assert_memory_equal(twice, x, sizeof x);
}

/* The span of all rows but one of an orthonormal basis, within which `found` lies. */
static void make_within(cbe_test_random *r, const double *found, double *within)
{
    memcpy(within, found, FOUND * D * sizeof *within);
    for (size_t i = FOUND; i < WITHIN; i++) {
        const cbe_sphere before = {.hidden_size = D, .n_found = i, .found = within};
        random_vector(r, within + i * D);
        for (int pass = 0; pass < 2; pass++)
            cbe_sphere_point(&before, within + i * D, within + i * D);
    }
}

static void complement__within_a_span_is_a_symmetric_projection(void **state)
{
    (void)state;
    cbe_test_random r = {4};
    double found[FOUND * D], within[WITHIN * D], scratch[WITHIN], x[D], y[D], once[D], twice[D];
    make_found(&r, found);
    make_within(&r, found, within);
    const cbe_sphere sphere = {.hidden_size = D,
                               .n_found = FOUND,
                               .found = found,
                               .n_within = WITHIN,
                               .within = within,
                               .scratch = scratch};
    const cbe_sphere outside = {.hidden_size = D, .n_found = WITHIN, .found = within};
    random_vector(&r, x);
    random_vector(&r, y);
    cbe_sphere_complement(&sphere, x, once);
    cbe_sphere_complement(&sphere, once, twice);
    cbe_assert_close(twice, once, D, 1e-15, 0, "projected twice");
    cbe_sphere_complement(&outside, once, twice);
    const double zeros[D] = {0}, along = dot(y, once);
    cbe_assert_close(twice, zeros, D, 1e-15, 0, "what lies outside of the span");
    memcpy(twice, x, sizeof x);
    cbe_sphere_complement(&sphere, twice, twice);
    assert_memory_equal(twice, once, sizeof once);
    cbe_sphere_complement(&sphere, y, y);
    const double mirrored = dot(y, x);
    cbe_assert_close(&mirrored, &along, 1, 1e-14, 0, "y . P x and P y . x");
}

static void gradient__meets_central_differences(void **state)
{
    (void)state;
    cbe_test_random r = {3};
    double found[FOUND * D], within[WITHIN * D], scratch[WITHIN];
    make_found(&r, found);
    make_within(&r, found, within);
    /* Lengths down to where the float32 epsilon is a good part of the divisor. */
    static const double lengths[] = {1, 30, 1e-3, 3e-7}, taus[] = {0, (double)FLT_EPSILON};
    for (size_t n = 0; n <= FOUND; n++)
        for (size_t t = 0; t < 2; t++)
            for (size_t l = 0; l < 4; l++) {
                const cbe_sphere sphere = {.hidden_size = D,
                                           .n_found = n,
                                           .found = found,
                                           .tau = taus[t],
                                           .n_within = n % 2 ? WITHIN : 0,
                                           .within = within,
                                           .scratch = scratch};
                double x[D], v[D], grad[D], got[D], want[D], largest = 0;
                random_vector(&r, x);
                for (size_t i = 0; i < D; i++) x[i] *= lengths[l];
                const double length = cbe_sphere_point(&sphere, x, v);
                energy_of(v, grad);
                cbe_sphere_gradient(&sphere, v, length, grad, got);
                const double h = 1e-5 * lengths[l];
                for (size_t i = 0; i < D; i++) {
                    const double kept = x[i];
                    double side[2];
                    for (int s = 0; s < 2; s++) {
                        x[i] = s ? kept - h : kept + h;
                        cbe_sphere_point(&sphere, x, v);
                        side[s] = energy_of(v, NULL);
                    }
                    x[i] = kept;
                    want[i] = (side[0] - side[1]) / (2 * h);
                    largest = fmax(largest, fabs(want[i]));
                }
                /* Third derivatives up to D^3 = 729 times h^2 / 6, relative to the length: 1e-8. */
                cbe_assert_close(got, want, D, 1e-7 * largest, 0, "%zu found, tau %g, length %g", n,
                                 taus[t], lengths[l]);
                const double along = dot(got, x), zero = 0;
                if (taus[t] == 0)
                    cbe_assert_close(&along, &zero, 1, 1e-13 * largest * lengths[l], 0, "along x");
            }
}

static void gradient__may_overwrite_its_input(void **state)
{
    (void)state;
    cbe_test_random r = {4};
    double found[FOUND * D], x[D], v[D], grad[D], out[D];
    make_found(&r, found);
    const cbe_sphere sphere = {.hidden_size = D, .n_found = FOUND, .found = found};
    random_vector(&r, x);
    const double length = cbe_sphere_point(&sphere, x, v);
    energy_of(v, grad);
    cbe_sphere_gradient(&sphere, v, length, grad, out);
    cbe_sphere_gradient(&sphere, v, length, grad, grad);
    assert_memory_equal(grad, out, sizeof out);
}

static void point__of_nothing_left_is_zero_with_a_zero_gradient(void **state)
{
    (void)state;
    double found[2 * D] = {0}, v[D], out[D];
    found[0] = found[D + 1] = 1;
    const double x[D] = {3, -4}, zeros[D] = {0}, grad[D] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    for (int with_tau = 0; with_tau < 2; with_tau++) {
        const cbe_sphere sphere = {.hidden_size = D,
                                   .n_found = 2,
                                   .found = found,
                                   .tau = with_tau ? (double)FLT_EPSILON : 0};
        const double length = cbe_sphere_point(&sphere, x, v);
        assert_true(length == 0);
        cbe_assert_close(v, zeros, D, 0, 0, "v");
        cbe_sphere_gradient(&sphere, v, length, grad, out);
        cbe_assert_close(out, zeros, D, 0, 0, "gradient");
    }
}

static void point__of_rounding_alone_is_finite_and_short(void **state)
{
    (void)state;
    cbe_test_random r = {5};
    double found[FOUND * D], x[D] = {0}, v[D];
    make_found(&r, found);
    for (size_t j = 0; j < FOUND; j++)
        for (size_t i = 0; i < D; i++) x[i] += (double)(j + 1) * found[j * D + i];
    const cbe_sphere sphere = {.hidden_size = D, .n_found = FOUND, .found = found};
    assert_true(cbe_sphere_point(&sphere, x, v) <= 1e-14 * sqrt(dot(x, x)));
    for (size_t i = 0; i < D; i++) assert_true(isfinite(v[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(point__is_unit_and_orthogonal),
        cmocka_unit_test(point__has_tau_in_its_divisor),
        cmocka_unit_test(complement__is_a_projection),
        cmocka_unit_test(complement__within_a_span_is_a_symmetric_projection),
        cmocka_unit_test(gradient__meets_central_differences),
        cmocka_unit_test(gradient__may_overwrite_its_input),
        cmocka_unit_test(point__of_nothing_left_is_zero_with_a_zero_gradient),
        cmocka_unit_test(point__of_rounding_alone_is_finite_and_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
