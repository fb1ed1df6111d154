/* The affine lens against its float64 twin; sums over parts and threads; few tokens; bad
 * numbers. */
#include "lens/fit.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "ref/affine_ref.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/random.h"

enum { D = 12, L = 2, N = 300, HELD = 100 };

/* Hidden states of two layers that determine the last one in part; every 25th token is very long,
 * as first tokens are, and component 4 is the same in all tokens. */
typedef struct {
    float states[L + 1][(N + HELD) * D];
    const float *hidden[L + 1];
} data;

static data *make_data(void)
{
    static data x;
    cbe_test_random r = {11};
    double map[D * D];
    for (size_t i = 0; i < D * D; i++) map[i] = 0.3 * cbe_test_normal(&r);
    for (size_t n = 0; n < N + HELD; n++) {
        const double length = n % 25 == 0 ? 500 : 1 + cbe_test_uniform(&r);
        for (size_t k = 0; k < D; k++) {
            x.states[0][n * D + k] = (float)(length * cbe_test_normal(&r));
            x.states[1][n * D + k] =
                (float)((double)x.states[0][n * D + k] + 0.3 * length * cbe_test_normal(&r));
        }
        x.states[0][n * D + 4] = x.states[1][n * D + 4] = 3;
        for (size_t k = 0; k < D; k++) {
            double sum = 2 + (double)x.states[1][n * D + k];
            for (size_t j = 0; j < D; j++) sum += map[k * D + j] * (double)x.states[1][n * D + j];
            x.states[2][n * D + k] = (float)(sum + 0.2 * length * cbe_test_normal(&r));
        }
    }
    for (size_t i = 0; i <= L; i++) x.hidden[i] = x.states[i];
    return &x;
}

static cbe_affine_sums *sums_of(const data *x, size_t first, size_t n)
{
    cbe_error err = {0};
    cbe_affine_sums *sums = NULL;
    cbe_assert_ok(cbe_affine_sums_create(&sums, L, D, &err), &err);
    cbe_assert_ok(cbe_affine_sums_add(sums, first, n, x->hidden, &err), &err);
    assert_int_equal(cbe_affine_sums_n_tokens(sums), n);
    return sums;
}

static cbe_tuned_lens *solve(const data *x, size_t fitted, size_t held, cbe_affine_layer *layers)
{
    cbe_error err = {0};
    cbe_tuned_lens *lens = NULL;
    cbe_affine_sums *a = sums_of(x, 0, fitted), *b = sums_of(x, fitted, held);
    cbe_assert_ok(cbe_affine_solve(&lens, a, b, layers, &err), &err);
    cbe_affine_sums_free(a);
    cbe_affine_sums_free(b);
    return lens;
}

/* The twin divides by a variance of 0: it gets the tokens with a constant component that varies by
 * very little. */
static void agrees_with_twin(void **state)
{
    (void)state;
    data *x = make_data();
    for (size_t i = 0; i < L; i++)
        for (size_t n = 0; n < N + HELD; n++) x->states[i][n * D + 4] += (float)(n % 3) * 0.5f;
    cbe_affine_layer layers[L];
    cbe_tuned_lens *lens = solve(x, N, HELD, layers);
    for (size_t i = 0; i < L; i++) {
        double a[D * D], b[D], got[D * D], got_b[D];
        const float *held = x->states[i] + N * D, *held_last = x->states[L] + N * D;
        const double logit = cbe_affine_error_ref(HELD, D, held, held_last, NULL, NULL);
        cbe_assert_close(&layers[i].error_logit, &logit, 1, 0, 1e-12, "logit lens, layer %zu", i);
        cbe_affine_fit_ref(N, D, x->states[i], x->states[L], layers[i].ridge, a, b);
        const double want = cbe_affine_error_ref(HELD, D, held, held_last, a, b);
        cbe_assert_close(&layers[i].error_affine, &want, 1, 0, 1e-9, "held-out error, layer %zu",
                         i);
        /* No ridge of the grid is better. */
        for (double ridge = 1e-6; ridge < 101; ridge *= sqrt(10)) {
            cbe_affine_fit_ref(N, D, x->states[i], x->states[L], ridge, a, b);
            assert_true(want <= cbe_affine_error_ref(HELD, D, held, held_last, a, b) * (1 + 1e-9));
        }
        cbe_affine_fit_ref(N + HELD, D, x->states[i], x->states[L], layers[i].ridge, a, b);
        for (size_t k = 0; k < D * D; k++) got[k] = (double)lens->weight[i][k];
        for (size_t k = 0; k < D; k++) got_b[k] = (double)lens->bias[i][k];
        cbe_assert_close(got, a, D * D, 1e-7, 1e-7, "A of layer %zu", i);
        /* A is rounded, and means are up to 10 */
        cbe_assert_close(got_b, b, D, 1e-5, 1e-6, "b of layer %zu", i);
    }
    assert_true(layers[1].error_affine < 0.2 * layers[1].error_logit);
    cbe_tuned_lens_free(lens);
}

static void constant_component_has_no_weight(void **state)
{
    (void)state;
    data *x = make_data();
    cbe_affine_layer layers[L];
    cbe_tuned_lens *lens = solve(x, N, HELD, layers);
    for (size_t k = 0; k < D; k++) assert_true(lens->weight[0][k * D + 4] == 0);
    assert_true(layers[0].error_affine < layers[0].error_logit);
    cbe_tuned_lens_free(lens);
}

/* Sums of parts are those of the whole but for the last bits; the solution has the same bits for
 * any number of threads. */
static void parts_and_threads(void **state)
{
    (void)state;
    const data *x = make_data();
    cbe_error err = {0};
    cbe_affine_layer whole[L], parts[L];
    cbe_tuned_lens *lens[3];
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    lens[0] = solve(x, N, HELD, whole);
    omp_set_num_threads(2);
    lens[1] = solve(x, N, HELD, parts);
    omp_set_num_threads(threads);
    cbe_affine_sums *a = sums_of(x, 0, 70), *b = sums_of(x, 70, N - 70),
                    *held = sums_of(x, N, HELD);
    cbe_affine_sums_merge(a, b);
    assert_int_equal(cbe_affine_sums_n_tokens(a), N);
    cbe_assert_ok(cbe_affine_solve(&lens[2], a, held, parts, &err), &err);
    for (size_t i = 0; i < L; i++) {
        assert_memory_equal(lens[0]->weight[i], lens[1]->weight[i], D * D * sizeof(float));
        assert_memory_equal(lens[0]->bias[i], lens[1]->bias[i], D * sizeof(float));
        cbe_assert_close_f32(lens[2]->weight[i], lens[0]->weight[i], D * D, 1e-6, 1e-6,
                             "A of layer %zu", i);
        cbe_assert_close(&parts[i].error_affine, &whole[i].error_affine, 1, 0, 1e-11, "layer %zu",
                         i);
    }
    cbe_affine_sums_free(a);
    cbe_affine_sums_free(b);
    cbe_affine_sums_free(held);
    for (int i = 0; i < 3; i++) cbe_tuned_lens_free(lens[i]);
}

/* Fewer tokens than components: a large ridge keeps the lens near the logit lens with the mean put
 * right. */
static void few_tokens(void **state)
{
    (void)state;
    const data *x = make_data();
    for (size_t n = 1; n < D; n++) {
        cbe_affine_layer layers[L];
        cbe_tuned_lens *lens = solve(x, n, 2, layers);
        for (size_t i = 0; i < L; i++) {
            assert_true(isfinite(layers[i].error_affine));
            for (size_t k = 0; k < D * D; k++)
                assert_true(isfinite(lens->weight[i][k]) && fabsf(lens->weight[i][k]) < 10);
            for (size_t k = 0; k < D; k++) assert_true(isfinite(lens->bias[i][k]));
        }
        cbe_tuned_lens_free(lens);
    }
}

static void refuses_bad_numbers(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, 1e38f};
    cbe_error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t layer = 0; layer <= L; layer++) {
            data *x = make_data();
            cbe_affine_sums *sums = NULL;
            if (i == 2 && layer == L) continue; /* a long last state has a small weight */
            x->states[layer][7 * D + 2] = bad[i];
            cbe_assert_ok(cbe_affine_sums_create(&sums, L, D, &err), &err);
            const cbe_status st = cbe_affine_sums_add(sums, 0, N, x->hidden, &err);
            if (i < 2) {
                char name[32];
                snprintf(name, sizeof name, "hidden_states.%zu", layer);
                assert_int_equal(st, CBE_ERR_NUMERIC);
                assert_non_null(strstr(err.message, name));
            } else {
                cbe_assert_ok(st, &err); /* float64 holds its square */
            }
            cbe_affine_sums_free(sums);
        }
}

static void refuses_no_tokens(void **state)
{
    (void)state;
    cbe_error err;
    const data *x = make_data();
    cbe_tuned_lens *lens = NULL;
    cbe_affine_sums *some = sums_of(x, 0, N), *none = NULL;
    cbe_assert_ok(cbe_affine_sums_create(&none, L, D, &err), &err);
    assert_int_equal(cbe_affine_solve(&lens, some, none, NULL, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_affine_solve(&lens, none, some, NULL, &err), CBE_ERR_ARG);
    assert_null(lens);
    cbe_affine_sums_free(some);
    cbe_affine_sums_free(none);
}

/* A model's own states, in one pass: the same lens as from sums made of a forward pass here. */
static void fits_a_model(void **state)
{
    (void)state;
    enum { B = 6, S = 40 };
    cbe_error err = {0};
    char *path = cbe_golden_path("models/llama");
    cbe_model *model = open_model(path);
    const cbe_model_config *config = cbe_model_get_config(model);
    int64_t ids[B * S];
    cbe_test_random r = {3};
    for (size_t i = 0; i < B * S; i++)
        ids[i] = (int64_t)(cbe_test_uniform(&r) * (double)config->vocab_size);
    cbe_tuned_lens *lens = NULL;
    cbe_affine_layer layers[8];
    cbe_assert_ok(cbe_affine_fit(&lens, model, B, S, ids, 0.4, layers, NULL, NULL, &err), &err);
    capture c;
    capture_run(&c, model, B, S, ids);
    const float *hidden[8];
    for (size_t i = 0; i <= config->n_layers; i++)
        hidden[i] = c.hidden + i * B * S * config->hidden_size;
    cbe_affine_sums *a = NULL, *b = NULL;
    cbe_tuned_lens *want = NULL;
    cbe_assert_ok(cbe_affine_sums_create(&a, config->n_layers, config->hidden_size, &err), &err);
    cbe_assert_ok(cbe_affine_sums_create(&b, config->n_layers, config->hidden_size, &err), &err);
    for (size_t s = 0; s < B; s++) /* 2 of 6, evenly spread: 2 and 5 */
        cbe_assert_ok(cbe_affine_sums_add(s % 3 == 2 ? b : a, s * S, S, hidden, &err), &err);
    cbe_assert_ok(cbe_affine_solve(&want, a, b, NULL, &err), &err);
    for (size_t i = 0; i < config->n_layers; i++) {
        cbe_assert_close_f32(lens->weight[i], want->weight[i],
                             config->hidden_size * config->hidden_size, 1e-4, 1e-4,
                             "A of layer %zu", i);
        assert_true(layers[i].error_affine < layers[i].error_logit);
    }
    assert_int_equal(cbe_affine_fit(&lens, model, 1, S, ids, 0.4, NULL, NULL, NULL, &err),
                     CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "give more text"));
    assert_int_equal(cbe_affine_fit(&lens, model, B, S, ids, 1, NULL, NULL, NULL, &err),
                     CBE_ERR_ARG);
    cbe_affine_sums_free(a);
    cbe_affine_sums_free(b);
    cbe_tuned_lens_free(lens);
    cbe_tuned_lens_free(want);
    capture_free(&c);
    cbe_model_close(model);
    free(path);
}

static void memory_runs_out(void **state)
{
    (void)state;
    const data *x = make_data();
    cbe_error err;
    cbe_affine_sums *a = sums_of(x, 0, N), *b = sums_of(x, N, HELD);
    for (long n = 0;; n++) {
        cbe_affine_sums *sums = NULL;
        cbe_tuned_lens *lens = NULL;
        omp_set_num_threads(1); /* allocations that fail are counted, not those of threads */
        cbe_memory_fail_after(n);
        cbe_status st = cbe_affine_sums_create(&sums, L, D, &err);
        if (st == CBE_OK) st = cbe_affine_sums_add(sums, 0, N, x->hidden, &err);
        if (st == CBE_OK) st = cbe_affine_solve(&lens, a, b, NULL, &err);
        cbe_memory_fail_after(-1);
        cbe_affine_sums_free(sums);
        cbe_tuned_lens_free(lens);
        if (st == CBE_OK) break;
        assert_int_equal(st, CBE_ERR_NOMEM);
        assert_true(n < 1000);
    }
    cbe_affine_sums_free(a);
    cbe_affine_sums_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_twin),    cmocka_unit_test(constant_component_has_no_weight),
        cmocka_unit_test(parts_and_threads),   cmocka_unit_test(few_tokens),
        cmocka_unit_test(refuses_bad_numbers), cmocka_unit_test(refuses_no_tokens),
        cmocka_unit_test(fits_a_model),        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
