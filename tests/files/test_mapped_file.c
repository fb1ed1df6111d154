/* Mapping files, and refusing what is not a file. */
#include "files/mapped_file.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/temp_folder.h"

static void check_refused(const char *path, const char *reason)
{
    cbe_error err = {0};
    cbe_mapped_file file;
    memset(&file, 0x55, sizeof file);
    assert_int_equal(cbe_mapped_file_open(&file, path, &err), CBE_ERR_IO);
    assert_int_equal(err.code, CBE_ERR_IO);
    if (!strstr(err.message, path) || !strstr(err.message, reason)) fail_msg("%s", err.message);
    assert_null(file.data);
    assert_null(file.path);
    assert_int_equal(file.size, 0);
}

static void mapped_file__content_and_path_are_given(void **state)
{
    cbe_error err;
    cbe_mapped_file file;
    const char *path = temp_path(state, "content");
    temp_write(path, "some\0bytes", 10);
    cbe_assert_ok(cbe_mapped_file_open(&file, path, &err), &err);
    assert_int_equal(file.size, 10);
    assert_memory_equal(file.data, "some\0bytes", 10);
    assert_string_equal(file.path, path);
    cbe_mapped_file_close(&file);
    assert_null(file.data);
    cbe_mapped_file_close(&file);
}

static void mapped_file__empty_file_has_no_data(void **state)
{
    cbe_error err;
    cbe_mapped_file file;
    const char *path = temp_path(state, "empty");
    temp_write(path, "", 0);
    cbe_assert_ok(cbe_mapped_file_open(&file, path, &err), &err);
    assert_null(file.data);
    assert_int_equal(file.size, 0);
    assert_false(cbe_mapped_file_is_lfs_pointer(&file));
    cbe_mapped_file_close(&file);
}

static void mapped_file__missing_file_is_refused(void **state)
{
    check_refused(temp_path(state, "absent"), "No such file");
}

static void mapped_file__folder_is_refused(void **state)
{
    check_refused(*state, "is a directory");
}

static void mapped_file__pipe_and_device_are_refused_without_waiting(void **state)
{
    const char *path = temp_path(state, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    check_refused(path, "device or pipe");
    check_refused("/dev/null", "device or pipe");
}

static void mapped_file__lack_of_memory_is_an_error(void **state)
{
    cbe_error err = {0};
    cbe_mapped_file file;
    const char *path = temp_path(state, "memory");
    temp_write(path, "x", 1);
    cbe_memory_fail_after(0);
    const cbe_status st = cbe_mapped_file_open(&file, path, &err);
    cbe_memory_fail_after(-1);
    assert_int_equal(st, CBE_ERR_NOMEM);
    assert_null(file.data);
}

static void mapped_file_at__finds_the_path_of_an_address_while_it_is_mapped(void **state)
{
    enum { N_FILES = 40, SIZE = 10000 };
    static const char bytes[SIZE] = {1};
    static cbe_mapped_file files[N_FILES];
    cbe_error err;
    for (size_t i = 0; i < N_FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "mapped%zu", i);
        const char *path = temp_path(state, name);
        temp_write(path, bytes, sizeof bytes);
        cbe_assert_ok(cbe_mapped_file_open(&files[i], path, &err), &err);
    }
    for (size_t i = 0; i < N_FILES; i += 2) cbe_mapped_file_close(&files[i]);
    for (size_t i = 1; i < N_FILES; i += 2) {
        assert_ptr_equal(cbe_mapped_file_at(files[i].data), files[i].path);
        assert_ptr_equal(cbe_mapped_file_at(files[i].data + SIZE - 1), files[i].path);
    }
    const unsigned char *gone = files[1].data;
    for (size_t i = 1; i < N_FILES; i += 2) cbe_mapped_file_close(&files[i]);
    assert_null(cbe_mapped_file_at(gone));
    assert_null(cbe_mapped_file_at(bytes));
    assert_null(cbe_mapped_file_at(NULL));
}

static void lfs_pointer__is_recognised_by_its_first_line(void **state)
{
    cbe_error err;
    cbe_mapped_file file;
    const char *path = temp_path(state, "pointer");
    const char text[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    temp_write(path, text, sizeof text - 1);
    cbe_assert_ok(cbe_mapped_file_open(&file, path, &err), &err);
    assert_true(cbe_mapped_file_is_lfs_pointer(&file));
    cbe_mapped_file_close(&file);
    temp_write(path, text, 10);
    cbe_assert_ok(cbe_mapped_file_open(&file, path, &err), &err);
    assert_false(cbe_mapped_file_is_lfs_pointer(&file));
    cbe_mapped_file_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapped_file__content_and_path_are_given),
        cmocka_unit_test(mapped_file__empty_file_has_no_data),
        cmocka_unit_test(mapped_file__missing_file_is_refused),
        cmocka_unit_test(mapped_file__folder_is_refused),
        cmocka_unit_test(mapped_file__pipe_and_device_are_refused_without_waiting),
        cmocka_unit_test(mapped_file__lack_of_memory_is_an_error),
        cmocka_unit_test(mapped_file_at__finds_the_path_of_an_address_while_it_is_mapped),
        cmocka_unit_test(lfs_pointer__is_recognised_by_its_first_line),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
