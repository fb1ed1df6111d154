/* Optimal ablation against the float64 twin: the constant is a global minimum, and energy and
 * gradient are those at it. */
#include "objective/lens/objective.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ref/lens_ref.h"
#include "support/assert_close.h"
#include "support/random.h"

enum { N = 400, D = 12, V = 90, M = 3, GRID = 60 };

typedef struct {
    float hidden[N * D], gamma[D], unembedding[V * D];
    int64_t labels[N], derangement[N];
    bool held_out[N];
    double v[M * D];
    cbe_decoder decoder;
} data;

/* Hidden states of two kinds, far apart along the first direction, so that the energy may have two
 * minima in the constant. */
static void make_data(data *x, double apart, double cap)
{
    cbe_test_random r = {11};
    for (size_t i = 0; i < V * D; i++) x->unembedding[i] = (float)cbe_test_normal(&r);
    for (size_t k = 0; k < D; k++) x->gamma[k] = (float)(1 + 0.2 * cbe_test_normal(&r));
    for (size_t j = 0; j < M; j++) {
        double norm = 0;
        for (size_t k = 0; k < D; k++) {
            x->v[j * D + k] = cbe_test_normal(&r);
            norm += x->v[j * D + k] * x->v[j * D + k];
        }
        for (size_t k = 0; k < D; k++) x->v[j * D + k] /= sqrt(norm);
    }
    for (size_t i = 0; i < N; i++) {
        const double kind = i % 3 ? apart : -apart;
        for (size_t k = 0; k < D; k++)
            x->hidden[i * D + k] = (float)(cbe_test_normal(&r) + kind * x->v[k]);
        x->derangement[i] = (int64_t)((i + 7) % N);
        x->held_out[i] = i >= N / 4 * 3;
    }
    x->decoder = (cbe_decoder){D, V, CBE_NORM_RMS, 1e-5, cap, x->gamma, NULL, x->unembedding, NULL};
    /* mostly what is predicted, else ce may have no least energy */
    for (size_t i = 0; i < N; i++) {
        double h[D], logits[V];
        size_t top = 0;
        for (size_t k = 0; k < D; k++) h[k] = (double)x->hidden[i * D + k];
        cbe_lens_logits_ref(&x->decoder, (cbe_translator){NULL, NULL}, h, logits);
        for (size_t t = 1; t < V; t++)
            if (logits[t] > logits[top]) top = t;
        x->labels[i] = i % 10 == 9 ? -1 : (int64_t)(i % 5 ? top : (top + 3) % V);
    }
}

static cbe_objective *make_objective(const data *x, const cbe_lens_options *options)
{
    cbe_error err = {0};
    cbe_objective *o = NULL;
    cbe_assert_ok(cbe_lens_objective_create(&o, &x->decoder, options, &err), &err);
    cbe_assert_ok(
        cbe_lens_objective_set_layer(o, x->hidden, (cbe_translator){NULL, NULL}, NULL, &err), &err);
    return o;
}

static double range_of(const data *x, const double *v)
{
    double low = HUGE_VAL, high = -HUGE_VAL;
    for (size_t i = 0; i < N; i++) {
        double c = 0;
        for (size_t k = 0; k < D; k++) c += v[k] * (double)x->hidden[i * D + k];
        low = fmin(low, c);
        high = fmax(high, c);
    }
    return high - low;
}

static void optimal__is_the_least_energy_of_all_constants(void **state)
{
    (void)state;
    static data x;
    const double aparts[] = {0, 3, 12}, caps[] = {0, 6};
    for (size_t a = 0; a < 3; a++)
        for (size_t c = 0; c < 2; c++)
            for (int kind = 0; kind < CBE_N_LOSSES; kind++) {
                make_data(&x, aparts[a], caps[c]);
                const cbe_lens_options options = {.n_tokens = N,
                                                  .ablation = CBE_ABLATE_OPTIMAL,
                                                  .kind = (cbe_loss)kind,
                                                  .labels = x.labels};
                cbe_error err = {0};
                cbe_objective *o = make_objective(&x, &options);
                double energy[M], constant[M], grad[M * D], want_grad[D], same[M];
                cbe_assert_ok(
                    cbe_objective_eval_optimal(o, M, x.v, energy, constant, grad, NULL, &err),
                    &err);
                cbe_assert_ok(cbe_objective_eval(o, M, x.v, same, NULL, NULL, &err), &err);
                cbe_assert_close(same, energy, M, 1e-9, 1e-6, "evaluation of the objective itself");
                for (size_t j = 0; j < M; j++) {
                    const double *v = x.v + j * D, range = range_of(&x, v);
                    const cbe_translator none = {NULL, NULL};
                    const double want = cbe_lens_energy_ref(&x.decoder, &options, x.hidden, none,
                                                            NULL, v, constant[j], NULL, want_grad);
                    /* as for other ablations (test_lens_objective.c), and 2e-7 for the constant */
                    cbe_assert_close(&energy[j], &want, 1, 4e-7, 3e-6, "apart %g cap %g kind %d",
                                     aparts[a], caps[c], kind);
                    double largest = 0;
                    for (size_t k = 0; k < D; k++) largest = fmax(largest, fabs(want_grad[k]));
                    /* taken where the last step, of up to 2e-6 of the range, was not made */
                    cbe_assert_close(grad + j * D, want_grad, D, 3e-5 * largest, 0, "gradient");
                    for (int i = 0; i <= GRID && a < 2; i++) {
                        const double at = constant[j] + range * (2.0 * i / GRID - 1);
                        const double other = cbe_lens_energy_ref(&x.decoder, &options, x.hidden,
                                                                 none, NULL, v, at, NULL, NULL);
                        if (!(other >= want - 1e-6 * fabs(want) - 1e-9))
                            fail_msg("direction %zu: %.9g at %g, but %.9g at %g", j, want,
                                     constant[j], other, at);
                    }
                }
                cbe_objective_free(o);
            }
}

static void optimal__is_not_above_mean_or_zero_ablation(void **state)
{
    (void)state;
    static data x;
    const double aparts[] = {0, 3, 12};
    for (size_t a = 0; a < 3; a++) {
        make_data(&x, aparts[a], 0);
        double least[M], energy[M], constant[M];
        for (int ablation = CBE_N_ABLATIONS - 1; ablation >= 0; ablation--) {
            cbe_error err = {0};
            const cbe_lens_options options = {
                .n_tokens = N, .ablation = (cbe_ablation)ablation, .derangement = x.derangement};
            cbe_objective *o = make_objective(&x, &options);
            cbe_assert_ok(cbe_objective_eval(o, M, x.v, energy, NULL, NULL, &err), &err);
            if (ablation == CBE_ABLATE_OPTIMAL) memcpy(least, energy, sizeof least);
            for (size_t j = 0; j < M && ablation != CBE_ABLATE_RESAMPLE; j++)
                assert_true(least[j] <= energy[j] * (1 + 1e-6) + 1e-9);
            /* and an objective of any ablation gives the same answer */
            cbe_assert_ok(cbe_objective_eval_optimal(o, M, x.v, energy, constant, NULL, NULL, &err),
                          &err);
            cbe_assert_close(energy, least, M, 1e-9, 1e-6, "asked of ablation %d", ablation);
            cbe_objective_free(o);
        }
    }
}

static void constant__gives_energy_and_slope(void **state)
{
    (void)state;
    static data x;
    make_data(&x, 3, 0);
    cbe_error err = {0};
    const cbe_lens_options options = {.n_tokens = N, .ablation = CBE_ABLATE_OPTIMAL};
    cbe_objective *o = make_objective(&x, &options);
    const double constant[M] = {0.3, -1, 2}, step = 1e-4;
    double energy[M], slope[M], grad[M * D], per_token[M * N];
    cbe_assert_ok(
        cbe_objective_eval_constant(o, M, x.v, constant, energy, slope, grad, per_token, &err),
        &err);
    for (size_t j = 0; j < M; j++) {
        double e[3], want_grad[D], mean = 0;
        for (int i = 0; i < 3; i++)
            e[i] = cbe_lens_energy_ref(&x.decoder, &options, x.hidden, (cbe_translator){NULL, NULL},
                                       NULL, x.v + j * D, constant[j] + (i - 1) * step, NULL,
                                       i == 1 ? want_grad : NULL);
        const double want_slope = (e[2] - e[0]) / (2 * step);
        cbe_assert_close(&energy[j], &e[1], 1, 1e-7, 2e-6, "energy %zu", j);
        cbe_assert_close(&slope[j], &want_slope, 1, 1e-6, 1e-5, "slope %zu", j);
        cbe_assert_close(grad + j * D, want_grad, D, 3e-6, 5e-6, "gradient %zu", j);
        for (size_t i = 0; i < N; i++) mean += per_token[j * N + i] / N;
        cbe_assert_close(&mean, &energy[j], 1, 1e-12, 1e-9, "mean over tokens");
    }
    cbe_objective_free(o);
}

/* Tokens held out count neither in the mean nor in the energy, and have energies of their own with
 * that mean. */
static void held_out__is_what_the_search_does_not_see(void **state)
{
    (void)state;
    static data x;
    make_data(&x, 1, 0);
    cbe_error err = {0};
    const size_t seen = N / 4 * 3;
    const cbe_lens_options all = {.n_tokens = N,
                                  .ablation = CBE_ABLATE_MEAN,
                                  .held_out = x.held_out},
                           first = {.n_tokens = seen, .ablation = CBE_ABLATE_MEAN};
    cbe_objective *o = make_objective(&x, &all), *part = make_objective(&x, &first);
    double energy[M], want[M], grad[M * D], want_grad[M * D];
    assert_int_equal(cbe_objective_n_tokens(o), seen);
    cbe_assert_ok(cbe_objective_eval(o, M, x.v, energy, grad, NULL, &err), &err);
    cbe_assert_ok(cbe_objective_eval(part, M, x.v, want, want_grad, NULL, &err), &err);
    cbe_assert_close(energy, want, M, 1e-9, 1e-7, "tokens seen");
    cbe_assert_close(grad, want_grad, M * D, 1e-7, 1e-6, "tokens seen");
    cbe_objective_set_held_out(o);
    assert_int_equal(cbe_objective_n_tokens(o), N - seen);
    cbe_assert_ok(cbe_objective_eval(o, M, x.v, energy, NULL, NULL, &err), &err);
    /* the twin on the tokens held out, with the mean of the others as a constant */
    for (size_t j = 0; j < M; j++) {
        const cbe_lens_options rest = {.n_tokens = N - seen, .ablation = CBE_ABLATE_OPTIMAL};
        double mean = 0;
        for (size_t i = 0; i < seen; i++)
            for (size_t k = 0; k < D; k++)
                mean += x.v[j * D + k] * (double)x.hidden[i * D + k] / (double)seen;
        const double e =
            cbe_lens_energy_ref(&x.decoder, &rest, x.hidden + seen * D,
                                (cbe_translator){NULL, NULL}, NULL, x.v + j * D, mean, NULL, NULL);
        cbe_assert_close(&energy[j], &e, 1, 1e-7, 2e-6, "tokens held out");
    }
    cbe_objective_set_sample(o, 0);
    assert_int_equal(cbe_objective_n_tokens(o), seen);
    cbe_objective_free(o);
    cbe_objective_free(part);
    const cbe_lens_options mixed = {.n_tokens = N,
                                    .ablation = CBE_ABLATE_RESAMPLE,
                                    .derangement = x.derangement,
                                    .held_out = x.held_out};
    assert_int_equal(cbe_lens_objective_create(&o, &x.decoder, &mixed, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "held out"));
}

/* However Z is kept: half precision moves each log-probability by a 2048th at most, products made
 * again by rounding. */
static void storage__changes_little(void **state)
{
    (void)state;
    static data x;
    for (int capped = 0; capped < 2; capped++) {
        make_data(&x, 1, capped ? 6 : 0);
        double energy[CBE_N_LOGIT_STORAGES][M], grad[CBE_N_LOGIT_STORAGES][M * D];
        for (int s = 0; s < CBE_N_LOGIT_STORAGES; s++) {
            cbe_error err = {0};
            const cbe_lens_options options = {
                .n_tokens = N, .ablation = CBE_ABLATE_MEAN, .storage = (cbe_logit_storage)s};
            cbe_objective *o = make_objective(&x, &options);
            cbe_assert_ok(cbe_objective_eval(o, M, x.v, energy[s], grad[s], NULL, &err), &err);
            const double tiny[D] = {1e-4};
            double none;
            cbe_assert_ok(cbe_objective_eval(o, 1, tiny, &none, NULL, NULL, &err), &err);
            assert_true(fabs(none) < 2e-7); /* the rounding of Z is no energy */
            cbe_objective_free(o);
        }
        cbe_assert_close(energy[CBE_LOGITS_RECOMPUTED], energy[CBE_LOGITS_FLOAT32], M, 1e-7, 1e-6,
                         "recomputed");
        cbe_assert_close(grad[CBE_LOGITS_RECOMPUTED], grad[CBE_LOGITS_FLOAT32], M * D, 1e-6, 1e-5,
                         "recomputed");
        cbe_assert_close(energy[CBE_LOGITS_FLOAT16], energy[CBE_LOGITS_FLOAT32], M, 0, 1e-3,
                         "float16");
        cbe_assert_close(grad[CBE_LOGITS_FLOAT16], grad[CBE_LOGITS_FLOAT32], M * D, 2e-3, 0,
                         "float16");
    }
}

static void bytes__are_those_of_the_arrays(void **state)
{
    (void)state;
    static data x;
    make_data(&x, 0, 0);
    cbe_lens_options options = {.n_tokens = 100000, .ablation = CBE_ABLATE_MEAN, .max_batch = 2};
    cbe_decoder large = x.decoder;
    large.vocab_size = 50000;
    large.hidden_size = 64;
    size_t bytes[CBE_N_LOGIT_STORAGES];
    for (int s = 0; s < CBE_N_LOGIT_STORAGES; s++) {
        options.storage = (cbe_logit_storage)s;
        bytes[s] = cbe_lens_objective_bytes(&large, &options);
    }
    const size_t nv = (size_t)100000 * 50000; /* and up to 100 floats of padding for each row */
    assert_in_range(bytes[0] - bytes[2] + ((size_t)64 << 20), 4 * nv, 4 * nv + ((size_t)200 << 20));
    assert_in_range(bytes[1] - bytes[2], 2 * nv, 2 * nv + ((size_t)20 << 20));
    options.n_tokens = 1000;
    large.vocab_size = SIZE_MAX / 4;
    assert_true(cbe_lens_objective_bytes(&large, &options) == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimal__is_the_least_energy_of_all_constants),
        cmocka_unit_test(optimal__is_not_above_mean_or_zero_ablation),
        cmocka_unit_test(constant__gives_energy_and_slope),
        cmocka_unit_test(held_out__is_what_the_search_does_not_see),
        cmocka_unit_test(storage__changes_little),
        cmocka_unit_test(bytes__are_those_of_the_arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
