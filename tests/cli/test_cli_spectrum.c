/* cbe spectrum as a user runs it: the table, its files, the same run through the library, an
 * interrupted run that goes on, checkpoints of other runs and damaged ones, and what it says of bad
 * input. */
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbe/cbe.h"
#include "formats/safetensors.h"
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

/* The run that is interrupted; a file is written after each batch. */
#define LONG "spectrum " LLAMA " -q -t 1 -l 0,2 --draws 40 --checkpoint-seconds 0 "

static void assert_same_bytes(const char *a, const char *b)
{
    size_t n, m;
    char *x = temp_read(program_expand(a), &n), *y = temp_read(program_expand(b), &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

/* Whether the checkpoint has sums of a part of the text. */
static bool has_sums(const char *path)
{
    cbe_safetensors *file;
    if (cbe_safetensors_open(&file, path, &err) != CBE_OK) return false;
    const bool has = cbe_safetensors_has(file, "gradient_sums.3");
    cbe_safetensors_close(file);
    return has;
}

/* A checkpoint of a run of LONG in FOLDER that was killed when it had sums. */
static void leave_checkpoint(const char *folder)
{
    char line[400], place[64], file[100];
    snprintf(line, sizeof line, "%s-o %%F/%s", LONG, folder);
    snprintf(place, sizeof place, "%%F/%s", folder);
    snprintf(file, sizeof file, "%s/checkpoint.safetensors", place);
    for (bool acted = false; !acted;) { /* again, if it was done before it could be killed */
        temp_clear(program_expand(place));
        if (program_run_while(line, file, has_sums, NULL, NULL, &acted) > 0)
            fail_msg("cbe %s: %s", line, program_err);
    }
}

static void an_interrupted_run__goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    program_done(LONG "-o %F/whole");
    leave_checkpoint("killed");
    program_done("spectrum " LLAMA " -t 1 -l 0,2 --draws 40 --resume -o %F/killed");
    assert_non_null(strstr(program_err, "resume: 0 of 2 layers are done, and sums of "));
    assert_same_bytes("%F/whole/spectrum.json", "%F/killed/spectrum.json");
    assert_same_bytes("%F/whole/spectrum.csv", "%F/killed/spectrum.csv");
    assert_int_not_equal(access(program_expand("%F/killed/checkpoint.safetensors"), F_OK), 0);
    /* Without a checkpoint the run begins. */
    program_done("spectrum " LLAMA " -t 1 -l 0,2 --draws 40 --resume -o %F/killed");
    assert_non_null(strstr(program_err, "resume: there is no"));
    assert_same_bytes("%F/whole/spectrum.json", "%F/killed/spectrum.json");
}

static void a_run_that_is_signalled__names_its_checkpoint(void **state)
{
    (void)state;
    int status = 0;
    for (bool sent = false; !sent || status == 0;)
        status = program_run_signalled(LONG "-o %F/signalled",
                                       "%F/signalled/checkpoint.safetensors", SIGTERM, &sent);
    assert_int_equal(status, 143);
    assert_non_null(strstr(program_err, "with --resume goes on from "));
    program_done(LONG "--resume -o %F/signalled");
    program_done(LONG "-o %F/unsignalled");
    assert_same_bytes("%F/unsignalled/spectrum.json", "%F/signalled/spectrum.json");
}

static void a_checkpoint_of_another_run__is_refused_by_what_differs(void **state)
{
    (void)state;
    static const struct {
        const char *options, *said;
    } cases[] = {
        {"-l 0,2 --draws 41", "--draws: 40, now 41"},
        {"-l 0,2 --draws 40 --seed 1", "--seed: 0, now 1"},
        {"-l 0,1 --draws 40", "list of layers: 0,2, now 0,1"},
        {"-l 0,2 --draws 40 --site pre", "site: post, now pre"},
        {"-l 0,2 --draws 40 --max-tokens 34", "--max-tokens: 0, now 34"},
        {"-l 0,2 --draws 40 --skip-positions 2", "number of skipped positions: 0, now 2"},
    };
    leave_checkpoint("other");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[300];
        snprintf(line, sizeof line, "%s%s", "spectrum " LLAMA " -q --resume -o %F/other ",
                 cases[i].options);
        assert_int_equal(program_run(line), 2);
        if (!strstr(program_err, cases[i].said)) fail_msg("%s: %s", cases[i].said, program_err);
        assert_non_null(strstr(program_err, "leave out --resume"));
        assert_ptr_equal(strchr(program_err, '\n'), program_err + strlen(program_err) - 1);
    }
    assert_int_equal(program_run("spectrum %G/models/qwen2 --tokens %G/fisher/llama.safetensors -q "
                                 "-l 0,2 --draws 40 --resume -o %F/other"),
                     2);
    assert_non_null(strstr(program_err, "another input: model"));
    /* The checkpoint of another command. */
    program_done("capture " LLAMA " -q --layers 0 -o %F/other/checkpoint.safetensors");
    assert_int_equal(program_run(LONG "--resume -o %F/other"), 2);
    assert_non_null(strstr(program_err, "not a checkpoint of cbe spectrum"));
    assert_int_equal(program_run(LONG "-o %F/other"), 2);
    assert_non_null(strstr(program_err, "is no checkpoint of cbe spectrum"));
}

static void without_resume__a_checkpoint_is_replaced_and_that_is_said(void **state)
{
    (void)state;
    leave_checkpoint("anew");
    program_done("spectrum " LLAMA " -t 1 -l 1 --draws 1 -o %F/anew");
    assert_non_null(strstr(program_err, "--resume goes on with it"));
    assert_int_not_equal(access(program_expand("%F/anew/checkpoint.safetensors"), F_OK), 0);
}

/* Every few bytes of the header, and cuts: a refusal, or the result of the run. */
static void a_damaged_checkpoint__is_refused(void **state)
{
    (void)state;
    size_t size, header = 0;
    leave_checkpoint("damaged");
    char *whole = temp_read(program_expand("%F/damaged/checkpoint.safetensors"), &size),
         *copy = malloc(size);
    assert_non_null(copy);
    memcpy(&header, whole, 8);
    for (size_t at = 8; at < 8 + header; at += 1 + header / 40) {
        memcpy(copy, whole, size);
        copy[at] ^= 2;
        temp_write(program_expand("%F/damaged/checkpoint.safetensors"), copy, size);
        const int status = program_run(LONG "--resume -o %F/damaged");
        if (status == 0) continue;
        assert_int_equal(status, 2);
        assert_ptr_equal(strchr(program_err, '\n'), program_err + strlen(program_err) - 1);
    }
    for (size_t cut = 0; cut < size; cut += 1 + size / 10) {
        temp_write(program_expand("%F/damaged/checkpoint.safetensors"), whole, cut);
        assert_int_equal(program_run(LONG "--resume -o %F/damaged"), 2);
        assert_non_null(strstr(program_err, "checkpoint.safetensors"));
    }
    free(copy);
    free(whole);
}

/* What no run can have written, in a file that is whole: places by texts of the same length, and
 * sums that are not finite. */
static void a_checkpoint_that_cannot_be__is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *said;
    } cases[] = {
        {"states at once", "3", "must be a number of 1 to 2"},
        {"states at once", "0", "must be a number of 1 to 2"},
        {"groups done", "9", "must be a number of 0 to 1"},
        {"groups done", "x", "must be a number of 0 to 1"},
        {"groups done", "1", "variances.1"}, /* without the spectra of that group */
        {"sequences done", "13", "must be a number of 0 to 12"},
        {"sequences done", "-1", "must be a number of 0 to 12"},
        {"sequences done", "", "must be a number of 0 to 12"},
    };
    leave_checkpoint("impossible");
    cbe_safetensors *file;
    char path[200];
    snprintf(path, sizeof path, "%s", program_expand("%F/impossible/checkpoint.safetensors"));
    size_t size, header = 0, begin;
    char *whole = temp_read(path, &size);
    memcpy(&header, whole, 8);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char from[64], to[64];
        cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
        snprintf(from, sizeof from, "\"%s\":\"%s\"", cases[i].key,
                 cbe_safetensors_metadata(file, cases[i].key));
        cbe_safetensors_close(file);
        snprintf(to, sizeof to, "\"%s\":\"%s\"", cases[i].key, cases[i].value);
        const char *at = strstr(whole + 8, from);
        assert_non_null(at);
        /* The header is of another length then. */
        const size_t before = (size_t)(at - whole), longer = header + strlen(to) - strlen(from);
        char *made = malloc(size + 64);
        assert_non_null(made);
        memcpy(made, &longer, 8);
        memcpy(made + 8, whole + 8, before - 8);
        memcpy(made + before, to, strlen(to));
        memcpy(made + before + strlen(to), at + strlen(from), size - before - strlen(from));
        temp_write(path, made, size + strlen(to) - strlen(from));
        free(made);
        assert_int_equal(program_run(LONG "--resume -o %F/impossible"), 2);
        if (!strstr(program_err, cases[i].said))
            fail_msg("%s %s: %s", cases[i].key, cases[i].value, program_err);
        assert_ptr_equal(strchr(program_err, '\n'), program_err + strlen(program_err) - 1);
        temp_write(path, whole, size);
    }
    const char *entry = strstr(whole + 8, "\"gradient_sums.3\"");
    assert_non_null(entry);
    assert_int_equal(
        sscanf(strstr(entry, "\"data_offsets\":[") + strlen("\"data_offsets\":["), "%zu", &begin),
        1);
    memset(whole + 8 + header + begin, 0xff, 8);
    temp_write(path, whole, size);
    free(whole);
    assert_int_equal(program_run(LONG "--resume -o %F/impossible"), 2);
    assert_non_null(strstr(program_err, "'gradient_sums.3' is not of finite float64 numbers"));
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
        {"spectrum " LLAMA " --resume", "--resume needs -o, where the checkpoint lies"},
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
        cmocka_unit_test(an_interrupted_run__goes_on_to_the_same_bytes),
        cmocka_unit_test(a_run_that_is_signalled__names_its_checkpoint),
        cmocka_unit_test(a_checkpoint_of_another_run__is_refused_by_what_differs),
        cmocka_unit_test(without_resume__a_checkpoint_is_replaced_and_that_is_said),
        cmocka_unit_test(a_damaged_checkpoint__is_refused),
        cmocka_unit_test(a_checkpoint_that_cannot_be__is_refused),
        cmocka_unit_test(bad_input__is_one_line_and_status_2),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
