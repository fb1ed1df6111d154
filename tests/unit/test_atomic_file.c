/* A reader sees the old file or the new one, whatever happens in between. */
#include "io/atomic_file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/temp_folder.h"

static void assert_content(const char *path, const char *want, size_t want_size)
{
    size_t size;
    char *got = temp_read(path, &size);
    assert_int_equal(size, want_size);
    assert_memory_equal(got, want, size);
    free(got);
}

static void save__replaces_an_existing_file(void **state)
{
    cbe_error err;
    const char *path = temp_path(state, "saved");
    temp_write(path, "something older and longer", 26);
    cbe_assert_ok(cbe_atomic_file_save(path, "new", 3, &err), &err);
    assert_content(path, "new", 3);
    cbe_assert_ok(cbe_atomic_file_save(path, NULL, 0, &err), &err);
    assert_content(path, "", 0);
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

static void write__parts_come_in_any_order_and_gaps_are_zero(void **state)
{
    cbe_error err;
    cbe_atomic_file *file = NULL;
    const char *path = temp_path(state, "parts");
    cbe_assert_ok(cbe_atomic_file_create(&file, path, &err), &err);
    cbe_assert_ok(cbe_atomic_file_write(file, 5, "end", 3, &err), &err);
    cbe_assert_ok(cbe_atomic_file_write(file, 0, "ab", 2, &err), &err);
    assert_int_equal(access(path, F_OK), -1);
    cbe_assert_ok(cbe_atomic_file_commit(file, &err), &err);
    assert_content(path, "ab\0\0\0end", 8);
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

static void write__offset_past_what_a_file_holds_is_an_error(void **state)
{
    cbe_error err;
    cbe_atomic_file *file = NULL;
    cbe_assert_ok(cbe_atomic_file_create(&file, temp_path(state, "far"), &err), &err);
    assert_int_equal(cbe_atomic_file_write(file, UINT64_MAX, "x", 1, &err), CBE_ERR_IO);
    assert_int_equal(cbe_atomic_file_write(file, INT64_MAX, "x", 1, &err), CBE_ERR_IO);
    cbe_atomic_file_abandon(file);
}

static void abandon__leaves_the_older_file(void **state)
{
    cbe_error err;
    cbe_atomic_file *file = NULL;
    const char *path = temp_path(state, "kept");
    temp_write(path, "old", 3);
    cbe_assert_ok(cbe_atomic_file_create(&file, path, &err), &err);
    cbe_assert_ok(cbe_atomic_file_write(file, 0, "new!", 4, &err), &err);
    assert_int_equal(temp_count(state, ".tmp"), 1);
    cbe_atomic_file_abandon(file);
    cbe_atomic_file_abandon(NULL);
    assert_content(path, "old", 3);
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

static void create__two_files_for_one_path_do_not_meet(void **state)
{
    cbe_error err;
    cbe_atomic_file *a = NULL, *b = NULL;
    const char *path = temp_path(state, "twice");
    cbe_assert_ok(cbe_atomic_file_create(&a, path, &err), &err);
    cbe_assert_ok(cbe_atomic_file_create(&b, path, &err), &err);
    cbe_assert_ok(cbe_atomic_file_write(a, 0, "from a", 6, &err), &err);
    cbe_assert_ok(cbe_atomic_file_write(b, 0, "b", 1, &err), &err);
    cbe_assert_ok(cbe_atomic_file_commit(a, &err), &err);
    assert_content(path, "from a", 6);
    cbe_assert_ok(cbe_atomic_file_commit(b, &err), &err);
    assert_content(path, "b", 1);
}

static void create__the_users_mask_decides_the_permissions(void **state)
{
    cbe_error err;
    struct stat info;
    const char *path = temp_path(state, "mask");
    const mode_t mask = umask(027);
    const cbe_status st = cbe_atomic_file_save(path, "x", 1, &err);
    umask(mask);
    cbe_assert_ok(st, &err);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
}

static void create__name_without_folder_is_in_the_working_folder(void **state)
{
    cbe_error err;
    char *before = getcwd(NULL, 0);
    assert_non_null(before);
    assert_int_equal(chdir(*state), 0);
    const cbe_status st = cbe_atomic_file_save("bare-name", "here", 4, &err);
    assert_int_equal(chdir(before), 0);
    free(before);
    cbe_assert_ok(st, &err);
    assert_content(temp_path(state, "bare-name"), "here", 4);
}

static void check_refused(const char *path, const char *named, const char *reason)
{
    cbe_error err = {0};
    cbe_atomic_file *file = NULL;
    assert_int_equal(cbe_atomic_file_create(&file, path, &err), CBE_ERR_IO);
    assert_null(file);
    if (!strstr(err.message, path) || !strstr(err.message, named) || !strstr(err.message, reason))
        fail_msg("%s", err.message);
}

static void create__folder_that_cannot_be_used_is_named_with_the_reason(void **state)
{
    char inside[1100];
    const char *folder = temp_path(state, "no-such-folder");
    snprintf(inside, sizeof inside, "%s/out", folder);
    check_refused(inside, folder, "No such file or directory");

    const char *plain = temp_path(state, "plain");
    temp_write(plain, "", 0);
    snprintf(inside, sizeof inside, "%s/out", plain);
    check_refused(inside, plain, "Not a directory");
}

static void create__folder_without_permission_is_named_with_the_reason(void **state)
{
    char inside[1100];
    const char *folder = temp_path(state, "read-only");
    if (geteuid() == 0) skip(); // permissions do not bind the superuser
    assert_int_equal(mkdir(folder, 0555), 0);
    snprintf(inside, sizeof inside, "%s/out", folder);
    check_refused(inside, folder, "Permission denied");
}

static void create__folder_or_device_as_the_name_is_refused_at_once(void **state)
{
    check_refused(*state, *state, "is a directory");
    check_refused("/dev/null", "/dev/null", "device or pipe");
}

static void write__a_file_that_cannot_grow_is_an_error_and_leaves_nothing(void **state)
{
    cbe_error err = {0};
    struct rlimit before, small;
    const char *path = temp_path(state, "grows");
    const char data[8192] = "x";
    temp_write(path, "old", 3);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const cbe_status st = cbe_atomic_file_save(path, data, sizeof data, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(st, CBE_ERR_SYSTEM);
    assert_int_equal(err.offset, 4096);
    if (!strstr(err.message, path) || !strstr(err.message, "File too large"))
        fail_msg("%s", err.message);
    assert_content(path, "old", 3);
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

static void commit__folder_made_at_the_name_meanwhile_is_an_error(void **state)
{
    cbe_error err = {0};
    cbe_atomic_file *file = NULL;
    char path[1100];
    const char *folder = temp_path(state, "vanishes");
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(path, sizeof path, "%s/out", folder);
    cbe_assert_ok(cbe_atomic_file_create(&file, path, &err), &err);
    assert_int_equal(mkdir(path, 0777), 0); // what the new file would replace is now a folder
    assert_int_equal(cbe_atomic_file_commit(file, &err), CBE_ERR_IO);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0); // the temporary file is gone
}

static void save__every_failing_allocation_is_reported(void **state)
{
    cbe_error err = {0};
    const char *path = temp_path(state, "memory");
    cbe_status st = CBE_ERR_NOMEM;
    long n = 0;
    for (; st != CBE_OK && n < 100; n++) {
        cbe_memory_fail_after(n);
        st = cbe_atomic_file_save(path, "x", 1, &err);
        cbe_memory_fail_after(-1);
        if (st != CBE_OK) assert_int_equal(st, CBE_ERR_NOMEM);
        assert_int_equal(temp_count(state, ".tmp"), 0);
    }
    assert_true(n > 1);
    assert_int_equal(st, CBE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(save__replaces_an_existing_file),
        cmocka_unit_test(write__parts_come_in_any_order_and_gaps_are_zero),
        cmocka_unit_test(write__offset_past_what_a_file_holds_is_an_error),
        cmocka_unit_test(abandon__leaves_the_older_file),
        cmocka_unit_test(create__two_files_for_one_path_do_not_meet),
        cmocka_unit_test(create__the_users_mask_decides_the_permissions),
        cmocka_unit_test(create__name_without_folder_is_in_the_working_folder),
        cmocka_unit_test(create__folder_that_cannot_be_used_is_named_with_the_reason),
        cmocka_unit_test(create__folder_without_permission_is_named_with_the_reason),
        cmocka_unit_test(create__folder_or_device_as_the_name_is_refused_at_once),
        cmocka_unit_test(write__a_file_that_cannot_grow_is_an_error_and_leaves_nothing),
        cmocka_unit_test(commit__folder_made_at_the_name_meanwhile_is_an_error),
        cmocka_unit_test(save__every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
