/* Models in several GGUF files: found together, and refused when they do not belong together. */
#include "formats/gguf.h"

#include <string.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/gguf_bytes.h"
#include "support/temp_folder.h"

static cbe_gguf *open_ok(const char *path)
{
    cbe_error err;
    cbe_gguf *file = NULL;
    cbe_assert_ok(cbe_gguf_open(&file, path, &err), &err);
    return file;
}

/* A part that holds the tensor `name`, whose first number is `value`; of: split.count. */
static const char *write_part(void **state, const char *file_name, uint32_t no, uint32_t of,
                              const char *name, float value)
{
    static bytes b;
    const char *path = temp_path(state, file_name);
    gguf_head(&b, 1, 2);
    gguf_pair_u32(&b, "split.no", no);
    gguf_pair_u32(&b, "split.count", of);
    gguf_info(&b, name, 2, 1, 0, 0);
    gguf_data(&b, 32, 0);
    bytes_put(&b, &value, sizeof value);
    bytes_zeros(&b, 4);
    temp_write(path, b.data, b.size);
    return path;
}

static void parts__are_one_model(void **state)
{
    static const char *const names[] = {"a", "b", "c"};
    cbe_error err = {0};
    const char *first = write_part(state, "m-00001-of-00003.gguf", 0, 3, "a", 1);
    write_part(state, "m-00002-of-00003.gguf", 1, 3, "b", 2);
    const char *last = write_part(state, "m-00003-of-00003.gguf", 2, 3, "c", 3);
    cbe_gguf *file = open_ok(first);
    assert_int_equal(cbe_gguf_n_parts(file), 3);
    assert_string_equal(cbe_gguf_part_path(file, 0), first);
    assert_string_equal(cbe_gguf_part_path(file, 2), last);
    assert_int_equal(cbe_gguf_count(file), 3);
    for (size_t i = 0; i < 3; i++) {
        cbe_tensor t;
        float value = 0;
        size_t n_dims;
        assert_string_equal(cbe_gguf_name(file, i), names[i]);
        assert_string_equal(cbe_gguf_type_name(file, i), "f32");
        assert_int_equal(cbe_gguf_shape(file, i, &n_dims)[1], 2);
        assert_true(cbe_gguf_has_tensor(file, names[i]));
        cbe_assert_ok(cbe_gguf_tensor(file, names[i], &t, &err), &err);
        cbe_assert_ok(cbe_tensor_to_float(&t, 0, 1, &value, &err), &err);
        assert_true(value == (float)(i + 1));
    }
    assert_false(cbe_gguf_has_tensor(file, "d"));
    cbe_gguf_close(file);
    assert_int_equal(cbe_gguf_open(&file, last, &err), CBE_ERR_ARG);
    assert_non_null(
        strstr(err.message, "part 3 of 3 of a model; name the first, ...-00001-of-00003.gguf"));
}

static void expect_refused(const char *path, cbe_status status, const char *what)
{
    cbe_error err = {0};
    cbe_gguf *file = NULL;
    assert_int_equal(cbe_gguf_open(&file, path, &err), status);
    assert_null(file);
    if (!strstr(err.message, what)) fail_msg("'%s' does not say '%s'", err.message, what);
}

static void parts__that_are_missing_or_do_not_belong_together_are_named(void **state)
{
    const char *first = write_part(state, "n-00001-of-00002.gguf", 0, 2, "a", 1);
    expect_refused(first, CBE_ERR_IO, "n-00002-of-00002.gguf: part 2 of 2 of the model is missing");
    write_part(state, "n-00002-of-00002.gguf", 2, 3, "b", 1);
    expect_refused(first, CBE_ERR_FORMAT,
                   "is part 3 of 3 (split.no, split.count), not part 2 of 2");
    write_part(state, "n-00002-of-00002.gguf", 1, 2, "a", 1);
    expect_refused(first, CBE_ERR_FORMAT,
                   "n-00002-of-00002.gguf: tensor 'a' is in an earlier part too");
    temp_write(temp_path(state, "n-00002-of-00002.gguf"), "GGUF", 4);
    expect_refused(first, CBE_ERR_FORMAT, "n-00002-of-00002.gguf: truncated");
    expect_refused(write_part(state, "renamed.gguf", 0, 2, "a", 1), CBE_ERR_ARG,
                   "-00001-of-00002.gguf; rename it");
    expect_refused(write_part(state, "o-00004-of-00003.gguf", 3, 3, "a", 1), CBE_ERR_FORMAT,
                   "part 4 of 3");
    expect_refused(write_part(state, "o.gguf", 0, 4000000000u, "a", 1), CBE_ERR_FORMAT,
                   "4000000000");

    static bytes b; // split.tensors.count is that of all parts
    gguf_head(&b, 0, 3);
    gguf_pair_u32(&b, "split.no", 0);
    gguf_pair_u32(&b, "split.count", 2);
    gguf_pair_u32(&b, "split.tensors.count", 2);
    first = temp_path(state, "t-00001-of-00002.gguf");
    temp_write(first, b.data, b.size);
    write_part(state, "t-00002-of-00002.gguf", 1, 2, "a", 1);
    expect_refused(first, CBE_ERR_FORMAT, "the parts hold 1 tensors, but split.tensors.count is 2");
}

static void parts__every_failing_allocation_is_reported(void **state)
{
    const char *first = write_part(state, "m-00001-of-00002.gguf", 0, 2, "a", 1);
    write_part(state, "m-00002-of-00002.gguf", 1, 2, "b", 2);
    cbe_status st = CBE_ERR_NOMEM;
    for (long n = 0; n < 100 && st == CBE_ERR_NOMEM; n++) {
        cbe_gguf *file = NULL;
        cbe_error err = {0};
        cbe_memory_fail_after(n);
        st = cbe_gguf_open(&file, first, &err);
        cbe_memory_fail_after(-1);
        if (st == CBE_OK) assert_int_equal(cbe_gguf_count(file), 2);
        cbe_gguf_close(file);
    }
    assert_int_equal(st, CBE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts__are_one_model),
        cmocka_unit_test(parts__that_are_missing_or_do_not_belong_together_are_named),
        cmocka_unit_test(parts__every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
