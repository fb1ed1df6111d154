/* The lens objective in other metrics than the plain one: against PyTorch, against the float64 twin
 * in every combination, and the twin against finite differences. */
#include "objective/lens/objective.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/decoder.h"
#include "ref/lens_ref.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/random.h"

static cbe_error err;
static const cbe_translator none = {NULL, NULL};

static cbe_covariance *covariance_of(size_t n, size_t d, const float *hidden)
{
    const cbe_covariance_block block = {n, hidden};
    cbe_covariance *c = NULL;
    cbe_assert_ok(cbe_covariance_create(&c, d, 1, &block, NULL, &err), &err);
    return c;
}

static double largest_of(size_t n, const double *x)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(x[i]));
    return largest;
}

static double *golden(const cbe_safetensors *file, const char *case_name, const char *what,
                      size_t n)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", case_name, what);
    return cbe_golden_f64(file, name, n);
}

static void compare_case(cbe_objective *o, const cbe_safetensors *file, const char *name, size_t m,
                         size_t n, const double *u)
{
    const size_t d = cbe_objective_hidden_size(o);
    double *energy = malloc(m * sizeof *energy), *grad = malloc(m * d * sizeof *grad),
           *each = malloc(m * n * sizeof *each);
    double *want = golden(file, name, "energy", m), *want_grad = golden(file, name, "grad", m * d),
           *want_each = golden(file, name, "energy_per_token", m * n);
    cbe_assert_ok(cbe_objective_eval(o, m, u, energy, grad, each, &err), &err);
    /* Logits are float32: see test_lens_objective.c. */
    cbe_assert_close(energy, want, m, 1e-6, 1e-5, "energies, %s", name);
    cbe_assert_close(each, want_each, m * n, 2e-5, 1e-4, "energies of tokens, %s", name);
    cbe_assert_close(grad, want_grad, m * d, 1e-5 * largest_of(m * d, want_grad), 0,
                     "gradients, %s", name);
    free(energy);
    free(grad);
    free(each);
    free(want);
    free(want_grad);
    free(want_each);
}

static void metric__of_the_covariance_matches_pytorch(void **state)
{
    (void)state;
    char *path = cbe_golden_path("lens_metric/golden.safetensors");
    cbe_decoder *decoder = NULL;
    cbe_safetensors *file = NULL;
    cbe_assert_ok(cbe_decoder_read(&decoder, path, NULL, &err), &err);
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    const size_t d = decoder->hidden_size;
    size_t n, m;
    float *hidden = cbe_golden_floats(file, "hidden", &n), *a = cbe_golden_floats(file, "A", NULL),
          *b = cbe_golden_floats(file, "b", NULL);
    n /= d;
    free(cbe_golden_floats(file, "u", &m));
    m /= d;
    double *u = cbe_golden_f64(file, "u", m * d), *kappa = cbe_golden_f64(file, "kappa", m),
           *ridge = cbe_golden_f64(file, "ridge", 1),
           *strength = cbe_golden_f64(file, "strength", 1);
    cbe_tensor labels, derangement;
    cbe_assert_ok(cbe_safetensors_get(file, "labels", &labels, &err), &err);
    cbe_assert_ok(cbe_safetensors_get(file, "derangement", &derangement, &err), &err);
    cbe_covariance *covariance = covariance_of(n, d, hidden);
    for (size_t j = 0; j < m; j++) {
        const double got = cbe_covariance_kappa(covariance, *ridge, u + j * d);
        cbe_assert_close(&got, &kappa[j], 1, 0, 1e-9, "kappa of %zu", j);
    }
    const cbe_metric metric = {covariance, *ridge, *strength};
    for (int kind = 0; kind < CBE_N_LOSSES; kind++)
        for (int ablation = 0; ablation < CBE_ABLATE_OPTIMAL; ablation++) {
            char name[32];
            cbe_objective *o = NULL;
            const cbe_lens_options options = {.n_tokens = n,
                                              .ablation = (cbe_ablation)ablation,
                                              .kind = (cbe_loss)kind,
                                              .labels = (const int64_t *)labels.data,
                                              .derangement = (const int64_t *)derangement.data};
            snprintf(name, sizeof name, "%s.%s", cbe_ablation_name(options.ablation),
                     cbe_loss_name(options.kind));
            cbe_assert_ok(cbe_lens_objective_create(&o, decoder, &options, &err), &err);
            cbe_assert_ok(
                cbe_lens_objective_set_layer(o, hidden, (cbe_translator){a, b}, &metric, &err),
                &err);
            compare_case(o, file, name, m, n, u);
            cbe_objective_free(o);
        }
    cbe_covariance_free(covariance);
    free(hidden);
    free(a);
    free(b);
    free(u);
    free(kappa);
    free(ridge);
    free(strength);
    cbe_safetensors_close(file);
    cbe_decoder_free(decoder);
    free(path);
}

enum { N = 150, D = 20, V = 301, M = 4 };

/* States that vary more along some axes than along others, about a mean that is not 0. */
typedef struct {
    float hidden[N * D], gamma[D], unembedding[V * D], bias[V], a[D * D], b[D];
    int64_t labels[N], derangement[N];
    double u[M * D];
} data;

static data *make_data(void)
{
    static data x;
    cbe_test_random r = {17};
    for (size_t i = 0; i < N * D; i++)
        x.hidden[i] = (float)(1 + cbe_test_normal(&r) * 4 / (double)(1 + i % D));
    for (size_t i = 0; i < D; i++) x.gamma[i] = (float)(1 + 0.3 * cbe_test_normal(&r));
    for (size_t i = 0; i < V * D; i++) x.unembedding[i] = (float)(0.5 * cbe_test_normal(&r));
    for (size_t i = 0; i < V; i++) x.bias[i] = (float)(0.3 * cbe_test_normal(&r));
    for (size_t i = 0; i < D * D; i++) x.a[i] = (float)(0.1 * cbe_test_normal(&r));
    for (size_t i = 0; i < D; i++) x.b[i] = (float)(0.2 * cbe_test_normal(&r));
    for (size_t i = 0; i < N; i++) {
        x.labels[i] = i % 10 == 9 ? -1 : (int64_t)(cbe_test_uniform(&r) * V);
        x.derangement[i] = (int64_t)((i + 11) % N);
    }
    for (size_t i = 0; i < M * D; i++) x.u[i] = cbe_test_normal(&r) / 4;
    return &x;
}

static cbe_decoder decoder_of(data *x, int variant)
{
    return (cbe_decoder){.hidden_size = D,
                         .vocab_size = V,
                         .norm = variant & 1 ? CBE_NORM_LAYER : CBE_NORM_RMS,
                         .norm_eps = 1e-5,
                         .logit_softcap = variant & 2 ? 5 : 0,
                         .gamma = x->gamma,
                         .unembedding = x->unembedding,
                         .bias = x->bias};
}

static cbe_lens_options options_of(const data *x, int kind, int ablation)
{
    return (cbe_lens_options){.n_tokens = N,
                              .ablation = (cbe_ablation)ablation,
                              .kind = (cbe_loss)kind,
                              .labels = x->labels,
                              .derangement = x->derangement,
                              .max_batch = M};
}

static cbe_objective *objective_of(const data *x, const cbe_decoder *decoder,
                                   const cbe_lens_options *options, cbe_translator translator,
                                   const cbe_metric *metric)
{
    cbe_objective *o = NULL;
    cbe_assert_ok(cbe_lens_objective_create(&o, decoder, options, &err), &err);
    cbe_assert_ok(cbe_lens_objective_set_layer(o, x->hidden, translator, metric, &err), &err);
    return o;
}

static void ref__gradient_in_a_metric_is_that_of_finite_differences(void **state)
{
    (void)state;
    data *x = make_data();
    cbe_covariance *c = covariance_of(N, D, x->hidden);
    const cbe_metric metrics[] = {{NULL, 0, 0.7}, {c, 1e-3, 1}, {c, 0.1, 1.5}};
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        for (int ablation = 0; ablation < CBE_ABLATE_OPTIMAL; ablation++) {
            const int variant = ablation;
            const cbe_decoder decoder = decoder_of(x, variant);
            const cbe_lens_options options = options_of(x, (int)i % CBE_N_LOSSES, ablation);
            const cbe_translator translator = {variant & 1 ? x->a : NULL, x->b};
            double grad[D], numeric[D], u[D];
            cbe_lens_energy_ref(&decoder, &options, x->hidden, translator, &metrics[i], x->u, 0,
                                NULL, grad);
            for (size_t k = 0; k < D; k++) {
                const double step = 1e-5;
                memcpy(u, x->u, sizeof u);
                u[k] += step;
                const double up = cbe_lens_energy_ref(&decoder, &options, x->hidden, translator,
                                                      &metrics[i], u, 0, NULL, NULL);
                u[k] -= 2 * step;
                const double down = cbe_lens_energy_ref(&decoder, &options, x->hidden, translator,
                                                        &metrics[i], u, 0, NULL, NULL);
                numeric[k] = (up - down) / (2 * step);
            }
            cbe_assert_close(grad, numeric, D, 1e-7, 1e-6, "metric %zu, ablation %d", i, ablation);
        }
    cbe_covariance_free(c);
}

static void eval__in_a_metric_matches_the_twin_in_every_combination(void **state)
{
    (void)state;
    data *x = make_data();
    cbe_covariance *c = covariance_of(N, D, x->hidden);
    const cbe_metric metrics[] = {{NULL, 0, 0.7}, {c, 1e-3, 1}, {c, 0.1, 1.5}};
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        for (int kind = 0; kind < CBE_N_LOSSES; kind++)
            for (int ablation = 0; ablation < CBE_ABLATE_OPTIMAL; ablation++)
                for (int variant = 0; variant < 8; variant++) {
                    const cbe_decoder decoder = decoder_of(x, variant);
                    const cbe_lens_options options = options_of(x, kind, ablation);
                    const cbe_translator translator = {variant & 4 ? x->a : NULL, x->b};
                    cbe_objective *o = objective_of(x, &decoder, &options, translator, &metrics[i]);
                    double energy[M], grad[M * D], want_grad[D];
                    cbe_assert_ok(cbe_objective_eval(o, M, x->u, energy, grad, NULL, &err), &err);
                    for (size_t j = 0; j < M; j++) {
                        const double want =
                            cbe_lens_energy_ref(&decoder, &options, x->hidden, translator,
                                                &metrics[i], x->u + j * D, 0, NULL, want_grad);
                        cbe_assert_close(&energy[j], &want, 1, 5e-7, 5e-6,
                                         "energy in metric %zu, kind %d, ablation %d, variant %d",
                                         i, kind, ablation, variant);
                        cbe_assert_close(grad + j * D, want_grad, D,
                                         1e-5 * largest_of(D, want_grad) + 1e-7, 0,
                                         "gradient in metric %zu, kind %d, ablation %d, variant %d",
                                         i, kind, ablation, variant);
                    }
                    cbe_objective_free(o);
                }
    cbe_covariance_free(c);
}

static void optimal__in_a_metric_is_the_least_of_all_constants(void **state)
{
    (void)state;
    enum { GRID = 40 };
    data *x = make_data();
    cbe_covariance *c = covariance_of(N, D, x->hidden);
    const cbe_metric metric = {c, 1e-3, 1};
    const cbe_decoder decoder = decoder_of(x, 0);
    const cbe_lens_options options = options_of(x, CBE_LOSS_KL, CBE_ABLATE_OPTIMAL);
    cbe_objective *o = objective_of(x, &decoder, &options, none, &metric);
    double energy[M], constant[M], grad[M * D], want_grad[D], given[M];
    cbe_assert_ok(cbe_objective_eval_optimal(o, M, x->u, energy, constant, grad, NULL, &err), &err);
    cbe_assert_ok(cbe_objective_eval_constant(o, M, x->u, constant, given, NULL, NULL, NULL, &err),
                  &err);
    cbe_assert_close(given, energy, M, 1e-8, 1e-6, "energies at the constants");
    for (size_t j = 0; j < M; j++) {
        const double *u = x->u + j * D;
        const double want = cbe_lens_energy_ref(&decoder, &options, x->hidden, none, &metric, u,
                                                constant[j], NULL, want_grad);
        cbe_assert_close(&energy[j], &want, 1, 1e-6, 1e-5, "energy of direction %zu", j);
        cbe_assert_close(grad + j * D, want_grad, D, 3e-5 * largest_of(D, want_grad), 0,
                         "gradient of direction %zu", j);
        /* c_n has about unit variance in this metric: constants of three standard deviations. */
        for (int i = 0; i <= GRID; i++) {
            const double at = constant[j] + 3 * (2.0 * i / GRID - 1);
            const double other = cbe_lens_energy_ref(&decoder, &options, x->hidden, none, &metric,
                                                     u, at, NULL, NULL);
            assert_true(other >= want - 1e-6 * fabs(want) - 1e-9);
        }
    }
    cbe_objective_free(o);
    cbe_covariance_free(c);
}

/* A long state along what the first direction writes: without the component next to nothing of it
 * is left. */
static void eval__in_a_metric_recomputes_rows_that_cancel(void **state)
{
    (void)state;
    data *x = make_data();
    for (size_t k = 0; k < D; k++) x->hidden[7 * D + k] *= 1000;
    cbe_covariance *c = covariance_of(N, D, x->hidden);
    const cbe_metric metric = {c, 1e-6, 1};
    double along[D], length = 0;
    for (size_t k = 0; k < D; k++) along[k] = (double)x->hidden[7 * D + k];
    cbe_covariance_inverse_root(c, metric.ridge, along, x->u);
    for (size_t k = 0; k < D; k++) length += x->u[k] * x->u[k];
    for (size_t k = 0; k < D; k++) x->u[k] /= sqrt(length);
    for (int variant = 0; variant < 8; variant++) {
        const cbe_decoder decoder = decoder_of(x, variant);
        const cbe_lens_options options = options_of(x, CBE_LOSS_KL, CBE_ABLATE_ZERO);
        const cbe_translator translator = {variant & 4 ? x->a : NULL, x->b};
        cbe_objective *o = objective_of(x, &decoder, &options, translator, &metric);
        double energy, grad[D], want_grad[D], each[N], want_each[N];
        cbe_assert_ok(cbe_objective_eval(o, 1, x->u, &energy, grad, each, &err), &err);
        const double want = cbe_lens_energy_ref(&decoder, &options, x->hidden, translator, &metric,
                                                x->u, 0, want_each, want_grad);
        cbe_assert_close(&energy, &want, 1, 2e-6, 1e-5, "energy, variant %d", variant);
        cbe_assert_close(each, want_each, N, 2e-5, 2e-4, "tokens, variant %d", variant);
        cbe_assert_close(grad, want_grad, D, 1e-4 * largest_of(D, want_grad), 0,
                         "gradient, variant %d", variant);
        cbe_objective_free(o);
    }
    cbe_covariance_free(c);
}

static void set_layer__without_a_metric_has_the_bits_of_the_plain_one(void **state)
{
    (void)state;
    data *x = make_data();
    const cbe_decoder decoder = decoder_of(x, 1);
    const cbe_lens_options options = options_of(x, CBE_LOSS_KL, CBE_ABLATE_MEAN);
    const cbe_translator translator = {x->a, x->b};
    const cbe_metric *metrics[] = {NULL, &cbe_metric_plain};
    double energy[2][M], grad[2][M * D];
    for (size_t i = 0; i < 2; i++) {
        cbe_objective *o = objective_of(x, &decoder, &options, translator, metrics[i]);
        cbe_assert_ok(cbe_objective_eval(o, M, x->u, energy[i], grad[i], NULL, &err), &err);
        cbe_objective_free(o);
    }
    assert_memory_equal(energy[0], energy[1], sizeof energy[0]);
    assert_memory_equal(grad[0], grad[1], sizeof grad[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metric__of_the_covariance_matches_pytorch),
        cmocka_unit_test(ref__gradient_in_a_metric_is_that_of_finite_differences),
        cmocka_unit_test(eval__in_a_metric_matches_the_twin_in_every_combination),
        cmocka_unit_test(optimal__in_a_metric_is_the_least_of_all_constants),
        cmocka_unit_test(eval__in_a_metric_recomputes_rows_that_cancel),
        cmocka_unit_test(set_layer__without_a_metric_has_the_bits_of_the_plain_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
