/* The result folder: numbers back as they went in, a record that JSON readers take, and earlier
 * results kept. */
#include "extract/result_files.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "core/memory.h"
#include "support/assert_close.h"
#include "support/inputs.h"
#include "support/temp_folder.h"

enum { D = 5, K = 3, FEWER = 2 };

static cbe_error err;
static char input_path[256];

/* Two layers, 3 and 7; the second ended after two vectors. */
typedef struct {
    double vectors[2][K * D], mean[D];
    cbe_vector_record records[2][K];
    cbe_vector_report reports[2][K];
    cbe_layer_result results[2];
    cbe_run_option options[2];
    cbe_input files[2];
    cbe_inputs inputs;
    cbe_run_record record;
} run;

static void fill(run *r)
{
    memset(r, 0, sizeof *r);
    for (size_t l = 0; l < 2; l++) {
        for (size_t i = 0; i < K * D; i++) r->vectors[l][i] = sin((double)(i + 100 * l));
        for (size_t j = 0; j < K; j++)
            r->records[l][j] = (cbe_vector_record){
                .energy = 5.25 - (double)j,
                .evaluations = 11 + j,
                .sample_evaluations = 22,
                .starts = 8,
                .seconds = 0.5,
                .stop = CBE_STOP_CHANGE,
                .n_maxima = 2,
                .n_sample_maxima = 20,
                .maxima = {5.25 - (double)j, 1.5},
                .sample_maxima = {4.5, 0.75},
                .start = CBE_FROM_LENS,
                .by_kind = {[CBE_FROM_LENS] = {1, 4.5}, [CBE_FROM_RUNNER_UP] = {7, 0.75}}};
        for (size_t j = 0; j < K; j++)
            r->reports[l][j] = (cbe_vector_report){.energy = 5.25 - (double)j,
                                                   .standard_error = 0.125,
                                                   .held_out_energy = l ? 4.5 : NAN,
                                                   .held_out_error = 0.25,
                                                   .optimal_energy = 1.5 - (double)j,
                                                   .optimal_constant = -2.5 + (double)j,
                                                   .kappa = j ? 2.5 : 20,
                                                   .half_energy = 1.25,
                                                   .tenth_energy = 0.0525,
                                                   .top_share = 0.25};
        r->results[l].reports = r->reports[l];
        r->results[l].layer = l ? 7 : 3;
        r->results[l].state = l ? 8 : 4;
        r->results[l].ceiling = 10.5;
        r->results[l].controls[CBE_CONTROL_RANDOM].kappa = 12;
        r->results[l].seconds = 1.5;
        r->results[l].search_seconds = 1.25;
        r->results[l].basis = (cbe_basis){.hidden_size = D,
                                          .n_vectors = l ? FEWER : K,
                                          .vectors = r->vectors[l],
                                          .records = r->records[l],
                                          .below_min_energy = l == 1};
    }
    for (size_t i = 0; i < D; i++) r->mean[i] = 0.5 * (double)i;
    r->results[1].mean = r->mean;
    r->options[0] = (cbe_run_option){"ablation", "mean"};
    r->options[1] = (cbe_run_option){"vectors", "3"};
    for (size_t i = 0; i < 2; i++) /* one text, twice */
        r->files[i] =
            (cbe_input){.role = CBE_INPUT_TEXT, .path = input_path, .sha256 = "0123", .n_bytes = 7};
    r->inputs = (cbe_inputs){.n = 2, .files = r->files};
    r->record = (cbe_run_record){.n_options = 2,
                                 .options = r->options,
                                 .n_texts = 2,
                                 .inputs = &r->inputs,
                                 .kernels = "plain",
                                 .logits = "float32",
                                 .n_sequences = 4,
                                 .context_length = 6,
                                 .n_tokens = 20,
                                 .n_held_out = 1,
                                 .skip_positions = 1,
                                 .hidden_size = D,
                                 .n_processes = 1,
                                 .n_groups = 1,
                                 .seconds = 12.5};
}

static char *folder_of(void **state, const char *name)
{
    return strdup(temp_path(state, name));
}

static char *file_of(const char *folder, const char *name)
{
    char *path = malloc(strlen(folder) + strlen(name) + 2);
    sprintf(path, "%s/%s", folder, name);
    return path;
}

static void remove_folder(char *folder)
{
    static const char *const names[] = {"basis.safetensors", "basis.json", "other"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = file_of(folder, names[i]);
        remove(path);
        free(path);
    }
    assert_int_equal(rmdir(folder), 0); /* nothing else is left behind, no temporary file either */
    free(folder);
}

static void save__writes_the_numbers_that_it_was_given(void **state)
{
    run r;
    fill(&r);
    char *folder = folder_of(state, "numbers"), *path = file_of(folder, "basis.safetensors");
    cbe_assert_ok(cbe_result_folder_prepare(folder, &err), &err);
    cbe_assert_ok(cbe_result_save(folder, 2, r.results, &r.record, NULL, &err), &err);
    cbe_safetensors *file = NULL;
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    assert_int_equal(cbe_safetensors_count(file), 11);
    assert_string_equal(cbe_safetensors_metadata(file, "layers.3.state"), "hidden_states.4");
    assert_string_equal(cbe_safetensors_metadata(file, "layers.7.state"), "hidden_states.8");
    assert_true(cbe_safetensors_has(file, "layers.3.read"));
    assert_true(cbe_safetensors_has(file, "layers.7.mean"));
    assert_false(cbe_safetensors_has(file, "layers.3.mean"));
    for (size_t l = 0; l < 2; l++) {
        const size_t k = l ? FEWER : K;
        char name[40];
        cbe_tensor t;
        float numbers[D * K], want[D * K];
        snprintf(name, sizeof name, "layers.%d.basis", l ? 7 : 3);
        cbe_assert_ok(cbe_safetensors_get(file, name, &t, &err), &err);
        cbe_assert_ok(cbe_tensor_expect(&t, path, 2, (const size_t[]){D, k}, &err), &err);
        assert_int_equal(t.dtype, CBE_F32);
        cbe_assert_ok(cbe_tensor_to_float(&t, 0, D * k, numbers, &err), &err);
        for (size_t row = 0; row < D; row++)
            for (size_t j = 0; j < k; j++) want[row * k + j] = (float)r.vectors[l][j * D + row];
        assert_memory_equal(numbers, want, D * k * sizeof *want);
        snprintf(name, sizeof name, "layers.%d.energies", l ? 7 : 3);
        cbe_assert_ok(cbe_safetensors_get(file, name, &t, &err), &err);
        cbe_assert_ok(cbe_tensor_expect(&t, path, 1, &k, &err), &err);
        cbe_assert_ok(cbe_tensor_to_float(&t, 0, k, numbers, &err), &err);
        for (size_t j = 0; j < k; j++) assert_true(numbers[j] == 5.25f - (float)j);
        snprintf(name, sizeof name, "layers.%d.constants", l ? 7 : 3);
        cbe_assert_ok(cbe_safetensors_get(file, name, &t, &err), &err);
        cbe_assert_ok(cbe_tensor_to_float(&t, 0, k, numbers, &err), &err);
        for (size_t j = 0; j < k; j++) assert_true(numbers[j] == -2.5f + (float)j);
    }
    cbe_safetensors_close(file);
    free(path);
    remove_folder(folder);
}

static json_t *load_json(const char *folder)
{
    char *path = file_of(folder, "basis.json");
    json_error_t problem;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &problem);
    if (!root) fail_msg("%s", problem.text);
    free(path);
    return root;
}

static void save__records_inputs_with_digests_and_every_vector(void **state)
{
    run r;
    fill(&r);
    r.records[1][1].energy = r.reports[1][1].energy = NAN;
    char *folder = folder_of(state, "record");
    cbe_assert_ok(cbe_result_folder_prepare(folder, &err), &err);
    cbe_assert_ok(cbe_result_save(folder, 2, r.results, &r.record, NULL, &err), &err);
    json_t *root = load_json(folder);
    const char *role, *path, *sha, *version, *ablation, *kernels, *stop;
    int bytes[2], layer, evaluations, starts, n_tokens, skip, below;
    double energy;
    assert_int_equal(
        json_unpack(root, "{s:[{s:s, s:s, s:s, s:i}, {s:i}!], s:s, s:{s:s}, s:s, s:i, s:i}",
                    "inputs", "role", &role, "path", &path, "sha256", &sha, "bytes", &bytes[0],
                    "bytes", &bytes[1], "version", &version, "options", "ablation", &ablation,
                    "kernels", &kernels, "n_tokens", &n_tokens, "skip_positions", &skip),
        0);
    assert_string_equal(role, "text");
    assert_string_equal(path, input_path);
    assert_string_equal(sha, "0123");
    assert_int_equal(bytes[0], 7);
    assert_int_equal(bytes[1], 7);
    assert_string_equal(version, CBE_VERSION);
    assert_string_equal(ablation, "mean");
    assert_string_equal(kernels, "plain");
    assert_int_equal(n_tokens, 20);
    assert_int_equal(skip, 1);
    const json_t *layers = json_object_get(root, "layers");
    assert_int_equal(json_array_size(layers), 2);
    json_t *second = json_array_get(layers, 1);
    const json_t *vectors = json_object_get(second, "vectors");
    assert_int_equal(
        json_unpack(second, "{s:i, s:b}", "layer", &layer, "stopped_below_min_energy", &below), 0);
    assert_true(layer == 7 && below);
    assert_int_equal(json_array_size(vectors), FEWER);
    assert_int_equal(json_unpack(json_array_get(vectors, 0), "{s:F, s:i, s:i, s:s}", "energy",
                                 &energy, "evaluations", &evaluations, "starts", &starts, "stop",
                                 &stop),
                     0);
    assert_true(energy == 5.25 && evaluations == 11 && starts == 8);
    assert_string_equal(stop, "change");
    int maxima, of_sample;
    double highest, next, sample_highest;
    assert_int_equal(json_unpack(json_array_get(vectors, 0), "{s:{s:i, s:[F, F!]}, s:{s:i, s:[F]}}",
                                 "maxima", "count", &maxima, "energies", &highest, &next,
                                 "sample_maxima", "count", &of_sample, "energies", &sample_highest),
                     0);
    assert_true(maxima == 2 && highest == 5.25 && next == 1.5 && of_sample == 20 &&
                sample_highest == 4.5);
    assert_int_equal(json_array_size(json_object_get(
                         json_object_get(json_array_get(vectors, 0), "sample_maxima"), "energies")),
                     CBE_MAXIMA_LISTED);
    const char *start;
    double search_seconds, of_lens, of_runner_up;
    int lens, runner_ups;
    assert_int_equal(json_unpack(second, "{s:F}", "search_seconds", &search_seconds), 0);
    assert_int_equal(json_unpack(json_array_get(vectors, 0),
                                 "{s:s, s:{s:{s:i, s:F}, s:{s:i, s:F} !}}", "start", &start,
                                 "starts_by_kind", "lens", "starts", &lens, "energy", &of_lens,
                                 "runner-up", "starts", &runner_ups, "energy", &of_runner_up),
                     0);
    assert_string_equal(start, "lens");
    assert_true(search_seconds == 1.25 && lens == 1 && of_lens == 4.5 && runner_ups == 7 &&
                of_runner_up == 0.75);
    /* JSON has no NaN. */
    assert_true(json_is_null(json_object_get(json_array_get(vectors, 1), "energy")));
    json_decref(root);
    remove_folder(folder);
}

static void save__takes_names_that_are_not_utf8(void **state)
{
    run r;
    fill(&r);
    char *folder = folder_of(state, "odd\xff");
    cbe_assert_ok(cbe_result_folder_prepare(folder, &err), &err);
    char *input = file_of(folder, "other");
    temp_write(input, "x", 1);
    r.files[0].path = input;
    r.inputs.n = 1;
    r.options[0].value = folder;
    cbe_assert_ok(cbe_result_save(folder, 2, r.results, &r.record, NULL, &err), &err);
    json_t *root = load_json(folder);
    const json_t *inputs = json_object_get(root, "inputs");
    assert_int_equal(json_array_size(inputs), 1);
    assert_non_null(strstr(json_string_value(json_object_get(json_array_get(inputs, 0), "path")),
                           "odd\xef\xbf\xbd/"));
    assert_non_null(json_object_get(json_object_get(root, "options"), "ablation"));
    json_decref(root);
    free(input);
    remove_folder(folder);
}

/* Saves what must fail over earlier results, and compares both files. */
static void expect_kept(const char *folder, const run *r, cbe_status status)
{
    char *before[2], *after;
    size_t size[2], now;
    char *paths[2] = {file_of(folder, "basis.safetensors"), file_of(folder, "basis.json")};
    for (int i = 0; i < 2; i++) before[i] = temp_read(paths[i], &size[i]);
    assert_int_equal(cbe_result_save(folder, 2, r->results, &r->record, NULL, &err), status);
    for (int i = 0; i < 2; i++) {
        after = temp_read(paths[i], &now);
        assert_int_equal(now, size[i]);
        assert_memory_equal(after, before[i], now);
        free(after);
        free(before[i]);
        free(paths[i]);
    }
}

static void save__that_fails_leaves_earlier_results(void **state)
{
    run r;
    fill(&r);
    char *folder = folder_of(state, "kept");
    cbe_assert_ok(cbe_result_folder_prepare(folder, &err), &err);
    cbe_assert_ok(cbe_result_save(folder, 2, r.results, &r.record, NULL, &err), &err);
    r.vectors[0][0] = 77;
    r.results[1].layer = 3; /* two tensors of one name */
    expect_kept(folder, &r, CBE_ERR_ARG);
    r.results[1].layer = 7;
    size_t failures = 0;
    for (cbe_status st = CBE_ERR_NOMEM; st != CBE_OK; failures++) {
        assert_true(failures < 200);
        cbe_memory_fail_after((long)failures);
        const cbe_status tried = cbe_result_save(folder, 2, r.results, &r.record, NULL, &err);
        cbe_memory_fail_after(-1);
        assert_true(tried == CBE_OK || tried == CBE_ERR_NOMEM);
        st = tried;
    }
    assert_true(failures > 5);
    remove_folder(folder);
}

static void prepare__makes_a_folder_and_refuses_what_is_none(void **state)
{
    char *folder = folder_of(state, "new"), *file = file_of(folder, "other"),
         *below = file_of(file, "x");
    cbe_assert_ok(cbe_result_folder_prepare(folder, &err), &err);
    cbe_assert_ok(cbe_result_folder_prepare(folder, &err), &err); /* and again */
    temp_write(file, "x", 1);
    assert_int_equal(cbe_result_folder_prepare(file, &err), CBE_ERR_IO);
    assert_non_null(strstr(err.message, file));
    assert_int_equal(cbe_result_folder_prepare(below, &err), CBE_ERR_IO);
    assert_int_equal(cbe_result_folder_prepare(temp_path(state, "no/such"), &err), CBE_ERR_IO);
    free(below);
    free(file);
    remove_folder(folder);
}

static int setup(void **state)
{
    if (temp_folder_create(state) != 0) return -1;
    snprintf(input_path, sizeof input_path, "%s", temp_path(state, "input.txt"));
    temp_write(input_path, "some text", 9);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(save__writes_the_numbers_that_it_was_given),
        cmocka_unit_test(save__records_inputs_with_digests_and_every_vector),
        cmocka_unit_test(save__takes_names_that_are_not_utf8),
        cmocka_unit_test(save__that_fails_leaves_earlier_results),
        cmocka_unit_test(prepare__makes_a_folder_and_refuses_what_is_none),
    };
    return cmocka_run_group_tests(tests, setup, temp_folder_remove);
}
