/* L-BFGS: known minima, the promises about what is returned, stops, values that are not finite,
 * PyTorch's path. */
#include "math/lbfgs.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/problems.h"

enum { MOST = PROBLEM_MOST };

static cbe_error err;

static cbe_lbfgs_options exact_options(void)
{
    cbe_lbfgs_options o;
    cbe_lbfgs_options_init(&o);
    o.max_iterations = 1000;
    o.max_evaluations = 2000;
    o.gradient_stop = 1e-9;
    o.change_stop = 1e-20;
    return o;
}

static cbe_lbfgs *started(size_t n, const cbe_lbfgs_options *options, const double *x)
{
    cbe_lbfgs *opt = NULL;
    cbe_assert_ok(cbe_lbfgs_create(&opt, n, options, &err), &err);
    cbe_lbfgs_start(opt, x);
    assert_int_equal(cbe_lbfgs_stopped(opt), CBE_STOP_NONE);
    return opt;
}

/* Runs to the end; fails when the limit of evaluations does not hold. */
static void run(cbe_lbfgs *opt, size_t n, problem_function *f, size_t limit)
{
    double g[MOST];
    const double *x;
    size_t asked = 0;
    while ((x = cbe_lbfgs_ask(opt)) != NULL) {
        assert_true(asked++ < limit);
        const double value = f(n, x, g);
        cbe_lbfgs_tell(opt, value, g);
    }
    assert_int_equal(cbe_lbfgs_evaluations(opt), asked);
    assert_int_not_equal(cbe_lbfgs_stopped(opt), CBE_STOP_NONE);
}

static void run__finds_known_minima(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_PROBLEMS; i++) {
        const cbe_lbfgs_options options = exact_options();
        cbe_lbfgs *opt = started(problems[i].n, &options, problems[i].start);
        run(opt, problems[i].n, problems[i].f, 2100);
        double f;
        const double *x = cbe_lbfgs_best(opt, &f);
        cbe_assert_close(&f, &problems[i].minimum, 1, 1e-12, 0, "%s", problems[i].name);
        cbe_assert_close(x, problems[i].minimiser, problems[i].n, problems[i].x_tolerance, 0, "%s",
                         problems[i].name);
        cbe_lbfgs_free(opt);
    }
}

static void best__has_its_own_value_and_the_lowest(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_PROBLEMS; i++) /* stopped anywhere, also inside a line search */
        for (size_t limit = 1; limit < 40; limit += 3) {
            cbe_lbfgs_options options = exact_options();
            options.max_iterations = limit;
            options.max_line_search = limit % 5;
            cbe_lbfgs *opt = started(problems[i].n, &options, problems[i].start);
            double g[MOST], best, at, lowest = HUGE_VAL, last = 0;
            for (const double *x; (x = cbe_lbfgs_ask(opt)) != NULL;) {
                last = problems[i].f(problems[i].n, x, g);
                lowest = fmin(lowest, last);
                cbe_lbfgs_tell(opt, last, g);
            }
            const double *x = cbe_lbfgs_best(opt, &best);
            assert_true(best == lowest);
            assert_true(best == problems[i].f(problems[i].n, x, g));
            x = cbe_lbfgs_x(opt, &at);
            assert_true(at == problems[i].f(problems[i].n, x, g));
            assert_true(cbe_lbfgs_last(opt) == last);
            cbe_lbfgs_free(opt);
        }
}

static void steps__satisfy_the_strong_wolfe_conditions(void **state)
{
    (void)state;
    size_t steps = 0;
    for (size_t i = 0; i < N_PROBLEMS; i++) {
        const size_t n = problems[i].n;
        cbe_lbfgs_options options = exact_options();
        options.gradient_stop = 1e-5; /* nearer to the minimum differences of f are rounding */
        cbe_lbfgs *opt = started(n, &options, problems[i].start);
        double old_x[MOST], old_g[MOST], old_f = problems[i].f(n, problems[i].start, old_g),
                                         g[MOST];
        memcpy(old_x, problems[i].start, sizeof old_x);
        for (const double *asked; (asked = cbe_lbfgs_ask(opt)) != NULL;) {
            cbe_lbfgs_tell(opt, problems[i].f(n, asked, g), g);
            double f, before = 0, after = 0;
            const double *x = cbe_lbfgs_x(opt, &f);
            if (memcmp(x, old_x, n * sizeof *x) == 0) continue;
            problems[i].f(n, x, g);
            for (size_t k = 0; k < n; k++) {
                before += old_g[k] * (x[k] - old_x[k]);
                after += g[k] * (x[k] - old_x[k]);
            }
            if (!(f <= old_f + options.wolfe_decrease * before) ||
                !(fabs(after) <= options.wolfe_curvature * fabs(before) * (1 + 1e-9)))
                fail_msg("%s: f %.17g to %.17g, slopes %.17g to %.17g", problems[i].name, old_f, f,
                         before, after);
            memcpy(old_x, x, n * sizeof *x);
            memcpy(old_g, g, sizeof g);
            old_f = f;
            steps++;
        }
        cbe_lbfgs_free(opt);
    }
    assert_true(steps > 200);
}

static double half_square(size_t n, const double *x, double *g)
{
    double f = 0;
    for (size_t i = 0; i < n; i++) f += x[i] * x[i] / 2, g[i] = x[i];
    return f;
}

static void stop__is_each_of_its_reasons(void **state)
{
    (void)state;
    static const struct {
        cbe_stop stop;
        problem_function *f;
        double start[2];
        size_t iterations, evaluations;
    } cases[] = {
        {CBE_STOP_GRADIENT, half_square, {0, 1e-8}, 100, 125}, /* at the start */
        {CBE_STOP_GRADIENT, problem_booth, {0, 0}, 100, 125},  /* after some steps */
        {CBE_STOP_CHANGE, problem_powell, {0, 0}, 100, 125},   /* set below */
        {CBE_STOP_ITERATIONS, problem_rosenbrock, {-1.2, 1}, 5, 125},
        {CBE_STOP_EVALUATIONS, problem_rosenbrock, {-1.2, 1}, 100, 7},
        /* |g|^2 = 1e-8 is below the epsilon, |g| is not */
        {CBE_STOP_SLOPE, half_square, {0, 1e-4}, 100, 125},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double far[4] = {3, -1, 0, 1};
        const bool is_powell = cases[i].f == problem_powell;
        const size_t n = is_powell ? 4 : 2;
        cbe_lbfgs_options options;
        cbe_lbfgs_options_init(&options);
        options.max_iterations = cases[i].iterations;
        options.max_evaluations = cases[i].evaluations;
        if (is_powell) options.gradient_stop = 0;
        /* before the slope is below the epsilon */
        if (cases[i].f == problem_booth) options.gradient_stop = 1e-3;
        cbe_lbfgs *opt = started(n, &options, is_powell ? far : cases[i].start);
        run(opt, n, cases[i].f, 160);
        if (cbe_lbfgs_stopped(opt) != cases[i].stop)
            fail_msg("case %zu: stopped by %s, expected %s", i,
                     cbe_stop_name(cbe_lbfgs_stopped(opt)), cbe_stop_name(cases[i].stop));
        if (cases[i].stop == CBE_STOP_ITERATIONS) assert_int_equal(cbe_lbfgs_iterations(opt), 5);
        cbe_lbfgs_free(opt);
    }
    assert_string_equal(cbe_stop_name(CBE_STOP_NONE), "none");
    assert_string_equal(cbe_stop_name(CBE_STOP_SLOPE), "slope");
    assert_string_equal(cbe_stop_name(CBE_N_STOPS), "?");
}

/* sum c x - log x, c = 1 and 100: its minimum is at 1 / c, and it is not defined for x <= 0, where
 * the first step from (1, 1) leads. What stands there is one of these. */
static double outside_value, outside_gradient;
static size_t outside_count;

static double barrier(size_t n, const double *x, double *g)
{
    static const double c[2] = {1, 100};
    double f = 0;
    (void)n;
    if (!(x[0] > 0 && x[1] > 0)) {
        outside_count++;
        g[0] = g[1] = outside_gradient;
        return outside_value;
    }
    for (size_t i = 0; i < 2; i++) f += c[i] * x[i] - log(x[i]), g[i] = c[i] - 1 / x[i];
    return f;
}

static void tell__turns_back_from_what_is_not_finite(void **state)
{
    (void)state;
    static const double outside[][2] = {{NAN, NAN}, {NAN, 1},       {INFINITY, 0}, {-INFINITY, 0},
                                        {-5, NAN},  {-5, INFINITY}, {1e308, 1e300}};
    const double start[2] = {1, 1}, want[2] = {1, 0.01}, minimum = 2 + log(100);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        outside_value = outside[i][0];
        outside_gradient = outside[i][1];
        outside_count = 0;
        const cbe_lbfgs_options options = exact_options();
        cbe_lbfgs *opt = started(2, &options, start);
        run(opt, 2, barrier, 2100);
        double f;
        const double *x = cbe_lbfgs_best(opt, &f);
        assert_true(outside_count > 0);
        cbe_assert_close(x, want, 2, 1e-7, 0, "outside %g, gradient %g", outside_value,
                         outside_gradient);
        cbe_assert_close(&f, &minimum, 1, 1e-12, 0, "outside %g", outside_value);
        x = cbe_lbfgs_x(opt, &f);
        cbe_assert_close(x, want, 2, 1e-7, 0, "iterate");
        cbe_lbfgs_free(opt);
    }
}

static void tell__of_a_bad_value_now_and_then_does_no_harm(void **state)
{
    (void)state;
    const double start[2] = {-1.2, 1}, bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t b = 0; b < 3; b++) {
        const cbe_lbfgs_options options = exact_options();
        cbe_lbfgs *opt = started(2, &options, start);
        double g[2], f;
        size_t count = 0;
        for (const double *x; (x = cbe_lbfgs_ask(opt)) != NULL;) {
            f = problem_rosenbrock(2, x, g);
            cbe_lbfgs_tell(opt, ++count % 7 == 3 ? bad[b] : f, g);
        }
        cbe_lbfgs_best(opt, &f);
        assert_true(f >= 0 && f < 1e-12);
        cbe_lbfgs_free(opt);
    }
}

/* A bowl of depth 1 whose values are wrong by up to 2e-7, its gradients right: what float32 logits
 * make of an energy. */
static double noisy_bowl(size_t n, const double *x, double *g)
{
    double f = -1;
    for (size_t i = 0; i < n; i++) {
        const double weight = (double)(i + 1);
        f += weight * x[i] * x[i] / 2;
        g[i] = weight * x[i];
    }
    return f + 2e-7 * sin(1e9 * (x[0] + 2 * x[1] - x[2]));
}

/* Below the floor the slopes decide, and they lead to the bottom; values would end the run, or hold
 * it up, on the way. */
static void noise_floor__is_what_values_may_be_wrong_by(void **state)
{
    (void)state;
    cbe_lbfgs_options options = exact_options();
    options.gradient_stop = 1e-8;
    options.curvature_min = 1e-20;
    options.noise_floor = 4e-7;
    size_t held_up = 0;
    for (size_t i = 0; i < 20; i++) {
        const double start[] = {1e-4 * (double)(i + 1), 7e-5, -3e-5 * (double)i};
        cbe_lbfgs *opt = started(3, &options, start);
        run(opt, 3, noisy_bowl, 20);
        assert_int_equal(cbe_lbfgs_stopped(opt), CBE_STOP_GRADIENT);
        const double *x = cbe_lbfgs_x(opt, NULL);
        for (size_t k = 0; k < 3; k++) assert_true(fabs(x[k]) <= 1e-8);
        cbe_lbfgs_free(opt);
        cbe_lbfgs_options without = options;
        without.noise_floor = 0;
        opt = started(3, &without, start);
        run(opt, 3, noisy_bowl, 2100);
        held_up += cbe_lbfgs_stopped(opt) != CBE_STOP_GRADIENT || cbe_lbfgs_evaluations(opt) > 20;
        cbe_lbfgs_free(opt);
    }
    assert_true(held_up >= 10);
}

static void tell__of_nan_everywhere_but_at_the_start_ends_there(void **state)
{
    (void)state;
    cbe_lbfgs_options options;
    cbe_lbfgs_options_init(&options);
    const double start[2] = {0.3, -0.7}, g[2] = {1, 1}, bad[2] = {NAN, NAN};
    cbe_lbfgs *opt = started(2, &options, start);
    cbe_lbfgs_tell(opt, 4, g);
    while (cbe_lbfgs_ask(opt)) cbe_lbfgs_tell(opt, NAN, bad);
    double f;
    assert_memory_equal(cbe_lbfgs_best(opt, &f), start, sizeof start);
    assert_true(f == 4);
    assert_true(cbe_lbfgs_evaluations(opt) <= options.max_line_search + 3);
    cbe_lbfgs_free(opt);
}

static void tell__of_nan_at_the_start_stops_and_a_new_start_forgets_it(void **state)
{
    (void)state;
    const cbe_lbfgs_options options = exact_options();
    const double bad[2] = {NAN, 1}, good[2] = {0, 0}, want[2] = {1, 3};
    for (int i = 0; i < 3; i++) {
        cbe_lbfgs *opt = started(2, &options, want);
        const double value = i == 0 ? NAN : i == 1 ? -INFINITY : 1;
        cbe_lbfgs_tell(opt, value, i == 2 ? bad : good);
        assert_null(cbe_lbfgs_ask(opt));
        assert_int_not_equal(cbe_lbfgs_stopped(opt), CBE_STOP_NONE);
        double f;
        assert_memory_equal(cbe_lbfgs_best(opt, &f), want, sizeof want);
        assert_true(f == HUGE_VAL);
        cbe_lbfgs_start(opt, good);
        run(opt, 2, problem_booth, 2100);
        cbe_assert_close(cbe_lbfgs_best(opt, NULL), want, 2, 1e-8, 0, "after a bad start");
        cbe_lbfgs_free(opt);
    }
}

static double shifted_chain(size_t n, const double *x, double *g)
{
    double moved[4];
    for (size_t i = 0; i < n; i++) moved[i] = x[i] - 0.01;
    return problem_rosenbrock_chain(n, moved, g);
}

/* What was learned of a function helps with one nearly the same, and a start forgets it. */
static void restart__keeps_the_curvature(void **state)
{
    (void)state;
    const cbe_lbfgs_options options = exact_options();
    const double start[4] = {-1.2, 1, -1.2, 1}, want[4] = {1.01, 1.01, 1.01, 1.01};
    size_t evaluations[2];
    for (int again = 0; again < 2; again++) {
        cbe_lbfgs *opt = started(4, &options, start);
        run(opt, 4, problem_rosenbrock_chain, 500);
        if (again)
            cbe_lbfgs_restart(opt, cbe_lbfgs_x(opt, NULL));
        else
            cbe_lbfgs_start(opt, cbe_lbfgs_x(opt, NULL));
        assert_int_equal(cbe_lbfgs_evaluations(opt), 0);
        run(opt, 4, shifted_chain, 500);
        cbe_assert_close(cbe_lbfgs_best(opt, NULL), want, 4, 1e-6, 0, "the shifted minimum");
        evaluations[again] = cbe_lbfgs_evaluations(opt);
        cbe_lbfgs_free(opt);
    }
    assert_true(evaluations[1] < evaluations[0]);
}

static void path__is_that_of_pytorch(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        problem_function *f;
        size_t n;
    } paths[] = {{"pair", problem_rosenbrock, 2},
                 {"far", problem_rosenbrock, 2},
                 {"chain", problem_rosenbrock_chain, 4}};
    char *file_name = cbe_golden_path("lbfgs/golden.safetensors");
    cbe_safetensors *file;
    cbe_assert_ok(cbe_safetensors_open(&file, file_name, &err), &err);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const size_t n = paths[i].n;
        cbe_tensor points, values;
        char name[32];
        snprintf(name, sizeof name, "%s.x", paths[i].name);
        cbe_assert_ok(cbe_safetensors_get(file, name, &points, &err), &err);
        snprintf(name, sizeof name, "%s.f", paths[i].name);
        cbe_assert_ok(cbe_safetensors_get(file, name, &values, &err), &err);
        cbe_lbfgs_options options;
        cbe_lbfgs_options_init(&options);
        double start[MOST], g[MOST], want;
        memcpy(start, points.data, n * sizeof *start);
        cbe_lbfgs *opt = started(n, &options, start);
        for (const double *x; (x = cbe_lbfgs_ask(opt)) != NULL;) {
            const size_t k = cbe_lbfgs_evaluations(opt);
            assert_true(k < values.n_elements);
            memcpy(&want, (const char *)values.data + k * sizeof want, sizeof want);
            const double f = 1 + paths[i].f(n, x, g);
            cbe_assert_close(&f, &want, 1, 0, 1e-9, "%s, evaluation %zu", paths[i].name, k);
            cbe_lbfgs_tell(opt, f, g);
        }
        assert_int_equal(cbe_lbfgs_evaluations(opt), values.n_elements);
        cbe_lbfgs_free(opt);
    }
    cbe_safetensors_close(file);
    free(file_name);
}

static void create__says_when_memory_is_short(void **state)
{
    (void)state;
    cbe_lbfgs_options options;
    cbe_lbfgs_options_init(&options);
    cbe_status st = CBE_ERR_NOMEM;
    for (long allowed = 0; st != CBE_OK; allowed++) {
        cbe_lbfgs *opt = NULL;
        assert_true(allowed < 100);
        cbe_memory_fail_after(allowed);
        st = cbe_lbfgs_create(&opt, 3, &options, &err);
        cbe_memory_fail_after(-1);
        if (st != CBE_OK) assert_true(st == CBE_ERR_NOMEM && !opt);
        cbe_lbfgs_free(opt);
    }
    options.history = SIZE_MAX / 2;
    cbe_lbfgs *none = NULL;
    assert_int_equal(cbe_lbfgs_create(&none, 3, &options, &err), CBE_ERR_NOMEM);
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__finds_known_minima),
        cmocka_unit_test(best__has_its_own_value_and_the_lowest),
        cmocka_unit_test(steps__satisfy_the_strong_wolfe_conditions),
        cmocka_unit_test(stop__is_each_of_its_reasons),
        cmocka_unit_test(tell__turns_back_from_what_is_not_finite),
        cmocka_unit_test(tell__of_a_bad_value_now_and_then_does_no_harm),
        cmocka_unit_test(noise_floor__is_what_values_may_be_wrong_by),
        cmocka_unit_test(tell__of_nan_everywhere_but_at_the_start_ends_there),
        cmocka_unit_test(tell__of_nan_at_the_start_stops_and_a_new_start_forgets_it),
        cmocka_unit_test(restart__keeps_the_curvature),
        cmocka_unit_test(path__is_that_of_pytorch),
        cmocka_unit_test(create__says_when_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
