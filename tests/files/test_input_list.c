/* The list of a run's inputs: order, digests, files that change or vanish, a model's files once
 * each. */
#include "files/input_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"
#include "tokenizer/tokenizer.h"
#include "core/memory.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/inputs.h"
#include "support/temp_folder.h"

/* Of the empty text, and of "abc" (FIPS 180-4). */
static const char of_nothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char of_abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static cbe_error err;

static int set_up(void **state)
{
    if (temp_folder_create(state) != 0) return -1;
    temp_write(temp_path(state, "abc"), "abc", 3);
    temp_write(temp_path(state, "nothing"), "", 0);
    return 0;
}

static void inputs__are_by_role_and_in_the_order_of_reading(void **state)
{
    cbe_inputs inputs = {0};
    const char *abc = temp_path(state, "abc"), *nothing = temp_path(state, "nothing");
    inputs_read(&inputs, CBE_INPUT_TEXT, abc);
    inputs_read(&inputs, CBE_INPUT_INIT, abc);
    inputs_read(&inputs, CBE_INPUT_TEXT, nothing);
    inputs_read(&inputs, CBE_INPUT_DECODER, nothing);
    inputs_read(&inputs, CBE_INPUT_TEXT, abc); /* once more */
    static const struct {
        const char *role, *digest;
    } want[] = {{"decoder", of_nothing},
                {"text", of_abc},
                {"text", of_nothing},
                {"text", of_abc},
                {"init", of_abc}};
    assert_int_equal(inputs.n, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(cbe_input_role_name(inputs.files[i].role), want[i].role);
        assert_string_equal(inputs.files[i].sha256, want[i].digest);
        assert_int_equal(inputs.files[i].n_bytes, want[i].digest == of_abc ? 3 : 0);
    }
    cbe_inputs_free(&inputs);
    assert_int_equal(inputs.n, 0);
}

static void inputs__without_digests_and_lists_that_are_none(void **state)
{
    cbe_inputs inputs = {0};
    cbe_mapped_file file = {0};
    cbe_assert_ok(cbe_mapped_file_open(&file, temp_path(state, "abc"), &err), &err);
    cbe_assert_ok(cbe_inputs_add(&inputs, CBE_INPUT_TEXT, &file, &err), &err);
    cbe_assert_ok(cbe_inputs_add(NULL, CBE_INPUT_TEXT, &file, &err), &err);
    cbe_mapped_file_close(&file);
    assert_int_equal(inputs.n, 1);
    assert_string_equal(inputs.files[0].sha256, "");
    cbe_inputs_free(&inputs);
}

static void look__tells_what_changed_and_what_is_gone(void **state)
{
    static const char *const names[] = {"same", "longer", "rewritten", "replaced", "gone", "below"};
    static const cbe_input_state want[] = {CBE_INPUT_SAME,    CBE_INPUT_CHANGED, CBE_INPUT_CHANGED,
                                           CBE_INPUT_CHANGED, CBE_INPUT_GONE,    CBE_INPUT_GONE};
    cbe_inputs inputs = {0};
    for (size_t i = 0; i < 6; i++) {
        temp_write(temp_path(state, names[i]), names[i], strlen(names[i]));
        inputs_read(&inputs, CBE_INPUT_TEXT, temp_path(state, names[i]));
        assert_int_equal(cbe_input_look(&inputs.files[i]), CBE_INPUT_SAME);
    }
    temp_write(temp_path(state, "longer"), "longer than it was", 18);
    /* until the clock of the file system has moved */
    do temp_write(temp_path(state, "rewritten"), "REWRITTEN", 9);
    while (cbe_input_look(&inputs.files[2]) == CBE_INPUT_SAME);
    temp_write(temp_path(state, "new"), "replaced", 8);
    assert_int_equal(rename(temp_path(state, "new"), temp_path(state, "replaced")), 0);
    assert_int_equal(unlink(temp_path(state, "gone")), 0);
    /* a file where a folder was */
    snprintf(inputs.files[5].path + strlen(inputs.files[5].path) - 5, 6, "abc/x");
    for (size_t i = 0; i < 6; i++) assert_int_equal(cbe_input_look(&inputs.files[i]), want[i]);
    cbe_inputs_free(&inputs);
}

static size_t count_of(const cbe_inputs *inputs, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < inputs->n; i++) {
        const char *slash = strrchr(inputs->files[i].path, '/');
        n += strcmp(slash ? slash + 1 : inputs->files[i].path, name) == 0;
    }
    return n;
}

/* What was read, and that once: config.json is read for the model and for its tokenizer. */
static void model__lists_the_files_that_were_read(void **state)
{
    (void)state;
    cbe_inputs inputs = {.digests = true};
    cbe_model *model = NULL;
    cbe_tokenizer *tokenizer = NULL;
    char *folder = cbe_golden_path("models/llama"),
         *gguf = cbe_golden_path("gguf/tiny-llama/llama-q8_0.gguf");
    char *vocabulary = cbe_golden_path("tokenizers/made-llama2");
    cbe_assert_ok(
        cbe_model_open_with(&model, folder, &(cbe_model_options){.inputs = &inputs}, &err), &err);
    assert_int_equal(inputs.n, 2);
    assert_string_equal(inputs.files[0].sha256, file_sha256(inputs.files[0].path));
    assert_int_equal(count_of(&inputs, "config.json"), 1);
    assert_int_equal(count_of(&inputs, "model.safetensors"), 1);
    cbe_inputs_free(&inputs);
    cbe_model_close(model);
    cbe_assert_ok(cbe_tokenizer_read(&tokenizer, vocabulary, &inputs, NULL, &err), &err);
    assert_int_equal(count_of(&inputs, "tokenizer.json"), 1);
    for (size_t i = 0; i < inputs.n; i++)
        assert_int_equal(inputs.files[i].role, CBE_INPUT_MODEL_BESIDE);
    cbe_inputs_free(&inputs);
    cbe_tokenizer_free(tokenizer);
    cbe_assert_ok(cbe_model_open_with(&model, gguf, &(cbe_model_options){.inputs = &inputs}, &err),
                  &err);
    cbe_assert_ok(cbe_tokenizer_read(&tokenizer, gguf, &inputs, NULL, &err), &err);
    assert_int_equal(inputs.n, 1);
    cbe_inputs_free(&inputs);
    cbe_tokenizer_free(tokenizer);
    cbe_model_close(model);
    free(folder);
    free(gguf);
    free(vocabulary);
}

static void add__survives_every_failed_allocation(void **state)
{
    cbe_mapped_file file = {0};
    cbe_inputs inputs = {0};
    cbe_assert_ok(cbe_mapped_file_open(&file, temp_path(state, "abc"), &err), &err);
    size_t failures = 0;
    for (cbe_status st = CBE_ERR_NOMEM; st != CBE_OK; failures++) {
        cbe_memory_fail_after((long)failures);
        st = cbe_inputs_add(&inputs, CBE_INPUT_TEXT, &file, &err);
        cbe_memory_fail_after(-1);
        assert_true(failures < 10 && (st == CBE_OK || st == CBE_ERR_NOMEM));
        assert_int_equal(inputs.n, st == CBE_OK);
    }
    assert_int_equal(failures, 3);
    cbe_inputs_free(&inputs);
    cbe_mapped_file_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs__are_by_role_and_in_the_order_of_reading),
        cmocka_unit_test(inputs__without_digests_and_lists_that_are_none),
        cmocka_unit_test(look__tells_what_changed_and_what_is_gone),
        cmocka_unit_test(model__lists_the_files_that_were_read),
        cmocka_unit_test(add__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
