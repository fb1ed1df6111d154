/*
 * The program as a user runs it: results of probe and extract against golden values, and bad input. The path of
 * the program is in CBE_PROGRAM.
 */
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cbe/safetensors.h"
#include "support/assert_close.h"
#include "support/temp_folder.h"

extern char **environ;

static cbe_error err;
static char folder[256];
static char text[2][8192]; /* what the last run wrote to standard output and standard error */

static void read_text(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    out[fread(out, 1, size - 1, f)] = 0;
    fclose(f);
}

/* Runs `cbe line`, split at blanks; returns the exit status. */
static int run(const char *line)
{
    char copy[4096], out[300], errors[300], *argv[64] = {NULL};
    size_t argc = 0;
    pid_t child;
    int status;
    const char *program = getenv("CBE_PROGRAM");
    assert_non_null(program);
    argv[argc++] = strdup(program);
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    snprintf(out, sizeof out, "%s/stdout", folder);
    snprintf(errors, sizeof errors, "%s/stderr", folder);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&files, 2, errors, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(posix_spawn(&child, program, &files, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    read_text(out, text[0], sizeof text[0]);
    read_text(errors, text[1], sizeof text[1]);
    free(argv[0]);
    return WEXITSTATUS(status);
}

static void assert_tensor_close(const cbe_safetensors *got, const char *got_name, const cbe_safetensors *want,
                                const char *want_name, double absolute, double relative, double of_largest)
{
    cbe_tensor g, w;
    cbe_assert_ok(cbe_safetensors_get(got, got_name, &g, &err), &err);
    cbe_assert_ok(cbe_safetensors_get(want, want_name, &w, &err), &err);
    assert_int_equal(g.n_elements, w.n_elements);
    assert_int_equal(g.dtype, CBE_F64);
    double *a = malloc(g.n_bytes), *b = malloc(w.n_bytes), largest = 0;
    memcpy(a, g.data, g.n_bytes);
    memcpy(b, w.data, w.n_bytes);
    for (size_t i = 0; i < w.n_elements; i++) largest = fmax(largest, fabs(b[i]));
    cbe_assert_close(a, b, w.n_elements, absolute + of_largest * largest, relative, "%s", want_name);
    free(a);
    free(b);
}

static const char *const cases[] = {"layernorm-logit", "massive-logit", "rmsnorm-logit", "sharp-logit", "softcap-logit"};
static const char *const modes[] = {"mean", "resample", "zero"}, *const objectives[] = {"kl", "ce"};

/* The direction of one layer of a golden case as a file with tensor v. */
static void write_direction(const cbe_safetensors *golden, size_t layer, const char *path)
{
    char name[40];
    cbe_tensor t;
    snprintf(name, sizeof name, "layers.%zu.v", layer);
    cbe_assert_ok(cbe_safetensors_get(golden, name, &t, &err), &err);
    const cbe_tensor_spec spec = {"v", CBE_F32, 1, {t.dims[0]}};
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, 1, &spec, 0, NULL, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, t.n_elements, t.data, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

static void probe__meets_pytorch_in_every_mode_and_objective(void **state)
{
    (void)state;
    char line[4096], path[512], v[300], out[300], want[80];
    snprintf(v, sizeof v, "%s/v.safetensors", folder);
    snprintf(out, sizeof out, "%s/probe.safetensors", folder);
    for (size_t c = 0; c < 5; c++) {
        cbe_safetensors *golden = NULL;
        snprintf(path, sizeof path, "%s/golden/extract/%s/golden.safetensors", CBE_TEST_DATA, cases[c]);
        cbe_assert_ok(cbe_safetensors_open(&golden, path, &err), &err);
        for (size_t layer = 0; layer < 2; layer++) {
            write_direction(golden, layer, v);
            for (size_t m = 0; m < 3; m++)
                for (size_t k = 0; k < 2; k++) {
                    snprintf(line, sizeof line,
                             "probe --hidden-states %s/golden/extract/%s/hidden.safetensors --decoder "
                             "%s/golden/extract/%s/decoder.safetensors --vectors-file %s --layers %zu "
                             "--ablation %s --objective %s -o %s",
                             CBE_TEST_DATA, cases[c], CBE_TEST_DATA, cases[c], v, layer, modes[m], objectives[k],
                             out);
                    if (run(line) != 0) fail_msg("%s: %s", line, text[1]);
                    cbe_safetensors *got = NULL;
                    cbe_assert_ok(cbe_safetensors_open(&got, out, &err), &err);
                    char name[80];
                    snprintf(name, sizeof name, "layers.%zu.energy", layer);
                    snprintf(want, sizeof want, "layers.%zu.%s.%s.energy", layer, modes[m], objectives[k]);
                    assert_tensor_close(got, name, golden, want, 1e-6, 1e-5, 0);
                    snprintf(name, sizeof name, "layers.%zu.energy_per_token", layer);
                    snprintf(want, sizeof want, "layers.%zu.%s.%s.energy_per_token", layer, modes[m], objectives[k]);
                    assert_tensor_close(got, name, golden, want, 5e-5, 1e-5, 0);
                    snprintf(name, sizeof name, "layers.%zu.grad", layer);
                    snprintf(want, sizeof want, "layers.%zu.%s.%s.grad", layer, modes[m], objectives[k]);
                    assert_tensor_close(got, name, golden, want, 0, 0, 1e-4);
                    cbe_safetensors_close(got);
                }
        }
        cbe_safetensors_close(golden);
    }
}

static void extract__writes_an_orthonormal_basis_and_a_record(void **state)
{
    (void)state;
    char line[4096], path[300];
    static const char *const presets[] = {"default", "seed", "tuned-lens"};
    for (size_t p = 0; p < 3; p++) {
        snprintf(line, sizeof line,
                 "extract --hidden-states %s/golden/extract/rmsnorm-logit/hidden.safetensors --decoder "
                 "%s/golden/extract/rmsnorm-logit/decoder.safetensors -k 5 --layers 0-1 --preset %s -o %s/out",
                 CBE_TEST_DATA, CBE_TEST_DATA, presets[p], folder);
        if (run(line) != 0) fail_msg("%s", text[1]);
        assert_non_null(strstr(text[0], "energies"));
        cbe_safetensors *file = NULL;
        snprintf(path, sizeof path, "%s/out/basis.safetensors", folder);
        cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
        for (size_t layer = 0; layer < 2; layer++) {
            cbe_tensor t;
            float basis[24 * 5], energies[5];
            snprintf(path, sizeof path, "layers.%zu.basis", layer);
            cbe_assert_ok(cbe_safetensors_get(file, path, &t, &err), &err);
            assert_int_equal(t.n_dims, 2);
            assert_int_equal(t.dims[0], 24);
            assert_int_equal(t.dims[1], 5);
            cbe_assert_ok(cbe_tensor_to_float(&t, 0, 24 * 5, basis, &err), &err);
            snprintf(path, sizeof path, "layers.%zu.energies", layer);
            cbe_assert_ok(cbe_safetensors_get(file, path, &t, &err), &err);
            cbe_assert_ok(cbe_tensor_to_float(&t, 0, 5, energies, &err), &err);
            for (size_t i = 0; i < 5; i++) {
                assert_true(i == 0 || energies[i] <= energies[i - 1]);
                for (size_t j = 0; j <= i; j++) {
                    double dot = 0;
                    const double want = i == j;
                    for (size_t k = 0; k < 24; k++) dot += (double)basis[k * 5 + i] * (double)basis[k * 5 + j];
                    cbe_assert_close(&dot, &want, 1, 1e-6, 0, "%s, vectors %zu and %zu", presets[p], i, j);
                }
            }
        }
        cbe_safetensors_close(file);
        snprintf(path, sizeof path, "%s/out/basis.json", folder);
        static char json[1 << 16];
        read_text(path, json, sizeof json);
        assert_non_null(strstr(json, "\"sha256\""));
        assert_non_null(strstr(json, presets[p]));
    }
}

static void help__names_every_command(void **state)
{
    (void)state;
    static const char *const names[] = {"extract", "probe", "capture", "decoder", "tokenize", "info"};
    assert_int_equal(run("--help"), 0);
    for (size_t i = 0; i < 6; i++) assert_non_null(strstr(text[0], names[i]));
    for (size_t i = 0; i < 6; i++) {
        char line[80];
        snprintf(line, sizeof line, "%s --help", names[i]);
        assert_int_equal(run(line), 0);
        assert_non_null(strstr(text[0], "Usage: cbe"));
        assert_string_equal(text[1], "");
    }
}

/* %D: tests' data, %F: the folder; wanted: a word of the message. */
static const struct {
    const char *line, *wanted;
} bad[] = {
    {"", "command is missing"},
    {"extrct", "not a command"},
    {"extract --lens", "needs a value"},
    {"extract --frobnicate", "not an option"},
    {"extract -o %F/x", "MODEL is missing"},
    {"extract %F/none.gguf --text %F/stdout -o %F/x", "none.gguf"},
    {"extract %F/empty.gguf --text %F/stdout -o %F/x", "empty.gguf"},
    {"extract %D/golden/gguf/q4_k.gguf --text %F/stdout -o %F/x", "q4_k.gguf"},
    {"extract --hidden-states %D/golden/extract/rmsnorm-logit/hidden.safetensors -o %F/x", "--decoder"},
    {"extract --hidden-states %H --decoder %E", "-o is missing"},
    {"extract --hidden-states %H --decoder %E -o %F/x -k 25", "at most 24"},
    {"extract --hidden-states %H --decoder %E -o %F/x --layers 9", "no layer 9"},
    {"extract --hidden-states %H --decoder %E -o %F/x --layers 2-1", "--layers"},
    {"extract --hidden-states %H --decoder %E -o %F/x --skip-positions 24", "no token is left"},
    {"extract --hidden-states %H --decoder %E -o %F/x --starts 0", "--starts"},
    {"extract --hidden-states %H --decoder %E -o %F/x --ablation median", "mean, resample or zero"},
    {"extract --hidden-states %H --decoder %D/golden/extract/layernorm-logit/decoder.safetensors -o %F/x",
     "different models"},
    {"extract --hidden-states %H --decoder %E -o %F/stdout/x", "output folder"},
    {"extract --hidden-states %F/truncated.safetensors --decoder %E -o %F/x", "truncated.safetensors"},
    {"extract --hidden-states %F/nan.safetensors --decoder %E -o %F/x", "hidden_states.0"},
    {"extract --hidden-states %F/one.safetensors --decoder %E -o %F/x", "at least 2 tokens"},
    {"probe --hidden-states %H --decoder %E -o %F/x", "--vectors-file"},
    {"probe --hidden-states %H --decoder %E --vectors-file %H -o %F/x", "'v'"},
    {"tokenize %F/none.gguf hello", "none.gguf"},
    {"info %F/none", "none"},
    {"decoder %D/golden/gguf/f32.gguf -o %F/x", "f32.gguf"},
};

static void expand(const char *from, char *to, size_t size)
{
    const char *hidden = "/golden/extract/rmsnorm-logit/hidden.safetensors";
    const char *decoder = "/golden/extract/rmsnorm-logit/decoder.safetensors";
    size_t n = 0;
    for (; *from && n + 1 < size; from++) {
        if (*from != '%') {
            to[n++] = *from;
            continue;
        }
        from++;
        n += (size_t)snprintf(to + n, size - n, "%s%s", *from == 'F' ? folder : CBE_TEST_DATA,
                              *from == 'H' ? hidden : *from == 'E' ? decoder : "");
    }
    to[n] = 0;
}

static void write_hidden(const char *name, size_t n, float value)
{
    char path[300];
    float *x = malloc(n * 24 * sizeof *x);
    for (size_t i = 0; i < n * 24; i++) x[i] = (float)(i % 7);
    x[30 % (n * 24)] = value;
    const cbe_tensor_spec spec = {"hidden_states.0", CBE_F32, 2, {n, 24}};
    cbe_safetensors_writer *writer = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, 1, &spec, 0, NULL, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, n * 24, x, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    free(x);
}

static void bad_input__is_exit_status_2_and_one_line(void **state)
{
    (void)state;
    char line[4096], path[300];
    write_hidden("nan.safetensors", 8, NAN);
    write_hidden("one.safetensors", 1, 0);
    snprintf(path, sizeof path, "%s/truncated.safetensors", folder);
    write_hidden("truncated.safetensors", 8, 0);
    assert_int_equal(truncate(path, 300), 0);
    snprintf(path, sizeof path, "%s/empty.gguf", folder);
    fclose(fopen(path, "wb"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expand(bad[i].line, line, sizeof line);
        const int status = run(line);
        if (status != 2) fail_msg("cbe %s: exit status %d, %s", line, status, text[1]);
        const char *end = strchr(text[1], '\n');
        assert_true(end && end[1] == 0); /* one line */
        if (strncmp(text[1], "cbe: ", 5) != 0 || !strstr(text[1], bad[i].wanted))
            fail_msg("cbe %s: '%s' is not in: %s", line, bad[i].wanted, text[1]);
        snprintf(path, sizeof path, "%s/x/basis.safetensors", folder);
        assert_int_equal(access(path, F_OK), -1);
    }
}

static void failed_run__leaves_earlier_results_as_they_were(void **state)
{
    (void)state;
    char line[4096], path[300], before[4096], after[4096];
    expand("extract --hidden-states %H --decoder %E -k 1 --layers 0 -o %F/kept", line, sizeof line);
    assert_int_equal(run(line), 0);
    snprintf(path, sizeof path, "%s/kept/basis.json", folder);
    read_text(path, before, sizeof before);
    expand("extract --hidden-states %F/nan.safetensors --decoder %E -k 1 -o %F/kept", line, sizeof line);
    assert_int_equal(run(line), 2);
    read_text(path, after, sizeof after);
    assert_string_equal(before, after);
}

static int set_up(void **state)
{
    if (temp_folder_create(state) != 0) return -1;
    snprintf(folder, sizeof folder, "%s", (const char *)*state);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const results[] = {"out", "kept", "x"}, *const files[] = {"basis.json", "basis.safetensors"};
    char path[320];
    for (size_t r = 0; r < 3; r++) {
        for (size_t f = 0; f < 2; f++) {
            snprintf(path, sizeof path, "%s/%s/%s", folder, results[r], files[f]);
            unlink(path);
        }
        snprintf(path, sizeof path, "%s/%s", folder, results[r]);
        rmdir(path);
    }
    return temp_folder_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe__meets_pytorch_in_every_mode_and_objective),
        cmocka_unit_test(extract__writes_an_orthonormal_basis_and_a_record),
        cmocka_unit_test(help__names_every_command),
        cmocka_unit_test(bad_input__is_exit_status_2_and_one_line),
        cmocka_unit_test(failed_run__leaves_earlier_results_as_they_were),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
