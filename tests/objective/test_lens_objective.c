/* The lens objective against its float64 twin, the twin against finite differences, and
 * determinism. */
#include "objective/lens/objective.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "math/kernels.h"
#include "ref/lens_ref.h"
#include "support/assert_close.h"
#include "support/random.h"

enum { N = 150, D = 20, V = 301, M = 5 };

/* Everything that a case needs, with every optional part present; cases switch parts off. */
typedef struct {
    float hidden[N * D], gamma[D], beta[D], unembedding[V * D], bias[V], a[D * D], b[D];
    int64_t labels[N], derangement[N];
    double v[M * D];
} data;

static data make_data(double hidden_scale, double direction_scale)
{
    static data x;
    cbe_test_random r = {7};
    for (size_t i = 0; i < N * D; i++) x.hidden[i] = (float)(hidden_scale * cbe_test_normal(&r));
    for (size_t i = 0; i < N; i += 7) x.hidden[i * D + 3] *= 30; /* some long ones */
    for (size_t i = 0; i < D; i++) x.gamma[i] = (float)(1 + 0.3 * cbe_test_normal(&r));
    for (size_t i = 0; i < D; i++) x.beta[i] = (float)(0.2 * cbe_test_normal(&r));
    for (size_t i = 0; i < V * D; i++) x.unembedding[i] = (float)(0.5 * cbe_test_normal(&r));
    for (size_t i = 0; i < V; i++) x.bias[i] = (float)(0.3 * cbe_test_normal(&r));
    for (size_t i = 0; i < D * D; i++) x.a[i] = (float)(0.1 * cbe_test_normal(&r));
    for (size_t i = 0; i < D; i++) x.b[i] = (float)(0.2 * cbe_test_normal(&r));
    for (size_t i = 0; i < N; i++) {
        x.labels[i] = i % 10 == 9 ? -1 : (int64_t)(cbe_test_uniform(&r) * V);
        x.derangement[i] = (int64_t)((i + 11) % N);
    }
    for (size_t j = 0; j < M; j++) {
        double norm = 0;
        for (size_t k = 0; k < D; k++) {
            x.v[j * D + k] = cbe_test_normal(&r);
            norm += x.v[j * D + k] * x.v[j * D + k];
        }
        for (size_t k = 0; k < D; k++) x.v[j * D + k] *= direction_scale / sqrt(norm);
    }
    return x;
}

static cbe_decoder decoder_of(data *x, cbe_norm norm, bool offset, double cap)
{
    return (cbe_decoder){D,
                         V,
                         norm,
                         1e-5,
                         cap,
                         x->gamma,
                         offset ? x->beta : NULL,
                         x->unembedding,
                         offset ? x->bias : NULL};
}

/* Largest differences allowed: energies absolute + relative, gradients relative to the largest
 * entry. */
typedef struct {
    double absolute, relative, gradient;
} tolerance;

/* Gradients are differences of expectations stored in float: about 6e-8 of terms of up to 0.5
 * nats. */
static const double GRADIENT_FLOOR = 3e-8;

static void compare(data *x, const cbe_decoder *decoder, cbe_ablation ablation, cbe_loss kind,
                    cbe_translator translator, const char *kernels, tolerance allowed)
{
    cbe_error err = {0};
    const cbe_lens_options options = {N, ablation, kind, x->derangement,     x->labels,
                                      M, kernels,  NULL, CBE_LOGITS_FLOAT32, NULL,
                                      0, 0};
    cbe_objective *objective = NULL;
    double energy[M], grad[M * D], only_energy[M], *per_token = malloc(M * N * sizeof *per_token);
    double *want_token = malloc(N * sizeof *want_token), want_grad[D];
    cbe_assert_ok(cbe_lens_objective_create(&objective, decoder, &options, &err), &err);
    cbe_assert_ok(cbe_lens_objective_set_layer(objective, x->hidden, translator, NULL, &err), &err);
    const size_t n = cbe_objective_n_tokens(objective);
    cbe_assert_ok(cbe_objective_eval(objective, M, x->v, energy, grad, per_token, &err), &err);
    cbe_assert_ok(cbe_objective_eval(objective, M, x->v, only_energy, NULL, NULL, &err), &err);
    for (size_t j = 0; j < M; j++) {
        const double want = cbe_lens_energy_ref(decoder, &options, x->hidden, translator, NULL,
                                                x->v + j * D, 0, want_token, want_grad);
        double largest = 0;
        for (size_t k = 0; k < D; k++) largest = fmax(largest, fabs(want_grad[k]));
        const char *where = kernels ? kernels : "best";
        cbe_assert_close(&energy[j], &want, 1, allowed.absolute, allowed.relative,
                         "energy %s %s %s, norm %d, cap %g", where, cbe_ablation_name(ablation),
                         cbe_loss_name(kind), (int)decoder->norm, decoder->logit_softcap);
        cbe_assert_close(&only_energy[j], &want, 1, allowed.absolute, allowed.relative,
                         "energy alone");
        cbe_assert_close(per_token + j * n, want_token, n, 20 * allowed.absolute + 1e-5,
                         20 * allowed.relative, "per token %s", where);
        cbe_assert_close(grad + j * D, want_grad, D, allowed.gradient * largest + GRADIENT_FLOOR, 0,
                         "gradient %s %s %s, norm %d, cap %g, translator %d", where,
                         cbe_ablation_name(ablation), cbe_loss_name(kind), (int)decoder->norm,
                         decoder->logit_softcap, translator.weight != NULL);
    }
    cbe_objective_free(objective);
    free(per_token);
    free(want_token);
}

static void ref__gradient_is_that_of_finite_differences(void **state)
{
    (void)state;
    data x = make_data(1, 1);
    for (int kind = 0; kind < CBE_N_LOSSES; kind++) /* that one: test_lens_optimal.c */
        for (int ablation = 0; ablation < CBE_ABLATE_OPTIMAL; ablation++)
            for (int variant = 0; variant < 4; variant++) {
                const cbe_decoder decoder = decoder_of(
                    &x, variant & 1 ? CBE_NORM_LAYER : CBE_NORM_RMS, true, variant & 2 ? 5 : 0);
                const cbe_translator translator = {variant & 1 ? x.a : NULL, x.b};
                const cbe_lens_options options = {N,
                                                  (cbe_ablation)ablation,
                                                  (cbe_loss)kind,
                                                  x.derangement,
                                                  x.labels,
                                                  0,
                                                  NULL,
                                                  NULL,
                                                  CBE_LOGITS_FLOAT32,
                                                  NULL,
                                                  0,
                                                  0};
                double grad[D], numeric[D], v[D];
                cbe_lens_energy_ref(&decoder, &options, x.hidden, translator, NULL, x.v, 0, NULL,
                                    grad);
                for (size_t k = 0; k < D; k++) {
                    const double step = 1e-5;
                    memcpy(v, x.v, sizeof v);
                    v[k] += step;
                    const double up = cbe_lens_energy_ref(&decoder, &options, x.hidden, translator,
                                                          NULL, v, 0, NULL, NULL);
                    v[k] -= 2 * step;
                    const double down = cbe_lens_energy_ref(&decoder, &options, x.hidden,
                                                            translator, NULL, v, 0, NULL, NULL);
                    numeric[k] = (up - down) / (2 * step);
                }
                cbe_assert_close(grad, numeric, D, 1e-7, 1e-6, "kind %d ablation %d variant %d",
                                 kind, ablation, variant);
            }
}

static void eval__matches_the_twin_in_every_combination(void **state)
{
    (void)state;
    data x = make_data(1, 1);
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        if (!cbe_kernels_table[k]->usable()) continue;
        for (int kind = 0; kind < CBE_N_LOSSES; kind++) /* that one: test_lens_optimal.c */
            for (int ablation = 0; ablation < CBE_ABLATE_OPTIMAL; ablation++)
                for (int variant = 0; variant < 16; variant++) {
                    const cbe_decoder decoder =
                        decoder_of(&x, variant & 1 ? CBE_NORM_LAYER : CBE_NORM_RMS, variant & 4,
                                   variant & 2 ? 5 : 0);
                    const cbe_translator translator = {variant & 8 ? x.a : NULL, x.b};
                    compare(&x, &decoder, (cbe_ablation)ablation, (cbe_loss)kind, translator,
                            cbe_kernels_table[k]->name,
                            /* ce is linear in one logit of a token: float32 steps of logits of up
                             * to 10, 5e-7, over 135 tokens leave a deviation of 5e-8; four of them
                             * are allowed. */
                            (tolerance){kind == CBE_LOSS_CE ? 3e-7 : 1e-7, 2e-6, 5e-6});
                }
    }
}

/* 1e-7 to 30 nats: sums must not drown small energies, nor overflow with large ones. */
static void eval__is_accurate_from_tiny_to_huge_energies(void **state)
{
    (void)state;
    const double scales[] = {1e-4, 1e-3, 1e-2, 0.1, 1, 3, 10};
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
        for (int layernorm = 0; layernorm < 2; layernorm++) {
            data x = make_data(1, sqrt(scales[s]));
            for (size_t i = 0; i < V * D; i++) x.unembedding[i] *= 4;
            const cbe_decoder decoder =
                decoder_of(&x, layernorm ? CBE_NORM_LAYER : CBE_NORM_RMS, layernorm, 0);
            compare(&x, &decoder, CBE_ABLATE_MEAN, CBE_LOSS_KL, (cbe_translator){NULL, NULL}, NULL,
                    (tolerance){1e-7, 1e-5, 1e-4});
        }
}

/* The first direction is that of a long hidden state, so that ablation cancels nearly all of it. */
static void eval__recomputes_rows_that_cancel(void **state)
{
    (void)state;
    for (int variant = 0; variant < 8; variant++) {
        data x = make_data(1, 1);
        double norm = 0;
        for (size_t k = 0; k < D; k++) {
            x.hidden[7 * D + k] *= 1000;
            x.v[k] = (double)x.hidden[7 * D + k];
            norm += x.v[k] * x.v[k];
        }
        for (size_t k = 0; k < D; k++) x.v[k] = x.v[k] / sqrt(norm) + 1e-5 * x.v[D + k];
        const cbe_decoder decoder =
            decoder_of(&x, variant & 1 ? CBE_NORM_LAYER : CBE_NORM_RMS, true, variant & 2 ? 5 : 0);
        for (int kind = 0; kind < CBE_N_LOSSES; kind++)
            compare(&x, &decoder, CBE_ABLATE_ZERO, (cbe_loss)kind,
                    (cbe_translator){variant & 4 ? x.a : NULL, x.b}, NULL,
                    (tolerance){2e-6, 1e-5, 1e-4});
    }
}

static void eval__has_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    data x = make_data(1, 1);
    const cbe_decoder decoder = decoder_of(&x, CBE_NORM_LAYER, true, 0);
    const cbe_lens_options options = {N,    CBE_ABLATE_MEAN,    CBE_LOSS_KL, NULL, NULL, M, NULL,
                                      NULL, CBE_LOGITS_FLOAT32, NULL,        0,    0};
    double energy[2][M], grad[2][M * D];
    const int before = omp_get_max_threads();
    for (int run = 0; run < 2; run++) {
        cbe_error err = {0};
        cbe_objective *objective = NULL;
        omp_set_num_threads(run == 0 ? 1 : 3);
        cbe_assert_ok(cbe_lens_objective_create(&objective, &decoder, &options, &err), &err);
        cbe_assert_ok(cbe_lens_objective_set_layer(objective, x.hidden, (cbe_translator){x.a, x.b},
                                                   NULL, &err),
                      &err);
        cbe_assert_ok(cbe_objective_eval(objective, M, x.v, energy[run], grad[run], NULL, &err),
                      &err);
        cbe_objective_free(objective);
    }
    omp_set_num_threads(before);
    assert_memory_equal(energy[0], energy[1], sizeof energy[0]);
    assert_memory_equal(grad[0], grad[1], sizeof grad[0]);
}

static void sample__is_the_mean_over_its_tokens(void **state)
{
    (void)state;
    data x = make_data(1, 1);
    cbe_error err = {0};
    const cbe_decoder decoder = decoder_of(&x, CBE_NORM_RMS, false, 0);
    const cbe_lens_options options = {N,    CBE_ABLATE_MEAN,    CBE_LOSS_KL, NULL, NULL, M, NULL,
                                      NULL, CBE_LOGITS_FLOAT32, NULL,        0,    0};
    cbe_objective *objective = NULL;
    double all[M], sample[M], grad[M * D], per_token[M * N], numeric[D], v[D], shifted, unused;
    cbe_assert_ok(cbe_lens_objective_create(&objective, &decoder, &options, &err), &err);
    cbe_assert_ok(
        cbe_lens_objective_set_layer(objective, x.hidden, (cbe_translator){NULL, NULL}, NULL, &err),
        &err);
    cbe_assert_ok(cbe_objective_eval(objective, M, x.v, all, NULL, per_token, &err), &err);
    cbe_objective_set_sample(objective, N / 3);
    assert_int_equal(cbe_objective_n_tokens(objective), N / 3);
    cbe_assert_ok(cbe_objective_eval(objective, M, x.v, sample, grad, NULL, &err), &err);
    for (size_t j = 0; j < M; j++) {
        double want = 0;
        for (size_t i = 0; i < N / 3; i++) want += per_token[j * N + 3 * i] / (N / 3);
        cbe_assert_close(&sample[j], &want, 1, 1e-12, 1e-9, "direction %zu", j);
    }
    /* 2e-3: float evaluations, step 1e-3 */
    for (size_t k = 0; k < D; k++) {
        memcpy(v, x.v, sizeof v);
        v[k] += 1e-3;
        cbe_assert_ok(cbe_objective_eval(objective, 1, v, &shifted, NULL, NULL, &err), &err);
        v[k] -= 2e-3;
        cbe_assert_ok(cbe_objective_eval(objective, 1, v, &unused, NULL, NULL, &err), &err);
        numeric[k] = (shifted - unused) / 2e-3;
    }
    cbe_assert_close(grad, numeric, D, 2e-3, 2e-3, "gradient of the sample");
    cbe_objective_set_sample(objective, 0);
    assert_int_equal(cbe_objective_n_tokens(objective), N);
    cbe_objective_free(objective);
}

static void create__refuses_what_cannot_work(void **state)
{
    (void)state;
    data x = make_data(1, 1);
    cbe_error err = {0};
    cbe_objective *objective = NULL;
    const cbe_decoder decoder = decoder_of(&x, CBE_NORM_RMS, false, 0);
    cbe_lens_options options = {1,    CBE_ABLATE_MEAN,    CBE_LOSS_KL, NULL, NULL, 0, NULL,
                                NULL, CBE_LOGITS_FLOAT32, NULL,        0,    0};
    assert_int_equal(cbe_lens_objective_create(&objective, &decoder, &options, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "at least 2 tokens"));
    options.n_tokens = N;
    options.ablation = CBE_ABLATE_RESAMPLE;
    assert_int_equal(cbe_lens_objective_create(&objective, &decoder, &options, &err), CBE_ERR_ARG);
    x.derangement[5] = 5;
    options.derangement = x.derangement;
    assert_int_equal(cbe_lens_objective_create(&objective, &decoder, &options, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "derangement[5]"));
    options.ablation = CBE_ABLATE_ZERO;
    options.kind = CBE_LOSS_CE;
    for (size_t i = 0; i < N; i++) x.labels[i] = -1;
    options.labels = x.labels;
    assert_int_equal(cbe_lens_objective_create(&objective, &decoder, &options, &err), CBE_ERR_ARG);
    x.labels[0] = V;
    assert_int_equal(cbe_lens_objective_create(&objective, &decoder, &options, &err), CBE_ERR_ARG);
    options.kind = CBE_LOSS_KL;
    options.kernels = "z80";
    assert_int_equal(cbe_lens_objective_create(&objective, &decoder, &options, &err), CBE_ERR_ARG);
    assert_null(objective);
}

static void set_layer__names_the_token_that_is_not_finite(void **state)
{
    (void)state;
    data x = make_data(1, 1);
    cbe_error err = {0};
    cbe_objective *objective = NULL;
    const cbe_decoder decoder = decoder_of(&x, CBE_NORM_RMS, false, 0);
    const cbe_lens_options options = {N,    CBE_ABLATE_MEAN,    CBE_LOSS_KL, NULL, NULL, 1, NULL,
                                      NULL, CBE_LOGITS_FLOAT32, NULL,        0,    0};
    cbe_assert_ok(cbe_lens_objective_create(&objective, &decoder, &options, &err), &err);
    x.hidden[42 * D + 1] = NAN;
    assert_int_equal(
        cbe_lens_objective_set_layer(objective, x.hidden, (cbe_translator){NULL, NULL}, NULL, &err),
        CBE_ERR_NUMERIC);
    assert_non_null(strstr(err.message, "token 42"));
    double energy;
    assert_int_equal(cbe_objective_eval(objective, 1, x.v, &energy, NULL, NULL, &err), CBE_ERR_ARG);
    cbe_objective_free(objective);
}

/* Energies of the first two directions. */
static void energies_of(data *x, const cbe_decoder *decoder, cbe_loss kind, double energy[2])
{
    cbe_error err = {0};
    cbe_objective *objective = NULL;
    const cbe_lens_options options = {N,    CBE_ABLATE_MEAN,    kind, NULL, x->labels, 2, NULL,
                                      NULL, CBE_LOGITS_FLOAT32, NULL, 0,    0};
    cbe_assert_ok(cbe_lens_objective_create(&objective, decoder, &options, &err), &err);
    cbe_assert_ok(cbe_lens_objective_set_layer(objective, x->hidden, (cbe_translator){NULL, NULL},
                                               NULL, &err),
                  &err);
    cbe_assert_ok(cbe_objective_eval(objective, 2, x->v, energy, NULL, NULL, &err), &err);
    cbe_objective_free(objective);
}

/* What all biases have in common changes nothing: 10^9, beside which float32 knows no logits. */
static void eval__knows_no_common_bias(void **state)
{
    (void)state;
    data x = make_data(1, 1);
    const cbe_decoder decoder = decoder_of(&x, CBE_NORM_LAYER, true, 0);
    for (int kind = 0; kind < CBE_N_LOSSES; kind++) {
        double want[2], got[2];
        memset(x.bias, 0, sizeof x.bias);
        energies_of(&x, &decoder, (cbe_loss)kind, want);
        for (size_t t = 0; t < V; t++) x.bias[t] = kind ? 1e9f : -1e9f;
        energies_of(&x, &decoder, (cbe_loss)kind, got);
        assert_memory_equal(got, want, sizeof want);
    }
}

/* A direction that is ablated by nothing, and rounding: never below 0. */
static void eval__of_a_divergence_is_not_below_zero(void **state)
{
    (void)state;
    data x = make_data(1, 1);
    const cbe_decoder decoder = decoder_of(&x, CBE_NORM_RMS, false, 0);
    double energy[2];
    for (int power = 0; power < 40; power++) {
        for (size_t k = 0; k < 2 * D; k++) x.v[k] *= 0.5;
        energies_of(&x, &decoder, CBE_LOSS_KL, energy);
        for (size_t j = 0; j < 2; j++) assert_true(energy[j] >= 0 && !signbit(energy[j]));
    }
}

static void eval__of_a_direction_that_is_not_finite_is_not_finite(void **state)
{
    (void)state;
    data x = make_data(1, 1);
    cbe_error err = {0};
    cbe_objective *objective = NULL;
    const cbe_decoder decoder = decoder_of(&x, CBE_NORM_RMS, false, 0);
    const cbe_lens_options options = {N,    CBE_ABLATE_MEAN,    CBE_LOSS_KL, NULL, NULL, 2, NULL,
                                      NULL, CBE_LOGITS_FLOAT32, NULL,        0,    0};
    double energy[2], grad[2 * D];
    cbe_assert_ok(cbe_lens_objective_create(&objective, &decoder, &options, &err), &err);
    cbe_assert_ok(
        cbe_lens_objective_set_layer(objective, x.hidden, (cbe_translator){NULL, NULL}, NULL, &err),
        &err);
    x.v[3] = NAN;
    cbe_assert_ok(cbe_objective_eval(objective, 2, x.v, energy, grad, NULL, &err), &err);
    assert_false(isfinite(energy[0]));
    assert_true(isfinite(energy[1])); /* its neighbour in the batch is not touched */
    for (size_t k = 0; k < D; k++) assert_true(isfinite(grad[D + k]));
    cbe_objective_free(objective);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref__gradient_is_that_of_finite_differences),
        cmocka_unit_test(eval__matches_the_twin_in_every_combination),
        cmocka_unit_test(eval__is_accurate_from_tiny_to_huge_energies),
        cmocka_unit_test(eval__recomputes_rows_that_cancel),
        cmocka_unit_test(eval__has_the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(sample__is_the_mean_over_its_tokens),
        cmocka_unit_test(create__refuses_what_cannot_work),
        cmocka_unit_test(set_layer__names_the_token_that_is_not_finite),
        cmocka_unit_test(eval__of_a_direction_that_is_not_finite_is_not_finite),
        cmocka_unit_test(eval__knows_no_common_bias),
        cmocka_unit_test(eval__of_a_divergence_is_not_below_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
