/* Digests against the examples of FIPS 180-4. */
#include "files/sha256.h"

#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/inputs.h"
#include "support/temp_folder.h"

static void check_digest(void **state, const char *data, size_t size, const char *want)
{
    char digest[CBE_SHA256_TEXT] = "";
    const char *path = temp_path(state, "data");
    cbe_sha256_bytes(data, size, digest);
    assert_string_equal(digest, want);
    temp_write(path, data, size);
    assert_string_equal(file_sha256(path), want);
}

static void sha256__digests_are_those_of_the_standard(void **state)
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

/* In parts, whose pages are let go; the file can be used afterwards. */
static void sha256_mapping__of_several_parts_is_that_of_the_whole(void **state)
{
    enum { SIZE = (1 << 25) + 4097 };
    char *data = malloc(SIZE), digest[2][CBE_SHA256_TEXT];
    cbe_error err;
    cbe_mapped_file file = {0};
    assert_non_null(data);
    for (size_t i = 0; i < SIZE; i++) data[i] = (char)(i * i >> 7);
    temp_write(temp_path(state, "large"), data, SIZE);
    cbe_assert_ok(cbe_mapped_file_open(&file, temp_path(state, "large"), &err), &err);
    cbe_sha256_mapping(&file, digest[0]);
    cbe_sha256_bytes(data, SIZE, digest[1]);
    assert_string_equal(digest[0], digest[1]);
    assert_memory_equal(file.data, data, SIZE);
    cbe_mapped_file_close(&file);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256__digests_are_those_of_the_standard),
        cmocka_unit_test(sha256_mapping__of_several_parts_is_that_of_the_whole),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
