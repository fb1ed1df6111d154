/*
 * The forward pass against float64: PyTorch's golden values, and the plain twin.
 *
 * Tolerances: an entry is a sum of some hundred float32 products, each rounded to 6e-8, and
 * every block multiplies what came before: 1e-6 of the largest entry is expected. Asserted is 5
 * times what was measured, which stands beside each.
 */
#include "support/assert_close.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "core/memory.h"
#include "ref/model_ref.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/smollm2.h"

/* Measured: hidden states 2.2e-6 of the largest entry, logits 2.5e-5 (of 14). */
static const double hidden_tolerance = 1e-5, logit_tolerance = 1.2e-4;

static void compare_gguf(const char *path, const char *golden, const char *prefix)
{
    cbe_model *model = open_model(path);
    compare_with_golden(model, golden, prefix, hidden_tolerance, logit_tolerance);
    cbe_model_close(model);
}

static void forward__gguf_files_match_golden_for_each_type(void **state)
{
    (void)state;
    static const char *const types[] = {"f32", "f16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"};
    char *golden = cbe_golden_path("gguf/tiny-llama/golden.safetensors");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char prefix[16], *model = cbe_golden_path("gguf/tiny-llama/llama-%s.gguf", types[i]);
        snprintf(prefix, sizeof prefix, "%s.", types[i]);
        compare_gguf(model, golden, prefix);
        free(model);
    }
    free(golden);
}

static void forward__gguf_rotary_divisors_match_golden(void **state)
{
    (void)state;
    char *golden = cbe_golden_path("gguf/tiny-llama3/golden.safetensors");
    char *model = cbe_golden_path("gguf/tiny-llama3/llama-f32.gguf");
    compare_gguf(model, golden, "f32.");
    free(golden);
    free(model);
}

static void forward__folder_and_f32_gguf_give_the_same_bits(void **state)
{
    (void)state;
    cbe_error err;
    char *paths[] = {cbe_golden_path("models/llama-bytes"),
                     cbe_golden_path("gguf/tiny-llama/llama-f32.gguf")};
    int64_t ids[2 * 40];
    for (size_t i = 0; i < 80; i++) ids[i] = (int64_t)(i * 37 % 320);
    capture got[2];
    for (size_t i = 0; i < 2; i++) {
        cbe_model *model = open_model(paths[i]);
        capture_init(&got[i], model, 80);
        const cbe_forward_sink sink = sink_of(&got[i]);
        cbe_assert_ok(cbe_model_forward(model, 2, 40, ids, &sink, &err), &err);
        cbe_model_close(model);
        free(paths[i]);
    }
    const size_t bytes = 3 * 80 * got[0].hidden_size * sizeof(float);
    assert_memory_equal(got[0].hidden, got[1].hidden, bytes);
    capture_free(&got[0]);
    capture_free(&got[1]);
}

/* Sequences of 1, of 3, that end inside panels, that are longer than a panel and than a block of
 * attention; several batches. Measured: hidden states 7.1e-6 of the largest entry, logits 8e-5. */
static void forward__matches_the_plain_twin_for_all_shapes(void **state)
{
    (void)state;
    cbe_error err;
    static const size_t shapes[][2] = {{1, 1}, {5, 3}, {7, 37}, {2, 300}, {1, 700}, {600, 14}};
    char *path = cbe_golden_path("models/llama-tied-bf16");
    cbe_model *model = open_model(path);
    const cbe_model_config *config = cbe_model_get_config(model);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const size_t n_tokens = shapes[i][0] * shapes[i][1];
        const size_t n_hidden = (config->n_layers + 1) * n_tokens * config->hidden_size;
        const size_t n_logits = n_tokens * config->vocab_size;
        int64_t *ids = malloc(n_tokens * sizeof *ids);
        double *want = malloc((n_hidden + n_logits) * sizeof *want);
        double *got_hidden = malloc((n_hidden + n_logits) * sizeof *got_hidden);
        assert_true(ids && want && got_hidden);
        for (size_t n = 0; n < n_tokens; n++) ids[n] = (int64_t)(n * n % config->vocab_size);
        capture got;
        capture_init(&got, model, n_tokens);
        const cbe_forward_sink sink = sink_of(&got);
        cbe_assert_ok(cbe_model_forward(model, shapes[i][0], shapes[i][1], ids, &sink, &err), &err);
        cbe_model_ref(model, shapes[i][0], shapes[i][1], ids, want, want + n_hidden);
        for (size_t j = 0; j < n_hidden; j++) got_hidden[j] = (double)got.hidden[j];
        for (size_t j = 0; j < n_logits; j++) got_hidden[n_hidden + j] = (double)got.logits[j];
        cbe_assert_close(got_hidden, want, n_hidden, 3.5e-5 * largest(got.hidden, n_hidden), 0,
                         "hidden states, %zu x %zu", shapes[i][0], shapes[i][1]);
        cbe_assert_close(got_hidden + n_hidden, want + n_hidden, n_logits, 4e-4, 0,
                         "logits, %zu x %zu", shapes[i][0], shapes[i][1]);
        capture_free(&got);
        free(ids);
        free(want);
        free(got_hidden);
    }
    cbe_model_close(model);
    free(path);
}

/* Measured: 5.6e-6 of each token's norm, logits 3.3e-5; PyTorch in float32 4e-6 and 4e-5. */
static void forward__smollm2_matches_golden(void **state)
{
    (void)state;
    const char *path = cbe_test_smollm2_path();
    if (!path) {
        print_message("SmolLM2 is not here: set CBE_SMOLLM2 to its .gguf file\n");
        skip();
    }
    cbe_error err;
    char *golden_path = cbe_golden_path("smollm2/golden.safetensors");
    cbe_safetensors *golden = open_golden(golden_path);
    cbe_model *model = open_model(path);
    size_t n_sequences, context_length;
    int64_t *ids = cbe_golden_ids(golden, "input_ids", &n_sequences, &context_length);
    capture got;
    capture_init(&got, model, n_sequences * context_length);
    const cbe_forward_sink sink = sink_of(&got);
    cbe_assert_ok(cbe_model_forward(model, n_sequences, context_length, ids, &sink, &err), &err);

    const size_t d = got.hidden_size, vocab = got.vocab_size;
    static const size_t layers[] = {0, 1, 8, 15, 25, 30};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        char name[32];
        size_t count;
        snprintf(name, sizeof name, "hidden_states.%zu", layers[i]);
        float *want = cbe_golden_floats(golden, name, &count);
        assert_int_equal(count, got.n_tokens * d);
        double worst = 0;
        for (size_t n = 0; n < got.n_tokens; n++) {
            const float *g = got.hidden + (layers[i] * got.n_tokens + n) * d, *w = want + n * d;
            double norm = 0, distance = 0;
            for (size_t j = 0; j < d; j++) {
                norm += (double)w[j] * (double)w[j];
                distance += ((double)g[j] - (double)w[j]) * ((double)g[j] - (double)w[j]);
            }
            worst = fmax(worst, isfinite(distance) ? sqrt(distance / norm) : INFINITY);
        }
        print_message("hidden_states.%zu: %.2g of each token's norm\n", layers[i], worst);
        assert_true(worst <= 3e-5);
        free(want);
    }
    size_t count;
    float *want = cbe_golden_floats(golden, "logits.tail", &count);
    const size_t tail = count / n_sequences / vocab;
    for (size_t b = 0; b < n_sequences; b++)
        cbe_assert_close_f32(got.logits + ((b + 1) * context_length - tail) * vocab,
                             want + b * tail * vocab, tail * vocab, 2e-4, 0,
                             "logits.tail of sequence %zu", b);
    free(want);
    free(ids);
    capture_free(&got);
    cbe_model_close(model);
    cbe_safetensors_close(golden);
    free(golden_path);
}

static void forward__bits_do_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    cbe_error err;
    char *path = cbe_golden_path("models/llama");
    cbe_model *model = open_model(path);
    static const size_t shapes[][2] = {{1, 30}, {9, 100}, {1, 600}};
    const int before = omp_get_max_threads();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const size_t n_tokens = shapes[i][0] * shapes[i][1];
        int64_t *ids = malloc(n_tokens * sizeof *ids);
        assert_non_null(ids);
        for (size_t n = 0; n < n_tokens; n++) ids[n] = (int64_t)(n * 53 % 139);
        capture got[3];
        for (int t = 0; t < 3; t++) {
            omp_set_num_threads(t + 1);
            capture_init(&got[t], model, n_tokens);
            const cbe_forward_sink sink = sink_of(&got[t]);
            cbe_assert_ok(cbe_model_forward(model, shapes[i][0], shapes[i][1], ids, &sink, &err),
                          &err);
        }
        omp_set_num_threads(before);
        const size_t hidden_bytes = 4 * n_tokens * got[0].hidden_size * sizeof(float);
        const size_t logit_bytes = n_tokens * got[0].vocab_size * sizeof(float);
        for (int t = 1; t < 3; t++) {
            assert_memory_equal(got[0].hidden, got[t].hidden, hidden_bytes);
            assert_memory_equal(got[0].logits, got[t].logits, logit_bytes);
        }
        for (int t = 0; t < 3; t++) capture_free(&got[t]);
        free(ids);
    }
    cbe_model_close(model);
    free(path);
}

/* A tiny model, 4 sequences of 10 tokens, and what a forward pass of them hands over. */
typedef struct {
    cbe_model *model;
    int64_t ids[40];
    capture got;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    char *path = cbe_golden_path("models/llama");
    f->model = open_model(path);
    free(path);
    for (size_t n = 0; n < 40; n++) f->ids[n] = (int64_t)n;
    capture_init(&f->got, f->model, 40);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    cbe_model_close(f->model);
    capture_free(&f->got);
    free(f);
    return 0;
}

static void forward__hands_over_only_the_layers_asked_for(void **state)
{
    fixture *f = *state;
    cbe_error err;
    cbe_forward_sink sink = sink_of(&f->got);
    sink.logits = NULL;
    sink.progress = take_progress;
    for (size_t i = 0; i <= f->got.n_layers; i++) f->got.layers[i] = i == 2;
    cbe_assert_ok(cbe_model_forward(f->model, 4, 10, f->ids, &sink, &err), &err);
    assert_int_equal(f->got.hidden_calls, 1);
    assert_int_equal(f->got.logit_calls, 0);
    /* Two blocks of 40 tokens: the third is not run. */
    assert_int_equal(f->got.total, 80);
    assert_int_equal(f->got.last_done, 80);
    const size_t layer_size = 40 * f->got.hidden_size;
    assert_true(largest(f->got.hidden, 2 * layer_size) == 0);
    assert_true(largest(f->got.hidden + 2 * layer_size, layer_size) > 0);
    assert_true(largest(f->got.hidden + 3 * layer_size, layer_size) == 0);
}

static void forward__runs_nothing_when_nothing_is_asked_for(void **state)
{
    fixture *f = *state;
    cbe_error err;
    const cbe_forward_sink none = {.progress = take_progress, .context = &f->got};
    cbe_assert_ok(cbe_model_forward(f->model, 4, 10, f->ids, &none, &err), &err);
    assert_int_equal(f->got.progress_calls, 0);
    const cbe_forward_sink sink = sink_of(&f->got);
    cbe_assert_ok(cbe_model_forward(f->model, 0, 10, f->ids, &sink, &err), &err);
    cbe_assert_ok(cbe_model_forward(f->model, 4, 0, f->ids, &sink, &err), &err);
    assert_int_equal(f->got.hidden_calls, 0);
}

static void forward__gives_logits_without_hidden_states(void **state)
{
    fixture *f = *state;
    cbe_error err;
    const cbe_forward_sink sink = {.logits = take_logits, .context = &f->got};
    cbe_assert_ok(cbe_model_forward(f->model, 4, 10, f->ids, &sink, &err), &err);
    assert_int_equal(f->got.next_logit, 40);
}

static void forward__returns_the_status_of_a_sink(void **state)
{
    fixture *f = *state;
    cbe_error err;
    cbe_forward_sink sink = sink_of(&f->got);
    f->got.answer = CBE_ERR_IO;
    f->got.stop_after = 2;
    assert_int_equal(cbe_model_forward(f->model, 4, 10, f->ids, &sink, &err), CBE_ERR_IO);
    assert_int_equal(f->got.hidden_calls, 2);
    sink.layers = NULL;
    f->got.stop_after = 1;
    assert_int_equal(cbe_model_forward(f->model, 4, 10, f->ids, &sink, &err), CBE_ERR_IO);
    assert_int_equal(f->got.hidden_calls, 2);
    assert_int_equal(f->got.logit_calls, 1);
}

static void forward__is_cancelled_by_progress(void **state)
{
    fixture *f = *state;
    cbe_error err;
    cbe_forward_sink sink = sink_of(&f->got);
    sink.hidden = take_hidden;
    sink.layers = NULL;
    sink.progress = take_progress;
    f->got.stop_after = 2;
    assert_int_equal(cbe_model_forward(f->model, 4, 10, f->ids, &sink, &err), CBE_ERR_CANCELLED);
    assert_int_equal(err.code, CBE_ERR_CANCELLED);
    assert_int_equal(f->got.progress_calls, 2);
    assert_int_equal(f->got.logit_calls, 0);
}

static void forward__names_an_id_out_of_range(void **state)
{
    fixture *f = *state;
    cbe_error err;
    const cbe_forward_sink sink = sink_of(&f->got);
    static const int64_t bad[] = {139, -1, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < 4; i++) {
        f->ids[23] = bad[i];
        assert_int_equal(cbe_model_forward(f->model, 4, 10, f->ids, &sink, &err), CBE_ERR_ARG);
        assert_non_null(strstr(err.message, "position 3 of sequence 2"));
        assert_int_equal(cbe_model_forward(f->model, 4, 10, f->ids, &sink, NULL), CBE_ERR_ARG);
    }
    assert_int_equal(f->got.hidden_calls, 0);
}

static void forward__survives_each_failing_allocation(void **state)
{
    fixture *f = *state;
    const cbe_forward_sink sink = sink_of(&f->got);
    cbe_status st = CBE_ERR_NOMEM;
    long n = 0;
    for (; st != CBE_OK && n < 100; n++) {
        cbe_error err = {0};
        f->got.next_logit = 0;
        cbe_memory_fail_after(n);
        st = cbe_model_forward(f->model, 4, 10, f->ids, &sink, &err);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK || (st == CBE_ERR_NOMEM && err.code == CBE_ERR_NOMEM));
    }
    assert_int_equal(st, CBE_OK);
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward__gguf_files_match_golden_for_each_type),
        cmocka_unit_test(forward__gguf_rotary_divisors_match_golden),
        cmocka_unit_test(forward__folder_and_f32_gguf_give_the_same_bits),
        cmocka_unit_test(forward__matches_the_plain_twin_for_all_shapes),
        cmocka_unit_test(forward__smollm2_matches_golden),
        cmocka_unit_test(forward__bits_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test_setup_teardown(forward__hands_over_only_the_layers_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(forward__runs_nothing_when_nothing_is_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(forward__gives_logits_without_hidden_states, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(forward__returns_the_status_of_a_sink, setup, teardown),
        cmocka_unit_test_setup_teardown(forward__is_cancelled_by_progress, setup, teardown),
        cmocka_unit_test_setup_teardown(forward__names_an_id_out_of_range, setup, teardown),
        cmocka_unit_test_setup_teardown(forward__survives_each_failing_allocation, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
