/* cbe extract: its basis, its energies, the same from a model and from files, its record; runs that
 * fail. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

enum { K = 5 };

static cbe_error err;

/* The tensor, which must have `want` elements (0: any number). */
static float *read_floats(const char *line, const char *name, size_t want, size_t *n)
{
    cbe_safetensors *file = NULL;
    size_t count;
    cbe_assert_ok(cbe_safetensors_open(&file, program_expand(line), &err), &err);
    float *x = cbe_golden_floats(file, name, &count);
    if (want) assert_int_equal(count, want);
    if (n) *n = count;
    cbe_safetensors_close(file);
    return x;
}

static void assert_orthonormal(const float *basis, size_t d, size_t k)
{
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++) {
            double dot = 0;
            const double want = i == j;
            for (size_t row = 0; row < d; row++)
                dot += (double)basis[row * k + i] * (double)basis[row * k + j];
            cbe_assert_close(&dot, &want, 1, 1e-5, 0, "vectors %zu and %zu", i, j);
        }
}

/* The columns of a basis as directions for cbe probe. */
static void write_directions(const char *path, const float *basis, size_t d, size_t k)
{
    float *v = malloc(d * k * sizeof *v);
    for (size_t j = 0; j < k; j++)
        for (size_t row = 0; row < d; row++) v[j * d + row] = basis[row * k + j];
    const cbe_tensor_spec spec = {"v", CBE_F32, 2, {k, d}};
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, 1, &spec, 0, NULL, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, d * k, v, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    free(v);
}

static void check_energies_by_probe(void **state, const char *name, const char *options,
                                    size_t layer, const float *basis, size_t d,
                                    const float *energies)
{
    char line[600], tensor[32];
    write_directions(temp_path(state, "v.safetensors"), basis, d, K);
    snprintf(line, sizeof line,
             "probe --hidden-states %%G/extract/%s/hidden.safetensors --decoder "
             "%%G/extract/%s/decoder.safetensors "
             "--vectors-file %%F/v.safetensors %s -l %zu -o %%F/probe.safetensors",
             name, name, options, layer);
    program_done(line);
    snprintf(tensor, sizeof tensor, "layers.%zu.energy", layer);
    float *probed = read_floats("%F/probe.safetensors", tensor, K, NULL);
    cbe_assert_close_f32(energies, probed, K, 1e-6, 1e-5, "%s, %s, layer %zu", name, options,
                         layer);
    free(probed);
}

static void extract__is_orthonormal_with_the_energies_that_probe_finds(void **state)
{
    static const char *const cases[] = {"rmsnorm-logit", "layernorm-logit", "softcap-logit"};
    static const char *const presets[] = {"default", "seed", "tuned-lens"};
    static const char *const options[] = {"--ablation mean", "--ablation resample",
                                          "--ablation zero --objective ce"};
    for (size_t c = 0; c < 3; c++)
        for (size_t p = 0; p < 3; p++) {
            char line[600], tensor[32];
            size_t n;
            snprintf(line, sizeof line,
                     "extract --hidden-states %%G/extract/%s/hidden.safetensors --decoder "
                     "%%G/extract/%s/decoder.safetensors -k %d -l 0-1 --skip-positions 0 --preset "
                     "%s %s -o %%F/out",
                     cases[c], cases[c], K, presets[p], options[(c + p) % 3]);
            program_done(line);
            assert_non_null(strstr(program_out, "energy"));
            for (size_t layer = 0; layer < 2; layer++) {
                snprintf(tensor, sizeof tensor, "layers.%zu.basis", layer);
                float *basis = read_floats("%F/out/basis.safetensors", tensor, 0, &n);
                snprintf(tensor, sizeof tensor, "layers.%zu.energies", layer);
                float *energies = read_floats("%F/out/basis.safetensors", tensor, K, NULL);
                assert_int_equal(n % K, 0);
                assert_orthonormal(basis, n / K, K);
                for (size_t j = 1; j < K; j++) assert_true(energies[j] <= energies[j - 1]);
                check_energies_by_probe(state, cases[c], options[(c + p) % 3], layer, basis, n / K,
                                        energies);
                free(basis);
                free(energies);
            }
        }
}

static void assert_same_files(const char *a, const char *b)
{
    size_t n, m;
    char *x = temp_read(program_expand(a), &n), *y = temp_read(program_expand(b), &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static void extract__from_files_is_extract_from_the_model(void **state)
{
    const int64_t ids[2][9] = {{5, 17, 3, 99, 42, 7, 138, 0, 61},
                               {23, 24, 25, 23, 24, 25, 1, 2, 3}};
    const cbe_tensor_spec spec = {"input_ids", CBE_I64, 2, {2, 9}};
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(
        cbe_safetensors_writer_create(&writer, temp_path(state, "ids"), 1, &spec, 0, NULL, &err),
        &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 18, ids, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    program_done("capture %G/models/llama --tokens %F/ids -o %F/h");
    program_done("decoder %G/models/llama -o %F/d");
    static const char *const options[] = {"--ablation mean",
                                          "--ablation resample --seed 5 --site post --layers 0,2",
                                          "--objective ce --skip-positions 1 --layers 1"};
    for (size_t i = 0; i < 3; i++) {
        char line[300];
        snprintf(line, sizeof line, "extract %%G/models/llama --tokens %%F/ids -k 2 %s -o %%F/a",
                 options[i]);
        program_done(line);
        snprintf(line, sizeof line,
                 "extract --hidden-states %%F/h --decoder %%F/d -k 2 %s -o %%F/b", options[i]);
        program_done(line);
        assert_same_files("%F/a/basis.safetensors", "%F/b/basis.safetensors");
    }
}

static void extract__has_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    program_done("extract --hidden-states %H --decoder %E -k 3 --threads 1 -o %F/a");
    program_done("extract --hidden-states %H --decoder %E -k 3 --threads 2 -o %F/b");
    assert_same_files("%F/a/basis.safetensors", "%F/b/basis.safetensors");
}

static void extract__with_min_energy_keeps_fewer_columns(void **state)
{
    (void)state;
    program_done("extract --hidden-states %H --decoder %E -k 5 -l 0 --min-energy 1000 -o %F/few");
    assert_non_null(strstr(program_err, "layer 0 ended after 1 vectors"));
    free(read_floats("%F/few/basis.safetensors", "layers.0.basis", 24, NULL));
    free(read_floats("%F/few/basis.safetensors", "layers.0.energies", 1, NULL));
    program_done(
        "extract --hidden-states %H --decoder %E -k 0 -l 0 --starts 1 --max-iter 5 -o %F/all");
    /* 0: all of them */
    float *basis = read_floats("%F/all/basis.safetensors", "layers.0.basis", 24 * 24, NULL);
    assert_orthonormal(basis, 24, 24);
    free(basis);
}

static void extract__records_options_and_digests(void **state)
{
    (void)state;
    program_done(
        "extract --hidden-states %H --decoder %E -k 2 -l 1 --seed 77 --quiet -o %F/record");
    assert_string_equal(program_err_but_verdicts(), "");
    json_error_t problem;
    json_t *root = json_load_file(program_expand("%F/record/basis.json"), 0, &problem);
    if (!root) fail_msg("%s", problem.text);
    const char *seed, *layers, *vectors, *skip, *ablation, *roles[2], *digests[2];
    assert_int_equal(json_unpack(root, "{s:{s:s, s:s, s:s, s:s, s:s}, s:[{s:s, s:s}, {s:s, s:s}]}",
                                 "options", "seed", &seed, "layers", &layers, "vectors", &vectors,
                                 "skip-positions", &skip, "ablation", &ablation, "inputs", "role",
                                 &roles[0], "sha256", &digests[0], "role", &roles[1], "sha256",
                                 &digests[1]),
                     0);
    assert_string_equal(seed, "77");
    assert_string_equal(layers, "1");
    assert_string_equal(vectors, "2");
    assert_string_equal(skip, "auto");
    assert_string_equal(ablation, "mean");
    assert_string_equal(roles[0], "hidden_states");
    assert_string_equal(roles[1], "decoder");
    assert_int_equal(strlen(digests[0]), 64);
    json_decref(root);
}

static void extract__reports_held_out_and_optimal_energies(void **state)
{
    (void)state;
    static const char *const ablations[] = {"mean", "resample", "optimal"};
    for (size_t a = 0; a < 3; a++) {
        char line[200];
        snprintf(line, sizeof line,
                 "extract --hidden-states %%H --decoder %%E -k 2 -l 0 --held-out 0.5 --ablation %s "
                 "--quiet -o %%F/held",
                 ablations[a]);
        program_done(line);
        json_error_t problem;
        json_t *root = json_load_file(program_expand("%F/held/basis.json"), 0, &problem);
        if (!root) fail_msg("%s", problem.text);
        int held_out, n_sequences;
        const char *logits;
        double energy, error, optimal, constant, held_energy, held_error;
        assert_int_equal(
            json_unpack(root, "{s:i, s:i, s:s, s:[{s:[{s:F, s:F, s:F, s:F, s:F, s:F}]}]}",
                        "n_held_out_sequences", &held_out, "n_sequences", &n_sequences, "logits",
                        &logits, "layers", "vectors", "energy", &energy, "standard_error", &error,
                        "optimal_energy", &optimal, "optimal_constant", &constant,
                        "held_out_energy", &held_energy, "held_out_standard_error", &held_error),
            0);
        assert_true(held_out >= 1 && held_out < n_sequences);
        assert_string_equal(logits, "float32");
        assert_true(error > 0 && held_error > 0 && held_energy > 0);
        assert_true(optimal <= energy * (1 + 1e-5));
        if (a == 2)
            cbe_assert_close(&optimal, &energy, 1, 1e-7, 1e-5, "found under optimal ablation");
        json_decref(root);
    }
}

static void extract__of_odd_text_warns_with_a_count(void **state)
{
    temp_write(temp_path(state, "odd.txt"), "some words \xff\xfe and some more", 28);
    program_done(
        "extract %G/gguf/tiny-llama/llama-f32.gguf --text %F/odd.txt -k 1 -l 0 --quiet -o %F/odd");
    assert_string_equal(
        program_err_but_verdicts(),
        "cbe: warning: 2 parts of the text are not UTF-8 and were replaced by U+FFFD\n");
}

static void failed_run__leaves_earlier_results_as_they_were(void **state)
{
    (void)state;
    static const char *const failing[] = {
        "extract --hidden-states %F/missing --decoder %E -o %F/kept",
        "extract --hidden-states %H --decoder %E -k 25 -o %F/kept",
        "extract --hidden-states %H --decoder %E -l 0-1 --objective ce --skip-positions 23 -o "
        "%F/kept",
    };
    program_done("extract --hidden-states %H --decoder %E -k 1 -l 0 -o %F/kept");
    program_done("extract --hidden-states %H --decoder %E -k 1 -l 0 -o %F/copy");
    size_t n, m;
    char *before = temp_read(program_expand("%F/kept/basis.json"), &n);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(program_run(failing[i]), 2);
        char *after = temp_read(program_expand("%F/kept/basis.json"), &m);
        assert_string_equal(after, before);
        free(after);
        assert_same_files("%F/kept/basis.safetensors", "%F/copy/basis.safetensors");
    }
    free(before);
}

static void failed_save__is_told_and_leaves_the_other_file(void **state)
{
    /* A folder stands where a file should: the tests run as root too, whom permissions do not
     * stop. */
    assert_int_equal(mkdir(temp_path(state, "blocked"), 0700), 0);
    assert_int_equal(mkdir(temp_path(state, "blocked/basis.safetensors"), 0700), 0);
    temp_write(temp_path(state, "blocked/basis.json"), "{}", 2);
    assert_int_equal(
        program_run("extract --hidden-states %H --decoder %E -k 1 -l 0 --quiet -o %F/blocked"), 2);
    assert_non_null(strstr(program_err, "basis.safetensors"));
    size_t size;
    char *json = temp_read(temp_path(state, "blocked/basis.json"), &size);
    assert_string_equal(json, "{}");
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extract__is_orthonormal_with_the_energies_that_probe_finds),
        cmocka_unit_test(extract__from_files_is_extract_from_the_model),
        cmocka_unit_test(extract__has_the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(extract__with_min_energy_keeps_fewer_columns),
        cmocka_unit_test(extract__records_options_and_digests),
        cmocka_unit_test(extract__reports_held_out_and_optimal_energies),
        cmocka_unit_test(extract__of_odd_text_warns_with_a_count),
        cmocka_unit_test(failed_run__leaves_earlier_results_as_they_were),
        cmocka_unit_test(failed_save__is_told_and_leaves_the_other_file),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
