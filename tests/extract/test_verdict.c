/* test_verdict.c - which alarm decides what, at the thresholds and with numbers that were not
 * measured. */
#include "extract/verdict.h"

#include <math.h>
#include <string.h>

#include "support/assert_close.h"

static const double ceiling = 3;

/* A report of a direction that removes what it carried. */
static cbe_vector_report quiet(void)
{
    return (cbe_vector_report){.energy = 0.3,
                               .held_out_energy = 0.27,
                               .optimal_energy = 0.25,
                               .kappa = 2,
                               .half_energy = 0.08,
                               .tenth_energy = 0.003,
                               .top_share = 0.3};
}

static void verdict__of_each_alarm(void **state)
{
    (void)state;
    cbe_vector_report r = quiet();
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_REMOVAL);
    assert_int_equal(cbe_first_alarm(&r, ceiling), CBE_N_ALARMS);
    /* At a threshold there is no alarm yet. */
    r.kappa = 10;
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_REMOVAL);
    r.kappa = 10.01;
    assert_int_equal(cbe_first_alarm(&r, ceiling), CBE_ALARM_KAPPA);
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_INJECTION);
    r = quiet();
    assert_int_equal(cbe_judge(&r, 0.29), CBE_VERDICT_INJECTION);
    r = quiet();
    r.tenth_energy = 0.3 / 501;
    assert_int_equal(cbe_first_alarm(&r, ceiling), CBE_ALARM_AMPLIFICATION);
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_INJECTION);
    r = quiet();
    r.top_share = 0.61;
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_FEW_TOKENS);
    r = quiet();
    r.held_out_energy = 0.149;
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_UNSTABLE);
    r = quiet();
    r.model_energy = 0.1;
    r.own_energy = 0.019;
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_CONTEXT);
    r.own_energy = 0.021;
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_REMOVAL);
    r.held_out_energy = 0.149;
    r.kappa = 100; /* decides before */
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_INJECTION);
}

static void numbers__that_were_not_measured_are_quiet(void **state)
{
    (void)state;
    cbe_vector_report r = quiet();
    r.held_out_energy = r.kappa = r.tenth_energy = r.top_share = NAN;
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_REMOVAL);
    assert_int_equal(cbe_judge(&r, NAN), CBE_VERDICT_REMOVAL);
    r.energy = NAN;
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_REMOVAL);
    r = (cbe_vector_report){.energy = 1e-9}; /* rounding has no amplification */
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_UNSTABLE);
    r.held_out_energy = 1e-9;
    assert_int_equal(cbe_judge(&r, ceiling), CBE_VERDICT_REMOVAL);
}

static void line__names_vectors_and_why(void **state)
{
    (void)state;
    enum { N = 12 };
    cbe_vector_report reports[N];
    char line[300];
    cbe_layer_result result = {.reports = reports, .ceiling = ceiling};
    result.basis.n_vectors = N;
    for (size_t j = 0; j < N; j++) reports[j] = quiet();
    assert_false(cbe_verdicts_line(&result, line, sizeof line));
    reports[1].held_out_energy = 0;
    assert_true(cbe_verdicts_line(&result, line, sizeof line));
    assert_string_equal(line, "vector 2: unstable (held-out energy below half)");
    reports[0].kappa = reports[3].kappa = 11;
    assert_true(cbe_verdicts_line(&result, line, sizeof line));
    assert_string_equal(line, "vectors 1, 4: injection (kappa above 10); vector 2: unstable "
                              "(held-out energy below half)");
    for (size_t j = 0; j < N; j++) reports[j].kappa = 11;
    assert_true(cbe_verdicts_line(&result, line, sizeof line));
    assert_string_equal(line,
                        "vectors 1, 2, 3, 4, 5, 6, 7, 8 and 4 more: injection (kappa above 10)");
    char shorter[20];
    assert_true(cbe_verdicts_line(&result, shorter, sizeof shorter));
    assert_int_equal(strlen(shorter), sizeof shorter - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdict__of_each_alarm),
        cmocka_unit_test(numbers__that_were_not_measured_are_quiet),
        cmocka_unit_test(line__names_vectors_and_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
