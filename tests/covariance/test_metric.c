/* What ablation reads and writes: the metric's definition, and its gradient by differences. */
#include "covariance/metric.h"

#include <math.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/random.h"

enum { D = 24, N = 60, M = 3 };
static cbe_error err;

static cbe_covariance *create(void)
{
    static float rows[N * D];
    cbe_test_random r = {3};
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < D; k++)
            rows[i * D + k] = (float)(cbe_test_normal(&r) * (k % 5 ? 1 : 4));
    const cbe_covariance_block block = {N, rows};
    cbe_covariance *c = NULL;
    cbe_assert_ok(cbe_covariance_create(&c, D, 1, &block, NULL, &err), &err);
    return c;
}

static void fill(double *x, size_t n, unsigned long seed)
{
    cbe_test_random r = {seed};
    for (size_t i = 0; i < n; i++) x[i] = cbe_test_normal(&r);
}

static double dot(const double *a, const double *b)
{
    double sum = 0;
    for (size_t k = 0; k < D; k++) sum += a[k] * b[k];
    return sum;
}

static void metric__that_is_plain_reads_and_writes_the_direction(void **state)
{
    (void)state;
    const cbe_metric half = {.strength = 0.5};
    double v[M * D], out[M * D];
    fill(v, M * D, 5);
    assert_true(cbe_metric_is_plain(NULL));
    assert_true(cbe_metric_is_plain(&cbe_metric_plain));
    assert_false(cbe_metric_is_plain(&half));
    cbe_metric_read(&cbe_metric_plain, D, M, v, out);
    assert_memory_equal(out, v, sizeof v);
    cbe_metric_write(&cbe_metric_plain, D, M, v, out);
    assert_memory_equal(out, v, sizeof v);
    cbe_metric_read(&half, D, M, v, out);
    assert_memory_equal(out, v, sizeof v);
    cbe_metric_write(&half, D, M, v, out);
    for (size_t i = 0; i < M * D; i++) assert_true(out[i] == v[i] * 0.5);
}

static void metric__of_the_covariance_writes_what_varies_with_what_it_reads(void **state)
{
    (void)state;
    cbe_covariance *c = create();
    const cbe_metric metric = {c, 0, 1};
    double u[M * D], r[M * D], w[M * D];
    fill(u, M * D, 6);
    cbe_metric_read(&metric, D, M, u, r);
    cbe_metric_write(&metric, D, M, u, w);
    for (size_t j = 0; j < M; j++) {
        /* w = Sigma r, and r . w = |u|^2 = r' Sigma r */
        double want[D] = {0};
        for (size_t i = 0; i < D; i++) {
            const double *e = c->components + i * D;
            const double along = c->values[i] * dot(e, r + j * D);
            for (size_t k = 0; k < D; k++) want[k] += along * e[k];
        }
        cbe_assert_close(w + j * D, want, D, 1e-11, 0, "w of direction %zu", j);
        const double both = dot(r + j * D, w + j * D), squared = dot(u + j * D, u + j * D);
        cbe_assert_close(&both, &squared, 1, 1e-11, 0, "r . w of direction %zu", j);
    }
    cbe_covariance_free(c);
}

/* An energy of what is read and written: sums of sines with fixed factors. */
static double energy_of(const cbe_metric *metric, const double *v, const double *a, const double *b,
                        double *by_read, double *by_write)
{
    double r[D], w[D], energy = 0;
    cbe_metric_read(metric, D, 1, v, r);
    cbe_metric_write(metric, D, 1, v, w);
    for (size_t k = 0; k < D; k++) {
        energy += sin(a[k] * r[k]) + sin(b[k] * w[k]) * r[(k + 1) % D];
        by_read[k] = a[k] * cos(a[k] * r[k]) + sin(b[(k + D - 1) % D] * w[(k + D - 1) % D]);
        by_write[k] = b[k] * cos(b[k] * w[k]) * r[(k + 1) % D];
    }
    return energy;
}

static void metric__gradient_meets_central_differences(void **state)
{
    (void)state;
    cbe_covariance *c = create();
    const cbe_metric metrics[] = {cbe_metric_plain, {.strength = 0.5}, {c, 1e-3, 1}, {c, 0.1, 1.5}};
    double v[D], a[D], b[D];
    fill(v, D, 8);
    fill(a, D, 9);
    fill(b, D, 10);
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        double by_read[D], by_write[D], scratch[D], got[D], want[D], unused[D];
        energy_of(&metrics[i], v, a, b, by_read, by_write);
        cbe_metric_gradient(&metrics[i], D, by_read, by_write, scratch, got);
        for (size_t k = 0; k < D; k++) {
            const double step = 1e-5, x = v[k];
            v[k] = x + step;
            const double above = energy_of(&metrics[i], v, a, b, unused, scratch);
            v[k] = x - step;
            want[k] = (above - energy_of(&metrics[i], v, a, b, unused, scratch)) / (2 * step);
            v[k] = x;
        }
        cbe_assert_close(got, want, D, 1e-7, 1e-7, "gradient in metric %zu", i);
        /* The output may lie where either input does. */
        double in_read[D], in_write[D];
        memcpy(in_read, by_read, sizeof in_read);
        memcpy(in_write, by_write, sizeof in_write);
        cbe_metric_gradient(&metrics[i], D, in_read, by_write, scratch, in_read);
        cbe_metric_gradient(&metrics[i], D, by_read, in_write, scratch, in_write);
        assert_memory_equal(in_read, got, sizeof got);
        assert_memory_equal(in_write, got, sizeof got);
    }
    cbe_covariance_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metric__that_is_plain_reads_and_writes_the_direction),
        cmocka_unit_test(metric__of_the_covariance_writes_what_varies_with_what_it_reads),
        cmocka_unit_test(metric__gradient_meets_central_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
