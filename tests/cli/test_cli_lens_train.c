/* cbe lens fit, cbe lens train and --lens affine as users run them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "lens/tuned_lens.h"
#include "support/assert_close.h"
#include "support/program.h"
#include "support/random.h"
#include "support/temp_folder.h"

#define MODEL "%G/models/llama"

/* ids.safetensors: 40 sequences of 24; short.safetensors: one. Group setup. */
static int set_up(void **state)
{
    enum { B = 40, S = 24, V = 139 };
    static int64_t ids[B * S];
    cbe_test_random r = {5};
    if (program_set_up(state) != 0) return -1;
    for (size_t i = 0; i < B * S; i++) ids[i] = (int64_t)(cbe_test_uniform(&r) * V);
    const struct {
        const char *path;
        size_t n;
    } files[] = {{"%F/ids.safetensors", B}, {"%F/short.safetensors", 1}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        cbe_error err = {0};
        cbe_safetensors_writer *writer = NULL;
        const cbe_tensor_spec spec = {"input_ids", CBE_I64, 2, {files[i].n, S}};
        if (cbe_safetensors_writer_create(&writer, program_expand(files[i].path), 1, &spec, 0, NULL,
                                          &err) != CBE_OK ||
            cbe_safetensors_writer_put(writer, 0, 0, files[i].n * S, ids, &err) != CBE_OK ||
            cbe_safetensors_writer_commit(writer, &err) != CBE_OK)
            return -1;
    }
    return 0;
}

static void has_lens(const char *folder)
{
    cbe_error err = {0};
    cbe_tuned_lens *lens = NULL;
    cbe_tuned_lens_config *config = NULL;
    cbe_assert_ok(cbe_tuned_lens_load(&lens, &config, program_expand(folder), NULL, &err), &err);
    assert_int_equal(lens->n_layers, 3);
    assert_int_equal(lens->hidden_size, 64);
    assert_non_null(cbe_tuned_lens_config_get(config, "unembed_hash"));
    cbe_tuned_lens_config_free(config);
    cbe_tuned_lens_free(lens);
}

static void fits(void **state)
{
    (void)state;
    program_done("lens fit " MODEL " --tokens %F/ids.safetensors -o %F/affine");
    assert_non_null(strstr(program_out, "reduction"));
    has_lens("%F/affine");
    program_done("lens fit " MODEL
                 " --tokens %F/ids.safetensors -o %F/affine-st --format safetensors -q");
    assert_string_equal(program_err, "");
    assert_int_equal(access(program_expand("%F/affine-st/params.safetensors"), R_OK), 0);
}

static void trains_and_goes_on(void **state)
{
    (void)state;
    program_done("lens train " MODEL
                 " --tokens %F/ids.safetensors -o %F/trained --positions 0.5 --step-tokens 32");
    has_lens("%F/trained");
    assert_non_null(strstr(program_out, " mean "));
    assert_int_equal(access(program_expand("%F/trained/train.csv"), R_OK), 0);
    assert_int_equal(access(program_expand("%F/trained/train.svg"), R_OK), 0);
    assert_int_not_equal(access(program_expand("%F/trained/checkpoint.safetensors"), F_OK), 0);
    program_done("lens train " MODEL " --tokens %F/ids.safetensors -o %F/more --init %F/trained "
                 "--optimizer sgd --step-tokens 32 "
                 "--rate 0.1 --loss ce --resume --format safetensors");
    has_lens("%F/more");
}

/* An extraction through the lens that it fits itself is the one through the same lens from a
 * folder. */
static void extracts_through_the_affine_lens(void **state)
{
    (void)state;
    enum { K = 2 };
    program_done("lens fit " MODEL " --tokens %F/ids.safetensors -o %F/same --format safetensors");
    program_done("extract " MODEL " --tokens %F/ids.safetensors --lens affine -o %F/a -k 2 "
                 "--layers 1 --preset seed --max-iter 3");
    program_done("extract " MODEL " --tokens %F/ids.safetensors --lens tuned=%F/same -o %F/b -k 2 "
                 "--layers 1 --preset seed --max-iter 3");
    double energies[2][K];
    for (int i = 0; i < 2; i++) {
        cbe_error err = {0};
        cbe_safetensors *file = NULL;
        cbe_tensor tensor;
        float read[K];
        cbe_assert_ok(cbe_safetensors_open(
                          &file,
                          program_expand(i ? "%F/b/basis.safetensors" : "%F/a/basis.safetensors"),
                          &err),
                      &err);
        cbe_assert_ok(cbe_safetensors_get(file, "layers.1.energies", &tensor, &err), &err);
        assert_int_equal(tensor.n_elements, K);
        memcpy(read, tensor.data, sizeof read);
        for (int k = 0; k < K; k++) energies[i][k] = (double)read[k];
        cbe_safetensors_close(file);
    }
    assert_true(energies[0][0] > 0);
    cbe_assert_close(energies[0], energies[1], K, 0, 0, "energies");
    program_done("extract " MODEL " --tokens %F/ids.safetensors --lens affine --lens-tokens 240 -o "
                 "%F/c -k 1 --layers 1 --max-iter 3");
    assert_non_null(strstr(program_err, "fitted on the first 240 tokens"));
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"lens fit", "MODEL is missing"},
        {"lens fit " MODEL " --tokens %F/ids.safetensors", "-o FOLDER is missing"},
        {"lens fit " MODEL " --tokens %F/short.safetensors -o %F/x", "give more text"},
        {"lens fit " MODEL " --tokens %F/ids.safetensors -o %F/x --held-out 1.5",
         "cannot be held out"},
        {"lens fit " MODEL " --tokens %F/ids.safetensors -o %F/x --held-out nan", "--held-out"},
        {"lens train", "MODEL is missing"},
        {"lens train " MODEL " --tokens %F/short.safetensors -o %F/x", "give more text"},
        {"lens train " MODEL " --tokens %F/ids.safetensors -o %F/x --step-tokens 5000",
         "a step takes 5000"},
        {"lens train " MODEL " --tokens %F/ids.safetensors -o %F/x --rate -1", "negative"},
        {"lens train " MODEL " --tokens %F/ids.safetensors -o %F/x --momentum 1", "momentum"},
        {"lens train " MODEL " --tokens %F/ids.safetensors -o %F/x --resume --checkpoint-steps 0",
         "--resume needs"},
        {"lens train " MODEL " --tokens %F/ids.safetensors -o %F/x --init %F/nowhere", "nowhere"},
        {"lens train %G/models/gpt2 --tokens %F/ids.safetensors -o %F/x --init %F/affine", "64"},
        {"extract --hidden-states %H --decoder %E --lens affine -o %F/x", "cbe lens fit"},
        {"extract " MODEL " --tokens %F/short.safetensors --lens affine -o %F/x", "give more text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (program_run(cases[i].line) != 2) fail_msg("%s: not refused", cases[i].line);
        const char *end = strchr(program_err, '\n');
        if (!strstr(program_err, cases[i].message) || !end || end[1] != 0)
            fail_msg("%s: %s", cases[i].line, program_err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fits),
        cmocka_unit_test(trains_and_goes_on),
        cmocka_unit_test(extracts_through_the_affine_lens),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
