/* The elementwise functions of the forward pass against float64, over their whole range. */
#include "support/assert_close.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/activation.h"
#include "model/attention.h"
#include "math/norm.h"
#include "math/rows.h"

enum { N = 40001 };

/* From -range to range. */
static float *ramp(double range)
{
    float *x = malloc(N * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < N; i++) x[i] = (float)(range * (2 * (double)i / (N - 1) - 1));
    return x;
}

static double silu(double z)
{
    return z / (1 + exp(-z));
}

static double gelu(double z)
{
    return z * erfc(-z / sqrt(2)) / 2;
}

static double gelu_tanh(double z)
{
    return z / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (z + 0.044715 * z * z * z)));
}

static double quick_gelu(double z)
{
    return z / (1 + exp(-1.702 * z));
}

static double relu(double z)
{
    return fmax(z, 0);
}

static const struct {
    cbe_activation activation;
    double (*plain)(double z);
    const char *names[2];
} functions[] = {
    {CBE_SILU, silu, {"silu", "swish"}},
    {CBE_GELU, gelu, {"gelu", "gelu_python"}},
    {CBE_GELU_TANH, gelu_tanh, {"gelu_new", "gelu_pytorch_tanh"}},
    {CBE_QUICK_GELU, quick_gelu, {"quick_gelu", "quick_gelu"}},
    {CBE_RELU, relu, {"relu", "relu"}},
};
enum { N_FUNCTIONS = sizeof functions / sizeof *functions };
_Static_assert((int)N_FUNCTIONS == (int)CBE_N_ACTIVATIONS, "each activation has its twin");

/* The exponential is good to 1.5e-7 of itself and two or three operations follow: 4e-7 of the
 * value; gelu's polynomial is fitted to 4e-8 besides. */
static void activation__matches_its_definition(void **state)
{
    (void)state;
    static const double ranges[] = {0.01, 6, 60, 3e4};
    for (size_t f = 0; f < N_FUNCTIONS; f++)
        for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
            float *x = ramp(ranges[r]), *got = ramp(ranges[r]), *gate = ramp(2);
            double *want = malloc(2 * N * sizeof *want), *values = want + N;
            assert_non_null(want);
            cbe_activate(functions[f].activation, N, got, got);
            for (size_t i = 0; i < N; i++) {
                want[i] = functions[f].plain((double)x[i]);
                values[i] = (double)got[i];
            }
            cbe_assert_close(values, want, N, 8e-8, 4e-7, "%s, range %g", functions[f].names[0],
                             ranges[r]);
            cbe_activate_gated(functions[f].activation, N, x, gate, x);
            for (size_t i = 0; i < N; i++) got[i] *= gate[i];
            assert_memory_equal(x, got, N * sizeof *x);
            free(x);
            free(got);
            free(gate);
            free(want);
        }
}

static void activation__is_found_by_its_names(void **state)
{
    (void)state;
    for (size_t f = 0; f < N_FUNCTIONS; f++)
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(cbe_activation_find(functions[f].names[i]), functions[f].activation);
    assert_int_equal(cbe_activation_find("GELU"), CBE_N_ACTIVATIONS);
    assert_int_equal(cbe_activation_find(""), CBE_N_ACTIVATIONS);
}

static void softcap__matches_tanh_near_and_far(void **state)
{
    (void)state;
    static const double ranges[] = {1e-3, 0.7, 20, 1e4};
    for (size_t r = 0; r < 4; r++) {
        float *x = ramp(ranges[r]), *got = ramp(ranges[r]);
        double *want = malloc(2 * N * sizeof *want), *values = want + N;
        assert_non_null(want);
        cbe_softcap_row(N, 3, got);
        for (size_t i = 0; i < N; i++) {
            want[i] = 3 * tanh((double)x[i] / 3);
            values[i] = (double)got[i];
        }
        /* A polynomial of 7e-8 and the rounding of x / c, 6e-8 each. */
        cbe_assert_close(values, want, N, 0, 3e-7, "range %g", ranges[r]);
        free(x);
        free(got);
        free(want);
    }
}

static void add_row__adds_at_every_tail(void **state)
{
    (void)state;
    for (size_t n = 0; n < 70; n++) {
        float x[70], out[70];
        for (size_t i = 0; i < 70; i++) {
            x[i] = (float)i;
            out[i] = 100;
        }
        cbe_add_row(n, x, out);
        for (size_t i = 0; i < 70; i++) assert_true(out[i] == (i < n ? 100 + (float)i : 100));
    }
}

/* Press et al.: for 8 heads 1/2, 1/4, .. 1/256; for others every other slope of the next power. */
static void alibi__slopes_are_geometric(void **state)
{
    (void)state;
    float slopes[12];
    cbe_alibi_slopes(8, slopes);
    for (size_t i = 0; i < 8; i++) assert_true(slopes[i] == ldexpf(1, -(int)i - 1));
    cbe_alibi_slopes(12, slopes);
    for (size_t i = 0; i < 8; i++) assert_true(slopes[i] == ldexpf(1, -(int)i - 1));
    for (size_t i = 0; i < 4; i++)
        assert_true(slopes[8 + i] == (float)exp2(-0.5 * (double)(2 * i + 1)));
    cbe_alibi_slopes(1, slopes);
    assert_true(slopes[0] == ldexpf(1, -8));
}

/* Rows with a mean far from 0 and one entry of thousands: float64 sums. */
static void norm__matches_its_definition(void **state)
{
    (void)state;
    enum { ROWS = 3, D = 77 };
    float x[ROWS * D], gamma[D], beta[D], got[ROWS * D];
    for (size_t i = 0; i < ROWS * D; i++)
        x[i] = (float)(sin((double)i * 1.7) + 3 * (double)(i / D));
    x[5] = 4000;
    for (size_t i = 0; i < D; i++) {
        gamma[i] = (float)cos((double)i);
        beta[i] = (float)i / 50;
    }
    for (int kind = 0; kind < CBE_N_NORMS; kind++) {
        double want[ROWS * D], values[ROWS * D];
        for (size_t r = 0; r < ROWS; r++) {
            double mean = 0, square = 0;
            const float *row = x + r * D;
            for (size_t i = 0; i < D && kind == CBE_NORM_LAYER; i++) mean += (double)row[i] / D;
            for (size_t i = 0; i < D; i++) square += pow((double)row[i] - mean, 2) / D;
            for (size_t i = 0; i < D; i++)
                want[r * D + i] = ((double)row[i] - mean) / sqrt(square + 1e-5) * (double)gamma[i] +
                                  (double)beta[i];
        }
        cbe_norm_rows((cbe_norm)kind, 1e-5, ROWS, D, x, gamma, beta, got);
        for (size_t i = 0; i < ROWS * D; i++) values[i] = (double)got[i];
        /* The mean is rounded to float32, 2e-7 of 6; values reach 9. */
        cbe_assert_close(values, want, ROWS * D, 2e-6, 0, "norm %d", kind);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activation__matches_its_definition),
        cmocka_unit_test(activation__is_found_by_its_names),
        cmocka_unit_test(softcap__matches_tanh_near_and_far),
        cmocka_unit_test(add_row__adds_at_every_tail),
        cmocka_unit_test(alibi__slopes_are_geometric),
        cmocka_unit_test(norm__matches_its_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
