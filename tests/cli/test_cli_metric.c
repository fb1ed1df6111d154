/* cbe extract and cbe probe in the covariance metric, within principal components, and at other
 * strengths: what their files hold, beside the covariance of the same states. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "covariance/covariance.h"
#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

enum { D = 24, K = 4, LAYER = 1 };

static cbe_error err;

#define STATES  "--hidden-states %H --decoder %E -l 1 --skip-positions 0 "
#define EXTRACT "extract " STATES "-k 4 --starts 4 "
#define PROBE   "probe " STATES "--vectors-file %F/v.safetensors -o %F/probe.safetensors "

static cbe_safetensors *open_file(const char *line)
{
    cbe_safetensors *file = NULL;
    cbe_assert_ok(cbe_safetensors_open(&file, program_expand(line), &err), &err);
    return file;
}

/* A tensor of floats, n of them, as doubles; of a matrix (d, n / d) the columns one by one. */
static void read_rows(const char *line, const char *what, size_t d, size_t n, double *out)
{
    char name[40];
    size_t count;
    cbe_safetensors *file = open_file(line);
    snprintf(name, sizeof name, "layers.%d.%s", LAYER, what);
    float *x = cbe_golden_floats(file, name, &count);
    assert_int_equal(count, n);
    for (size_t row = 0; row < d; row++)
        for (size_t j = 0; j < n / d; j++) out[j * d + row] = (double)x[row * (n / d) + j];
    free(x);
    cbe_safetensors_close(file);
}

static void read_probe(const char *what, size_t n, double *out)
{
    char name[40];
    cbe_safetensors *file = open_file("%F/probe.safetensors");
    snprintf(name, sizeof name, "layers.%d.%s", LAYER, what);
    double *x = cbe_golden_f64(file, name, n);
    memcpy(out, x, n * sizeof *x);
    free(x);
    cbe_safetensors_close(file);
}

static void write_directions(void **state, size_t n, const double *v)
{
    const cbe_tensor_spec spec = {"v", CBE_F64, 2, {n, D}};
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, temp_path(state, "v.safetensors"), 1,
                                                &spec, 0, NULL, &err),
                  &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, n * D, v, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

static cbe_covariance *covariance_of_states(void)
{
    size_t count;
    cbe_safetensors *file = open_file("%H");
    float *hidden = cbe_golden_floats(file, "hidden_states.1", &count);
    const cbe_covariance_block block = {count / D, hidden};
    cbe_covariance *c = NULL;
    cbe_assert_ok(cbe_covariance_create(&c, D, 1, &block, NULL, &err), &err);
    free(hidden);
    cbe_safetensors_close(file);
    return c;
}

static double dot(const double *a, const double *b)
{
    double sum = 0;
    for (size_t k = 0; k < D; k++) sum += a[k] * b[k];
    return sum;
}

/* u of which S^1/2 u is each of n directions, of length 1. */
static void whiten(const cbe_covariance *c, double ridge, size_t n, const double *v, double *u)
{
    for (size_t j = 0; j < n; j++) {
        cbe_covariance_inverse_root(c, ridge, v + j * D, u + j * D);
        const double length = sqrt(dot(u + j * D, u + j * D));
        for (size_t k = 0; k < D; k++) u[j * D + k] /= length;
    }
}

static void extract__in_the_covariance_metric_says_what_is_read_and_written(void **state)
{
    const double ridge = 0.01;
    static const char basis_path[] = "%F/out/basis.safetensors";
    double basis[K * D], read[K * D], write[K * D], u[K * D], mean[D], energies[K], probed[K];
    cbe_covariance *c = covariance_of_states();
    program_done(EXTRACT "--metric covariance=0.01 -o %F/out");
    read_rows(basis_path, "basis", D, K * D, basis);
    read_rows(basis_path, "read", D, K * D, read);
    read_rows(basis_path, "write", D, K * D, write);
    read_rows(basis_path, "mean", D, D, mean);
    read_rows(basis_path, "energies", K, K, energies);
    cbe_assert_close(mean, c->mean, D, 1e-6, 1e-6, "mean");
    for (size_t i = 0; i < K; i++) {
        double want[D];
        const double length = sqrt(dot(write + i * D, write + i * D));
        for (size_t k = 0; k < D; k++) want[k] = write[i * D + k] / length;
        cbe_assert_close(basis + i * D, want, D, 1e-6, 0, "direction %zu", i);
        for (size_t j = 0; j < K; j++) { /* u are orthonormal */
            const double product = dot(read + i * D, write + j * D), one = i == j;
            cbe_assert_close(&product, &one, 1, 1e-5, 0, "read %zu . write %zu", i, j);
        }
    }
    cbe_safetensors *file = open_file(basis_path);
    assert_string_equal(cbe_safetensors_metadata(file, "layers.1.state"), "hidden_states.1");
    cbe_safetensors_close(file);
    /* The file has float32. */
    whiten(c, ridge, K, basis, u);
    write_directions(state, K, u);
    program_done(PROBE "--metric covariance=0.01");
    read_probe("energy", K, probed);
    cbe_assert_close(probed, energies, K, 1e-5, 1e-4, "energies by probe");
    /* Starts at a basis are u again: it cannot end lower. */
    program_done(EXTRACT "--metric covariance=0.01 --init %F/out -o %F/again");
    double again[K];
    read_rows("%F/again/basis.safetensors", "energies", K, K, again);
    assert_true(again[0] >= energies[0] * (1 - 1e-4));
    program_done("info %F/out/basis.safetensors");
    cbe_covariance_free(c);
}

static void extract__in_the_euclidean_metric_reads_and_writes_the_basis(void **state)
{
    (void)state;
    double basis[K * D], read[K * D], write[K * D];
    program_done(EXTRACT "-o %F/plain");
    read_rows("%F/plain/basis.safetensors", "basis", D, K * D, basis);
    read_rows("%F/plain/basis.safetensors", "read", D, K * D, read);
    read_rows("%F/plain/basis.safetensors", "write", D, K * D, write);
    assert_memory_equal(read, basis, sizeof basis);
    assert_memory_equal(write, basis, sizeof basis);
}

static void extract__within_components_stays_in_their_span(void **state)
{
    (void)state;
    enum { M = 6 };
    double basis[M * D], energies[M];
    cbe_covariance *c = covariance_of_states();
    static const char within[] = "extract " STATES "-k 0 --starts 4 --within pc=6 -o %F/within";
    static const char *const metrics[] = {"euclidean", "covariance"};
    for (size_t i = 0; i < 2; i++) {
        char line[300];
        snprintf(line, sizeof line, "%s --metric %s", within, metrics[i]);
        program_done(line);
        read_rows("%F/within/basis.safetensors", "basis", D, M * D, basis);
        read_rows("%F/within/basis.safetensors", "energies", M, M, energies);
        assert_true(energies[0] > 0);
        for (size_t j = 0; j < M; j++) {
            const double one = 1, length = dot(basis + j * D, basis + j * D);
            cbe_assert_close(&length, &one, 1, 1e-6, 0, "length of vector %zu", j);
            for (size_t e = M; e < D; e++) {
                const double zero = 0, cosine = dot(basis + j * D, c->components + e * D);
                cbe_assert_close(&cosine, &zero, 1, 1e-6, 0, "vector %zu, component %zu", j, e);
            }
        }
    }
    cbe_covariance_free(c);
}

/* Not given, the components are a half of the 24 dimensions, and all directions where that leaves
 * fewer than two for each vector, or with a preset. */
static void extract__chooses_the_components_itself(void **state)
{
    (void)state;
    static const struct {
        const char *given, *same;
    } cases[] = {{"-k 4", "-k 4 --within pc=12"},
                 {"-k 6 --within auto", "-k 6 --within pc=12"},
                 {"-k 7", "-k 7 --within all"},
                 {"-k 0", "-k 0 --within all"},
                 {"-k 2 --metric covariance", "-k 2 --within all --metric covariance"},
                 {"-k 2 --preset seed", "-k 2 --within all --preset seed"},
                 {"-k 2 --preset tuned-lens", "-k 2 --within all --preset tuned-lens"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const char *const folders[] = {"auto", "same"};
        char line[300], *files[2];
        size_t sizes[2], size;
        for (size_t j = 0; j < 2; j++) {
            snprintf(line, sizeof line, "%s%s -o %%F/%s", "extract " STATES,
                     j ? cases[i].same : cases[i].given, folders[j]);
            program_done(line);
            snprintf(line, sizeof line, "%%F/%s/basis.safetensors", folders[j]);
            files[j] = temp_read(program_expand(line), &sizes[j]);
        }
        assert_int_equal(sizes[0], sizes[1]);
        assert_memory_equal(files[0], files[1], sizes[0]);
        char *json = temp_read(program_expand("%F/auto/basis.json"), &size);
        const char *at = strstr(json, "\"state\"");
        assert_non_null(at);
        assert_non_null(strstr(at, strstr(cases[i].same, "pc=12") ? "\"within\": \"pc=12\""
                                                                  : "\"within\": \"all\""));
        free(json);
        free(files[0]);
        free(files[1]);
    }
}

static void probe__tells_kappa_in_the_euclidean_metric_alone(void **state)
{
    double v[K * D], want[K], got[K];
    cbe_covariance *c = covariance_of_states();
    for (size_t i = 0; i < K * D; i++) v[i] = sin((double)(i * i % 101));
    for (size_t j = 0; j < K; j++)
        want[j] = cbe_covariance_kappa(c, CBE_COVARIANCE_RIDGE, v + j * D);
    write_directions(state, K, v);
    program_done(PROBE);
    read_probe("kappa", K, got);
    cbe_assert_close(got, want, K, 0, 1e-9, "kappa");
    program_done(PROBE "-a optimal");
    read_probe("kappa", K, got);
    cbe_assert_close(got, want, K, 0, 1e-9, "kappa, optimal ablation");
    read_probe("constant", K, got);
    program_done(PROBE "--metric covariance");
    cbe_safetensors *file = open_file("%F/probe.safetensors");
    assert_false(cbe_safetensors_has(file, "layers.1.kappa"));
    cbe_safetensors_close(file);
    cbe_covariance_free(c);
}

/* h - t (D . v) v is what a direction of length sqrt(t) does. */
static void probe__at_a_strength_is_a_shorter_direction(void **state)
{
    static const char *const ablations[] = {"mean", "resample", "zero"};
    double v[K * D], half[K * D], got[K], want[K];
    for (size_t i = 0; i < K * D; i++) v[i] = sin((double)(i * i % 103)) / 3;
    for (size_t i = 0; i < K * D; i++) half[i] = v[i] / 2;
    for (size_t a = 0; a < 3; a++) {
        char line[300];
        write_directions(state, K, v);
        snprintf(line, sizeof line, "%s --strength 0.25 -a %s", PROBE, ablations[a]);
        program_done(line);
        read_probe("energy", K, got);
        write_directions(state, K, half);
        snprintf(line, sizeof line, "%s -a %s", PROBE, ablations[a]);
        program_done(line);
        read_probe("energy", K, want);
        cbe_assert_close(got, want, K, 1e-7, 1e-6, "%s", ablations[a]);
    }
    program_done(PROBE "--strength 0");
    read_probe("energy", K, got);
    const double zeros[K] = {0};
    cbe_assert_close(got, zeros, K, 1e-7, 0, "strength 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extract__in_the_covariance_metric_says_what_is_read_and_written),
        cmocka_unit_test(extract__in_the_euclidean_metric_reads_and_writes_the_basis),
        cmocka_unit_test(extract__within_components_stays_in_their_span),
        cmocka_unit_test(extract__chooses_the_components_itself),
        cmocka_unit_test(probe__tells_kappa_in_the_euclidean_metric_alone),
        cmocka_unit_test(probe__at_a_strength_is_a_shorter_direction),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
