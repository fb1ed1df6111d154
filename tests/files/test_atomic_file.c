/* A reader sees the old file or the new one, whatever happens in between. */
#include "files/atomic_file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

static void create__what_is_no_name_of_a_file_is_refused(void **state)
{
    char path[1100];
    const char *plain = temp_path(state, "plain-file");
    temp_write(plain, "x", 1);
    check_refused("", "empty name", "choose the name of a file");
    snprintf(path, sizeof path, "%s/new/", (const char *)*state);
    check_refused(path, path, "ends in a slash");
    snprintf(path, sizeof path, "%s/", plain);
    check_refused(path, path, "ends in a slash");
    snprintf(path, sizeof path, "%s/", (const char *)*state);
    check_refused(path, path, "is a directory");
    snprintf(path, sizeof path, "%s/..", (const char *)*state);
    check_refused(path, path, "is a directory");
    snprintf(path, sizeof path, "%s/%0300d", (const char *)*state, 7);
    check_refused(path, "", "File name too long");
    const char *fifo = temp_path(state, "fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    check_refused(fifo, fifo, "device or pipe");
    /* What stands for open files, whatever they are: a file, too. */
    const int fd = open(plain, O_RDWR);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    check_refused(path, path, "stands for a file that is open");
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    check_refused(path, path, "stands for a file that is open");
    check_refused("/proc/self/exe", "/proc/self/exe", "stands for a file that is open");
    if (access("/dev/stdout", F_OK) == 0) {
        check_refused("/dev/stdout", "/dev/stdout", "stands for a file that is open");
        const char *closed = temp_path(state, "to-stdout");
        assert_int_equal(symlink("/dev/stdout", closed), 0);
        check_refused(closed, closed, "stands for a file that is open");
    }
    close(fd);
    check_refused("/proc/none", "/proc", "No such file or directory");
    assert_content(plain, "x", 1);
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

static void create__follows_symbolic_links(void **state)
{
    cbe_error err;
    struct stat info;
    char inside[1100];
    const char *folder = temp_path(state, "elsewhere"), *link = temp_path(state, "link"),
               *chain = temp_path(state, "chain");
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(inside, sizeof inside, "%s/target", folder);
    /* One that leads nowhere yet; one to it, and a full path. */
    assert_int_equal(symlink("elsewhere/target", link), 0);
    assert_int_equal(symlink(link, chain), 0);
    for (int i = 0; i < 2; i++) {
        cbe_assert_ok(
            cbe_atomic_file_save(i ? chain : link, i ? "second" : "first", i ? 6 : 5, &err), &err);
        assert_content(inside, i ? "second" : "first", i ? 6 : 5);
        assert_int_equal(lstat(link, &info), 0);
        assert_true(S_ISLNK(info.st_mode));
        assert_int_equal(lstat(chain, &info), 0);
        assert_true(S_ISLNK(info.st_mode));
        assert_int_equal(lstat(inside, &info), 0);
        assert_true(S_ISREG(info.st_mode));
    }
    /* The folder of the target must be there. */
    const char *nowhere = temp_path(state, "nowhere");
    assert_int_equal(symlink("gone/target", nowhere), 0);
    check_refused(nowhere, "gone", "No such file or directory");
    /* A link to a folder, in circles, and to a device. */
    const char *a = temp_path(state, "circle-a"), *b = temp_path(state, "circle-b"),
               *null = temp_path(state, "null");
    assert_int_equal(symlink("circle-b", a), 0);
    assert_int_equal(symlink("circle-a", b), 0);
    check_refused(a, a, "in a circle");
    assert_int_equal(symlink("/dev/null", null), 0);
    check_refused(null, null, "device or pipe");
    const char *to_folder = temp_path(state, "to-folder");
    assert_int_equal(symlink("elsewhere", to_folder), 0);
    check_refused(to_folder, to_folder, "is a directory");
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

static void create__another_users_file_in_a_shared_folder_is_refused(void **state)
{
    enum { NOBODY = 65534 };
    int status;
    if (geteuid() != 0) skip(); // two users are needed
    const char *folder = temp_path(state, "shared");
    char path[1100];
    assert_int_equal(chmod(*state, 0755), 0);
    assert_int_equal(mkdir(folder, 0777), 0);
    assert_int_equal(chmod(folder, 01777), 0);
    snprintf(path, sizeof path, "%s/roots", folder);
    temp_write(path, "x", 1);
    const pid_t child = fork();
    if (child == 0) {
        cbe_error err = {0};
        if (setuid(NOBODY) != 0) _exit(2);
        const cbe_status st = cbe_atomic_file_check(path, &err);
        _exit(st != CBE_ERR_IO || !strstr(err.message, "belongs to another user"));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    cbe_error err;
    cbe_assert_ok(cbe_atomic_file_check(path, &err), &err);
    assert_content(path, "x", 1);
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
        cmocka_unit_test(create__what_is_no_name_of_a_file_is_refused),
        cmocka_unit_test(create__follows_symbolic_links),
        cmocka_unit_test(create__another_users_file_in_a_shared_folder_is_refused),
        cmocka_unit_test(write__a_file_that_cannot_grow_is_an_error_and_leaves_nothing),
        cmocka_unit_test(commit__folder_made_at_the_name_meanwhile_is_an_error),
        cmocka_unit_test(save__every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
