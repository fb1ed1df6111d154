/*
 * Label-sampled gradients of whole models: against PyTorch's float64 values with labels that are
 * given, against the Fisher matrix made from every possible label, and their bits in every way of
 * running them.
 */
#include "support/assert_close.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fisher/moments.h"
#include "fisher/sampled_gradients.h"
#include "fisher/second_order.h"
#include "support/capture.h"
#include "support/golden.h"

static cbe_error err;

/* ---- given labels, against PyTorch ---- */

/* What is added up of one state: M, and energies of the Euclidean and the oblique direction. */
typedef struct {
    size_t state;
    cbe_moments m;
    cbe_moments_room *room;
    cbe_second_order sums;
    double *read, *write, *mean, *e2;
} of_state;

typedef struct {
    size_t n;
    of_state states[8];
} all_states;

static cbe_status add(void *context, const cbe_sampled_gradients *g, cbe_error *error)
{
    (void)error;
    all_states *all = context;
    for (size_t i = 0; i < all->n; i++) {
        of_state *s = &all->states[i];
        if (g->state != s->state) continue;
        cbe_moments_add(&s->m, s->room, g->n_sequences, 1, g->grad);
        cbe_second_order_add(&s->sums, g);
    }
    return CBE_OK;
}

static double *tensor(const cbe_safetensors *file, size_t layer, const char *name, size_t n)
{
    char whole[64];
    snprintf(whole, sizeof whole, "layers.%zu.%s", layer, name);
    return cbe_golden_f64(file, whole, n);
}

/* @param v  (d) of the Euclidean metric */
static void prepare(of_state *s, const cbe_safetensors *file, const double *v, size_t layer,
                    size_t d, size_t n_sequences, size_t length)
{
    double *r = tensor(file, layer, "read", d), *w = tensor(file, layer, "write", d);
    *s = (of_state){.state = layer + 1};
    s->mean = tensor(file, layer, "mean", d);
    s->e2 = tensor(file, layer, "e2", 2);
    s->read = malloc(2 * d * sizeof *s->read);
    s->write = malloc(2 * d * sizeof *s->write);
    assert_true(s->read && s->write);
    memcpy(s->read, v, d * sizeof *v);
    memcpy(s->read + d, r, d * sizeof *r);
    memcpy(s->write, v, d * sizeof *v);
    memcpy(s->write + d, w, d * sizeof *w);
    free(r);
    free(w);
    cbe_assert_ok(cbe_moments_init(&s->m, d, &err), &err);
    cbe_assert_ok(cbe_moments_room_create(&s->room, d, length, &err), &err);
    s->sums = (cbe_second_order){.hidden_size = d,
                                 .m = 2,
                                 .context_length = length,
                                 .skip_positions = 1,
                                 .all_sequences = n_sequences,
                                 .n_draws = 2,
                                 .read = s->read,
                                 .write = s->write,
                                 .replacement = {s->mean, NULL}};
    cbe_assert_ok(cbe_second_order_init(&s->sums, &err), &err);
}

static void release(of_state *s)
{
    cbe_moments_free(&s->m);
    cbe_moments_room_free(s->room);
    cbe_second_order_free(&s->sums);
    free(s->read);
    free(s->write);
    free(s->mean);
    free(s->e2);
}

static void gradients__have_the_values_of_pytorch(void **state)
{
    const char *name = *state;
    char *path = cbe_golden_path("fisher/%s.safetensors", name),
         *folder = cbe_golden_path("models/%s", name);
    cbe_safetensors *file = open_golden(path);
    cbe_model *model = open_model(folder);
    const cbe_model_config *config = cbe_model_get_config(model);
    const size_t d = config->hidden_size;
    size_t n_sequences, length, n_layers, one, n;
    int64_t *ids = cbe_golden_ids(file, "input_ids", &n_sequences, &length),
            *layers = cbe_golden_ids(file, "layers", &one, &n_layers);
    cbe_tensor labels;
    cbe_assert_ok(cbe_safetensors_get(file, "labels", &labels, &err), &err);
    assert_int_equal(labels.n_elements, 2 * n_sequences * length);
    int64_t *given = malloc(labels.n_bytes);
    assert_non_null(given);
    memcpy(given, labels.data, labels.n_bytes);
    for (size_t i = 0; i < labels.n_elements; i += length) given[i] = -1; /* skipped */
    double *v = cbe_golden_f64(file, "v", d);
    float *want = cbe_golden_floats(file, "M", &n);
    bool *wanted = calloc(config->n_layers + 1, sizeof *wanted);
    double *square = malloc(d * d * sizeof *square);
    assert_true(wanted && square && n == d * d);
    all_states all = {.n = n_layers};
    for (size_t i = 0; i < n_layers; i++) {
        prepare(&all.states[i], file, v, (size_t)layers[i], d, n_sequences, length);
        wanted[all.states[i].state] = true;
    }
    const cbe_sampled_gradients_options options = {.n_sequences = n_sequences,
                                                   .context_length = length,
                                                   .ids = ids,
                                                   .all_sequences = n_sequences,
                                                   .skip_positions = 1,
                                                   .states = wanted,
                                                   .n_draws = 2,
                                                   .labels = given};
    cbe_assert_ok(cbe_sampled_gradients_run(model, &options, add, &all, &err), &err);
    cbe_moments_mean(&all.states[0].m, square, NULL);
    double top = 0; /* entries are sums that may cancel */
    for (size_t i = 0; i < d * d; i++) top = fmax(top, fabs((double)want[i]));
    for (size_t i = 0; i < d * d; i++) {
        const double m = (double)want[i];
        cbe_assert_close(&square[i], &m, 1, 1e-6 + 1e-5 * top, 1e-4, "M, %zu", i);
    }
    for (size_t i = 0; i < n_layers; i++) {
        double energy[2];
        cbe_second_order_energies(&all.states[i].sums, energy, NULL);
        cbe_assert_close(energy, all.states[i].e2, 2, 1e-6, 1e-4, "E2, layer %zu",
                         (size_t)layers[i]);
        release(&all.states[i]);
    }
    free(square);
    free(wanted);
    free(want);
    free(v);
    free(given);
    free(layers);
    free(ids);
    cbe_safetensors_close(file);
    cbe_model_close(model);
    free(folder);
    free(path);
}

/* ---- drawn labels, against the Fisher matrix ---- */

enum { LENGTH = 6, SKIPPED = 1, DRAWS = 3000, DIRECTIONS = 6, STATE = 1 };

/* x_{r,j} = sum over n of (g_n . w_j)^2 of each draw. */
typedef struct {
    size_t d;
    double w[DIRECTIONS][128];
    double *x; /* (draws, DIRECTIONS) */
} squares;

static cbe_status square(void *context, const cbe_sampled_gradients *g, cbe_error *error)
{
    (void)error;
    squares *s = context;
    for (size_t j = 0; j < DIRECTIONS; j++) {
        double sum = 0;
        for (size_t n = SKIPPED; n < LENGTH; n++) {
            double along = 0;
            for (size_t k = 0; k < s->d; k++) along += (double)g->grad[n * s->d + k] * s->w[j][k];
            sum += along * along;
        }
        s->x[g->draw * DIRECTIONS + j] = sum;
    }
    return CBE_OK;
}

/* sum over tokens m and labels y of p_m(y) g g', g the gradient of log p_m(y) alone: J'FJ with
 * F = diag(p) - p p', as the mean of g is 0. */
static void mean_of_draws__is_the_fisher_matrix(void **state)
{
    const char *name = *state;
    char *folder = cbe_golden_path("models/%s", name);
    cbe_model *model = open_model(folder);
    const cbe_model_config *config = cbe_model_get_config(model);
    const size_t vocabulary = config->vocab_size, d = config->hidden_size,
                 all_labels = (LENGTH - SKIPPED) * vocabulary;
    int64_t ids[LENGTH];
    for (size_t i = 0; i < LENGTH; i++) ids[i] = (int64_t)((i * i * 13 + 5) % vocabulary);
    bool states[64] = {[STATE] = true};
    squares s = {.d = d};
    assert_true(d <= 128 && config->n_layers < 64);
    for (size_t i = 0; i < DIRECTIONS * d; i++)
        s.w[i / d][i % d] = sin((double)(i * i % 1013) + 0.1 * (double)i) / sqrt((double)d);
    cbe_sampled_gradients_options options = {.n_sequences = 1,
                                             .context_length = LENGTH,
                                             .ids = ids,
                                             .all_sequences = 1,
                                             .skip_positions = SKIPPED,
                                             .states = states,
                                             .n_draws = all_labels};
    int64_t *labels = malloc(all_labels * LENGTH * sizeof *labels);
    s.x = malloc((all_labels + DRAWS) * DIRECTIONS * sizeof *s.x);
    assert_true(labels && s.x);
    for (size_t r = 0; r < all_labels; r++)
        for (size_t n = 0; n < LENGTH; n++)
            labels[r * LENGTH + n] = n == SKIPPED + r / vocabulary ? (int64_t)(r % vocabulary) : -1;
    options.labels = labels;
    cbe_assert_ok(cbe_sampled_gradients_run(model, &options, square, &s, &err), &err);
    capture c;
    capture_run(&c, model, 1, LENGTH, ids);
    double exact[DIRECTIONS] = {0};
    for (size_t n = SKIPPED; n < LENGTH; n++) {
        const float *logits = c.logits + n * vocabulary;
        const double top = largest(logits, vocabulary);
        double sum = 0;
        for (size_t t = 0; t < vocabulary; t++) sum += exp((double)logits[t] - top);
        for (size_t t = 0; t < vocabulary; t++)
            for (size_t j = 0; j < DIRECTIONS; j++)
                exact[j] += exp((double)logits[t] - top) / sum *
                            s.x[((n - SKIPPED) * vocabulary + t) * DIRECTIONS + j];
    }
    capture_free(&c);
    options.labels = NULL;
    options.n_draws = DRAWS;
    options.seed = 3;
    cbe_assert_ok(cbe_sampled_gradients_run(model, &options, square, &s, &err), &err);
    for (size_t j = 0; j < DIRECTIONS; j++) {
        double sum = 0, squared = 0;
        for (size_t r = 0; r < DRAWS; r++) {
            const double x = s.x[r * DIRECTIONS + j];
            sum += x / DRAWS;
            squared += x * x / DRAWS;
        }
        const double error = sqrt((squared - sum * sum) / (DRAWS - 1));
        assert_true(error < 0.06 * exact[j]); /* else the test could not tell much */
        cbe_assert_close(&sum, &exact[j], 1, 3.5 * error, 0, "direction %zu", j);
    }
    free(labels);
    free(s.x);
    cbe_model_close(model);
    free(folder);
}

/* ---- the same bits ---- */

typedef struct {
    size_t length, d, n_layers, all;
    float *seen; /* (draws, L + 1, all sequences, S, d) */
} record;

static cbe_status note(void *context, const cbe_sampled_gradients *g, cbe_error *error)
{
    (void)error;
    record *r = context;
    const size_t size = r->length * r->d;
    memcpy(r->seen + ((g->draw * (r->n_layers + 1) + g->state) * r->all + g->first) * size, g->grad,
           g->n_sequences * size * sizeof *g->grad);
    return CBE_OK;
}

static void check_bits(const char *name, size_t n_sequences, size_t length, size_t division)
{
    enum { N_DRAWS = 2 };
    char *folder = cbe_golden_path("models/%s", name);
    cbe_model *model = open_model(folder);
    const cbe_model_config *config = cbe_model_get_config(model);
    const size_t d = config->hidden_size, n_layers = config->n_layers,
                 size = N_DRAWS * (n_layers + 1) * n_sequences * length * d;
    int64_t *ids = malloc(n_sequences * length * sizeof *ids);
    float *want = calloc(size, sizeof *want), *got = calloc(size, sizeof *got);
    bool states[64];
    assert_true(ids && want && got && n_layers < 64);
    for (size_t i = 0; i < n_sequences * length; i++)
        ids[i] = (int64_t)((i * i * 7 + i / 5) % config->vocab_size);
    for (size_t i = 0; i <= n_layers; i++) states[i] = true;
    cbe_sampled_gradients_options options = {.n_sequences = n_sequences,
                                             .context_length = length,
                                             .ids = ids,
                                             .all_sequences = n_sequences,
                                             .skip_positions = 1,
                                             .states = states,
                                             .n_draws = N_DRAWS,
                                             .seed = 9};
    record r = {length, d, n_layers, n_sequences, want};
    cbe_assert_ok(cbe_sampled_gradients_run(model, &options, note, &r, &err), &err);
    size_t n_not_zero = 0;
    for (size_t i = 0; i < size; i++) n_not_zero += want[i] != 0;
    assert_true(n_not_zero > size / 2);
    /* On the least memory, in another number of threads, in the parts of two processes. */
    r.seen = got;
    cbe_sampled_gradients_plan most, least;
    cbe_assert_ok(cbe_sampled_gradients_choose(&most, model, &options, &err), &err);
    options.memory = 1;
    assert_int_equal(cbe_sampled_gradients_choose(&least, model, &options, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "MB at least"));
    options.memory = least.bytes;
    cbe_assert_ok(cbe_sampled_gradients_choose(&least, model, &options, &err), &err);
    assert_true(least.recompute && !most.recompute && least.bytes < most.bytes);
    cbe_assert_ok(cbe_sampled_gradients_run(model, &options, note, &r, &err), &err);
    assert_memory_equal(got, want, size * sizeof *want);
    memset(got, 0, size * sizeof *got);
    const int threads = omp_get_max_threads();
    omp_set_num_threads(threads == 1 ? 3 : 1);
    options.memory = 0;
    for (size_t part = 0; part < 2; part++) {
        options.first_sequence = part ? division : 0;
        options.n_sequences = part ? n_sequences - division : division;
        options.ids = ids + options.first_sequence * length;
        cbe_assert_ok(cbe_sampled_gradients_run(model, &options, note, &r, &err), &err);
    }
    omp_set_num_threads(threads);
    assert_memory_equal(got, want, size * sizeof *want);
    free(want);
    free(got);
    free(ids);
    cbe_model_close(model);
    free(folder);
}

static void gradients__have_the_same_bits_in_every_way(void **state)
{
    (void)state;
    check_bits("gemma2", 7, 130, 3); /* long sequences: batches of one up to seven */
    check_bits("llama", 48, 9, 24);  /* short ones, in groups of two */
}

/* ---- ending early ---- */

static bool stop(void *context, size_t done, size_t total)
{
    size_t *calls = context;
    assert_true(done <= total && total == 8 * 3);
    return ++*calls < 3;
}

static cbe_status refuse(void *context, const cbe_sampled_gradients *g, cbe_error *error)
{
    (void)g;
    (void)error;
    return *(cbe_status *)context;
}

static void run__ends_when_it_is_told_to(void **state)
{
    (void)state;
    char *folder = cbe_golden_path("models/llama");
    cbe_model *model = open_model(folder);
    int64_t ids[8 * 130] = {0};
    bool states[64] = {[1] = true};
    size_t calls = 0;
    cbe_status answer = CBE_OK;
    cbe_sampled_gradients_options options = {.n_sequences = 8,
                                             .context_length = 130,
                                             .ids = ids,
                                             .all_sequences = 8,
                                             .states = states,
                                             .n_draws = 2,
                                             .progress = stop,
                                             .context = &calls};
    assert_int_equal(cbe_sampled_gradients_run(model, &options, refuse, &answer, &err),
                     CBE_ERR_CANCELLED);
    assert_int_equal(calls, 3);
    answer = CBE_ERR_IO;
    options.progress = NULL;
    assert_int_equal(cbe_sampled_gradients_run(model, &options, refuse, &answer, &err), CBE_ERR_IO);
    ids[131] = -1;
    assert_int_equal(cbe_sampled_gradients_run(model, &options, refuse, &answer, &err),
                     CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "position 1 of sequence 1"));
    options.skip_positions = 130;
    assert_int_equal(cbe_sampled_gradients_run(model, &options, refuse, &answer, &err),
                     CBE_ERR_ARG);
    cbe_model_close(model);
    free(folder);
}

int main(void)
{
    static char names[][16] = {"bloom", "gemma2", "gpt2", "gpt_neox", "llama", "olmo2"};
    enum { N_NAMES = sizeof names / sizeof *names };
    static char titles[N_NAMES][64];
    struct CMUnitTest tests[N_NAMES + 4] = {
        [N_NAMES] = {"llama__mean_of_draws_is_the_fisher_matrix",
                     mean_of_draws__is_the_fisher_matrix, NULL, NULL, names[4]},
        [N_NAMES + 1] = {"gemma2__mean_of_draws_is_the_fisher_matrix",
                         mean_of_draws__is_the_fisher_matrix, NULL, NULL, names[1]},
        [N_NAMES + 2] = cmocka_unit_test(gradients__have_the_same_bits_in_every_way),
        [N_NAMES + 3] = cmocka_unit_test(run__ends_when_it_is_told_to),
    };
    for (size_t i = 0; i < N_NAMES; i++) {
        snprintf(titles[i], sizeof titles[i], "%.16s__gradients_have_the_values_of_pytorch",
                 names[i]);
        tests[i] = (struct CMUnitTest){titles[i], gradients__have_the_values_of_pytorch, NULL, NULL,
                                       names[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
