/*
 * The backward pass of each operation alone, against central differences in float64 of its plain
 * definition.
 *
 * Each is a function of one row or sequence; the scalar is the sum of its results times fixed
 * weights, so that its gradient is what the backward pass makes of these weights.
 */
#include "support/assert_close.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/activation.h"
#include "model/attention.h"
#include "math/norm.h"
#include "model/rope.h"
#include "ref/model_ref.h"
#include "support/random.h"

/* A plain function of n numbers, in float64; its scalar. */
typedef double plain_function(const void *context, const double *x);

/* d f / d x(i), by central differences of order 4. */
static void differences(plain_function *f, const void *context, size_t n, const float *x,
                        double *out)
{
    double *moved = malloc(n * sizeof *moved);
    assert_non_null(moved);
    for (size_t i = 0; i < n; i++) moved[i] = (double)x[i];
    for (size_t i = 0; i < n; i++) {
        const double step = 1e-4 * fmax(1, fabs((double)x[i]));
        double sum = 0;
        for (int k = -2; k <= 2; k++) {
            static const double weights[] = {1.0 / 12, -2.0 / 3, 0, 2.0 / 3, -1.0 / 12};
            moved[i] = (double)x[i] + k * step;
            sum += weights[k + 2] * f(context, moved);
        }
        out[i] = sum / step;
        moved[i] = (double)x[i];
    }
    free(moved);
}

static float *random_floats(size_t n, uint64_t seed)
{
    cbe_test_random r = {seed};
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = (float)cbe_test_normal(&r);
    return x;
}

/* got against the differences, within `relative` of the largest of them. */
static void compare(plain_function *f, const void *context, size_t n, const float *x,
                    const float *got, double relative, const char *what)
{
    double *want = malloc(2 * n * sizeof *want), *values = want + n, top = 0;
    assert_non_null(want);
    differences(f, context, n, x, want);
    for (size_t i = 0; i < n; i++) {
        values[i] = (double)got[i];
        top = fmax(top, fabs(want[i]));
    }
    cbe_assert_close(values, want, n, relative * top, 0, "%s", what);
    free(want);
}

/* --- norms --- */

typedef struct {
    cbe_norm norm;
    size_t d;
    double eps;
    const float *gamma, *weights;
} norm_case;

static double plain_norm(const void *context, const double *x)
{
    const norm_case *c = context;
    double mean = 0, square = 0, sum = 0;
    for (size_t i = 0; i < c->d && c->norm == CBE_NORM_LAYER; i++) mean += x[i] / (double)c->d;
    for (size_t i = 0; i < c->d; i++) square += (x[i] - mean) * (x[i] - mean) / (double)c->d;
    for (size_t i = 0; i < c->d; i++)
        sum += (x[i] - mean) / sqrt(square + c->eps) * (double)c->gamma[i] * (double)c->weights[i];
    return sum;
}

/* Ordinary rows, rows far from 0, rows with an entry of thousands; stored or added. */
static void norm__back_matches_differences(void **state)
{
    (void)state;
    enum { D = 77, ROWS = 3 };
    float *x = random_floats(ROWS * D, 1), *gamma = random_floats(D, 2),
          *weights = random_floats(ROWS * D, 3);
    for (size_t i = 0; i < D; i++) x[D + i] += 30;
    x[2 * D + 5] = 4000;
    for (int norm = 0; norm < CBE_N_NORMS; norm++)
        for (int add = 0; add < 2; add++) {
            float grad[ROWS * D];
            for (size_t i = 0; i < ROWS * D; i++) grad[i] = add ? 0.25f : weights[i];
            cbe_norm_rows_back((cbe_norm)norm, 1e-5, ROWS, D, x, gamma, add ? weights : grad, add,
                               grad);
            for (size_t i = 0; i < ROWS * D && add; i++) grad[i] -= 0.25f;
            for (size_t r = 0; r < ROWS; r++) {
                const norm_case c = {(cbe_norm)norm, D, 1e-5, gamma, weights + r * D};
                /* The mean of the rows at 30 is rounded to 2e-6, and subtracting 0.25 leaves 3e-8
                 * of gradients that are 1e-3 of the others where the row is long. */
                compare(plain_norm, &c, D, x + r * D, grad + r * D, add && r == 2 ? 1e-4 : 1e-5,
                        "norm");
            }
        }
    free(x);
    free(gamma);
    free(weights);
}

/* --- activations --- */

typedef struct {
    cbe_activation kind;
    size_t n;
    bool gated;
    const float *weights;
} activation_case;

/* x: n of a, then where gated n of b. */
static double plain_activations(const void *context, const double *x)
{
    const activation_case *c = context;
    double sum = 0;
    for (size_t i = 0; i < c->n; i++)
        sum += cbe_model_ref_activation(c->kind, x[i]) * (c->gated ? x[c->n + i] : 1) *
               (double)c->weights[i];
    return sum;
}

static void activation__back_matches_differences(void **state)
{
    (void)state;
    enum { N = 403 };
    float *x = random_floats(2 * N, 4), *weights = random_floats(N, 5), grad[2 * N];
    /* none within the differences of relu's corner */
    for (size_t i = 0; i < N; i++) x[i] *= i % 3 ? 1.5f : 6;
    for (size_t i = 0; i < N; i++)
        if (fabsf(x[i]) < 0.01f) x[i] = 0.01f;
    for (int kind = 0; kind < CBE_N_ACTIVATIONS; kind++) {
        const activation_case alone = {(cbe_activation)kind, N, false, weights},
                              gated = {(cbe_activation)kind, N, true, weights};
        cbe_activate_back((cbe_activation)kind, N, x, weights, grad);
        compare(plain_activations, &alone, N, x, grad, 1e-6, "activation");
        cbe_activate_gated_back((cbe_activation)kind, N, x, x + N, weights, grad, grad + N);
        compare(plain_activations, &gated, 2 * N, x, grad, 1e-6, "gated activation");
        memcpy(grad, weights, N * sizeof *grad); /* in place */
        cbe_activate_back((cbe_activation)kind, N, x, grad, grad);
        compare(plain_activations, &alone, N, x, grad, 1e-6, "activation in place");
    }
    free(x);
    free(weights);
}

/* Slopes where exponentials overflow or vanish are those of 0 or z. */
static void activation__back_is_flat_or_straight_far_away(void **state)
{
    (void)state;
    static const float far[] = {-3e4f, -200, -100, 100, 200, 3e4f};
    enum { N = sizeof far / sizeof *far };
    const float ones[N] = {1, 1, 1, 1, 1, 1};
    for (int kind = 0; kind < CBE_N_ACTIVATIONS; kind++) {
        float grad[N];
        cbe_activate_back((cbe_activation)kind, N, far, ones, grad);
        for (size_t i = 0; i < N; i++) {
            const double got = (double)grad[i], want = far[i] > 0;
            cbe_assert_close(&got, &want, 1, 1e-6, 0, "kind %d at %g", kind, (double)far[i]);
        }
    }
}

/* --- rotary embedding --- */

typedef struct {
    size_t n_heads, head_size, half;
    const float *table, *weights;
} rope_case;

static double plain_rope(const void *context, const double *x)
{
    const rope_case *c = context;
    double sum = 0;
    for (size_t h = 0; h < c->n_heads; h++)
        for (size_t i = 0; i < c->head_size; i++) {
            const size_t at = h * c->head_size, pair = i < c->half ? i + c->half : i - c->half;
            double out = x[at + i];
            if (i < 2 * c->half) {
                const double cosine = (double)c->table[i % c->half],
                             sine = (double)c->table[c->half + i % c->half];
                out = x[at + i] * cosine + (i < c->half ? -1 : 1) * x[at + pair] * sine;
            }
            sum += out * (double)c->weights[at + i];
        }
    return sum;
}

static void rope__back_matches_differences(void **state)
{
    (void)state;
    enum { HEADS = 3, SIZE = 14, HALF = 5, N = HEADS * SIZE };
    float table[8 * 2 * HALF];
    double frequencies[HALF];
    for (size_t i = 0; i < HALF; i++) frequencies[i] = pow(100, -(double)i / HALF);
    /* a scale other than 1, as some models have */
    cbe_rope_table(8, HALF, frequencies, 1.3, table);
    float *x = random_floats(N, 6), *weights = random_floats(N, 7);
    const rope_case c = {HEADS, SIZE, HALF, table + 7 * 2 * HALF, weights};
    float grad[N];
    memcpy(grad, weights, sizeof grad);
    cbe_rope_rotate_back(HEADS, SIZE, HALF, c.table, grad);
    compare(plain_rope, &c, N, x, grad, 1e-6, "rope");
    free(x);
    free(weights);
}

/* --- attention --- */

typedef struct {
    cbe_attention_spec spec;
    size_t length, stride;
    const float *weights; /* (length, q size) */
} attention_case;

static double plain_head(const attention_case *c, const double *qkv, size_t t, size_t h)
{
    const cbe_attention_spec *s = &c->spec;
    const size_t size = s->head_size, q_size = s->n_heads * size, kv_size = s->n_kv_heads * size;
    const size_t group = h / (s->n_heads / s->n_kv_heads);
    const size_t first = s->window && t + 1 > s->window ? t + 1 - s->window : 0;
    double total = 0, sum = 0;
    for (size_t u = first; u <= t; u++) {
        const double *key = qkv + u * c->stride + q_size + group * size, *value = key + kv_size;
        double score = 0, along = 0;
        for (size_t i = 0; i < size; i++) {
            score += s->scale * qkv[t * c->stride + h * size + i] * key[i];
            along += value[i] * (double)c->weights[t * q_size + h * size + i];
        }
        if (s->softcap > 0) score = s->softcap * tanh(score / s->softcap);
        if (s->slopes) score -= (double)s->slopes[h] * (double)(t - u);
        total += exp(score);
        sum += exp(score) * along;
    }
    return sum / total;
}

static double plain_attention(const void *context, const double *qkv)
{
    const attention_case *c = context;
    double sum = 0;
    for (size_t t = 0; t < c->length; t++)
        for (size_t h = 0; h < c->spec.n_heads; h++) sum += plain_head(c, qkv, t, h);
    return sum;
}

/* Heads that share keys, windows, ALiBi, a soft cap; sequences longer than a block of queries are
 * in test_suffix.c. */
static void attention__back_matches_differences(void **state)
{
    (void)state;
    static const float slopes[4] = {0.5f, 0.25f, 0.1f, 0.01f};
    const cbe_attention_spec specs[] = {
        {4, 4, 6, 0, 0.4, 0, NULL}, {4, 2, 6, 0, 0.4, 0, NULL},   {4, 1, 5, 0, 1, 0, NULL},
        {4, 2, 6, 4, 0.4, 0, NULL}, {4, 4, 6, 0, 0.4, 0, slopes}, {4, 2, 6, 3, 0.4, 1.5, NULL},
        {4, 2, 6, 1, 0.4, 0, NULL},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        for (size_t length = 1; length <= 13; length += 6) {
            const cbe_attention_spec *s = &specs[i];
            const size_t q_size = s->n_heads * s->head_size,
                         stride = q_size + 2 * s->n_kv_heads * s->head_size;
            float *qkv = random_floats(length * stride, 8 + i),
                  *weights = random_floats(length * q_size, 20 + i);
            float *grad = random_floats(length * stride, 1), /* whatever was there */
                *scratch = malloc(cbe_attention_back_scratch(s, length) * sizeof *scratch);
            assert_non_null(scratch);
            for (size_t g = 0; g < s->n_kv_heads; g++)
                cbe_attention_back(s, length, g, qkv, stride, weights, scratch, grad);
            const attention_case c = {*s, length, stride, weights};
            char what[48];
            snprintf(what, sizeof what, "attention %zu, %zu tokens", i, length);
            compare(plain_attention, &c, length * stride, qkv, grad, 1e-5, what);
            free(qkv);
            free(weights);
            free(grad);
            free(scratch);
        }
    const cbe_attention_spec huge = {4, 4, 6, 0, 1, 0, NULL};
    assert_int_equal(cbe_attention_back_scratch(&huge, SIZE_MAX / 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norm__back_matches_differences),
        cmocka_unit_test(activation__back_matches_differences),
        cmocka_unit_test(activation__back_is_flat_or_straight_far_away),
        cmocka_unit_test(rope__back_matches_differences),
        cmocka_unit_test(attention__back_matches_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
