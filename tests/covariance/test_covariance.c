/* The covariance of a layer's states: against PyTorch in float64, and by its definition. */
#include "covariance/covariance.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/random.h"

static cbe_error err;

static double dot(size_t n, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Sigma (d, d) again, of its eigenvectors. */
static double *compose(const cbe_covariance *c)
{
    const size_t d = c->hidden_size;
    double *sigma = calloc(d * d, sizeof *sigma);
    assert_non_null(sigma);
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < d; j++)
            for (size_t k = 0; k < d; k++)
                sigma[j * d + k] +=
                    c->values[i] * c->components[i * d + j] * c->components[i * d + k];
    return sigma;
}

/* One layer of a golden file: the output of block `block`, first positions skipped. */
static void compare_layer(const cbe_safetensors *file, const capture *states, size_t n_sequences,
                          size_t context_length, size_t block)
{
    const size_t d = states->hidden_size;
    const float *hidden = states->hidden + (block + 1) * states->n_tokens * d;
    cbe_covariance_block *blocks = malloc(n_sequences * sizeof *blocks);
    char name[64];
    assert_non_null(blocks);
    for (size_t b = 0; b < n_sequences; b++)
        blocks[b] =
            (cbe_covariance_block){context_length - 1, hidden + (b * context_length + 1) * d};
    cbe_covariance *c = NULL;
    cbe_assert_ok(cbe_covariance_create(&c, d, n_sequences, blocks, NULL, &err), &err);
    assert_int_equal(c->n_tokens, n_sequences * (context_length - 1));

    snprintf(name, sizeof name, "layers.%zu.mean", block);
    double *mean = cbe_golden_f64(file, name, d);
    snprintf(name, sizeof name, "layers.%zu.covariance", block);
    double *want = cbe_golden_f64(file, name, d * d), *got = compose(c);
    snprintf(name, sizeof name, "layers.%zu.kappa", block);
    double *kappa = cbe_golden_f64(file, name, 1), *v = cbe_golden_f64(file, "v", d);
    /* The states are float32 of a forward pass that rounds otherwise: 1e-6 of the largest. */
    double top = 0;
    for (size_t i = 0; i < d; i++) top = fmax(top, want[i * d + i]);
    cbe_assert_close(c->mean, mean, d, 1e-6 * sqrt(top), 1e-5, "mean of block %zu", block);
    cbe_assert_close(got, want, d * d, 1e-6 * top, 1e-5, "covariance of block %zu", block);
    const double of_v = cbe_covariance_kappa(c, CBE_COVARIANCE_RIDGE, v);
    cbe_assert_close(&of_v, kappa, 1, 1e-6, 1e-4, "kappa of block %zu", block);
    double variance = 0;
    for (size_t i = 0; i < d; i++) variance += v[i] * dot(d, want + i * d, v);
    const double of_form = cbe_covariance_variance(c, v);
    cbe_assert_close(&of_form, &variance, 1, 1e-6, 1e-4, "variance of block %zu", block);
    free(mean);
    free(want);
    free(got);
    free(kappa);
    free(v);
    free(blocks);
    cbe_covariance_free(c);
}

static void covariance__matches_pytorch_in_float64(void **state)
{
    (void)state;
    static const char *const names[] = {"bloom", "gemma2", "gpt2", "gpt_neox", "llama", "olmo2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *model_path = cbe_golden_path("models/%s", names[i]);
        char *path = cbe_golden_path("truth/%s/golden.safetensors", names[i]);
        cbe_model *model = open_model(model_path);
        cbe_safetensors *file = open_golden(path);
        size_t n_sequences, context_length;
        int64_t *ids = cbe_golden_ids(file, "input_ids", &n_sequences, &context_length);
        capture states;
        capture_run(&states, model, n_sequences, context_length, ids);
        size_t compared = 0;
        for (size_t block = 0; block < states.n_layers; block++) {
            char name[64];
            snprintf(name, sizeof name, "layers.%zu.mean", block);
            if (!cbe_safetensors_has(file, name)) continue;
            compare_layer(file, &states, n_sequences, context_length, block);
            compared++;
        }
        assert_true(compared >= 2);
        capture_free(&states);
        free(ids);
        cbe_safetensors_close(file);
        cbe_model_close(model);
        free(path);
        free(model_path);
    }
}

enum { D = 90, N = 500 }; /* two bands of rows, one of them narrow */

static void fill(float *rows)
{
    cbe_test_random r = {7};
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < D; k++)
            rows[i * D + k] = (float)(3 + cbe_test_normal(&r) / (1 + (double)k));
}

static cbe_covariance *create(size_t d, size_t n_blocks, const cbe_covariance_block *blocks)
{
    cbe_covariance *c = NULL;
    cbe_assert_ok(cbe_covariance_create(&c, d, n_blocks, blocks, NULL, &err), &err);
    return c;
}

static void covariance__is_what_it_is_defined_as(void **state)
{
    (void)state;
    static float rows[N * D];
    static double want[D * D], mean[D];
    fill(rows);
    const cbe_covariance_block block = {N, rows};
    cbe_covariance *c = create(D, 1, &block);
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < D; k++) mean[k] += (double)rows[i * D + k] / N;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < D; j++)
            for (size_t k = 0; k < D; k++)
                want[j * D + k] +=
                    ((double)rows[i * D + j] - mean[j]) * ((double)rows[i * D + k] - mean[k]) / N;
    double *got = compose(c), trace = 0;
    for (size_t i = 0; i < D; i++) trace += want[i * D + i];
    cbe_assert_close(c->mean, mean, D, 1e-13, 0, "mean");
    cbe_assert_close(got, want, (size_t)D * D, 1e-13, 0, "covariance");
    cbe_assert_close(&c->trace, &trace, 1, 1e-12, 0, "trace");
    for (size_t i = 0; i < D; i++) {
        if (i) assert_true(c->values[i - 1] >= c->values[i]);
        for (size_t j = 0; j <= i; j++) {
            const double product = dot(D, c->components + i * D, c->components + j * D);
            const double one = i == j;
            cbe_assert_close(&product, &one, 1, 1e-12, 0, "components %zu, %zu", i, j);
        }
    }
    free(got);
    cbe_covariance_free(c);
}

static void covariance__has_the_same_bits_for_any_threads(void **state)
{
    (void)state;
    static float rows[N * D];
    fill(rows);
    const cbe_covariance_block blocks[] = {{300, rows}, {0, NULL}, {200, rows + 300 * D}};
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    cbe_covariance *one = create(D, 3, blocks);
    omp_set_num_threads(3);
    cbe_covariance *three = create(D, 3, blocks);
    omp_set_num_threads(threads);
    assert_memory_equal(one->mean, three->mean, D * sizeof(double));
    assert_memory_equal(one->values, three->values, D * sizeof(double));
    assert_memory_equal(one->components, three->components, D * D * sizeof(double));
    cbe_covariance_free(one);
    cbe_covariance_free(three);
}

static void covariance__kappa_is_1_for_principal_components_and_more_between(void **state)
{
    (void)state;
    static float rows[N * D];
    fill(rows);
    const cbe_covariance_block block = {N, rows};
    cbe_covariance *c = create(D, 1, &block);
    const double one = 1;
    for (size_t i = 0; i < D; i++) {
        const double kappa = cbe_covariance_kappa(c, 0, c->components + i * D);
        cbe_assert_close(&kappa, &one, 1, 1e-9, 0, "kappa of component %zu", i);
    }
    /* Kantorovich: between components i and j, kappa is at most (l_i + l_j)^2 / (4 l_i l_j), and
     * that halfway. */
    double v[D];
    for (size_t k = 0; k < D; k++)
        v[k] = (c->components[2 * D + k] + c->components[9 * D + k]) / sqrt(2);
    const double a = c->values[2], b = c->values[9], want = (a + b) * (a + b) / (4 * a * b),
                 got = cbe_covariance_kappa(c, 0, v);
    cbe_assert_close(&got, &want, 1, 0, 1e-9, "kappa between two components");
    cbe_covariance_free(c);
}

static void covariance__roots_undo_each_other_and_square_to_s(void **state)
{
    (void)state;
    static float rows[N * D];
    const double ridge = 1e-3;
    fill(rows);
    const cbe_covariance_block block = {N, rows};
    cbe_covariance *c = create(D, 1, &block);
    double *sigma = compose(c);
    cbe_test_random r = {11};
    double x[D], half[D], back[D], twice[D], want[D];
    for (size_t k = 0; k < D; k++) x[k] = cbe_test_normal(&r);
    cbe_covariance_root(c, ridge, x, half);
    cbe_covariance_inverse_root(c, ridge, half, back);
    cbe_assert_close(back, x, D, 1e-11, 0, "S^-1/2 S^1/2 x");
    cbe_covariance_root(c, ridge, half, twice);
    for (size_t i = 0; i < D; i++) want[i] = dot(D, sigma + i * D, x) + ridge * c->trace / D * x[i];
    cbe_assert_close(twice, want, D, 1e-11, 0, "S^1/2 S^1/2 x");
    free(sigma);
    cbe_covariance_free(c);
}

static void covariance__rank_is_below_the_number_of_tokens(void **state)
{
    (void)state;
    static float rows[N * D];
    fill(rows);
    const cbe_covariance_block few = {7, rows}, alone = {1, rows};
    cbe_covariance *c = create(D, 1, &few);
    assert_int_equal(cbe_covariance_rank(c), 6);
    /* Of a singular S the pseudoinverse is taken. */
    double out[D], x[D] = {1};
    cbe_covariance_inverse_root(c, 0, x, out);
    for (size_t k = 0; k < D; k++) assert_true(isfinite(out[k]));
    cbe_covariance_free(c);
    c = create(D, 1, &alone);
    assert_int_equal(cbe_covariance_rank(c), 0);
    cbe_covariance_free(c);
}

static void covariance__refuses_no_tokens_and_nan(void **state)
{
    (void)state;
    float rows[4] = {1, 2, NAN, 4};
    const cbe_covariance_block none = {0, NULL}, bad = {2, rows};
    cbe_covariance *c = NULL;
    assert_int_equal(cbe_covariance_create(&c, 2, 1, &none, NULL, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_covariance_create(&c, 2, 1, &bad, NULL, &err), CBE_ERR_NUMERIC);
    assert_null(c);
    assert_true(cbe_covariance_bytes(SIZE_MAX / 2) == SIZE_MAX);
    assert_true(cbe_covariance_bytes(576) > (size_t)576 * 576 * 8 * 3);
}

static void covariance__survives_every_failing_allocation(void **state)
{
    (void)state;
    static float rows[N * D];
    fill(rows);
    const cbe_covariance_block block = {N, rows};
    cbe_status st = CBE_ERR_NOMEM;
    for (long n = 0; st != CBE_OK && n < 100; n++) {
        cbe_covariance *c = NULL;
        cbe_memory_fail_after(n);
        st = cbe_covariance_create(&c, D, 1, &block, NULL, &err);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK ? c != NULL : st == CBE_ERR_NOMEM && !c);
        cbe_covariance_free(c);
    }
    assert_int_equal(st, CBE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covariance__matches_pytorch_in_float64),
        cmocka_unit_test(covariance__is_what_it_is_defined_as),
        cmocka_unit_test(covariance__has_the_same_bits_for_any_threads),
        cmocka_unit_test(covariance__kappa_is_1_for_principal_components_and_more_between),
        cmocka_unit_test(covariance__roots_undo_each_other_and_square_to_s),
        cmocka_unit_test(covariance__rank_is_below_the_number_of_tokens),
        cmocka_unit_test(covariance__refuses_no_tokens_and_nan),
        cmocka_unit_test(covariance__survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
