/* cbe ablate as a user runs it: PyTorch's energies in its files, what a basis's record decides, and
 * what it says of bad input. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

enum { N_MODELS = 3, D = 64 /* of llama */ };

static const char *const models[N_MODELS] = {"llama", "gpt2", "gemma2"};

static cbe_error err;

static void write_tensors(const char *path, size_t n, const cbe_tensor_spec *specs,
                          const float *const *data)
{
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, n, specs, 0, NULL, &err), &err);
    for (size_t i = 0; i < n; i++)
        cbe_assert_ok(cbe_safetensors_writer_put(writer, i, 0, specs[i].dims[0] * specs[i].dims[1],
                                                 data[i], &err),
                      &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

/* The golden direction of a model, by another length, as the basis of its blocks 0 and 2:
 * NAME.safetensors. */
static void write_golden_basis(void **state, const char *name)
{
    char line[128];
    size_t d;
    snprintf(line, sizeof line, "%%G/models/%s/golden.safetensors", name);
    cbe_safetensors *file = open_golden(program_expand(line));
    float *v = cbe_golden_floats(file, "ablate.v", &d);
    for (size_t k = 0; k < d; k++) v[k] *= 3;
    const cbe_tensor_spec specs[] = {{"layers.2.basis", CBE_F32, 2, {d, 1}},
                                     {"layers.0.basis", CBE_F32, 2, {d, 1}}};
    const float *data[] = {v, v};
    snprintf(line, sizeof line, "%s.safetensors", name);
    write_tensors(temp_path(state, line), 2, specs, data);
    free(v);
    cbe_safetensors_close(file);
}

/* Columns a, b and c = 2 a, and one with a NaN, of llama's width. */
static void write_bad_bases(void **state)
{
    float dependent[D * 3], nan[D], few[24];
    for (size_t k = 0; k < D; k++) {
        dependent[3 * k] = (float)sin((double)k);
        dependent[3 * k + 1] = (float)cos((double)k);
        dependent[3 * k + 2] = 2 * dependent[3 * k];
        nan[k] = k == 5 ? NAN : 1;
    }
    for (size_t k = 0; k < 24; k++) few[k] = (float)k;
    const cbe_tensor_spec three = {"layers.1.basis", CBE_F32, 2, {D, 3}},
                          one = {"layers.1.basis", CBE_F32, 2, {D, 1}},
                          other = {"layers.1.basis", CBE_F32, 2, {24, 1}},
                          far = {"layers.9.basis", CBE_F32, 2, {D, 1}};
    write_tensors(temp_path(state, "dependent"), 1, &three, (const float *[]){dependent});
    write_tensors(temp_path(state, "nan"), 1, &one, (const float *[]){nan});
    write_tensors(temp_path(state, "narrow"), 1, &other, (const float *[]){few});
    write_tensors(temp_path(state, "far"), 1, &far, (const float *[]){dependent});
}

/* A model folder with one file changed. */
static void copy_model(void **state, const char *name, const char *changed)
{
    static const char *const files[] = {"config.json", "model.safetensors"};
    char line[128];
    assert_int_equal(mkdir(temp_path(state, name), 0777), 0);
    for (size_t i = 0; i < 2; i++) {
        size_t size;
        snprintf(line, sizeof line, "%%G/models/llama/%s", files[i]);
        char *content = (char *)cbe_read_file(program_expand(line), &size);
        if (strcmp(files[i], changed) == 0) content[size - 1] ^= 1; /* a weight */
        snprintf(line, sizeof line, "%s/%s", name, files[i]);
        temp_write(temp_path(state, line), content, size);
        free(content);
    }
}

static int set_up(void **state)
{
    if (program_set_up(state) != 0) return -1;
    for (size_t i = 0; i < N_MODELS; i++) write_golden_basis(state, models[i]);
    write_bad_bases(state);
    copy_model(state, "same", "");
    copy_model(state, "changed", "model.safetensors");
    temp_write(temp_path(state, "text"), "some text", 9);
    program_done("extract %G/models/llama --tokens %G/models/llama/golden.safetensors --lens model "
                 "-l 0,1 -k 2 --preset seed "
                 "--max-iter 3 --skip-positions 1 --site pre -o %F/result");
    return 0;
}

/* effect of a layer, span and rank in ablate.json */
static double effect(const json_t *root, size_t layer, const char *span, size_t rank,
                     const char *name)
{
    const json_t *layers = json_object_get(root, "layers");
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *entry = json_array_get(layers, i);
        if ((size_t)json_integer_value(json_object_get(entry, "layer")) != layer) continue;
        const json_t *row = json_array_get(json_object_get(entry, span), rank - 1);
        assert_int_equal(json_integer_value(json_object_get(row, "rank")), rank);
        const json_t *number = json_object_get(row, name);
        assert_true(json_is_real(number));
        return json_real_value(number);
    }
    fail_msg("no layer %zu", layer);
    return NAN;
}

static json_t *load(const char *line)
{
    json_error_t problem;
    json_t *root = json_load_file(program_expand(line), JSON_REJECT_DUPLICATES, &problem);
    if (!root) fail_msg("line %d: %s", problem.line, problem.text);
    return root;
}

static void files__have_pytorchs_energies(void **state)
{
    (void)state;
    static const char *const modes[] = {"mean", "resample", "zero"};
    for (size_t i = 0; i < N_MODELS; i++) {
        char line[400];
        snprintf(line, sizeof line, "%%G/models/%s/golden.safetensors", models[i]);
        cbe_safetensors *golden = open_golden(program_expand(line));
        for (size_t m = 0; m < 3; m++) {
            snprintf(line, sizeof line,
                     "ablate %%G/models/%s --basis %%F/%s.safetensors --tokens "
                     "%%G/models/%s/golden.safetensors --ablation %s "
                     "--skip-positions 0 -o %%F/out",
                     models[i], models[i], models[i], modes[m]);
            program_done(line);
            assert_non_null(strstr(program_err, "model that it was made from is not recorded"));
            json_t *root = load("%F/out/ablate.json");
            assert_string_equal(json_string_value(json_object_get(root, "site")), "post");
            assert_string_equal(json_string_value(json_object_get(root, "ablation")), modes[m]);
            for (size_t layer = 0; layer <= 2; layer += 2) {
                snprintf(line, sizeof line, "ablate.%zu.%s.energy", layer, modes[m]);
                double *want = cbe_golden_f64(golden, line, 1);
                const double got = effect(root, layer, "basis", 1, "kl");
                cbe_assert_close(&got, want, 1, 1e-6, 1e-4, "%s, %s", models[i], line);
                free(want);
            }
            json_decref(root);
        }
        cbe_safetensors_close(golden);
    }
    static const char *const names[] = {"ablate-0.svg", "ablate-2.svg"};
    for (size_t i = 0; i < 2; i++) {
        char line[64];
        size_t size;
        snprintf(line, sizeof line, "%%F/out/%s", names[i]);
        char *svg = (char *)cbe_read_file(program_expand(line), &size);
        svg[size - 1] = 0;
        assert_non_null(strstr(svg, "principal"));
        free(svg);
    }
}

/* The table, the CSV and the JSON say the same; ranks rise; the first vector's effect is the energy
 * that extract found. */
static void results__agree_with_each_other_and_with_extract(void **state)
{
    (void)state;
    program_done("ablate %G/models/llama --basis %F/result --tokens "
                 "%G/models/llama/golden.safetensors -o %F/both");
    assert_non_null(strstr(program_err, "site: pre, as recorded"));
    assert_non_null(strstr(program_err, "skip-positions: 1, as recorded"));
    json_t *root = load("%F/both/ablate.json");
    static const char *const spans[] = {"basis", "principal", "random"}, *const names[] = {
                                                                             "kl", "ce", "top1"};
    size_t size;
    char *csv = (char *)cbe_read_file(program_expand("%F/both/ablate.csv"), &size), *at = csv;
    csv[size - 1] = 0;
    for (size_t layer = 0; layer < 2; layer++)
        for (size_t rank = 1; rank <= 2; rank++) {
            char start[32];
            snprintf(start, sizeof start, "\n%5zu  %4zu", layer, rank);
            const char *row = strstr(program_out, start);
            assert_non_null(row);
            row += strlen(start);
            for (size_t s = 0; s < 3; s++)
                for (size_t e = 0; e < 3; e++) {
                    char *end;
                    const double shown = strtod(row, &end),
                                 want = effect(root, layer, spans[s], rank, names[e]);
                    assert_true(end != row);
                    row = end;
                    cbe_assert_close(&shown, &want, 1, 1e-12, 6e-4,
                                     "table: layer %zu, %s, rank %zu", layer, spans[s], rank);
                }
            for (size_t s = 0; s < 3; s++) {
                double numbers[6];
                snprintf(start, sizeof start, "\n%zu,%s,%zu,", layer, spans[s], rank);
                assert_non_null(at = strstr(csv, start));
                const int n =
                    sscanf(at + strlen(start), "%lf,%lf,%lf,%lf,%lf,%lf", numbers, numbers + 1,
                           numbers + 2, numbers + 3, numbers + 4, numbers + 5);
                assert_int_equal(n, 6);
                for (size_t e = 0; e < 3; e++) {
                    char error[16];
                    snprintf(error, sizeof error, "%s_error", names[e]);
                    const double want[] = {effect(root, layer, spans[s], rank, names[e]),
                                           effect(root, layer, spans[s], rank, error)};
                    cbe_assert_close(numbers + 2 * e, want, 2, 1e-12, 1e-8, "csv");
                }
            }
        }
    json_t *basis = load("%F/result/basis.json");
    for (size_t layer = 0; layer < 2; layer++) {
        const json_t *vectors =
            json_object_get(json_array_get(json_object_get(basis, "layers"), layer), "vectors");
        const double want = json_real_value(json_object_get(json_array_get(vectors, 0), "energy"));
        const double got = effect(root, layer, "basis", 1, "kl");
        /* The basis is written in float32. */
        cbe_assert_close(&got, &want, 1, 1e-6, 1e-4, "layer %zu, the first vector alone", layer);
    }
    assert_int_equal(json_integer_value(json_object_get(root, "n_tokens")), 32);
    assert_int_equal(json_integer_value(json_object_get(root, "n_labelled")), 30);
    json_decref(basis);
    json_decref(root);
    free(csv);
}

/* Vectors of one file as the pairs that they were made with, in the covariance of the text, and as
 * a span; components and directions beside them stay as they are. */
static void metrics__meet_pytorch(void **state)
{
    (void)state;
    static const struct {
        const char *options, *golden, *metric, *given;
    } cases[] = {{"", "pairs", "covariance", NULL},
                 {"--metric covariance", "covariance", "covariance", "covariance"},
                 {"--metric covariance=1e-3", "covariance", "covariance", "covariance=1e-3"},
                 {"--metric euclidean", "euclidean", "euclidean", "euclidean"}};
    static const char *const scopes[] = {"all", "own"};
    cbe_safetensors *golden = open_golden(program_expand("%G/ablate/oblique.safetensors"));
    double beside[2][2];
    for (size_t run = 0; run < 8; run++) {
        const size_t c = run / 2, scope = run % 2;
        char line[400];
        snprintf(line, sizeof line,
                 "ablate %%G/models/llama --tokens %%G/truth/llama/golden.safetensors --basis "
                 "%%G/ablate/oblique.safetensors --skip-positions 1 --scope %s %s -o %%F/metric",
                 scopes[scope], cases[c].options);
        program_done(line);
        assert_int_equal(!!strstr(program_err, "metric: covariance, as the basis was made"),
                         c == 0);
        json_t *root = load("%F/metric/ablate.json");
        const json_t *given = json_object_get(root, "metric");
        if (cases[c].given)
            assert_string_equal(json_string_value(given), cases[c].given);
        else
            assert_true(json_is_null(given));
        for (size_t layer = 0; layer < 2; layer++) {
            assert_string_equal(
                json_string_value(json_object_get(
                    json_array_get(json_object_get(root, "layers"), layer), "metric")),
                cases[c].metric);
            for (size_t rank = 1; rank <= 2; rank++) {
                snprintf(line, sizeof line, "layers.%zu.%s.%s.%zu", layer, cases[c].golden,
                         scopes[scope], rank);
                double *want = cbe_golden_f64(golden, line, 1);
                const double got = effect(root, layer, "basis", rank, "kl");
                cbe_assert_close(&got, want, 1, 1e-6, 1e-4, "%s", line);
                free(want);
            }
        }
        const double now[] = {effect(root, 1, "principal", 2, "kl"),
                              effect(root, 1, "random", 2, "kl")};
        if (c == 0) memcpy(beside[scope], now, sizeof now);
        assert_memory_equal(now, beside[scope], sizeof now);
        json_decref(root);
    }
    cbe_safetensors_close(golden);
}

/* A search's own energy of its first vector, on its own text. */
static void oblique_basis__has_its_energy(void **state)
{
    (void)state;
    program_done("extract %G/models/llama --tokens %G/models/llama/golden.safetensors --lens model "
                 "-l 1 -k 2 --starts 2 --max-iter 3 --held-out 0 --skip-positions 1 "
                 "--metric covariance -o %F/oblique");
    program_done("ablate %G/models/llama --tokens %G/models/llama/golden.safetensors "
                 "--basis %F/oblique -o %F/of-oblique");
    json_t *root = load("%F/of-oblique/ablate.json"), *basis = load("%F/oblique/basis.json");
    const json_t *vectors =
        json_object_get(json_array_get(json_object_get(basis, "layers"), 0), "vectors");
    const double want = json_real_value(json_object_get(json_array_get(vectors, 0), "energy"));
    const double got = effect(root, 1, "basis", 1, "kl");
    cbe_assert_close(&got, &want, 1, 1e-6, 1e-4, "the first vector alone"); /* float32 pairs */
    json_decref(basis);
    json_decref(root);
}

static void options__override_the_record(void **state)
{
    (void)state;
    static char first[PROGRAM_TEXT];
    program_done("ablate %F/same --basis %F/result/basis.safetensors --tokens "
                 "%G/models/llama/golden.safetensors --rank 1 -l 1 "
                 "--site post --skip-positions auto --seed 3 -q");
    assert_non_null(strstr(program_err, "the vectors of layer 1 are directions of hidden_states.1, "
                                        "but --site post takes them out of hidden_states.2\n"));
    assert_null(strstr(program_out, "\n    0 "));
    assert_null(strstr(program_out, "\n    1     2"));
    memcpy(first, program_out, sizeof first);
    program_done("ablate %F/same --basis %F/result --tokens %G/models/llama/golden.safetensors -m "
                 "1 -l 1 --site post "
                 "--skip-positions 0 --seed 3 --threads 1");
    assert_null(strstr(program_err, "as recorded"));
    assert_string_equal(program_out, first);
    program_done("ablate %F/same --basis %F/result --tokens %G/models/llama/golden.safetensors -m "
                 "1 -l 1 --site post "
                 "--skip-positions 0 --seed 4 -q");
    assert_string_not_equal(program_out, first); /* other random directions */
}

static void bad_input__is_one_line_that_says_what(void **state)
{
    (void)state;
#define LLAMA "ablate %G/models/llama --tokens %G/models/llama/golden.safetensors "
    static const struct {
        const char *line, *wanted;
    } cases[] = {
        {"ablate", "MODEL is missing"},
        {LLAMA, "--basis is missing"},
        {"ablate %G/models/llama --basis %F/result", "a text is missing"},
        {LLAMA "--basis %F/result --text %F/text", "exclude each other"},
        {LLAMA "--basis %F/absent", "absent: cannot be opened"},
        {LLAMA "--basis %F/text", "text"},
        {LLAMA "--basis %F/same", "basis.safetensors"},
        {LLAMA "--basis %F/result --rank 3", "--rank 3: the basis of layer 0"},
        {LLAMA "--basis %F/result --rank 0", "--rank 0"},
        {LLAMA "--basis %F/result --layers 0-2", "no basis of layer 2; there are those of 0, 1"},
        {LLAMA "--basis %F/result --ablation optimal",
         "--ablation optimal is for single directions"},
        {LLAMA "--basis %F/result --ablation median", "mean, resample, zero"},
        {LLAMA "--basis %F/result --skip-positions 17", "no token is left"},
        {LLAMA "--basis %F/result --lens logit", "--lens is not an option"},
        {LLAMA "--basis %F/result -o %F/text", "not a folder"},
        {LLAMA "--basis %F/result --memory 1000", "memory"},
        {LLAMA "--basis %F/dependent --rank 3",
         "layer 1: vector 2 of the subspace is a combination"},
        {LLAMA "--basis %F/result --metric cosine",
         "--metric cosine: euclidean, covariance or covariance=RIDGE expected"},
        {LLAMA "--basis %F/result --metric covariance=0", "--metric covariance=0: a ridge above 0"},
        {LLAMA "--basis %F/nan", "vector 0 of layer 1 has NaN"},
        {LLAMA "--basis %F/narrow", "vectors have 24 numbers, the hidden size is 64"},
        {LLAMA "--basis %F/far", "no layer 9; layers 0 to 2"},
        {"ablate %F/changed --tokens %G/models/llama/golden.safetensors --basis %F/result",
         "model.safetensors began with"},
        {"ablate %G/models/gpt2 --tokens %G/models/gpt2/golden.safetensors --basis %F/result",
         "from another model than"},
        {"ablate %G/gguf/tiny-llama/llama-f32.gguf --text %F/text --basis %F/result",
         "from another model than"},
        {"ablate %F/none.gguf --text %F/text --basis %F/result", "none.gguf"},
        {"ablate %F/none.gguf --text %F/text --basis %F/llama.safetensors", "none.gguf"},
    };
#undef LLAMA
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int status = program_run(cases[i].line);
        if (status != 2 || !strstr(program_err, cases[i].wanted))
            fail_msg("%s: status %d, '%s' lacks '%s'", cases[i].line, status, program_err,
                     cases[i].wanted);
        assert_string_equal(program_out, "");
        const char *last = strrchr(program_err, '\n');
        assert_true(last && last[1] == 0);
        if (strchr(program_err, '\n') != last)
            fail_msg("%s: more than a line: %s", cases[i].line, program_err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files__have_pytorchs_energies),
        cmocka_unit_test(results__agree_with_each_other_and_with_extract),
        cmocka_unit_test(metrics__meet_pytorch),
        cmocka_unit_test(oblique_basis__has_its_energy),
        cmocka_unit_test(options__override_the_record),
        cmocka_unit_test(bad_input__is_one_line_that_says_what),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
