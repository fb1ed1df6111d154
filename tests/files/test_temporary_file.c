/* Files without a name: nothing stays in the folder. */
#define _GNU_SOURCE
#include "files/temporary_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/unnamed_array.h"
#include "support/assert_close.h"
#include "support/temp_folder.h"

static cbe_error err;

/* Whether the folder's file system has files without a name. */
static bool has_nameless(void **state)
{
    cbe_temporary_file file;
    cbe_assert_ok(cbe_temporary_file_open(&file, *state, "out", &err), &err);
    const bool nameless = !file.named;
    cbe_temporary_file_close(&file);
    return nameless;
}

static void open__leaves_no_name_in_the_folder(void **state)
{
    cbe_temporary_file file;
    if (!has_nameless(state)) skip();
    cbe_assert_ok(cbe_temporary_file_open(&file, *state, "out", &err), &err);
    assert_int_equal(temp_count(state, ".cbe-"), 0);
    cbe_assert_ok(cbe_temporary_file_write(&file, 0, "abc", 3, "out", &err), &err);
    cbe_assert_ok(cbe_temporary_file_name(&file, "out", &err), &err);
    assert_int_equal(temp_count(state, ".cbe-"), 1);
    cbe_assert_ok(cbe_temporary_file_unname(&file, "out", &err), &err);
    assert_int_equal(temp_count(state, ".cbe-"), 0);
    cbe_temporary_file_close(&file);
}

static void unnamed_array__reads_what_was_put_and_has_no_name(void **state)
{
    enum { ROWS = 3, ROW = 5 };
    cbe_unnamed_array array;
    cbe_assert_ok(cbe_unnamed_array_open(&array, *state, ROWS, ROW, &err), &err);
    assert_int_equal(temp_count(state, ".cbe-"), 0);
    for (size_t i = ROWS; i-- > 0;)
        for (size_t first = 0; first < ROW; first += 3) {
            const float numbers[3] = {(float)(10 * i + first), (float)(10 * i + first + 1),
                                      (float)(10 * i + first + 2)};
            cbe_assert_ok(cbe_unnamed_array_put(&array, i, first, first + 3 > ROW ? ROW - first : 3,
                                                numbers, &err),
                          &err);
        }
    cbe_assert_ok(cbe_unnamed_array_map(&array, &err), &err);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t k = 0; k < ROW; k++)
            assert_true(array.numbers[i * ROW + k] == (float)(10 * i + k));
    cbe_unnamed_array_close(&array);
    cbe_unnamed_array_close(&array);
}

static void unnamed_array__in_no_folder_is_an_error(void **state)
{
    cbe_unnamed_array array;
    assert_int_equal(cbe_unnamed_array_open(&array, temp_path(state, "none"), 1, 1, &err),
                     CBE_ERR_IO);
    assert_non_null(strstr(err.message, "No such file or directory"));
    assert_int_equal(cbe_unnamed_array_open(&array, *state, SIZE_MAX / 4, 8, &err), CBE_ERR_NOMEM);
    cbe_unnamed_array_close(&array);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open__leaves_no_name_in_the_folder),
        cmocka_unit_test(unnamed_array__reads_what_was_put_and_has_no_name),
        cmocka_unit_test(unnamed_array__in_no_folder_is_an_error),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
