/*
 * The blocks of each family forward and back: hidden states against the plain twin, gradients
 * against its central differences along random directions, in float64.
 */
#include "support/assert_close.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "model/private.h"
#include "model/suffix.h"
#include "ref/model_ref.h"
#include "support/capture.h"
#include "support/families.h"
#include "support/golden.h"

static cbe_error err;

/* Numbers in -1 .. 1 that look random. */
static double noise(size_t i, size_t salt)
{
    return sin(12.9898 * (double)(i + 1) + 78.233 * (double)(salt + 1) + (double)(i * i % 1009));
}

typedef struct {
    cbe_model *model;
    size_t d, n_layers, n_sequences, length, n;
    double *hidden; /* (n_layers + 1, n, d) of the twin */
    double *weight; /* (n, d): the scalar is the sum of hidden_states.L times these */
} problem;

static problem make_problem(const char *name, size_t n_sequences, size_t length)
{
    char *path = cbe_golden_path("models/%s", name);
    problem p = {.model = open_model(path), .n_sequences = n_sequences, .length = length};
    const cbe_model_config *c = cbe_model_get_config(p.model);
    p.d = c->hidden_size;
    p.n_layers = c->n_layers;
    p.n = n_sequences * length;
    p.hidden = malloc((p.n_layers + 1) * p.n * p.d * sizeof *p.hidden);
    p.weight = malloc(p.n * p.d * sizeof *p.weight);
    int64_t *ids = malloc(p.n * sizeof *ids);
    assert_true(p.hidden && p.weight && ids);
    for (size_t i = 0; i < p.n; i++) ids[i] = (int64_t)(i * i * 7 % c->vocab_size);
    cbe_model_ref(p.model, n_sequences, length, ids, p.hidden, NULL);
    for (size_t i = 0; i < p.n * p.d; i++) p.weight[i] = (double)(float)noise(i, 3);
    free(ids);
    free(path);
    return p;
}

static void free_problem(problem *p)
{
    cbe_model_close(p->model);
    free(p->hidden);
    free(p->weight);
}

/* Hidden states and gradient of one run of the suffix from `first`; to free(). */
static void run(const problem *p, const cbe_model *model, size_t first,
                cbe_suffix_way_back way_back, float *hidden, float *grad)
{
    const size_t size = p->n * p->d;
    const cbe_suffix_options options = {first / 2, p->length, p->n_sequences, way_back, 0};
    cbe_suffix *s = NULL;
    cbe_assert_ok(cbe_suffix_create(&s, model, &options, &err), &err);
    /* Nothing is allocated from here on, but by reading weights from files. */
    if (model->n_resident == p->n_layers) cbe_memory_fail_after(0);
    for (size_t i = 0; i < size; i++) cbe_suffix_hidden(s)[i] = (float)p->hidden[first * size + i];
    cbe_assert_ok(cbe_suffix_forward(s, first, p->n_sequences, true, &err), &err);
    memcpy(hidden, cbe_suffix_hidden(s), size * sizeof *hidden);
    for (size_t i = 0; i < size; i++) cbe_suffix_grad(s)[i] = (float)p->weight[i];
    cbe_assert_ok(cbe_suffix_backward(s, &err), &err);
    memcpy(grad, cbe_suffix_grad(s), size * sizeof *grad);
    cbe_memory_fail_after(-1);
    cbe_suffix_free(s);
}

/* The scalar when hidden_states.first moves by t along a direction, by the twin; work: (n_layers +
 * 1 - first, n, d). */
static double moved(const problem *p, size_t first, double t, size_t salt, double *work)
{
    const size_t size = p->n * p->d;
    for (size_t i = 0; i < size; i++) work[i] = p->hidden[first * size + i] + t * noise(i, salt);
    cbe_model_ref_suffix(p->model, first, p->n_sequences, p->length, work, NULL);
    const double *last = work + (p->n_layers - first) * size;
    double sum = 0;
    for (size_t i = 0; i < size; i++) sum += p->weight[i] * last[i];
    return sum;
}

/* Measured: 3e-6 of the gradient's length for the worst of them; hidden states as in
 * test_forward.c. */
static void compare(const problem *p, size_t first, const char *name)
{
    const size_t size = p->n * p->d;
    float *hidden = malloc(2 * size * sizeof *hidden), *grad = hidden + size;
    double *work = malloc((p->n_layers + 1) * size * sizeof *work), length = 0, top = 0;
    assert_true(hidden && work);
    run(p, p->model, first, CBE_SUFFIX_ALL, hidden, grad);
    const double *last = p->hidden + p->n_layers * size;
    for (size_t i = 0; i < size; i++) {
        length += (double)grad[i] * (double)grad[i];
        top = fmax(top, fabs(last[i]));
    }
    for (size_t i = 0; i < size; i++) {
        const double got = (double)hidden[i];
        cbe_assert_close(&got, &last[i], 1, 2e-5 * top, 0, "%s from block %zu", name, first);
    }
    for (size_t salt = 10; salt < 14; salt++) {
        const double step = 1e-5;
        const double want =
            (moved(p, first, step, salt, work) - moved(p, first, -step, salt, work)) / (2 * step);
        double got = 0;
        for (size_t i = 0; i < size; i++) got += (double)grad[i] * noise(i, salt);
        cbe_assert_close(&got, &want, 1, 2e-5 * sqrt(length), 0, "gradient, %s from block %zu",
                         name, first);
    }
    free(hidden);
    free(work);
}

static void suffix__matches_finite_differences(void **state)
{
    const char *name = *state;
    problem p = make_problem(name, 2, 19);
    for (size_t first = 0; first <= p.n_layers; first++) compare(&p, first, name);
    free_problem(&p);
}

/* Panels that end inside sequences, blocks of queries that end inside panels; windows and key
 * blocks. */
static void suffix__matches_finite_differences_for_long_sequences(void **state)
{
    (void)state;
    static const char *const names[] = {"llama-tied-bf16", "gemma3", "bloom-six-heads"};
    for (size_t i = 0; i < 3; i++) {
        problem p = make_problem(names[i], 2, 210);
        compare(&p, p.n_layers - 2, names[i]);
        free_problem(&p);
    }
}

/* Kept or run anew, one thread or three, weights in memory or in their files. */
static void suffix__has_the_same_bits_in_every_way(void **state)
{
    const char *name = *state;
    problem p = make_problem(name, 9, 16); /* several panels */
    const size_t bytes = p.n * p.d * sizeof(float);
    float *want = malloc(2 * bytes), *got = malloc(2 * bytes);
    assert_true(want && got);
    const int threads = omp_get_max_threads();
    run(&p, p.model, 1, CBE_SUFFIX_ALL, want, want + p.n * p.d);
    run(&p, p.model, 1, CBE_SUFFIX_INPUTS, got, got + p.n * p.d);
    assert_memory_equal(got, want, 2 * bytes);
    omp_set_num_threads(threads == 1 ? 3 : 1);
    run(&p, p.model, 1, CBE_SUFFIX_ALL, got, got + p.n * p.d);
    assert_memory_equal(got, want, 2 * bytes);
    omp_set_num_threads(threads);
    const cbe_model_config *c = cbe_model_get_config(p.model);
    const size_t matrix = c->vocab_size * c->hidden_size * sizeof(float);
    const cbe_model_options least = {.memory = 2 * matrix + p.model->block_floats * sizeof(float)};
    char *path = cbe_golden_path("models/%s", name);
    cbe_model *small = NULL;
    cbe_assert_ok(cbe_model_open_with(&small, path, &least, &err), &err);
    assert_true(small->n_resident < c->n_layers);
    run(&p, small, 1, CBE_SUFFIX_ALL, got, got + p.n * p.d);
    assert_memory_equal(got, want, 2 * bytes);
    cbe_model_close(small);
    free(path);
    free(want);
    free(got);
    free_problem(&p);
}

/* What runs forward alone ends where the other ends. */
static void suffix__forward_alone_has_the_same_bits(void **state)
{
    (void)state;
    problem p = make_problem("gemma2", 3, 33);
    const size_t size = p.n * p.d;
    float *want = malloc(2 * size * sizeof *want);
    assert_non_null(want);
    run(&p, p.model, 1, CBE_SUFFIX_ALL, want, want + size);
    const cbe_suffix_options options = {1, p.length, p.n_sequences, CBE_SUFFIX_FORWARD, 0};
    cbe_suffix *s = NULL;
    cbe_assert_ok(cbe_suffix_create(&s, p.model, &options, &err), &err);
    assert_null(cbe_suffix_grad(s));
    for (size_t i = 0; i < size; i++) cbe_suffix_hidden(s)[i] = (float)p.hidden[size + i];
    cbe_assert_ok(cbe_suffix_forward(s, 1, p.n_sequences, false, &err), &err);
    assert_memory_equal(cbe_suffix_hidden(s), want, size * sizeof *want);
    cbe_suffix_free(s);
    free(want);
    free_problem(&p);
}

/* The bytes asked for are those that are named, within the alignment of each array. */
static void suffix__names_its_memory(void **state)
{
    (void)state;
    char *path = cbe_golden_path("models/gemma2");
    cbe_model *model = open_model(path);
    const cbe_suffix_options keep = {0, 64, 4, CBE_SUFFIX_ALL, 0},
                             recompute = {0, 64, 4, CBE_SUFFIX_INPUTS, 0},
                             forward = {0, 64, 4, CBE_SUFFIX_FORWARD, 0};
    const size_t kept = cbe_suffix_bytes(model, &keep), less = cbe_suffix_bytes(model, &recompute);
    const size_t least = cbe_suffix_bytes(model, &forward);
    assert_true(least < less && less < kept && least > 4 * 64 * 48 * sizeof(float));
    const cbe_suffix_options huge = {0, SIZE_MAX / 8, 16, CBE_SUFFIX_ALL, 0};
    assert_true(cbe_suffix_bytes(model, &huge) == SIZE_MAX);
    for (long countdown = 0; countdown < 10; countdown++) {
        cbe_suffix *s = NULL;
        cbe_memory_fail_after(countdown);
        const cbe_status st = cbe_suffix_create(&s, model, &keep, &err);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
        assert_true((st == CBE_OK) == (s != NULL));
        cbe_suffix_free(s);
    }
    cbe_model_close(model);
    free(path);
}

int main(void)
{
    static char names[][24] = {CBE_TEST_FAMILIES};
    enum { N_NAMES = sizeof names / sizeof *names };
    static char titles[N_NAMES][96];
    static char same_bits[][24] = {"gemma2", "phi", "olmo2"};
    static struct CMUnitTest tests[N_NAMES + 6] = {
        [N_NAMES] = cmocka_unit_test(suffix__matches_finite_differences_for_long_sequences),
        [N_NAMES + 1] = cmocka_unit_test(suffix__names_its_memory),
        [N_NAMES + 2] = cmocka_unit_test(suffix__forward_alone_has_the_same_bits),
    };
    for (size_t i = 0; i < N_NAMES; i++) {
        snprintf(titles[i], sizeof titles[i], "%.40s__matches_finite_differences", names[i]);
        tests[i] = (struct CMUnitTest){titles[i], suffix__matches_finite_differences, NULL, NULL,
                                       names[i]};
    }
    for (size_t i = 0; i < 3; i++)
        tests[N_NAMES + 3 + i] = (struct CMUnitTest){
            same_bits[i], suffix__has_the_same_bits_in_every_way, NULL, NULL, same_bits[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
