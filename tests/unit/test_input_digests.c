/* The files of an input and their digests: a file, a folder, a model in parts or in one. */
#include "io/input_digests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/temp_folder.h"

static cbe_error err;

/* Of the empty text, and of "abc" (FIPS 180-4). */
static const char of_nothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char of_abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

static int set_up(void **state)
{
    if (temp_folder_create(state) != 0) return -1;
    assert_int_equal(mkdir(temp_path(state, "model"), 0777), 0);
    temp_write(temp_path(state, "model/tokenizer.json"), "abc", 3);
    temp_write(temp_path(state, "model/b.safetensors"), "abc", 3);
    temp_write(temp_path(state, "model/config.json"), "", 0);
    temp_write(temp_path(state, "model/readme.md"), "no", 2);
    temp_write(temp_path(state, "model/.safetensors"), "no", 2); /* has no name */
    return 0;
}

static void folder__lists_what_models_are_made_of(void **state)
{
    static const char *const names[] = {"model/b.safetensors", "model/config.json", "model/tokenizer.json"};
    cbe_input_digests digests = {0};
    cbe_assert_ok(cbe_input_digests_take(&digests, temp_path(state, "model"), false, &err), &err);
    assert_int_equal(digests.n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(digests.files[i].path, temp_path(state, names[i]));
        assert_string_equal(digests.files[i].sha256, i == 1 ? of_nothing : of_abc);
    }
    cbe_input_digests_free(&digests);
}

static void file__is_itself_and_a_model_is_opened(void **state)
{
    cbe_input_digests digests = {0};
    cbe_assert_ok(cbe_input_digests_take(&digests, temp_path(state, "model/readme.md"), false, &err), &err);
    assert_int_equal(digests.n, 1);
    cbe_input_digests_free(&digests);
    assert_int_equal(cbe_input_digests_take(&digests, temp_path(state, "model/readme.md"), true, &err), CBE_ERR_FORMAT);
    cbe_input_digests_free(&digests);
    assert_int_equal(cbe_input_digests_take(&digests, temp_path(state, "absent"), false, &err), CBE_ERR_IO);
    cbe_input_digests_free(&digests);
    char *path = cbe_golden_path("gguf/tiny-llama/llama-f32.gguf");
    cbe_assert_ok(cbe_input_digests_take(&digests, path, true, &err), &err);
    assert_int_equal(digests.n, 1);
    assert_string_equal(digests.files[0].path, path);
    cbe_input_digests_free(&digests);
    free(path);
}

static void take__survives_every_failed_allocation(void **state)
{
    char path[256];
    snprintf(path, sizeof path, "%s", temp_path(state, "model"));
    size_t failures = 0;
    for (cbe_status st = CBE_ERR_NOMEM; st != CBE_OK; failures++) {
        cbe_input_digests digests = {0};
        cbe_memory_fail_after((long)failures);
        st = cbe_input_digests_take(&digests, path, false, &err);
        cbe_memory_fail_after(-1);
        cbe_input_digests_free(&digests);
        assert_true(failures < 50 && (st == CBE_OK || st == CBE_ERR_NOMEM));
    }
    assert_true(failures > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder__lists_what_models_are_made_of),
        cmocka_unit_test(file__is_itself_and_a_model_is_opened),
        cmocka_unit_test(take__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
