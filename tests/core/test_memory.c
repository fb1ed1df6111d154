/* Allocation: sizes that overflow, alignment, and failures on demand. */
#include "core/memory.h"

#include <stdint.h>
#include <string.h>

#include "support/assert_close.h"

static void mul_size__refuses_what_overflows_and_nothing_else(void **state)
{
    (void)state;
    size_t out = 7;
    assert_true(cbe_mul_size(0, SIZE_MAX, &out));
    assert_int_equal(out, 0);
    assert_true(cbe_mul_size(SIZE_MAX, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_true(cbe_mul_size(SIZE_MAX / 3, 3, &out));
    assert_true(out == SIZE_MAX / 3 * 3);
    out = 7;
    assert_false(cbe_mul_size(SIZE_MAX / 3 + 1, 3, &out));
    assert_false(cbe_mul_size((size_t)1 << 32, (size_t)1 << 32, &out));
    assert_int_equal(out, 7);
}

static void add_size__refuses_what_overflows_and_nothing_else(void **state)
{
    (void)state;
    size_t out = 7;
    assert_false(cbe_add_size(SIZE_MAX, 1, &out));
    assert_false(cbe_add_size(SIZE_MAX / 2 + 1, SIZE_MAX / 2 + 1, &out));
    assert_int_equal(out, 7);
    assert_true(cbe_add_size(SIZE_MAX - 5, 5, &out));
    assert_true(out == SIZE_MAX);
}

static void alloc__names_what_does_not_fit(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {
        {SIZE_MAX, 2}, {SIZE_MAX, 1}, {SIZE_MAX - 64, 1}, {SIZE_MAX / 8 + 1, 8}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        cbe_error err = {0};
        assert_null(cbe_alloc(sizes[i][0], sizes[i][1], "the thing", &err));
        assert_int_equal(err.code, CBE_ERR_NOMEM);
        assert_non_null(strstr(err.message, "the thing"));
        assert_null(cbe_alloc_zero(sizes[i][0], sizes[i][1], "the thing", NULL));
    }
}

static void alloc__is_aligned_and_as_long_as_asked(void **state)
{
    (void)state;
    for (size_t size = 0; size < 300; size++) {
        unsigned char *memory = cbe_alloc(size, 1, "bytes", NULL);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % CBE_ALIGNMENT, 0);
        memset(memory, 0xaa, size);
        cbe_free(memory);
    }
    cbe_free(NULL);
}

static void alloc_zero__is_zero(void **state)
{
    (void)state;
    double *memory = cbe_alloc_zero(100, sizeof *memory, "numbers", NULL);
    assert_non_null(memory);
    for (size_t i = 0; i < 100; i++) assert_true(memory[i] == 0);
    cbe_free(memory);
}

static void copy_string__ends_in_zero_and_keeps_bytes(void **state)
{
    (void)state;
    char *copy = cbe_copy_string("a\0bc", 3, NULL);
    assert_non_null(copy);
    assert_memory_equal(copy, "a\0b\0", 4);
    cbe_free(copy);
    copy = cbe_copy_string("", 0, NULL);
    assert_string_equal(copy, "");
    cbe_free(copy);
}

static void fail_after__lets_so_many_succeed(void **state)
{
    (void)state;
    cbe_error err = {0};
    void *memory[3];
    cbe_memory_fail_after(2);
    for (int i = 0; i < 3; i++) memory[i] = cbe_alloc(1, 1, "byte", &err);
    char *copy = cbe_copy_string("x", 1, &err);
    cbe_memory_fail_after(-1);
    assert_non_null(memory[0]);
    assert_non_null(memory[1]);
    assert_null(memory[2]);
    assert_null(copy);
    assert_int_equal(err.code, CBE_ERR_NOMEM);
    void *again = cbe_alloc(1, 1, "byte", &err);
    assert_non_null(again);
    cbe_free(again);
    cbe_free(memory[0]);
    cbe_free(memory[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mul_size__refuses_what_overflows_and_nothing_else),
        cmocka_unit_test(add_size__refuses_what_overflows_and_nothing_else),
        cmocka_unit_test(alloc__names_what_does_not_fit),
        cmocka_unit_test(alloc__is_aligned_and_as_long_as_asked),
        cmocka_unit_test(alloc_zero__is_zero),
        cmocka_unit_test(copy_string__ends_in_zero_and_keeps_bytes),
        cmocka_unit_test(fail_after__lets_so_many_succeed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
