/* Hidden states: captured from a model, and read from files; positions left out, labels, norms,
 * what is refused. */
#include "model/hidden_states.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/safetensors.h"
#include "core/memory.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/temp_folder.h"

enum { B = 3, S = 4, D = 5 };

static cbe_error err;
static float hidden[B * S * D];

static void fill(void)
{
    for (size_t i = 0; i < B * S * D; i++) hidden[i] = (float)i + 1;
    for (size_t b = 0; b < B; b++)
        for (size_t k = 0; k < D; k++) hidden[b * S * D + k] *= 1000;
}

/* hidden_states.2 with n_dims and dims, and input_ids (B, S) when with_ids. */
static void write_file(const char *path, size_t n_dims, const size_t *dims, bool with_ids)
{
    cbe_tensor_spec specs[] = {{"hidden_states.2", CBE_F32, n_dims, {0}},
                               {"input_ids", CBE_I64, 2, {B, S}}};
    memcpy(specs[0].dims, dims, n_dims * sizeof *dims);
    int64_t ids[B * S];
    for (size_t i = 0; i < B * S; i++) ids[i] = (int64_t)i + 100;
    const char *metadata[] = {"n_layers", "7"};
    cbe_safetensors_writer *w = NULL;
    cbe_assert_ok(
        cbe_safetensors_writer_create(&w, path, with_ids ? 2 : 1, specs, 1, metadata, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(w, 0, 0, B * S * D, hidden, &err), &err);
    if (with_ids) cbe_assert_ok(cbe_safetensors_writer_put(w, 1, 0, B * S, ids, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(w, &err), &err);
}

static void file__of_sequences_is_read_with_positions_left_out(void **state)
{
    fill();
    const char *path = temp_path(state, "h.safetensors");
    write_file(path, 3, (const size_t[]){B, S, D}, true);
    cbe_hidden_states *s = NULL;
    cbe_assert_ok(cbe_hidden_states_open(&s, path, &err), &err);
    assert_int_equal(cbe_hidden_states_n_sequences(s), B);
    assert_int_equal(cbe_hidden_states_context_length(s), S);
    assert_int_equal(cbe_hidden_states_hidden_size(s), D);
    assert_int_equal(cbe_hidden_states_end(s), 3);
    assert_int_equal(cbe_hidden_states_n_blocks(s), 7);
    assert_true(cbe_hidden_states_has(s, 2));
    assert_false(cbe_hidden_states_has(s, 1));
    assert_int_equal(cbe_hidden_states_n_tokens(s, 1), B * (S - 1));
    float out[B * S * D];
    int64_t labels[B * S];
    cbe_assert_ok(cbe_hidden_states_read(s, 2, 1, out, &err), &err);
    for (size_t b = 0; b < B; b++)
        assert_memory_equal(out + b * (S - 1) * D, hidden + (b * S + 1) * D,
                            (S - 1) * D * sizeof *out);
    cbe_assert_ok(cbe_hidden_states_labels(s, 1, labels, &err), &err);
    const int64_t want[] = {102, 103, -1, 106, 107, -1, 110, 111, -1};
    assert_memory_equal(labels, want, sizeof want);
    double ratio;
    cbe_assert_ok(cbe_hidden_states_first_norm_ratio(s, 2, &ratio, &err), &err);
    assert_true(ratio > 100);
    assert_int_equal(cbe_hidden_states_read(s, 1, 0, out, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "hidden_states.1"));
    assert_int_equal(cbe_hidden_states_read(s, 2, S, out, &err), CBE_ERR_ARG);
    cbe_hidden_states_close(s);
}

static void file__of_tokens_is_one_sequence_or_that_of_its_ids(void **state)
{
    fill();
    const char *path = temp_path(state, "flat.safetensors");
    cbe_hidden_states *s = NULL;
    int64_t labels[B * S];
    write_file(path, 2, (const size_t[]){B * S, D}, false);
    cbe_assert_ok(cbe_hidden_states_open(&s, path, &err), &err);
    assert_int_equal(cbe_hidden_states_n_sequences(s), 1);
    assert_int_equal(cbe_hidden_states_context_length(s), B * S);
    assert_int_equal(cbe_hidden_states_labels(s, 0, labels, &err), CBE_ERR_ARG);
    cbe_hidden_states_close(s);
    write_file(path, 2, (const size_t[]){B * S, D}, true);
    cbe_assert_ok(cbe_hidden_states_open(&s, path, &err), &err);
    assert_int_equal(cbe_hidden_states_n_sequences(s), B);
    assert_int_equal(cbe_hidden_states_context_length(s), S);
    cbe_hidden_states_close(s);
}

/* Tokens 3, 4 and 9 are left out (tests/tools/make_npy.py): 0 to 2, 5 to 7, 8, 10, 11 are left. */
static void mask__leaves_tokens_out(void **state)
{
    (void)state;
    static const char *const files[] = {"states.npz", "compressed.npz", "masked.npz"};
    /* by skip */
    static const size_t left[2][9] = {{0, 1, 2, 5, 6, 7, 8, 10, 11}, {1, 2, 6, 7, 10, 11}};
    static const int64_t labels[2][9] = {{101, 102, -1, 106, 107, -1, -1, 111, -1},
                                         {102, -1, 107, -1, 111, -1}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        cbe_hidden_states *s = NULL;
        char *path = cbe_golden_path("npy/%s", files[i]);
        cbe_assert_ok(cbe_hidden_states_open(&s, path, &err), &err);
        free(path);
        assert_int_equal(cbe_hidden_states_n_sequences(s), B);
        assert_int_equal(cbe_hidden_states_context_length(s), S);
        for (size_t skip = 0; skip < 2; skip++) {
            float out[9 * D];
            int64_t next[9];
            const size_t n = cbe_hidden_states_n_tokens(s, skip);
            assert_int_equal(n, skip ? 6 : 9);
            cbe_assert_ok(cbe_hidden_states_read(s, 2, skip, out, &err), &err);
            cbe_assert_ok(cbe_hidden_states_labels(s, skip, next, &err), &err);
            for (size_t t = 0; t < n; t++) {
                assert_int_equal(next[t], labels[skip][t]);
                for (size_t k = 0; k < D; k++)
                    assert_true(out[t * D + k] == (float)(left[skip][t] * D + k + 1));
            }
        }
        assert_int_equal(cbe_hidden_states_n_tokens(s, 3), 0);
        assert_int_equal(cbe_hidden_states_read(s, 2, 3, NULL, &err), CBE_ERR_ARG);
        assert_true((cbe_hidden_states_derangement(s) != NULL) == (i == 2));
        double ratio;
        cbe_assert_ok(cbe_hidden_states_first_norm_ratio(s, 2, &ratio, &err), &err);
        assert_true(ratio > 0.5 && ratio < 1.5);
        cbe_hidden_states_close(s);
    }
}

static void mask__of_another_size_or_without_a_token_is_refused(void **state)
{
    fill();
    const char *path = temp_path(state, "m.safetensors");
    for (int wrong = 0; wrong < 3; wrong++) {
        int64_t mask[B * S] = {0};
        uint8_t bytes[B * S] = {[5] = 1};
        const size_t n = wrong == 0 ? B * S - 1 : B * S;
        const cbe_tensor_spec specs[] = {{"hidden_states.0", CBE_F32, 3, {B, S, D}},
                                         {"mask", wrong == 2 ? CBE_U8 : CBE_I64, 1, {n}}};
        cbe_safetensors_writer *w = NULL;
        cbe_hidden_states *s = NULL;
        cbe_assert_ok(cbe_safetensors_writer_create(&w, path, 2, specs, 0, NULL, &err), &err);
        cbe_assert_ok(cbe_safetensors_writer_put(w, 0, 0, B * S * D, hidden, &err), &err);
        cbe_assert_ok(
            cbe_safetensors_writer_put(w, 1, 0, n, wrong == 2 ? (void *)bytes : mask, &err), &err);
        cbe_assert_ok(cbe_safetensors_writer_commit(w, &err), &err);
        const cbe_status st = cbe_hidden_states_open(&s, path, &err);
        if (wrong == 2) {
            cbe_assert_ok(st, &err); /* one byte an entry will do */
            assert_int_equal(cbe_hidden_states_n_tokens(s, 0), 1);
            cbe_hidden_states_close(s);
            continue;
        }
        assert_int_equal(st, wrong ? CBE_ERR_ARG : CBE_ERR_SHAPE);
        assert_true(strstr(err.message, path) && strstr(err.message, "mask"));
    }
}

static void file__of_numpy_with_one_array_is_one_layer(void **state)
{
    cbe_hidden_states *s = NULL;
    size_t size;
    char *from = cbe_golden_path("npy/hidden_states.2.npy");
    cbe_assert_ok(cbe_hidden_states_open(&s, from, &err), &err);
    assert_true(cbe_hidden_states_has(s, 2) && !cbe_hidden_states_has(s, 0));
    cbe_hidden_states_close(s);
    unsigned char *data = cbe_read_file(from, &size);
    const char *path = temp_path(state, "other.npy");
    temp_write(path, data, size);
    cbe_assert_ok(cbe_hidden_states_open(&s, path, &err), &err);
    assert_true(cbe_hidden_states_has(s, 0) && cbe_hidden_states_end(s) == 1);
    assert_int_equal(cbe_hidden_states_n_tokens(s, 0), B * S);
    cbe_hidden_states_close(s);
    free(data);
    free(from);
}

static void read__names_the_place_of_a_number_that_is_not_finite(void **state)
{
    fill();
    hidden[(1 * S + 2) * D + 3] = INFINITY;
    const char *path = temp_path(state, "inf.safetensors");
    write_file(path, 3, (const size_t[]){B, S, D}, true);
    cbe_hidden_states *s = NULL;
    float out[B * S * D];
    cbe_assert_ok(cbe_hidden_states_open(&s, path, &err), &err);
    assert_int_equal(cbe_hidden_states_read(s, 2, 0, out, &err), CBE_ERR_NUMERIC);
    assert_non_null(strstr(err.message, "hidden_states.2: sequence 1, position 2"));
    assert_non_null(strstr(err.message, "inf.safetensors"));
    cbe_hidden_states_close(s);
}

static void open__refuses_shapes_that_are_none(void **state)
{
    fill();
    const char *path = temp_path(state, "bad.safetensors");
    cbe_hidden_states *s = NULL;
    write_file(path, 1, (const size_t[]){B * S * D}, false);
    assert_int_equal(cbe_hidden_states_open(&s, path, &err), CBE_ERR_SHAPE);
    write_file(path, 2, (const size_t[]){B * S * D / 2, 2}, true); /* 12 ids for 30 tokens */
    assert_int_equal(cbe_hidden_states_open(&s, path, &err), CBE_ERR_SHAPE);
    assert_non_null(strstr(err.message, "input_ids"));
    assert_null(s);
}

/* The golden llama model (L = 3, d = 64, V = 139) with its tokens, 2 x 17, and their
 * derangement. */
enum { LLAMA_L = 3, LLAMA_D = 64, LLAMA_N = 34, LLAMA_V = 139 };

typedef struct {
    cbe_model *model;
    cbe_tokens tokens;
    char *golden;
} llama;

static llama open_llama(void)
{
    llama m = {.golden = cbe_golden_path("models/llama/golden.safetensors")};
    char *path = cbe_golden_path("models/llama");
    cbe_assert_ok(cbe_model_open(&m.model, path, &err), &err);
    cbe_assert_ok(cbe_tokens_load(&m.tokens, m.golden, NULL, &err), &err);
    free(path);
    return m;
}

static void close_llama(llama *m)
{
    cbe_model_close(m->model);
    cbe_tokens_free(&m->tokens);
    free(m->golden);
}

static bool count_progress(void *context, size_t done, size_t total)
{
    size_t *calls = context;
    assert_true(done <= total);
    return ++*calls < 1000;
}

static bool cancel(void *context, size_t done, size_t total)
{
    (void)context;
    (void)done;
    (void)total;
    return false;
}

static void capture__meets_the_golden_file_at_the_layers_asked_for(void **state)
{
    (void)state;
    llama m = open_llama();
    const bool layers[LLAMA_L + 1] = {true, false, true, true};
    size_t calls = 0;
    cbe_hidden_states *got = NULL, *want = NULL;
    cbe_assert_ok(
        cbe_hidden_states_capture(&got, m.model, &m.tokens, layers, count_progress, &calls, &err),
        &err);
    cbe_assert_ok(cbe_hidden_states_open(&want, m.golden, &err), &err);
    assert_true(calls > 0);
    assert_int_equal(cbe_hidden_states_n_sequences(got), 2);
    assert_int_equal(cbe_hidden_states_context_length(got), 17);
    assert_int_equal(cbe_hidden_states_hidden_size(got), LLAMA_D);
    assert_int_equal(cbe_hidden_states_n_blocks(got), LLAMA_L);
    assert_int_equal(cbe_hidden_states_end(got), LLAMA_L + 1);
    assert_memory_equal(cbe_hidden_states_ids(got), cbe_hidden_states_ids(want),
                        LLAMA_N * sizeof(int64_t));
    assert_memory_equal(cbe_hidden_states_derangement(got), cbe_hidden_states_derangement(want),
                        LLAMA_N * sizeof(int64_t));
    float a[LLAMA_N * LLAMA_D], b[LLAMA_N * LLAMA_D];
    for (size_t l = 0; l <= LLAMA_L; l++) {
        assert_int_equal(cbe_hidden_states_has(got, l), layers[l]);
        if (!layers[l]) {
            assert_int_equal(cbe_hidden_states_read(got, l, 0, a, &err), CBE_ERR_ARG);
            continue;
        }
        for (size_t skip = 0; skip < 3; skip++) {
            const size_t n = cbe_hidden_states_n_tokens(got, skip);
            assert_int_equal(n, 2 * (17 - skip));
            cbe_assert_ok(cbe_hidden_states_read(got, l, skip, a, &err), &err);
            cbe_assert_ok(cbe_hidden_states_read(want, l, skip, b, &err), &err);
            /* float32 against float64, entries up to about 10. */
            cbe_assert_close_f32(a, b, n * LLAMA_D, 5e-5, 0, "layer %zu, %zu positions skipped", l,
                                 skip);
        }
    }
    assert_false(cbe_hidden_states_has(got, LLAMA_L + 1));
    cbe_hidden_states_close(got);
    cbe_hidden_states_close(want);
    close_llama(&m);
}

static void save__writes_what_capture_keeps_and_the_logits(void **state)
{
    llama m = open_llama();
    const bool layers[LLAMA_L + 1] = {false, true, false, true};
    const char *path = temp_path(state, "captured.safetensors");
    cbe_assert_ok(cbe_hidden_states_save(path, m.model, &m.tokens, layers, true, NULL, NULL, &err),
                  &err);
    cbe_hidden_states *saved = NULL, *kept = NULL;
    cbe_assert_ok(cbe_hidden_states_open(&saved, path, &err), &err);
    cbe_assert_ok(cbe_hidden_states_capture(&kept, m.model, &m.tokens, layers, NULL, NULL, &err),
                  &err);
    assert_int_equal(cbe_hidden_states_n_blocks(saved), LLAMA_L);
    assert_int_equal(cbe_hidden_states_n_sequences(saved), 2);
    assert_memory_equal(cbe_hidden_states_ids(saved), m.tokens.ids, LLAMA_N * sizeof(int64_t));
    assert_memory_equal(cbe_hidden_states_derangement(saved), m.tokens.derangement,
                        LLAMA_N * sizeof(int64_t));
    static float a[LLAMA_N * LLAMA_V], b[LLAMA_N * LLAMA_V];
    for (size_t l = 0; l <= LLAMA_L; l++) {
        assert_int_equal(cbe_hidden_states_has(saved, l), layers[l]);
        if (!layers[l]) continue;
        cbe_assert_ok(cbe_hidden_states_read(saved, l, 0, a, &err), &err);
        cbe_assert_ok(cbe_hidden_states_read(kept, l, 0, b, &err), &err);
        assert_memory_equal(a, b, LLAMA_N * LLAMA_D * sizeof *a);
    }
    cbe_hidden_states_close(saved);
    cbe_hidden_states_close(kept);
    const char *files[2] = {path, m.golden};
    for (int i = 0; i < 2; i++) {
        cbe_safetensors *file = NULL;
        cbe_tensor t;
        cbe_assert_ok(cbe_safetensors_open(&file, files[i], &err), &err);
        cbe_assert_ok(cbe_safetensors_get(file, "logits", &t, &err), &err);
        assert_int_equal(t.n_elements, LLAMA_N * LLAMA_V);
        cbe_assert_ok(cbe_tensor_to_float(&t, 0, t.n_elements, i ? b : a, &err), &err);
        cbe_safetensors_close(file);
    }
    cbe_assert_close_f32(a, b, LLAMA_N * LLAMA_V, 2e-4, 0, "logits");
    close_llama(&m);
}

/* In a file without a name, whatever is in the folder. */
static void spill__has_the_bits_of_capture_and_leaves_nothing(void **state)
{
    llama m = open_llama();
    const bool layers[LLAMA_L + 1] = {false, true, false, true};
    float a[LLAMA_N * LLAMA_D], b[LLAMA_N * LLAMA_D];
    cbe_hidden_states *kept = NULL, *spilled[2] = {NULL, NULL};
    char folder[1100];
    snprintf(folder, sizeof folder, "%s", temp_path(state, "spill"));
    assert_int_equal(mkdir(folder, 0777), 0);
    void *inside = folder;
    cbe_assert_ok(cbe_hidden_states_capture(&kept, m.model, &m.tokens, layers, NULL, NULL, &err),
                  &err);
    for (int i = 0; i < 2; i++)
        cbe_assert_ok(cbe_hidden_states_spill(&spilled[i], folder, m.model, &m.tokens, layers, NULL,
                                              NULL, &err),
                      &err);
    assert_int_equal(temp_count(&inside, ""), 2); /* . and .. */
    assert_int_equal(cbe_hidden_states_n_blocks(spilled[0]), LLAMA_L);
    assert_memory_equal(cbe_hidden_states_ids(spilled[0]), m.tokens.ids, LLAMA_N * sizeof(int64_t));
    for (int i = 0; i < 2; i++) {
        for (size_t l = 0; l <= LLAMA_L; l++) {
            assert_int_equal(cbe_hidden_states_has(spilled[i], l), layers[l]);
            if (!layers[l]) continue;
            cbe_assert_ok(cbe_hidden_states_read(spilled[i], l, 1, a, &err), &err);
            cbe_assert_ok(cbe_hidden_states_read(kept, l, 1, b, &err), &err);
            assert_memory_equal(a, b, cbe_hidden_states_n_tokens(kept, 1) * LLAMA_D * sizeof *a);
        }
        cbe_hidden_states_close(spilled[i]);
    }
    cbe_hidden_states_close(kept);
    cbe_hidden_states *none = NULL;
    assert_int_equal(
        cbe_hidden_states_spill(&none, folder, m.model, &m.tokens, layers, cancel, NULL, &err),
        CBE_ERR_CANCELLED);
    assert_int_equal(cbe_hidden_states_spill(&none, temp_path(state, "nowhere"), m.model, &m.tokens,
                                             layers, NULL, NULL, &err),
                     CBE_ERR_IO);
    assert_null(none);
    assert_int_equal(temp_count(&inside, ""), 2);
    close_llama(&m);
}

static void save__that_is_cancelled_leaves_no_file(void **state)
{
    llama m = open_llama();
    const bool layers[LLAMA_L + 1] = {true, true, true, true};
    cbe_hidden_states *none = NULL;
    const char *path = temp_path(state, "cancelled.safetensors");
    assert_int_equal(
        cbe_hidden_states_save(path, m.model, &m.tokens, layers, false, cancel, NULL, &err),
        CBE_ERR_CANCELLED);
    assert_int_equal(temp_count(state, "cancelled"), 0);
    assert_int_equal(
        cbe_hidden_states_capture(&none, m.model, &m.tokens, layers, cancel, NULL, &err),
        CBE_ERR_CANCELLED);
    assert_null(none);
    close_llama(&m);
}

static void capture_save_and_open__say_when_memory_is_short(void **state)
{
    llama m = open_llama();
    const bool layers[LLAMA_L + 1] = {true, false, true, false};
    const char *path = temp_path(state, "short.safetensors");
    for (int call = 0; call < 4; call++) {
        cbe_status st = CBE_ERR_NOMEM;
        for (long allowed = 0; st != CBE_OK; allowed++) {
            cbe_hidden_states *s = NULL;
            assert_true(allowed < 500);
            cbe_memory_fail_after(allowed);
            st = call == 0
                     ? cbe_hidden_states_capture(&s, m.model, &m.tokens, layers, NULL, NULL, &err)
                 : call == 3 ? cbe_hidden_states_spill(&s, *state, m.model, &m.tokens, layers, NULL,
                                                       NULL, &err)
                 : call == 1 ? cbe_hidden_states_save(path, m.model, &m.tokens, layers, true, NULL,
                                                      NULL, &err)
                             : cbe_hidden_states_open(&s, path, &err);
            cbe_memory_fail_after(-1);
            if (st != CBE_OK) assert_true(st == CBE_ERR_NOMEM && !s);
            if (st != CBE_OK && call == 1) assert_int_equal(temp_count(state, "short"), 0);
            cbe_hidden_states_close(s);
        }
    }
    close_llama(&m);
}

static void first_norm_ratio__is_that_of_medians(void **state)
{
    const char *path = temp_path(state, "norms.safetensors");
    double ratio, want = 100;
    cbe_hidden_states *s = NULL;
    /* Norms 1 but for the first positions, 100; one of the three sequences has an ordinary one. */
    for (int flat = 0; flat < 2; flat++) {
        memset(hidden, 0, sizeof hidden);
        for (size_t n = 0; n < B * S; n++)
            hidden[n * D + n % D] = n % S == 0 && n != S && !flat ? -100 : 1;
        write_file(path, 3, (const size_t[]){B, S, D}, true);
        cbe_assert_ok(cbe_hidden_states_open(&s, path, &err), &err);
        cbe_assert_ok(cbe_hidden_states_first_norm_ratio(s, 2, &ratio, &err), &err);
        cbe_assert_close(&ratio, &want, 1, 0, 1e-6, "flat %d", flat);
        want = 1;
        assert_int_equal(cbe_hidden_states_first_norm_ratio(s, 1, &ratio, &err), CBE_ERR_ARG);
        cbe_hidden_states_close(s);
    }
    /* All zero: no ratio, and no position to leave out. */
    memset(hidden, 0, sizeof hidden);
    write_file(path, 3, (const size_t[]){B, S, D}, true);
    cbe_assert_ok(cbe_hidden_states_open(&s, path, &err), &err);
    cbe_assert_ok(cbe_hidden_states_first_norm_ratio(s, 2, &ratio, &err), &err);
    assert_true(ratio == 1);
    cbe_hidden_states_close(s);
}

/* Writes tensors of zeros and expects an error with a word in it. */
static void expect_refused(void **state, size_t n, const cbe_tensor_spec *specs, cbe_status status,
                           const char *word)
{
    static const int64_t zeros[256];
    const char *path = temp_path(state, "refused.safetensors");
    cbe_safetensors_writer *w = NULL;
    cbe_hidden_states *s = NULL;
    cbe_assert_ok(cbe_safetensors_writer_create(&w, path, n, specs, 0, NULL, &err), &err);
    for (size_t i = 0; i < n; i++) {
        size_t count = 1;
        for (size_t k = 0; k < specs[i].n_dims; k++) count *= specs[i].dims[k];
        assert_true(count <= 256);
        cbe_assert_ok(cbe_safetensors_writer_put(w, i, 0, count, zeros, &err), &err);
    }
    cbe_assert_ok(cbe_safetensors_writer_commit(w, &err), &err);
    const cbe_status st = cbe_hidden_states_open(&s, path, &err);
    if (st != status || !strstr(err.message, word) || !strstr(err.message, "refused.safetensors"))
        fail_msg("%s \"%s\", expected %s with \"%s\"", cbe_status_name(st), err.message,
                 cbe_status_name(status), word);
    assert_null(s);
}

static void open__names_what_is_missing_or_does_not_fit(void **state)
{
    const cbe_tensor_spec good = {"hidden_states.0", CBE_F32, 3, {2, 3, 4}};
    expect_refused(state, 1, (const cbe_tensor_spec[]){{"hidden.0", CBE_F32, 2, {3, 4}}},
                   CBE_ERR_FORMAT, "hidden_states.<layer>");
    expect_refused(state, 1, (const cbe_tensor_spec[]){{"hidden_states.01", CBE_F32, 2, {3, 4}}},
                   CBE_ERR_FORMAT, "hidden_states.<layer>");
    expect_refused(state, 1,
                   (const cbe_tensor_spec[]){{"hidden_states.0", CBE_F32, 4, {1, 2, 3, 4}}},
                   CBE_ERR_SHAPE, "hidden_states.0");
    expect_refused(state, 1, (const cbe_tensor_spec[]){{"hidden_states.3", CBE_F32, 3, {2, 0, 4}}},
                   CBE_ERR_SHAPE, "hidden_states.3");
    expect_refused(state, 2,
                   (const cbe_tensor_spec[]){good, {"hidden_states.1", CBE_F32, 3, {2, 3, 5}}},
                   CBE_ERR_SHAPE, "hidden_states.1");
    expect_refused(state, 2,
                   (const cbe_tensor_spec[]){good, {"hidden_states.1", CBE_F32, 3, {3, 2, 4}}},
                   CBE_ERR_SHAPE, "hidden_states.1");
    expect_refused(state, 2, (const cbe_tensor_spec[]){good, {"input_ids", CBE_I64, 2, {3, 2}}},
                   CBE_ERR_SHAPE, "input_ids");
    expect_refused(state, 2, (const cbe_tensor_spec[]){good, {"input_ids", CBE_F32, 2, {2, 3}}},
                   CBE_ERR_SHAPE, "input_ids");
    expect_refused(state, 2, (const cbe_tensor_spec[]){good, {"derangement", CBE_I64, 1, {5}}},
                   CBE_ERR_SHAPE, "derangement");
    expect_refused(state, 2, (const cbe_tensor_spec[]){good, {"derangement", CBE_F64, 1, {6}}},
                   CBE_ERR_SHAPE, "derangement");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file__of_sequences_is_read_with_positions_left_out),
        cmocka_unit_test(file__of_tokens_is_one_sequence_or_that_of_its_ids),
        cmocka_unit_test(mask__leaves_tokens_out),
        cmocka_unit_test(mask__of_another_size_or_without_a_token_is_refused),
        cmocka_unit_test(file__of_numpy_with_one_array_is_one_layer),
        cmocka_unit_test(read__names_the_place_of_a_number_that_is_not_finite),
        cmocka_unit_test(open__refuses_shapes_that_are_none),
        cmocka_unit_test(capture__meets_the_golden_file_at_the_layers_asked_for),
        cmocka_unit_test(save__writes_what_capture_keeps_and_the_logits),
        cmocka_unit_test(spill__has_the_bits_of_capture_and_leaves_nothing),
        cmocka_unit_test(save__that_is_cancelled_leaves_no_file),
        cmocka_unit_test(capture_save_and_open__say_when_memory_is_short),
        cmocka_unit_test(first_norm_ratio__is_that_of_medians),
        cmocka_unit_test(open__names_what_is_missing_or_does_not_fit),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
