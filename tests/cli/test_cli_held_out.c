/* test_cli_held_out.c - what cbe extract holds out: an eighth by default, or a text given apart. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

#define MODEL "extract %G/gguf/tiny-llama/llama-f32.gguf --context-length 8 -l 1 -k 2 -q "

/* The record of a result folder; to json_decref. */
static json_t *record_of(const char *folder)
{
    char path[64];
    json_error_t problem;
    snprintf(path, sizeof path, "%%F/%s/basis.json", folder);
    json_t *root = json_load_file(program_expand(path), 0, &problem);
    if (!root) fail_msg("%s: %s", path, problem.text);
    return root;
}

static int count_of(const json_t *root, const char *key)
{
    return (int)json_integer_value(json_object_get(root, key));
}

static double number_of(const json_t *root, size_t vector, const char *key)
{
    const json_t *layer = json_array_get(json_object_get(root, "layers"), 0);
    return json_real_value(
        json_object_get(json_array_get(json_object_get(layer, "vectors"), vector), key));
}

static void eighth__is_held_out_of_8_sequences_or_more(void **state)
{
    static const struct {
        const char *options;
        int sequences, held_out;
    } cases[] = {{"--max-tokens 56", 7, 0},
                 {"--max-tokens 64", 8, 1},
                 {"--max-tokens 96", 12, 2}, /* 1.5, rounded */
                 {"--max-tokens 64 --held-out 0", 8, 0},
                 {"--max-tokens 64 --held-out auto", 8, 1},
                 {"--max-tokens 56 --held-out 0.3", 7, 2},
                 {"--max-tokens 64 --preset seed --max-iter 2", 8, 0},
                 {"--max-tokens 64 --preset tuned-lens --max-iter 2", 8, 0},
                 {"--max-tokens 64 --preset seed --max-iter 2 --held-out 0.25", 8, 2}};
    char text[600] = "";
    for (size_t i = 0; i < 99; i++) strcat(text, i % 7 ? "words " : "other ");
    temp_write(temp_path(state, "a.txt"), text, strlen(text));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[256];
        snprintf(line, sizeof line, "%s--text %%F/a.txt %s -o %%F/eighth", MODEL, cases[i].options);
        program_done(line);
        json_t *root = record_of("eighth");
        if (count_of(root, "n_sequences") != cases[i].sequences ||
            count_of(root, "n_held_out_sequences") != cases[i].held_out)
            fail_msg("%s: %d of %d sequences are held out", cases[i].options,
                     count_of(root, "n_held_out_sequences"), count_of(root, "n_sequences"));
        json_decref(root);
    }
}

/* Where the default search starts does not depend on the tokens held out, through a lens or in the
 * model: texts of one length that judge leave every energy with its bits. */
static void default_search__sees_nothing_of_the_text_apart(void **state)
{
    static const char text[] = "Some words for the search, and others. Then more of them follow.",
                      *const others[] = {
                          "Quite another matter: 12 numbers, 34 figures, 56 digits!",
                          "zzzz ???? #### 0000 ~~~~ ;;;; %%%% @@@@ ____ &&&& ^^^^ {{"};
    static const char *const lenses[] = {"logit", "model"};
    temp_write(temp_path(state, "a.txt"), text, sizeof text - 1);
    for (size_t lens = 0; lens < sizeof lenses / sizeof *lenses; lens++) {
        double energies[2][2], judged[2];
        for (size_t i = 0; i < 2; i++) {
            char line[256], folder[16];
            temp_write(temp_path(state, "b.txt"), others[i], strlen(others[i]));
            snprintf(folder, sizeof folder, "%s%zu", lenses[lens], i);
            snprintf(line, sizeof line,
                     "%s--text %%F/a.txt --held-out-text %%F/b.txt --max-tokens 16 --lens %s "
                     "--max-iter 5 -o %%F/%s",
                     MODEL, lenses[lens], folder);
            program_done(line);
            json_t *root = record_of(folder);
            assert_int_equal(count_of(root, "n_sequences"), 4);
            for (size_t j = 0; j < 2; j++) energies[i][j] = number_of(root, j, "energy");
            judged[i] = number_of(root, 0, "held_out_energy");
            json_decref(root);
        }
        assert_true(energies[0][0] > 0 && judged[0] != judged[1]);
        assert_memory_equal(energies[0], energies[1], sizeof energies[0]);
    }
}

/* Judged on the text of the search, energies are those of the search; and what is searched does not
 * depend on the text that judges. */
static void text_apart__is_judged_on_alone(void **state)
{
    static const char text[] = "Some words for the search, and others. Then more of them follow.",
                      other[] = "Quite another matter: 12 numbers, 34 figures, 56 digits!";
    temp_write(temp_path(state, "a.txt"), text, sizeof text - 1);
    temp_write(temp_path(state, "b.txt"), other, sizeof other - 1);
    program_done(MODEL "--text %F/a.txt --preset seed -o %F/alone");
    program_done(MODEL "--text %F/a.txt --held-out-text %F/a.txt --preset seed -o %F/same");
    program_done(MODEL "--text %F/a.txt --held-out-text %F/b.txt --preset seed -o %F/apart");
    json_t *alone = record_of("alone"), *same = record_of("same"), *apart = record_of("apart");
    const int n = count_of(alone, "n_sequences"), m = count_of(same, "n_held_out_sequences");
    assert_int_equal(m, n);
    assert_int_equal(count_of(same, "n_sequences"), 2 * n);
    assert_true(count_of(apart, "n_held_out_sequences") > 0);
    for (size_t j = 0; j < 2; j++) {
        const double energy = number_of(same, j, "energy"),
                     held_out = number_of(same, j, "held_out_energy"),
                     error = number_of(same, j, "standard_error"),
                     held_out_error = number_of(same, j, "held_out_standard_error");
        cbe_assert_close(&held_out, &energy, 1, 1e-9, 1e-6, "the same text");
        cbe_assert_close(&held_out_error, &error, 1, 1e-9, 1e-5, "its error");
        const double first = number_of(alone, j, "energy"), third = number_of(apart, j, "energy");
        cbe_assert_close(&energy, &first, 1, 1e-7, 1e-4, "searched on the text alone");
        cbe_assert_close(&third, &first, 1, 1e-7, 1e-4, "searched on the text alone");
        const double judged = number_of(apart, j, "held_out_energy");
        assert_true(judged > 0 && judged != energy);
    }
    const json_t *input;
    size_t i, roles[2] = {0};
    json_array_foreach(json_object_get(apart, "inputs"), i, input)
    {
        const char *role = json_string_value(json_object_get(input, "role"));
        roles[0] += strcmp(role, "text") == 0;
        roles[1] += strcmp(role, "held_out_text") == 0;
    }
    assert_int_equal(roles[0], 1);
    assert_int_equal(roles[1], 1);
    json_decref(alone);
    json_decref(same);
    json_decref(apart);
}

/* Token ids have no tokenizer, but their model has. */
static void text_apart__goes_with_token_ids(void **state)
{
    char text[400] = "";
    for (size_t i = 0; i < 50; i++) strcat(text, i % 7 ? "words " : "other ");
    temp_write(temp_path(state, "c.txt"), text, strlen(text));
    program_done("extract %G/gguf/tiny-llama/llama-f32.gguf --tokens %G/npy/ids.npy -l 1 -k 1 -q "
                 "--preset seed --max-iter 3 --held-out-text %F/c.txt -o %F/ids");
    json_t *root = record_of("ids");
    assert_true(count_of(root, "n_held_out_sequences") > 0);
    assert_true(number_of(root, 0, "held_out_energy") > 0);
    json_decref(root);
}

/* The lens that was fitted is kept, and read again it is the same lens. */
static void lens__of_the_run_is_kept(void **state)
{
    char text[800] = "";
    for (size_t i = 0; i < 120; i++) strcat(text, i % 7 ? "words " : "other ");
    temp_write(temp_path(state, "d.txt"), text, strlen(text));
    program_done(MODEL "--text %F/d.txt --preset seed --max-iter 3 --lens affine -o %F/fitted");
    assert_non_null(strstr(program_err, "the lens was fitted on the text that it is judged on"));
    program_done(MODEL "--text %F/d.txt --preset seed --max-iter 3 --lens tuned=%F/fitted/lens -o "
                       "%F/read");
    assert_null(strstr(program_err, "the lens was fitted"));
    size_t n, m;
    char *fitted = temp_read(program_expand("%F/fitted/basis.safetensors"), &n),
         *read = temp_read(program_expand("%F/read/basis.safetensors"), &m);
    assert_true(n == m && memcmp(fitted, read, n) == 0);
    json_t *root = record_of("fitted");
    const json_t *lens = json_object_get(root, "lens"), *input;
    size_t i;
    const char *digest = json_string_value(json_object_get(lens, "sha256"));
    assert_string_equal(json_string_value(json_object_get(lens, "folder")), "lens");
    json_t *other = record_of("read");
    bool found = false;
    json_array_foreach(json_object_get(other, "inputs"), i, input)
    {
        found |= strcmp(json_string_value(json_object_get(input, "sha256")), digest) == 0;
    }
    assert_true(found);
    json_decref(root);
    json_decref(other);
    free(fitted);
    free(read);
    /* Another text to judge on needs no warning, and the folder can be written again. */
    temp_write(temp_path(state, "e.txt"), text + 6, strlen(text + 6));
    program_done(MODEL "--text %F/d.txt --held-out-text %F/e.txt --preset seed --max-iter 3 --lens "
                       "affine -o %F/fitted");
    assert_null(strstr(program_err, "the lens was fitted"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eighth__is_held_out_of_8_sequences_or_more),
        cmocka_unit_test(default_search__sees_nothing_of_the_text_apart),
        cmocka_unit_test(text_apart__is_judged_on_alone),
        cmocka_unit_test(text_apart__goes_with_token_ids),
        cmocka_unit_test(lens__of_the_run_is_kept),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
