/* Digests against the examples of FIPS 180-4. */
#include "io/sha256_file.h"

#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/temp_folder.h"

static void check_digest(void **state, const char *data, size_t size, const char *want)
{
    char digest[CBE_SHA256_TEXT] = "";
    cbe_error err;
    const char *path = temp_path(state, "data");
    temp_write(path, data, size);
    cbe_assert_ok(cbe_sha256_file(path, digest, &err), &err);
    assert_string_equal(digest, want);
}

static void sha256_file__digests_are_those_of_the_standard(void **state)
{
    check_digest(state, "", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_digest(state, "abc", 3,
                 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    char *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    check_digest(state, million, 1000000,
                 "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

static void sha256_file__missing_file_is_named_and_the_digest_untouched(void **state)
{
    char digest[CBE_SHA256_TEXT] = "before";
    cbe_error err = {0};
    const char *path = temp_path(state, "absent");
    assert_int_equal(cbe_sha256_file(path, digest, &err), CBE_ERR_IO);
    assert_non_null(strstr(err.message, path));
    assert_string_equal(digest, "before");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_file__digests_are_those_of_the_standard),
        cmocka_unit_test(sha256_file__missing_file_is_named_and_the_digest_untouched),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
