/* cbe fidelity as a user runs it: the table and its files, the same run through the library, bases
 * of inputs and of outputs of blocks, and what it says of bad input. */
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

#define LLAMA "%G/models/llama --tokens %G/truth/llama/golden.safetensors"

static cbe_error err;

static json_t *load(const char *path)
{
    json_error_t problem;
    json_t *json = json_load_file(program_expand(path), 0, &problem);
    if (!json) fail_msg("%s: %s", path, problem.text);
    return json;
}

/* The value at a path of keys, a.b.c. */
static const json_t *at(const json_t *json, const char *path)
{
    char copy[96], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *key = strtok_r(copy, ".", &rest); key; key = strtok_r(NULL, ".", &rest))
        json = json_object_get(json, key);
    if (!json) fail_msg("%s: not there", path);
    return json;
}

static double number(const json_t *json, const char *path)
{
    const json_t *value = at(json, path);
    return json_is_null(value) ? NAN : json_number_value(value);
}

static int make_bases(void **state)
{
    const int status = program_set_up(state);
    program_done("extract " LLAMA " -q -k 4 --preset seed --max-iter 3 --lens model -o %F/post");
    program_done("extract " LLAMA " -q -k 4 --preset seed --max-iter 3 -o %F/pre");
    return status;
}

static void table__says_what_the_files_say(void **state)
{
    (void)state;
    program_done("fidelity " LLAMA " -q -l 0,2 --basis %F/post --directions 5 --rank 3 --seed 4 "
                 "--skip-positions 1 -o %F/run");
    json_t *json = load("%F/run/fidelity.json");
    assert_string_equal(json_string_value(at(json, "format")), "lens fidelity");
    assert_string_equal(json_string_value(at(json, "lens")), "logit");
    assert_string_equal(json_string_value(at(json, "site")), "post");
    assert_string_equal(json_string_value(at(json, "ablation")), "resample");
    assert_string_equal(json_string_value(at(json, "seed")), "4");
    assert_true(number(json, "directions") == 5 && number(json, "n_tokens") == 12 * 16);
    const json_t *layers = at(json, "layers");
    assert_int_equal(json_array_size(layers), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *layer = json_array_get(layers, i), *all = at(layer, "all_directions");
        char row[100], *next = row;
        assert_true(number(layer, "layer") == 2 * (double)i);
        assert_true(number(all, "rank") == 3);
        assert_int_equal(json_array_size(at(layer, "directions")), 4 + 5 + 5);
        next += snprintf(next, 20, "%-16s", json_string_value(at(layer, "state")));
        static const char *const columns[] = {
            "all.influence.together.spearman", "all.influence.together.low",
            "all.influence.together.high",     "own.influence.together.spearman",
            "own.influence.together.low",      "own.influence.together.high"};
        for (size_t c = 0; c < 6; c++)
            next += snprintf(next, 9, "%s%5.2f", c % 3 ? " " : "  ", number(all, columns[c]));
        snprintf(next, 40, "  %5.2f %5.3f  %5.2f %5.3f\n", number(all, "all.alignment"),
                 number(all, "all.alignment_error"), number(all, "own.alignment"),
                 number(all, "own.alignment_error"));
        if (!strstr(program_out, row)) fail_msg("'%s' is not in\n%s", row, program_out);
        if (i == 1) { /* the last output */
            assert_true(fabs(number(all, "all.alignment") - 1) < 1e-9);
            assert_true(number(all, "own.influence.together.spearman") > 0.99);
        }
    }
    for (const char *line = program_out, *end; (end = strchr(line, '\n')); line = end + 1)
        assert_true(end - line <= 80);
    json_decref(json);
    size_t size, rows = 0;
    char *csv = temp_read(program_expand("%F/run/fidelity.csv"), &size);
    assert_true(size > 60 &&
                strncmp(csv, "layer,state,scope,directions,list,n,spearman,", 45) == 0);
    for (size_t i = 0; i < size; i++) rows += csv[i] == '\n';
    assert_int_equal(rows, 1 + 2 * 2 * 2 * 4);
    assert_non_null(strstr(csv, "\n2,hidden_states.3,own,kappa_below_10,together,"));
    free(csv);
    char *svg = temp_read(program_expand("%F/run/fidelity.svg"), &size);
    assert_non_null(strstr(svg, "alignment, own token"));
    free(svg);
}

/* Vectors go with the states that they were found in: output of block 0 is input of block 1. */
static void basis__goes_by_states(void **state)
{
    (void)state;
    program_done("fidelity " LLAMA " -q -l 1 --basis %F/post --site pre -o %F/pre-of-post");
    program_done("fidelity " LLAMA " -q -l 0 --basis %F/post -o %F/post-of-post");
    json_t *pre = load("%F/pre-of-post/fidelity.json"),
           *post = load("%F/post-of-post/fidelity.json");
    json_t *a = json_array_get(at(pre, "layers"), 0), *b = json_array_get(at(post, "layers"), 0);
    assert_string_equal(json_string_value(at(a, "state")), "hidden_states.1");
    assert_true(number(a, "layer") == 1 && number(b, "layer") == 0);
    json_object_del(a, "layer");
    json_object_del(b, "layer");
    assert_true(json_equal(a, b));
    json_decref(pre);
    json_decref(post);
    /* Without --site it is the basis's own; all layers are those whose states it has. */
    program_done("fidelity " LLAMA " -q --basis %F/pre");
    assert_non_null(strstr(program_out, "\nhidden_states.0 "));
    assert_null(strstr(program_out, "\nhidden_states.3 "));
    program_done("fidelity " LLAMA " -q --basis %F/pre --site post");
    assert_null(strstr(program_out, "\nhidden_states.0 "));
    assert_non_null(strstr(program_out, "\nhidden_states.2 "));
    assert_null(strstr(program_out, "\nhidden_states.3 "));
}

static void library__has_the_same_numbers(void **state)
{
    (void)state;
    program_done("fidelity " LLAMA " -q -l 1 --basis %F/post --ablation mean -o %F/program");
    json_t *json = load("%F/program/fidelity.json");
    const json_t *layer = json_array_get(at(json, "layers"), 0);
    cbe_run *run = NULL;
    cbe_assert_ok(cbe_run_create(&run, "fidelity", &err), &err);
    const char *const options[][2] = {{"model", "%G/models/llama"},
                                      {"tokens", "%G/truth/llama/golden.safetensors"},
                                      {"basis", "%F/post"},
                                      {"layers", "1"},
                                      {"ablation", "mean"}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        cbe_assert_ok(cbe_run_set(run, options[i][0], program_expand(options[i][1]), &err), &err);
    cbe_assert_ok(cbe_run_execute(run, &err), &err);
    static const struct {
        const char *name, *key;
    } names[] = {{"all.together.spearman", "all_directions.all.influence.together.spearman"},
                 {"own.principal.low", "all_directions.own.influence.principal.low"},
                 {"own.random.high", "all_directions.own.influence.random.high"},
                 {"all.alignment", "all_directions.all.alignment"},
                 {"own.alignment_error", "all_directions.own.alignment_error"},
                 {"below.own.together.spearman", "kappa_below_10.own.influence.together.spearman"},
                 {"below.all.alignment", "kappa_below_10.all.alignment"}};
    const double *values;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(cbe_run_values(run, 1, names[i].name, &values), 1);
        const double want = number(layer, names[i].key);
        assert_true(values[0] == want || (isnan(values[0]) && isnan(want)));
    }
    static const char *const lists[][2] = {
        {"kappa", "kappa"}, {"lens.energy", "lens"}, {"all.energy", "all"}, {"own.energy", "own"}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        assert_int_equal(cbe_run_values(run, 1, lists[i][0], &values), 4 + 8 + 8);
        for (size_t k = 0; k < 20; k++)
            assert_true(values[k] ==
                        number(json_array_get(at(layer, "directions"), k), lists[i][1]));
    }
    assert_int_equal(cbe_run_values(run, 1, "energy", &values), 0);
    assert_int_equal(cbe_run_values(run, 0, "kappa", &values), 0);
    cbe_assert_ok(cbe_run_save(run, program_expand("%F/saved"), &err), &err);
    json_t *saved = load("%F/saved/fidelity.json");
    assert_true(json_equal(at(saved, "layers"), at(json, "layers")));
    json_decref(saved);
    cbe_run_free(run);
    json_decref(json);
}

/* A tuned lens is read from its folder, and an affine one fitted on the text, which is told. */
static void lenses__are_of_all_kinds(void **state)
{
    (void)state;
    program_done("fidelity " LLAMA " -q -l 1 --basis %F/post");
    char *logit = strdup(program_out);
    assert_non_null(logit);
    program_done("fidelity " LLAMA " -q -l 1 --basis %F/post --lens tuned=%G/lens/llama");
    assert_true(strcmp(program_out, logit) != 0);
    program_done("fidelity " LLAMA " -q -l 1 --basis %F/post --lens affine");
    assert_true(strcmp(program_out, logit) != 0);
    assert_non_null(strstr(program_err, "the affine lens was fitted on the text"));
    free(logit);
}

/* In the covariance metric all directions have a kappa of 1 at most, so both rows are of all. */
static void metric__is_recorded_and_changes_both_measures(void **state)
{
    (void)state;
    program_done("fidelity " LLAMA " -q -l 1 --basis %F/post --directions 3 -o %F/euclidean");
    program_done("fidelity " LLAMA " -q -l 1 --basis %F/post --directions 3 --metric "
                 "covariance=0.01 -o %F/oblique");
    json_t *plain = load("%F/euclidean/fidelity.json"), *oblique = load("%F/oblique/fidelity.json");
    assert_string_equal(json_string_value(at(plain, "metric")), "euclidean");
    assert_string_equal(json_string_value(at(oblique, "metric")), "covariance=0.01");
    const json_t *was = json_array_get(at(plain, "layers"), 0),
                 *is = json_array_get(at(oblique, "layers"), 0);
    static const char *const same[] = {"rank", "all.alignment", "own.alignment",
                                       "all.influence.together.n",
                                       "own.influence.together.spearman"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_true(number(at(is, "all_directions"), same[i]) ==
                    number(at(is, "kappa_below_10"), same[i]));
    assert_true(number(is, "all_directions.all.alignment") !=
                number(was, "all_directions.all.alignment"));
    const json_t *list = at(is, "directions");
    assert_int_equal(json_array_size(list), 9);
    for (size_t i = 0; i < 9; i++) {
        const json_t *direction = json_array_get(list, i);
        assert_true(number(direction, "kappa") <= 1 + 1e-12);
        /* Of a principal component both metrics are the same ablation. */
        const double before = number(json_array_get(at(was, "directions"), i), "all"),
                     now = number(direction, "all");
        if (strcmp(json_string_value(at(direction, "list")), "principal") == 0)
            cbe_assert_close(&now, &before, 1, 1e-6, 1e-4, "component %zu", i);
        else
            assert_true(now != before);
    }
    json_decref(plain);
    json_decref(oblique);
}

static void bad_input__is_one_line_and_status_2(void **state)
{
    (void)state;
    static const struct {
        const char *line, *said;
    } cases[] = {
        {"fidelity --tokens %G/fisher/llama.safetensors", "MODEL is missing"},
        {"fidelity " LLAMA, "--basis is missing"},
        {"fidelity " LLAMA " --basis %F/post --lens model", "--lens model is what lenses are"},
        {"fidelity " LLAMA " --basis %F/post --lens tuned=%F/none", "none"},
        {"fidelity " LLAMA " --basis %F/post --ablation optimal", "--ablation optimal is for"},
        {"fidelity " LLAMA " --basis %F/post -l 3",
         "--layers: layer 3 is hidden_states.4, of which"},
        {"fidelity " LLAMA " --basis %F/pre --site post -l 2",
         "--layers: layer 2 is hidden_states.3, of which"},
        {"fidelity " LLAMA " --basis %F/post --rank 5", "--rank 5: the basis of layer 0 in"},
        {"fidelity " LLAMA " --basis %F/post --directions 0", "--directions 0: a whole number"},
        {"fidelity " LLAMA " --basis %F/post --skip-positions 17", "no token is left"},
        {"fidelity " LLAMA " --basis %F/post --memory 1M -o %F/bad", "--memory"},
        {"fidelity %G/models/gpt2 --tokens %G/fisher/gpt2.safetensors --basis %F/post",
         "was made from"},
        {"fidelity " LLAMA " --basis %F/post --metric oblique", "--metric oblique: euclidean,"},
        {"fidelity " LLAMA " --basis %F/post --metric covariance=0", "--metric covariance=0: a "},
        {"fidelity " LLAMA " --basis %F/post -o %G/models/llama/config.json", "config.json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(program_run(cases[i].line), 2);
        if (!strstr(program_err, cases[i].said)) fail_msg("case %zu: %s", i, program_err);
        assert_string_equal(program_out, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table__says_what_the_files_say),
        cmocka_unit_test(basis__goes_by_states),
        cmocka_unit_test(library__has_the_same_numbers),
        cmocka_unit_test(lenses__are_of_all_kinds),
        cmocka_unit_test(metric__is_recorded_and_changes_both_measures),
        cmocka_unit_test(bad_input__is_one_line_and_status_2),
    };
    return cmocka_run_group_tests(tests, make_bases, temp_folder_remove);
}
