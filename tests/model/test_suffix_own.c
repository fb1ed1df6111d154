/*
 * Own scope in the blocks of each family, forward and back: against the definition, a run of the
 * plain twin for each token changed alone, and central differences of it.
 */
#include "support/assert_close.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "math/bf16.h"
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
    size_t d, n_layers, n_sequences, length, n, first;
    double *hidden;           /* (n_layers + 1, n, d) of the twin */
    float *clean;             /* (n, d) hidden_states.first */
    double *rounded, *change; /* (n, d) the same in double; what each token is changed to */
    double *weight;           /* (n, d): the scalar is the sum of hidden_states.L times these */
} problem;

static problem make_problem(const char *name, size_t n_sequences, size_t length, size_t first)
{
    char *path = cbe_golden_path("models/%s", name);
    problem p = {.model = open_model(path), .n_sequences = n_sequences, .length = length};
    const cbe_model_config *c = cbe_model_get_config(p.model);
    p.d = c->hidden_size;
    p.n_layers = c->n_layers;
    p.n = n_sequences * length;
    p.first = first < p.n_layers ? first : p.n_layers - 1;
    const size_t size = p.n * p.d;
    p.hidden = malloc((p.n_layers + 1) * size * sizeof *p.hidden);
    p.clean = malloc(size * sizeof *p.clean);
    p.rounded = malloc(3 * size * sizeof *p.rounded);
    int64_t *ids = malloc(p.n * sizeof *ids);
    assert_true(p.hidden && p.clean && p.rounded && ids);
    p.change = p.rounded + size;
    p.weight = p.change + size;
    for (size_t i = 0; i < p.n; i++) ids[i] = (int64_t)(i * i * 7 % c->vocab_size);
    cbe_model_ref(p.model, n_sequences, length, ids, p.hidden, NULL);
    for (size_t i = 0; i < size; i++) {
        p.clean[i] = (float)p.hidden[p.first * size + i];
        p.rounded[i] = (double)p.clean[i];
        p.change[i] = (double)(float)(p.rounded[i] * (1 + 0.5 * noise(i, 1)) + 0.1 * noise(i, 2));
        p.weight[i] = (double)(float)noise(i, 3);
    }
    free(ids);
    free(path);
    return p;
}

static void free_problem(problem *p)
{
    cbe_model_close(p->model);
    free(p->hidden);
    free(p->clean);
    free(p->rounded);
}

/* Hidden states (n, d) and gradient (n, d) of one run on what tokens are changed to. n_clean: room
 * for clean sequences. */
static void run(const problem *p, const cbe_model *model, const double *change, size_t n_clean,
                cbe_suffix_way_back way_back, float *hidden, float *grad)
{
    const size_t size = p->n * p->d, sequence = p->length * p->d;
    const cbe_suffix_options options = {p->first / 2, p->length, n_clean, way_back, n_clean};
    cbe_suffix *s = NULL;
    cbe_assert_ok(cbe_suffix_create(&s, model, &options, &err), &err);
    /* Nothing is allocated from here on, but by reading weights from files. */
    if (model->n_resident == p->n_layers) cbe_memory_fail_after(0);
    for (size_t begin = 0; begin < p->n_sequences; begin += n_clean) {
        const size_t n = p->n_sequences - begin < n_clean ? p->n_sequences - begin : n_clean;
        const size_t at = begin * sequence, count = n * sequence;
        cbe_assert_ok(
            cbe_suffix_set_clean(s, p->first, p->clean, p->n_sequences, NULL, begin, n, &err),
            &err);
        for (size_t i = 0; i < count; i++) cbe_suffix_hidden(s)[i] = (float)change[at + i];
        cbe_assert_ok(cbe_suffix_forward(s, p->first, n, grad != NULL, &err), &err);
        memcpy(hidden + at, cbe_suffix_hidden(s), count * sizeof *hidden);
        if (!grad) continue;
        for (size_t i = 0; i < count; i++) cbe_suffix_grad(s)[i] = (float)p->weight[at + i];
        cbe_assert_ok(cbe_suffix_backward(s, &err), &err);
        memcpy(grad + at, cbe_suffix_grad(s), count * sizeof *grad);
    }
    cbe_memory_fail_after(-1);
    assert_true(size > 0);
    cbe_suffix_free(s);
}

/* The scalar by the twin, when what tokens are changed to moves by t; work (2, n, d). */
static double moved(const problem *p, double t, size_t salt, double *work)
{
    const size_t size = p->n * p->d;
    for (size_t i = 0; i < size; i++) work[i] = p->change[i] + t * noise(i, salt);
    cbe_model_ref_own(p->model, p->first, p->n_sequences, p->length, p->rounded, work, work + size,
                      NULL);
    double sum = 0;
    for (size_t i = 0; i < size; i++) sum += p->weight[i] * work[size + i];
    return sum;
}

/* Tolerances of test_suffix.c. */
static void compare(const char *name, size_t n_sequences, size_t length, size_t first,
                    size_t n_directions)
{
    problem p = make_problem(name, n_sequences, length, first);
    const size_t size = p.n * p.d;
    float *hidden = malloc(2 * size * sizeof *hidden), *grad = hidden + size;
    double *work = malloc(2 * size * sizeof *work), total = 0, top = 0;
    assert_true(hidden && work);
    run(&p, p.model, p.change, n_sequences, CBE_SUFFIX_ALL, hidden, grad);
    (void)moved(&p, 0, 0, work);
    const double *last = work + size;
    for (size_t i = 0; i < size; i++) {
        total += (double)grad[i] * (double)grad[i];
        top = fmax(top, fabs(last[i]));
    }
    for (size_t i = 0; i < size; i++) {
        const double got = (double)hidden[i];
        cbe_assert_close(&got, &last[i], 1, 2e-5 * top, 0, "%s from block %zu, number %zu", name,
                         p.first, i);
    }
    for (size_t salt = 10; salt < 10 + n_directions; salt++) {
        const double step = 1e-5;
        const double want =
            (moved(&p, step, salt, work) - moved(&p, -step, salt, work)) / (2 * step);
        double got = 0;
        for (size_t i = 0; i < size; i++) got += (double)grad[i] * noise(i, salt);
        cbe_assert_close(&got, &want, 1, 2e-5 * sqrt(total), 0, "gradient, %s from block %zu", name,
                         p.first);
    }
    free(hidden);
    free(work);
    free_problem(&p);
}

static void own_scope__is_one_token_at_a_time(void **state)
{
    compare(*state, 2, 7, 0, 2);
    compare(*state, 1, 7, SIZE_MAX, 2);
}

/* Panels that begin inside sequences; then several blocks of queries, and windows. */
static void own_scope__is_one_token_at_a_time_in_long_sequences(void **state)
{
    (void)state;
    compare("gemma2", 5, 30, SIZE_MAX, 2);
    compare("bloom-six-heads", 1, 132, SIZE_MAX, 1);
    compare("mistral", 1, 132, SIZE_MAX, 1);
}

/* Clean input gives the clean output, but for rounding. */
static void own_scope__of_nothing_changed_is_clean(void **state)
{
    const char *name = *state;
    problem p = make_problem(name, 3, 19, 1);
    const size_t size = p.n * p.d;
    float *got = malloc(size * sizeof *got);
    double top = 0;
    assert_non_null(got);
    const double *want = p.hidden + p.n_layers * size;
    run(&p, p.model, p.rounded, 3, CBE_SUFFIX_FORWARD, got, NULL);
    for (size_t i = 0; i < size; i++) top = fmax(top, fabs(want[i]));
    for (size_t i = 0; i < size; i++) {
        const double number = (double)got[i];
        cbe_assert_close(&number, &want[i], 1, 2e-5 * top, 0, "%s, number %zu", name, i);
    }
    free(got);
    free_problem(&p);
}

/* Kept or run anew, one thread or three, weights in memory or in their files. */
static void own_scope__has_the_same_bits_in_every_way(void **state)
{
    const char *name = *state;
    problem p = make_problem(name, 9, 16, 1); /* several panels */
    const size_t size = p.n * p.d, bytes = 2 * size * sizeof(float);
    float *want = malloc(bytes), *got = malloc(bytes);
    assert_true(want && got);
    const int threads = omp_get_max_threads();
    run(&p, p.model, p.change, 9, CBE_SUFFIX_ALL, want, want + size);
    run(&p, p.model, p.change, 9, CBE_SUFFIX_INPUTS, got, got + size);
    assert_memory_equal(got, want, bytes);
    run(&p, p.model, p.change, 9, CBE_SUFFIX_FORWARD, got, NULL);
    assert_memory_equal(got, want, bytes / 2);
    omp_set_num_threads(threads == 1 ? 3 : 1);
    run(&p, p.model, p.change, 9, CBE_SUFFIX_ALL, got, got + size);
    assert_memory_equal(got, want, bytes);
    omp_set_num_threads(threads);
    const cbe_model_config *c = cbe_model_get_config(p.model);
    const size_t matrix = c->vocab_size * c->hidden_size * sizeof(float);
    const cbe_model_options least = {.memory = 2 * matrix + p.model->block_floats * sizeof(float)};
    char *path = cbe_golden_path("models/%s", name);
    cbe_model *small = NULL;
    cbe_assert_ok(cbe_model_open_with(&small, path, &least, &err), &err);
    assert_true(small->n_resident < c->n_layers);
    run(&p, small, p.change, 9, CBE_SUFFIX_INPUTS, got, got + size);
    assert_memory_equal(got, want, bytes);
    cbe_model_close(small);
    free(path);
    free(want);
    free(got);
    free_problem(&p);
}

/* A sequence that is long enough for panels of its own has the same bits in any batch, and clean
 * sequences are run again only if they are others. */
static void own_scope__has_the_same_bits_in_any_batch(void **state)
{
    (void)state;
    problem p = make_problem("gemma2", 5, 130, 2);
    const size_t size = p.n * p.d, bytes = 2 * size * sizeof(float);
    float *want = malloc(bytes), *got = malloc(bytes);
    assert_true(want && got);
    run(&p, p.model, p.change, 5, CBE_SUFFIX_ALL, want, want + size);
    run(&p, p.model, p.change, 2, CBE_SUFFIX_ALL, got, got + size);
    assert_memory_equal(got, want, bytes);
    free(want);
    free(got);
    free_problem(&p);
}

/* The bytes asked for are those that are named, within the alignment of each array. */
static void own_scope__names_its_memory(void **state)
{
    (void)state;
    char *path = cbe_golden_path("models/gemma2");
    cbe_model *model = open_model(path);
    const cbe_model_config *c = cbe_model_get_config(model);
    cbe_suffix_options options = {0, 64, 4, CBE_SUFFIX_ALL, 0};
    const size_t without = cbe_suffix_bytes(model, &options);
    options.n_clean = 3;
    const size_t with = cbe_suffix_bytes(model, &options),
                 rows = 3 * 64 * c->n_layers * 2 * c->n_kv_heads * c->head_size * sizeof(float);
    assert_true(with >= without + rows && with <= without + rows + 3 * 256);
    options.context_length = SIZE_MAX / 8;
    assert_true(cbe_suffix_bytes(model, &options) == SIZE_MAX);
    cbe_model_close(model);
    free(path);
}

int main(void)
{
    static char names[][24] = {CBE_TEST_FAMILIES};
    enum { N_NAMES = sizeof names / sizeof *names };
    static char titles[N_NAMES][96];
    static char some[][24] = {"gemma2", "phi", "olmo2"};
    static struct CMUnitTest tests[N_NAMES + 9] = {
        [N_NAMES] = cmocka_unit_test(own_scope__is_one_token_at_a_time_in_long_sequences),
        [N_NAMES + 1] = cmocka_unit_test(own_scope__names_its_memory),
        [N_NAMES + 2] = cmocka_unit_test(own_scope__has_the_same_bits_in_any_batch),
    };
    for (size_t i = 0; i < N_NAMES; i++) {
        snprintf(titles[i], sizeof titles[i], "%.40s__is_one_token_at_a_time", names[i]);
        tests[i] =
            (struct CMUnitTest){titles[i], own_scope__is_one_token_at_a_time, NULL, NULL, names[i]};
    }
    for (size_t i = 0; i < 3; i++) {
        tests[N_NAMES + 3 + 2 * i] = (struct CMUnitTest){
            some[i], own_scope__has_the_same_bits_in_every_way, NULL, NULL, some[i]};
        tests[N_NAMES + 4 + 2 * i] = (struct CMUnitTest){
            some[i], own_scope__of_nothing_changed_is_clean, NULL, NULL, some[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
