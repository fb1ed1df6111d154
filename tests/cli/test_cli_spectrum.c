/* cbe spectrum as a user runs it: the table, its files, the same run through the library, and what
 * it says of bad input. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbe/cbe.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

#define LLAMA "%G/models/llama --tokens %G/fisher/llama.safetensors"

enum { D = 64 };

static cbe_error err;

static json_t *load(const char *path)
{
    json_error_t problem;
    json_t *json = json_load_file(program_expand(path), 0, &problem);
    if (!json) fail_msg("%s: %s", path, problem.text);
    return json;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void files__say_what_the_table_says(void **state)
{
    (void)state;
    program_done("spectrum " LLAMA " -q -l 1,2 --draws 3 --seed 4 --skip-positions 1 -o %F/run");
    json_t *json = load("%F/run/spectrum.json");
    assert_string_equal(json_string_value(json_object_get(json, "format")), "spectra");
    assert_string_equal(json_string_value(json_object_get(json, "site")), "post");
    assert_string_equal(json_string_value(json_object_get(json, "seed")), "4");
    assert_true(number(json, "draws") == 3 && number(json, "skip_positions") == 1);
    assert_true(number(json, "n_tokens") == 12 * 16);
    const json_t *layers = json_object_get(json, "layers");
    assert_int_equal(json_array_size(layers), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *layer = json_array_get(layers, i),
                     *energies = json_object_get(layer, "energies");
        char row[80];
        double sum = 0, first = 0;
        assert_int_equal(json_array_size(energies), D);
        for (size_t k = 0; k < D; k++) sum += json_number_value(json_array_get(energies, k));
        const double told = number(layer, "sum"),
                     top = json_number_value(json_array_get(energies, 0));
        cbe_assert_close(&told, &sum, 1, 0, 1e-13, "sum");
        assert_true(number(layer, "largest") == top);
        size_t half = 0;
        while (first < 0.5 * sum) first += json_number_value(json_array_get(energies, half++));
        assert_true(number(layer, "dimensions_50") == (double)half);
        assert_true(number(layer, "dimensions_90") <= number(layer, "dimensions_99"));
        assert_true(number(layer, "participation") <= D);
        snprintf(row, sizeof row, "%5zu  hidden_states.%zu   %8.4g   %8.4g  %5zu", i + 1, i + 2,
                 told, top, half);
        if (!strstr(program_out, row)) fail_msg("'%s' is not in\n%s", row, program_out);
    }
    json_decref(json);
    size_t size;
    char *csv = temp_read(program_expand("%F/run/spectrum.csv"), &size);
    assert_true(size > 40 && strncmp(csv, "layer,state,sum,largest,dimensions_50,", 38) == 0);
    const char *last = strrchr(csv, 'h');
    assert_true(last && strncmp(last - 3, "\n2,hidden_states.3,", 19) == 0);
    free(csv);
}

/* The same options in the library; site pre of layer 2 is site post of layer 1. */
static void library__has_the_same_numbers(void **state)
{
    (void)state;
    program_done("spectrum " LLAMA " -q -l 1 --draws 2 -o %F/program");
    json_t *json = load("%F/program/spectrum.json");
    const json_t *layer = json_array_get(json_object_get(json, "layers"), 0);
    cbe_run *run = NULL;
    cbe_assert_ok(cbe_run_create(&run, "spectrum", &err), &err);
    const char *const options[][2] = {{"model", "%G/models/llama"},
                                      {"tokens", "%G/fisher/llama.safetensors"},
                                      {"layers", "2"},
                                      {"site", "pre"},
                                      {"draws", "2"}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        cbe_assert_ok(cbe_run_set(run, options[i][0], program_expand(options[i][1]), &err), &err);
    cbe_assert_ok(cbe_run_execute(run, &err), &err);
    static const char *const names[] = {"sum",           "dimensions_50", "dimensions_90",
                                        "dimensions_99", "participation", "variance_participation"};
    const double *values;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(cbe_run_values(run, 2, names[i], &values), 1);
        assert_true(values[0] == number(layer, names[i]));
    }
    assert_int_equal(cbe_run_values(run, 2, "energy", &values), D);
    for (size_t k = 0; k < D; k++)
        assert_true(values[k] ==
                    json_number_value(json_array_get(json_object_get(layer, "energies"), k)));
    assert_int_equal(cbe_run_values(run, 2, "variance", &values), D);
    assert_int_equal(cbe_run_values(run, 2, "gradient", &values), 0);
    cbe_assert_ok(cbe_run_save(run, program_expand("%F/saved"), &err), &err);
    json_t *saved = load("%F/saved/spectrum.json");
    assert_string_equal(json_string_value(json_object_get(saved, "site")), "pre");
    json_decref(saved);
    cbe_run_free(run);
    json_decref(json);
}

static void bad_input__is_one_line_and_status_2(void **state)
{
    (void)state;
    static const struct {
        const char *line, *said;
    } cases[] = {
        {"spectrum --tokens %G/fisher/llama.safetensors", "MODEL is missing"},
        {"spectrum %G/models/llama", "--text"},
        {"spectrum " LLAMA " -l 7", "--layers: there is no layer 7"},
        {"spectrum " LLAMA " --draws 0", "--draws 0: a whole number of 1 or more expected"},
        {"spectrum " LLAMA " --skip-positions 17", "no token is left"},
        {"spectrum " LLAMA " --memory 1M", "--memory"},
        {"spectrum " LLAMA " -o %G/models/llama/config.json", "config.json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(program_run(cases[i].line), 2);
        if (!strstr(program_err, cases[i].said)) fail_msg("case %zu: %s", i, program_err);
        assert_ptr_equal(strchr(program_err, '\n'), program_err + strlen(program_err) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files__say_what_the_table_says),
        cmocka_unit_test(library__has_the_same_numbers),
        cmocka_unit_test(bad_input__is_one_line_and_status_2),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
