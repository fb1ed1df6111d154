/* What is written is read back; what is not finished never shows. */
#include "formats/safetensors.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/temp_folder.h"

static const cbe_tensor_spec one_float = {"x", CBE_F32, 1, {3}};

static cbe_safetensors_writer *create_ok(const char *path, size_t n, const cbe_tensor_spec *specs)
{
    cbe_error err;
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, n, specs, 0, NULL, &err), &err);
    return writer;
}

static void commit__file_is_byte_for_byte_as_the_format_says(void **state)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]},"
        "\"x\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]}}";
    const char *const metadata[] = {"format", "pt"};
    const cbe_tensor_spec specs[] = {{"h", CBE_F16, 1, {2}}, {"x", CBE_F32, 2, {2, 1}}};
    const float x[] = {1.0f, -2.0f};
    const uint16_t h[] = {0x3c00, 0xc000};
    uint64_t length;
    size_t size;
    cbe_error err;
    cbe_safetensors_writer *writer = NULL;
    const char *path = temp_path(state, "exact");
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, 2, specs, 1, metadata, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 1, 0, 2, x, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 2, h, &err), &err);
    assert_int_equal(access(path, F_OK), -1);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);

    char *data = temp_read(path, &size);
    memcpy(&length, data, sizeof length);
    assert_int_equal(length % 8, 0);
    assert_true(length >= sizeof header - 1 && length < sizeof header - 1 + 8);
    assert_memory_equal(data + 8, header, sizeof header - 1);
    for (size_t i = sizeof header - 1; i < length; i++) assert_int_equal(data[8 + i], ' ');
    assert_int_equal(size, 8 + length + 12);
    assert_memory_equal(data + 8 + length, x, 8);
    assert_memory_equal(data + 8 + length + 8, h, 4);
    free(data);
}

static void commit__every_dtype_and_shape_is_read_back(void **state)
{
    const cbe_tensor_spec specs[] = {
        {"bf16", CBE_BF16, 1, {3}},
        {"scalar", CBE_F64, 0, {0}},
        {"empty", CBE_F32, 2, {0, 4}},
        {"f16", CBE_F16, 3, {1, 1, 1}},
        {"ids", CBE_I64, 2, {1, 2}},
        {"f32", CBE_F32, 1, {1}},
        {"deep", CBE_F64, CBE_MAX_DIMS, {1, 1, 1, 2, 1, 1, 1, 1}},
    };
    enum { N = sizeof specs / sizeof *specs };
    unsigned char content[N][32];
    cbe_error err;
    const char *path = temp_path(state, "all");
    cbe_safetensors_writer *writer = create_ok(path, N, specs);
    for (size_t i = 0; i < N; i++) {
        size_t n = 1;
        for (size_t k = 0; k < specs[i].n_dims; k++) n *= specs[i].dims[k];
        for (size_t k = 0; k < 32; k++) content[i][k] = (unsigned char)(40 * i + k);
        cbe_assert_ok(cbe_safetensors_writer_put(writer, i, 0, n, content[i], &err), &err);
    }
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);

    cbe_safetensors *file = NULL;
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    assert_int_equal(cbe_safetensors_count(file), N);
    for (size_t i = 0; i < N; i++) {
        cbe_tensor t;
        assert_string_equal(cbe_safetensors_name(file, i), specs[i].name);
        cbe_assert_ok(cbe_safetensors_get(file, specs[i].name, &t, &err), &err);
        assert_int_equal(t.dtype, specs[i].dtype);
        cbe_assert_ok(cbe_tensor_expect(&t, path, specs[i].n_dims, specs[i].dims, &err), &err);
        assert_memory_equal(t.data, content[i], t.n_bytes);
        assert_int_equal((uintptr_t)t.data % cbe_dtype_get(t.dtype)->block_bytes, 0);
    }
    cbe_safetensors_close(file);
}

static void create__metadata_of_any_text_is_read_back(void **state)
{
    const char *const metadata[] = {
        "quote\"back\\slash",
        "a \"b\" \\ / c",
        "control",
        "tab\t line\n bell\a",
        "\xc3\xa9\xe2\x9c\x93",
        "\xf0\x9f\x98\x80 \xe6\x97\xa5",
        "empty",
        "",
        "",
        "empty key",
    };
    cbe_error err;
    cbe_safetensors_writer *writer = NULL;
    cbe_safetensors *file = NULL;
    const char *path = temp_path(state, "metadata");
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, 0, NULL, 5, metadata, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    assert_int_equal(cbe_safetensors_count(file), 0);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(cbe_safetensors_metadata(file, metadata[2 * i]), metadata[2 * i + 1]);
    cbe_safetensors_close(file);
}

static void create__names_of_any_text_are_read_back(void **state)
{
    const cbe_tensor_spec specs[] = {{"a\"b\\c\n", CBE_F32, 1, {0}}, {"\xc3\xa9", CBE_F32, 1, {0}}};
    cbe_error err;
    cbe_safetensors *file = NULL;
    const char *path = temp_path(state, "names");
    cbe_assert_ok(cbe_safetensors_writer_commit(create_ok(path, 2, specs), &err), &err);
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    assert_true(cbe_safetensors_has(file, specs[0].name));
    assert_true(cbe_safetensors_has(file, specs[1].name));
    cbe_safetensors_close(file);
}

static void put__parts_come_in_any_order(void **state)
{
    const cbe_tensor_spec specs[] = {{"a", CBE_I64, 2, {2, 3}}, {"b", CBE_F32, 1, {2}}};
    const int64_t ids[] = {10, 11, 12, 13, 14, 15};
    const float b[] = {0.5f, 0.25f};
    cbe_error err;
    cbe_tensor t;
    cbe_safetensors *file = NULL;
    const char *path = temp_path(state, "parts");
    cbe_safetensors_writer *writer = create_ok(path, 2, specs);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 1, 1, 1, b + 1, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 4, 2, ids + 4, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 4, ids, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 6, 0, NULL, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 1, 0, 1, b, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    cbe_assert_ok(cbe_safetensors_get(file, "a", &t, &err), &err);
    assert_memory_equal(t.data, ids, sizeof ids);
    cbe_assert_ok(cbe_safetensors_get(file, "b", &t, &err), &err);
    assert_memory_equal(t.data, b, sizeof b);
    cbe_safetensors_close(file);
}

static void put__elements_outside_the_tensor_are_refused(void **state)
{
    const float data[4] = {0};
    cbe_error err = {0};
    const char *path = temp_path(state, "outside");
    cbe_safetensors_writer *writer = create_ok(path, 1, &one_float);
    assert_int_equal(cbe_safetensors_writer_put(writer, 0, 0, 4, data, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, "'x'"));
    assert_int_equal(cbe_safetensors_writer_put(writer, 0, 4, 0, data, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_safetensors_writer_put(writer, 0, 1, SIZE_MAX, data, &err), CBE_ERR_ARG);
    assert_int_equal(cbe_safetensors_writer_put(writer, 1, 0, 1, data, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "number 1 of 1"));
    cbe_safetensors_writer_abandon(writer);
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

static void commit__unfinished_tensor_is_an_error_and_leaves_nothing(void **state)
{
    const float data[3] = {0};
    cbe_error err = {0};
    const char *path = temp_path(state, "unfinished");
    cbe_safetensors_writer *writer = create_ok(path, 1, &one_float);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 2, data, &err), &err);
    assert_int_equal(cbe_safetensors_writer_commit(writer, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "'x': only 2 of 3 elements"));
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

static void commit__replaces_an_older_file_and_abandon_keeps_it(void **state)
{
    const float data[] = {1.0f, 2.0f, 3.0f};
    size_t size;
    cbe_error err;
    const char *path = temp_path(state, "older");
    temp_write(path, "older", 5);
    cbe_safetensors_writer *writer = create_ok(path, 1, &one_float);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 3, data, &err), &err);
    cbe_safetensors_writer_abandon(writer);
    cbe_safetensors_writer_abandon(NULL);
    char *content = temp_read(path, &size);
    assert_string_equal(content, "older");
    free(content);
    assert_int_equal(temp_count(state, ".tmp"), 0);

    writer = create_ok(path, 1, &one_float);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 3, data, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    cbe_safetensors *file = NULL;
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    assert_true(cbe_safetensors_has(file, "x"));
    cbe_safetensors_close(file);
}

static void create__declarations_that_cannot_be_written_are_refused(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        cbe_tensor_spec specs[2];
        size_t n_metadata;
        const char *metadata[4];
    } cases[] = {
        {"'q': its dtype cannot be written", 1, {{"q", CBE_Q4_1, 1, {32}}}, 0, {0}},
        {"'q': its dtype cannot be written", 1, {{"q", CBE_N_DTYPES, 1, {32}}}, 0, {0}},
        {"'d': 9 dimensions", 1, {{"d", CBE_F32, 9, {1}}}, 0, {0}},
        {"'o': the product", 1, {{"o", CBE_F32, 2, {SIZE_MAX, 2}}}, 0, {0}},
        {"'o': the product", 1, {{"o", CBE_F64, 1, {SIZE_MAX / 8}}}, 0, {0}},
        {"'o': the product", 1, {{"o", CBE_F64, 2, {0, SIZE_MAX}}}, 0, {0}},
        {"together are too large",
         2,
         {{"a", CBE_F64, 1, {SIZE_MAX / 16 - 8}}, {"b", CBE_F64, 1, {SIZE_MAX / 16 - 8}}},
         0,
         {0}},
        {"'a' is declared twice", 2, {{"a", CBE_F32, 0, {0}}, {"a", CBE_F32, 0, {0}}}, 0, {0}},
        {"'k' is declared twice", 0, {{0}}, 2, {"k", "1", "k", "2"}},
        {"can be called '__metadata__'", 1, {{"__metadata__", CBE_F32, 0, {0}}}, 0, {0}},
        {"not UTF-8", 1, {{"\xff", CBE_F32, 0, {0}}}, 0, {0}},
        {"not UTF-8", 0, {{0}}, 1, {"k", "\xff"}},
    };
    const char *path = temp_path(state, "refused");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        cbe_safetensors_writer *writer = NULL;
        assert_int_equal(cbe_safetensors_writer_create(&writer, path, cases[i].n, cases[i].specs,
                                                       cases[i].n_metadata, cases[i].metadata,
                                                       &err),
                         CBE_ERR_ARG);
        assert_null(writer);
        if (!strstr(err.message, path) || !strstr(err.message, cases[i].text))
            fail_msg("'%s' does not say '%s'", err.message, cases[i].text);
    }
    assert_int_equal(temp_count(state, ".tmp"), 0);
    assert_int_equal(temp_count(state, "refused"), 0);
}

static void create__folder_that_cannot_be_written_is_named_with_the_reason(void **state)
{
    char path[1100];
    cbe_error err = {0};
    cbe_safetensors_writer *writer = NULL;
    const char *folder = temp_path(state, "no-such-folder");
    snprintf(path, sizeof path, "%s/out.safetensors", folder);
    assert_int_equal(cbe_safetensors_writer_create(&writer, path, 1, &one_float, 0, NULL, &err),
                     CBE_ERR_IO);
    assert_null(writer);
    assert_non_null(strstr(err.message, folder));
    assert_non_null(strstr(err.message, "No such file or directory"));
}

static void create__file_that_cannot_reach_its_size_is_an_error_at_once(void **state)
{
    const cbe_tensor_spec large = {"large", CBE_F32, 1, {100000}};
    struct rlimit before, small;
    cbe_error err = {0};
    cbe_safetensors_writer *writer = NULL;
    const char *path = temp_path(state, "large");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const cbe_status st = cbe_safetensors_writer_create(&writer, path, 1, &large, 0, NULL, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(st, CBE_ERR_SYSTEM);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

static void create__every_failing_allocation_is_reported(void **state)
{
    const char *const metadata[] = {"format", "pt"};
    const float data[3] = {0};
    cbe_error err = {0};
    const char *path = temp_path(state, "memory");
    cbe_status st = CBE_ERR_NOMEM;
    long n = 0;
    for (; st != CBE_OK && n < 100; n++) {
        cbe_safetensors_writer *writer = NULL;
        cbe_memory_fail_after(n);
        st = cbe_safetensors_writer_create(&writer, path, 1, &one_float, 1, metadata, &err);
        if (st == CBE_OK) { // nothing is allocated from here on
            cbe_memory_fail_after(0);
            cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 3, data, &err), &err);
            cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
        } else {
            assert_int_equal(st, CBE_ERR_NOMEM);
            assert_null(writer);
        }
        cbe_memory_fail_after(-1);
        assert_int_equal(temp_count(state, ".tmp"), 0);
    }
    assert_int_equal(st, CBE_OK);
    assert_true(n > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commit__file_is_byte_for_byte_as_the_format_says),
        cmocka_unit_test(commit__every_dtype_and_shape_is_read_back),
        cmocka_unit_test(create__metadata_of_any_text_is_read_back),
        cmocka_unit_test(create__names_of_any_text_are_read_back),
        cmocka_unit_test(put__parts_come_in_any_order),
        cmocka_unit_test(put__elements_outside_the_tensor_are_refused),
        cmocka_unit_test(commit__unfinished_tensor_is_an_error_and_leaves_nothing),
        cmocka_unit_test(commit__replaces_an_older_file_and_abandon_keeps_it),
        cmocka_unit_test(create__declarations_that_cannot_be_written_are_refused),
        cmocka_unit_test(create__folder_that_cannot_be_written_is_named_with_the_reason),
        cmocka_unit_test(create__file_that_cannot_reach_its_size_is_an_error_at_once),
        cmocka_unit_test(create__every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
