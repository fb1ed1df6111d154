/* Labels drawn from a decoder's predictions: their frequencies, their gradients, and that nothing
 * but the token and the seed decides them. */
#include "support/assert_close.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "fisher/labels.h"
#include "support/random.h"

/* Three chunks of the vocabulary, the last of them a part. */
enum { D = 16, V = 4500, S = 7, SKIP = 2, B = 5, N = B * S };

static cbe_error err;

typedef struct {
    cbe_decoder decoder;
    float *last; /* (B S, D) */
} problem;

static float *random_floats(size_t n, uint64_t seed, double scale)
{
    cbe_test_random r = {seed};
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = (float)(scale * cbe_test_normal(&r));
    return x;
}

static void make(problem *p, cbe_norm norm, double cap, bool bias)
{
    *p = (problem){.decoder = {.hidden_size = D,
                               .vocab_size = V,
                               .norm = norm,
                               .norm_eps = 1e-5,
                               .logit_softcap = cap}};
    p->decoder.gamma = random_floats(D, 1, 0.7);
    p->decoder.beta = norm == CBE_NORM_LAYER ? random_floats(D, 2, 0.5) : NULL;
    p->decoder.unembedding = random_floats(V * D, 3, 1);
    p->decoder.bias = bias ? random_floats(V, 4, 1) : NULL;
    p->last = random_floats(N * D, 5, 3);
}

static void destroy(problem *p)
{
    float *owned[] = {p->decoder.gamma, p->decoder.beta, p->decoder.unembedding, p->decoder.bias,
                      p->last};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

/* log softmax of a state, as it reads. */
static void log_probs(const cbe_decoder *o, const double *h, double *out)
{
    double mean = 0, square = 0, top = -INFINITY, sum = 0;
    for (size_t k = 0; k < D && o->norm == CBE_NORM_LAYER; k++) mean += h[k] / D;
    for (size_t k = 0; k < D; k++) square += (h[k] - mean) * (h[k] - mean) / D;
    for (size_t t = 0; t < V; t++) {
        out[t] = o->bias ? (double)o->bias[t] : 0;
        for (size_t k = 0; k < D; k++)
            out[t] += (double)o->unembedding[t * D + k] *
                      ((h[k] - mean) / sqrt(square + o->norm_eps) * (double)o->gamma[k] +
                       (o->beta ? (double)o->beta[k] : 0));
        if (o->logit_softcap > 0) out[t] = o->logit_softcap * tanh(out[t] / o->logit_softcap);
        top = fmax(top, out[t]);
    }
    for (size_t t = 0; t < V; t++) sum += exp(out[t] - top);
    for (size_t t = 0; t < V; t++) out[t] -= top + log(sum);
}

static cbe_labels *labels_of(const problem *p, size_t n_draws, uint64_t seed)
{
    const cbe_labels_options options = {S, SKIP, B, n_draws, seed};
    cbe_labels *labels = NULL;
    cbe_assert_ok(cbe_labels_create(&labels, &p->decoder, &options, &err), &err);
    return labels;
}

/* Neighbouring entries of the vocabulary share a bin until 40 labels are expected in it; 0.1% of
 * correct samplers lie more than 3.1 standard deviations above the mean of chi-square. */
static void check_frequencies(const problem *p)
{
    enum { DRAWS = 20000, LEAST = 40 };
    static double log_p[V];
    static size_t count[V];
    cbe_labels *labels = labels_of(p, DRAWS, 11);
    cbe_assert_ok(cbe_labels_take(labels, 0, B, p->last, NULL, &err), &err);
    for (size_t n = SKIP; n < N; n += 4) {
        if (n % S < SKIP) continue;
        double h[D], expected = 0, square = 0;
        size_t got = 0, bins = 0;
        for (size_t k = 0; k < D; k++) h[k] = (double)p->last[n * D + k];
        log_probs(&p->decoder, h, log_p);
        memset(count, 0, sizeof count);
        for (size_t r = 0; r < DRAWS; r++) count[cbe_labels_get(labels, r)[n]]++;
        for (size_t t = 0; t < V; t++) {
            expected += DRAWS * exp(log_p[t]);
            got += count[t];
            if (expected < LEAST && t + 1 < V) continue;
            square += ((double)got - expected) * ((double)got - expected) / fmax(expected, 1);
            bins++;
            expected = 0;
            got = 0;
        }
        assert_true(bins > 20);
        const double freedom = (double)bins - 1;
        assert_true(square < freedom + 3.1 * sqrt(2 * freedom));
        assert_true(square > freedom - 3.1 * sqrt(2 * freedom));
    }
    cbe_labels_free(labels);
}

static void labels__have_the_frequencies_of_the_predictions(void **state)
{
    (void)state;
    problem p;
    make(&p, CBE_NORM_RMS, 0, false);
    check_frequencies(&p);
    destroy(&p);
    make(&p, CBE_NORM_LAYER, 3, true);
    check_frequencies(&p);
    destroy(&p);
}

/* Float32 rounds W[y] - E: 1e-5 of their sizes. */
static void check_gradient(const problem *p)
{
    static double log_p[V];
    int64_t given[2 * N];
    float grad[N * D];
    for (size_t i = 0; i < 2 * N; i++) given[i] = i % N % S < SKIP ? -1 : (int64_t)(i * 911 % V);
    given[5] = -1; /* of the first draw: no label */
    const cbe_labels_given to = {given, N};
    cbe_labels *labels = labels_of(p, 2, 0);
    cbe_memory_fail_after(0);
    cbe_assert_ok(cbe_labels_take(labels, 0, B, p->last, &to, &err), &err);
    cbe_memory_fail_after(-1);
    for (size_t r = 0; r < 2; r++) {
        assert_memory_equal(cbe_labels_get(labels, r), given + r * N, N * sizeof *given);
        cbe_labels_gradient(labels, r, p->last, grad);
        for (size_t n = 0; n < N; n++) {
            const int64_t label = given[r * N + n];
            for (size_t k = n % 3; k < D; k += 7) {
                const double step = 1e-4, got = (double)grad[n * D + k];
                double want = 0;
                for (int side = -1; side <= 1 && label >= 0; side += 2) {
                    double h[D];
                    for (size_t i = 0; i < D; i++) h[i] = (double)p->last[n * D + i];
                    h[k] += side * step;
                    log_probs(&p->decoder, h, log_p);
                    want += side * log_p[label] / (2 * step);
                }
                cbe_assert_close(&got, &want, 1, 1e-5, 1e-5, "draw %zu, token %zu, %zu", r, n, k);
            }
        }
    }
    cbe_labels_free(labels);
}

static void gradient__is_that_of_the_log_probability(void **state)
{
    (void)state;
    static const double caps[] = {0, 2.5};
    for (size_t i = 0; i < 4; i++) {
        problem p;
        make(&p, i / 2 ? CBE_NORM_LAYER : CBE_NORM_RMS, caps[i % 2], i != 0);
        check_gradient(&p);
        destroy(&p);
    }
}

/* A common part of all biases, beside which float32 could not tell logits apart. */
static void labels__do_not_see_what_all_logits_have_in_common(void **state)
{
    (void)state;
    problem p;
    float grad[2][N * D];
    int64_t drawn[2][N];
    make(&p, CBE_NORM_RMS, 0, true);
    for (size_t t = 0; t < V; t++) p.decoder.bias[t] = (float)(t % 8) / 4;
    for (size_t i = 0; i < 2; i++) {
        cbe_labels *labels = labels_of(&p, 1, 3);
        cbe_assert_ok(cbe_labels_take(labels, 0, B, p.last, NULL, &err), &err);
        memcpy(drawn[i], cbe_labels_get(labels, 0), sizeof drawn[i]);
        cbe_labels_gradient(labels, 0, p.last, grad[i]);
        cbe_labels_free(labels);
        for (size_t t = 0; t < V; t++) p.decoder.bias[t] += 1 << 20;
    }
    assert_memory_equal(drawn[0], drawn[1], sizeof drawn[0]);
    assert_memory_equal(grad[0], grad[1], sizeof grad[0]);
    destroy(&p);
}

static void labels__are_a_function_of_seed_draw_and_token(void **state)
{
    (void)state;
    enum { DRAWS = 3 };
    problem p;
    int64_t want[DRAWS * N];
    float grad[N * D], part[N * D];
    make(&p, CBE_NORM_RMS, 0, true);
    cbe_labels *labels = labels_of(&p, DRAWS, 3);
    cbe_assert_ok(cbe_labels_take(labels, 40, B, p.last, NULL, &err), &err);
    for (size_t r = 0; r < DRAWS; r++)
        memcpy(want + r * N, cbe_labels_get(labels, r), N * sizeof *want);
    cbe_labels_gradient(labels, 1, p.last, grad);
    assert_memory_not_equal(want, want + N, N * sizeof *want);
    /* In parts, and in another number of threads. */
    const int threads = omp_get_max_threads();
    omp_set_num_threads(threads == 1 ? 3 : 1);
    cbe_labels *other = labels_of(&p, DRAWS, 3);
    for (size_t first = 0; first < B; first += 3) {
        const size_t n = first + 3 < B ? 3 : B - first;
        const float *last = p.last + first * S * D;
        cbe_assert_ok(cbe_labels_take(other, 40 + first, n, last, NULL, &err), &err);
        for (size_t r = 0; r < DRAWS; r++)
            assert_memory_equal(cbe_labels_get(other, r), want + r * N + first * S,
                                n * S * sizeof *want);
        cbe_labels_gradient(other, 1, last, part);
        assert_memory_equal(part, grad + first * S * D, n * S * D * sizeof *part);
    }
    omp_set_num_threads(threads);
    cbe_labels_free(other);
    other = labels_of(&p, DRAWS, 4);
    cbe_assert_ok(cbe_labels_take(other, 40, B, p.last, NULL, &err), &err);
    assert_memory_not_equal(cbe_labels_get(other, 0), want, N * sizeof *want);
    cbe_labels_free(other);
    cbe_labels_free(labels);
    destroy(&p);
}

static void labels__refuse_what_is_no_label_and_no_number(void **state)
{
    (void)state;
    problem p;
    make(&p, CBE_NORM_RMS, 0, false);
    int64_t given[N] = {0};
    cbe_labels *labels = labels_of(&p, 1, 0);
    const cbe_labels_given to = {given, N};
    given[9] = V;
    assert_int_equal(cbe_labels_take(labels, 0, B, p.last, &to, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "label 4500 of token 9"));
    given[9] = -2;
    assert_int_equal(cbe_labels_take(labels, 0, B, p.last, &to, &err), CBE_ERR_ARG);
    p.last[(2 * S + 3) * D] = NAN;
    assert_int_equal(cbe_labels_take(labels, 7, B, p.last, NULL, &err), CBE_ERR_NUMERIC);
    assert_non_null(strstr(err.message, "sequence 9, position 3"));
    cbe_labels_free(labels);
    destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels__have_the_frequencies_of_the_predictions),
        cmocka_unit_test(gradient__is_that_of_the_log_probability),
        cmocka_unit_test(labels__do_not_see_what_all_logits_have_in_common),
        cmocka_unit_test(labels__are_a_function_of_seed_draw_and_token),
        cmocka_unit_test(labels__refuse_what_is_no_label_and_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
