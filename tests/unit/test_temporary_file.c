/* Files without a name: none stays when a process is killed, none is swept while its process lives.
 * */
#define _GNU_SOURCE
#include "io/temporary_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/unnamed_array.h"
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

/* Starts a process that has a named temporary file and waits; returns its number when the name is
 * there. */
static pid_t start_holder(void **state)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        cbe_temporary_file file;
        const bool good = cbe_temporary_file_open(&file, *state, "out", &err) == CBE_OK &&
                          cbe_temporary_file_name(&file, "out", &err) == CBE_OK;
        if (good && write(ready[1], "x", 1) == 1) pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void sweep__removes_what_a_killed_process_left_and_nothing_else(void **state)
{
    static const char *const others[] = {".cbe-1-x.tmp", ".cbe-1-1.tmp.keep", "x.cbe-1-1.tmp",
                                         ".cbe-01-1.tmp", ".cbe--1.tmp"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        temp_write(temp_path(state, others[i]), "x", 1);
    assert_int_equal(symlink("others", temp_path(state, ".cbe-7-7.tmp")), 0);
    assert_int_equal(mkdir(temp_path(state, ".cbe-8-8.tmp"), 0777), 0);
    const size_t kept = temp_count(state, ".cbe-");
    const pid_t holder = start_holder(state);
    cbe_temporary_files_sweep(*state);
    assert_int_equal(temp_count(state, ".cbe-"), kept + 1); /* it lives */
    kill(holder, SIGKILL);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
    assert_int_equal(temp_count(state, ".cbe-"), kept + 1);
    cbe_temporary_files_sweep(*state);
    assert_int_equal(temp_count(state, ".cbe-"), kept);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(unlink(temp_path(state, others[i])), 0);
    assert_int_equal(unlink(temp_path(state, ".cbe-7-7.tmp")), 0);
    assert_int_equal(rmdir(temp_path(state, ".cbe-8-8.tmp")), 0);
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
        cmocka_unit_test(sweep__removes_what_a_killed_process_left_and_nothing_else),
        cmocka_unit_test(unnamed_array__reads_what_was_put_and_has_no_name),
        cmocka_unit_test(unnamed_array__in_no_folder_is_an_error),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
