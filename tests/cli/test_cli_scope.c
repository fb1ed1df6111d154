/* --scope and --strength as a user gives them: PyTorch's energies in the files of probe and ablate,
 * and what extract does with them. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

static cbe_error err;

/* One float64 tensor (m, d) or (d, m) as a file. */
static void write_f64(const char *path, const char *name, size_t rows, size_t columns,
                      const double *numbers)
{
    const cbe_tensor_spec spec = {name, CBE_F64, 2, {rows, columns}};
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(
        cbe_safetensors_writer_create(&writer, program_expand(path), 1, &spec, 0, NULL, &err),
        &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, rows * columns, numbers, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

static cbe_safetensors *open_truth(const char *model)
{
    char line[128];
    snprintf(line, sizeof line, "%%G/truth/%s/golden.safetensors", model);
    return open_golden(program_expand(line));
}

/* A tensor of out.safetensors against one of the truth. */
static void compare(const cbe_safetensors *truth, const char *got_name, const char *want_name,
                    double absolute, double relative, double of_largest)
{
    cbe_safetensors *file = open_golden(program_expand("%F/out.safetensors"));
    cbe_tensor t;
    double top = 0;
    cbe_assert_ok(cbe_safetensors_get(truth, want_name, &t, &err), &err);
    double *want = cbe_golden_f64(truth, want_name, t.n_elements),
           *got = cbe_golden_f64(file, got_name, t.n_elements);
    for (size_t i = 0; i < t.n_elements; i++) top = fmax(top, fabs(want[i]));
    cbe_assert_close(got, want, t.n_elements, absolute + of_largest * top, relative, "%s",
                     want_name);
    free(got);
    free(want);
    cbe_safetensors_close(file);
}

static void probe__meets_pytorch_in_own_scope_and_both_metrics(void **state)
{
    (void)state;
    static const char *const models[] = {"gpt2", "gemma2"}, *const metrics[] = {"euclidean",
                                                                                "covariance"};
    for (size_t i = 0; i < 4; i++) {
        const char *name = models[i / 2], *metric = metrics[i % 2], *direction = i % 2 ? "u" : "v";
        cbe_safetensors *truth = open_truth(name);
        cbe_tensor t;
        cbe_assert_ok(cbe_safetensors_get(truth, direction, &t, &err), &err);
        double *v = cbe_golden_f64(truth, direction, t.n_elements);
        write_f64("%F/v.safetensors", "v", 1, t.n_elements, v);
        free(v);
        char line[400], got[64], want[64];
        snprintf(line, sizeof line,
                 "probe %%G/models/%s --tokens %%G/truth/%s/golden.safetensors --lens model "
                 "--scope own --metric %s --skip-positions 1 --vectors-file %%F/v.safetensors "
                 "-l 0,2 -o %%F/out.safetensors -q",
                 name, name, metric);
        program_done(line);
        static const struct {
            const char *part;
            double absolute, relative, of_largest;
        } parts[] = {
            {"energy", 1e-6, 1e-4, 0}, {"energy_per_token", 1e-5, 1e-4, 0}, {"grad", 0, 0, 1e-3}};
        for (size_t layer = 0; layer < 3; layer += 2)
            for (size_t p = 0; p < 3; p++) {
                snprintf(got, sizeof got, "layers.%zu.%s", layer, parts[p].part);
                snprintf(want, sizeof want, "layers.%zu.%s.own.mean.%s", layer, metric,
                         parts[p].part);
                compare(truth, got, want, parts[p].absolute, parts[p].relative,
                        parts[p].of_largest);
            }
        cbe_safetensors_close(truth);
    }
}

/* KL of the basis at rank 1, by ablate.json. */
static double rank_1(size_t layer)
{
    json_error_t problem;
    json_t *root = json_load_file(program_expand("%F/ablated/ablate.json"), 0, &problem);
    if (!root) fail_msg("line %d: %s", problem.line, problem.text);
    const json_t *list = json_object_get(root, "layers");
    double kl = NAN;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        if ((size_t)json_integer_value(json_object_get(entry, "layer")) == layer)
            kl = json_real_value(
                json_object_get(json_array_get(json_object_get(entry, "basis"), 0), "kl"));
    }
    json_decref(root);
    return kl;
}

/* What the file says of how its energies came about. */
static void probe__names_scope_metric_and_strength(void **state)
{
    (void)state;
    static const struct {
        const char *options, *scope, *metric;
        double strength, ridge;
    } cases[] = {{"", "all", "euclidean", 1, 0},
                 {"--scope own --strength 0.3", "own", "euclidean", 0.3, 0},
                 {"--metric covariance", "all", "covariance=", 1, 1e-3},
                 {"--metric covariance=0.02 --scope own", "own", "covariance=", 1, 0.02}};
    cbe_safetensors *truth = open_truth("gpt2");
    cbe_tensor t;
    cbe_assert_ok(cbe_safetensors_get(truth, "v", &t, &err), &err);
    double *v = cbe_golden_f64(truth, "v", t.n_elements);
    write_f64("%F/v.safetensors", "v", 1, t.n_elements, v);
    free(v);
    cbe_safetensors_close(truth);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[400];
        snprintf(line, sizeof line,
                 "probe %%G/models/gpt2 --tokens %%G/truth/gpt2/golden.safetensors --lens model "
                 "-l 1 --vectors-file %%F/v.safetensors %s -o %%F/named.safetensors -q",
                 cases[i].options);
        program_done(line);
        cbe_safetensors *file = open_golden(program_expand("%F/named.safetensors"));
        const char *metric = cbe_safetensors_metadata(file, "metric");
        const size_t n = strlen(cases[i].metric);
        assert_string_equal(cbe_safetensors_metadata(file, "scope"), cases[i].scope);
        assert_int_equal(strncmp(metric, cases[i].metric, n), 0);
        assert_true(strtod(metric + n, NULL) == cases[i].ridge);
        assert_true(strtod(cbe_safetensors_metadata(file, "strength"), NULL) == cases[i].strength);
        cbe_safetensors_close(file);
    }
}

static void ablate__meets_pytorch_in_own_scope_and_at_half_strength(void **state)
{
    (void)state;
    static const struct {
        const char *options, *golden;
    } cases[] = {{"--scope own", "layers.1.euclidean.own.mean.energy"},
                 {"--strength 0.5", "layers.1.euclidean.all.mean.energy_at.0.5"},
                 {"--scope own -a zero", "layers.1.euclidean.own.zero.energy"},
                 {"--scope all --strength 1 -a zero", "layers.1.euclidean.all.zero.energy"}};
    cbe_safetensors *truth = open_truth("llama");
    cbe_tensor t;
    cbe_assert_ok(cbe_safetensors_get(truth, "v", &t, &err), &err);
    double *v = cbe_golden_f64(truth, "v", t.n_elements);
    write_f64("%F/basis.safetensors", "layers.1.basis", t.n_elements, 1, v);
    free(v);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[400];
        snprintf(line, sizeof line,
                 "ablate %%G/models/llama --tokens %%G/truth/llama/golden.safetensors "
                 "--basis %%F/basis.safetensors --skip-positions 1 %s -o %%F/ablated -q",
                 cases[i].options);
        program_done(line);
        double *want = cbe_golden_f64(truth, cases[i].golden, 1);
        const double got = rank_1(1);
        cbe_assert_close(&got, want, 1, 1e-6, 1e-4, "%s", cases[i].options);
        free(want);
    }
    cbe_safetensors_close(truth);
    size_t size;
    char *json = (char *)cbe_read_file(program_expand("%F/ablated/ablate.json"), &size);
    assert_non_null(strstr(json, "\"scope\": \"all\""));
    assert_non_null(strstr(json, "\"strength\": 1"));
    free(json);
    program_done("ablate %G/models/llama --tokens %G/truth/llama/golden.safetensors "
                 "--basis %F/basis.safetensors --strength 0 -o %F/ablated -q");
    const double nothing = 0, left = rank_1(1);
    cbe_assert_close(&left, &nothing, 1, 1e-6, 0, "strength 0");
}

/* What extract reports is what probe finds in the same scope, and not in the other. */
static void extract__searches_in_own_scope(void **state)
{
    (void)state;
    program_done("extract %G/models/gpt2 --tokens %G/truth/gpt2/golden.safetensors --lens model "
                 "--scope own -l 0 -k 1 --skip-positions 1 --held-out 0 --starts 1 --max-iter 3 -q "
                 "-o %F/found");
    size_t size, n;
    char *json = (char *)cbe_read_file(program_expand("%F/found/basis.json"), &size);
    assert_non_null(strstr(json, "\"scope\": \"own\""));
    free(json);
    cbe_safetensors *found = open_golden(program_expand("%F/found/basis.safetensors"));
    float *basis = cbe_golden_floats(found, "layers.0.basis", &n);
    double *v = malloc(n * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++) v[i] = (double)basis[i];
    write_f64("%F/v.safetensors", "v", 1, n, v);
    double energies[2];
    for (int own = 0; own < 2; own++) {
        char line[400];
        snprintf(line, sizeof line,
                 "probe %%G/models/gpt2 --tokens %%G/truth/gpt2/golden.safetensors --lens model "
                 "--scope %s -l 0 --skip-positions 1 --vectors-file %%F/v.safetensors "
                 "-o %%F/out.safetensors -q",
                 own ? "own" : "all");
        program_done(line);
        cbe_safetensors *out = open_golden(program_expand("%F/out.safetensors"));
        double *energy = cbe_golden_f64(out, "layers.0.energy", 1);
        energies[own] = *energy;
        free(energy);
        cbe_safetensors_close(out);
    }
    float *energy = cbe_golden_floats(found, "layers.0.energies", &n);
    const double want = (double)energy[0];
    cbe_assert_close(&energies[1], &want, 1, 1e-6, 1e-4, "the energy of the vector found");
    assert_true(fabs(energies[0] - energies[1]) > 1e-3 * energies[1]);
    free(energy);
    free(basis);
    free(v);
    cbe_safetensors_close(found);
}

/* A lens reads each token by itself: both scopes have the same bits. */
static void a_lens__has_one_scope(void **state)
{
    (void)state;
    unsigned char *bytes[2];
    size_t sizes[2];
    cbe_safetensors *truth = open_truth("gpt2");
    cbe_tensor t;
    cbe_assert_ok(cbe_safetensors_get(truth, "v", &t, &err), &err);
    double *v = cbe_golden_f64(truth, "v", t.n_elements);
    write_f64("%F/v.safetensors", "v", 1, t.n_elements, v);
    free(v);
    cbe_safetensors_close(truth);
    for (int own = 0; own < 2; own++) {
        char line[400];
        snprintf(line, sizeof line,
                 "probe %%G/models/gpt2 --tokens %%G/truth/gpt2/golden.safetensors --scope %s -l 1 "
                 "--vectors-file %%F/v.safetensors -o %%F/out.safetensors -q",
                 own ? "own" : "all");
        program_done(line);
        bytes[own] = cbe_read_file(program_expand("%F/out.safetensors"), &sizes[own]);
    }
    size_t header = 0; /* in which the metadata name the scope */
    memcpy(&header, bytes[0], 8);
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(bytes[0] + 8 + header, bytes[1] + 8 + header, sizes[0] - 8 - header);
    free(bytes[0]);
    free(bytes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe__meets_pytorch_in_own_scope_and_both_metrics),
        cmocka_unit_test(probe__names_scope_metric_and_strength),
        cmocka_unit_test(ablate__meets_pytorch_in_own_scope_and_at_half_strength),
        cmocka_unit_test(extract__searches_in_own_scope),
        cmocka_unit_test(a_lens__has_one_scope),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
