/* Hidden-state files: shapes, positions left out, labels, norms, and what is refused. */
#include "cbe/hidden_states.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cbe/safetensors.h"
#include "support/assert_close.h"
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
    cbe_tensor_spec specs[] = {{"hidden_states.2", CBE_F32, n_dims, {0}}, {"input_ids", CBE_I64, 2, {B, S}}};
    memcpy(specs[0].dims, dims, n_dims * sizeof *dims);
    int64_t ids[B * S];
    for (size_t i = 0; i < B * S; i++) ids[i] = (int64_t)i + 100;
    const char *metadata[] = {"n_layers", "7"};
    cbe_safetensors_writer *w = NULL;
    cbe_assert_ok(cbe_safetensors_writer_create(&w, path, with_ids ? 2 : 1, specs, 1, metadata, &err), &err);
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
        assert_memory_equal(out + b * (S - 1) * D, hidden + (b * S + 1) * D, (S - 1) * D * sizeof *out);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file__of_sequences_is_read_with_positions_left_out),
        cmocka_unit_test(file__of_tokens_is_one_sequence_or_that_of_its_ids),
        cmocka_unit_test(read__names_the_place_of_a_number_that_is_not_finite),
        cmocka_unit_test(open__refuses_shapes_that_are_none),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
