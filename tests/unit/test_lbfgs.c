/* L-BFGS on functions whose minimum is known, and when values are not finite. */
#include "cbe/lbfgs.h"

#include <math.h>
#include <string.h>

#include "support/assert_close.h"

typedef double function(const double *x, double *g);

static double quadratic(const double *x, double *g) /* condition 1e4 */
{
    const double scale[] = {1, 10, 100, 1e4};
    double f = 0;
    for (int i = 0; i < 4; i++) {
        g[i] = scale[i] * (x[i] - i);
        f += 0.5 * g[i] * (x[i] - i);
    }
    return f;
}

static double rosenbrock(const double *x, double *g)
{
    const double a = x[1] - x[0] * x[0], b = 1 - x[0];
    g[0] = -400 * a * x[0] - 2 * b;
    g[1] = 200 * a;
    return 100 * a * a + b * b;
}

static double beale(const double *x, double *g)
{
    const double c[] = {1.5, 2.25, 2.625};
    double f = 0, power = 1;
    g[0] = g[1] = 0;
    for (int i = 0; i < 3; i++) {
        const double before = power;
        power *= x[1];
        const double r = c[i] - x[0] * (1 - power);
        f += r * r;
        g[0] -= 2 * r * (1 - power);
        g[1] += 2 * r * x[0] * (i + 1) * before;
    }
    return f;
}

static double booth(const double *x, double *g)
{
    const double a = x[0] + 2 * x[1] - 7, b = 2 * x[0] + x[1] - 5;
    g[0] = 2 * a + 4 * b;
    g[1] = 4 * a + 2 * b;
    return a * a + b * b;
}

static const struct {
    const char *name;
    function *f;
    size_t n;
    double start[4], minimiser[4];
} problems[] = {
    {"quadratic", quadratic, 4, {5, -3, 2, 9}, {0, 1, 2, 3}},
    {"rosenbrock", rosenbrock, 2, {-1.2, 1}, {1, 1}},
    {"beale", beale, 2, {1, 1}, {3, 0.5}},
    {"booth", booth, 2, {-8, 4}, {1, 3}},
};

static cbe_error err;

static cbe_lbfgs *make(size_t n, double change_stop, double gradient_stop, size_t iterations, size_t evaluations)
{
    cbe_lbfgs *opt = NULL;
    cbe_lbfgs_options options;
    cbe_lbfgs_options_init(&options);
    options.change_stop = change_stop;
    options.gradient_stop = gradient_stop;
    options.max_iterations = iterations;
    options.max_evaluations = evaluations;
    cbe_assert_ok(cbe_lbfgs_create(&opt, n, &options, &err), &err);
    return opt;
}

static void lbfgs__finds_known_minima_and_returns_the_value_of_its_point(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof problems / sizeof *problems; p++) {
        cbe_lbfgs *opt = make(problems[p].n, 1e-16, 1e-9, 200, 400);
        double g[4], f;
        cbe_lbfgs_start(opt, problems[p].start);
        for (const double *x; (x = cbe_lbfgs_ask(opt)) != NULL;) {
            f = problems[p].f(x, g);
            cbe_lbfgs_tell(opt, f, g);
        }
        const double *best = cbe_lbfgs_best(opt, &f);
        cbe_assert_close(best, problems[p].minimiser, problems[p].n, 1e-6, 0, "%s", problems[p].name);
        assert_true(f == problems[p].f(best, g)); /* the reported value is that of the reported point */
        const double *x = cbe_lbfgs_x(opt, &f);
        assert_true(f == problems[p].f(x, g));
        assert_true(cbe_lbfgs_evaluations(opt) <= 120);
        cbe_lbfgs_free(opt);
    }
}

static void lbfgs__stops_for_each_reason(void **state)
{
    (void)state;
    const struct {
        double change, gradient;
        size_t iterations, evaluations;
        cbe_stop want;
    } cases[] = {
        {1e-16, 1e-3, 100, 200, CBE_STOP_GRADIENT},
        {1e-2, 1e-12, 100, 200, CBE_STOP_CHANGE},
        {1e-16, 1e-12, 3, 200, CBE_STOP_ITERATIONS},
        {1e-16, 1e-12, 100, 5, CBE_STOP_EVALUATIONS},
        {1e9, 1e-12, 100, 200, CBE_STOP_SLOPE},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        cbe_lbfgs *opt = make(2, cases[c].change, cases[c].gradient, cases[c].iterations, cases[c].evaluations);
        double g[2];
        cbe_lbfgs_start(opt, problems[1].start);
        for (const double *x; (x = cbe_lbfgs_ask(opt)) != NULL;) {
            const double f = rosenbrock(x, g);
            cbe_lbfgs_tell(opt, f, g);
        }
        assert_string_equal(cbe_stop_name(cbe_lbfgs_stopped(opt)), cbe_stop_name(cases[c].want));
        cbe_lbfgs_free(opt);
    }
}

static void lbfgs__turns_back_where_values_are_not_finite(void **state)
{
    (void)state;
    const double bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t b = 0; b < 3; b++) {
        cbe_lbfgs *opt = make(2, 1e-16, 1e-9, 200, 400);
        double g[2], f;
        size_t count = 0;
        cbe_lbfgs_start(opt, problems[1].start);
        for (const double *x; (x = cbe_lbfgs_ask(opt)) != NULL;) {
            f = rosenbrock(x, g);
            if (++count % 7 == 3) f = bad[b];
            cbe_lbfgs_tell(opt, f, g);
        }
        const double *best = cbe_lbfgs_best(opt, &f);
        assert_true(isfinite(f) && isfinite(best[0]) && isfinite(best[1]));
        assert_true(f < 1e-12);
        cbe_lbfgs_free(opt);
    }
}

static void lbfgs__stops_at_once_when_the_start_is_not_finite(void **state)
{
    (void)state;
    cbe_lbfgs *opt = make(2, 1e-16, 1e-9, 200, 400);
    const double g[2] = {1, 1};
    cbe_lbfgs_start(opt, problems[1].start);
    cbe_lbfgs_tell(opt, NAN, g);
    assert_null(cbe_lbfgs_ask(opt));
    assert_int_equal(cbe_lbfgs_evaluations(opt), 1);
    cbe_lbfgs_free(opt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lbfgs__finds_known_minima_and_returns_the_value_of_its_point),
        cmocka_unit_test(lbfgs__stops_for_each_reason),
        cmocka_unit_test(lbfgs__turns_back_where_values_are_not_finite),
        cmocka_unit_test(lbfgs__stops_at_once_when_the_start_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
