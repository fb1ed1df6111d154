/* cbe probe against PyTorch's energies and gradients (tests/golden/extract). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/program.h"
#include "support/temp_folder.h"

enum { N_LAYERS = 2 };

static cbe_error err;

static const char *const cases[] = {"layernorm-logit", "massive-logit", "rmsnorm-logit",
                                    "sharp-logit", "softcap-logit"};
static const char *const modes[] = {"mean", "resample", "zero", "optimal"}, *const objectives[] = {
                                                                                "kl", "ce"};

static cbe_safetensors *open_file(const char *line)
{
    cbe_safetensors *file = NULL;
    cbe_assert_ok(cbe_safetensors_open(&file, program_expand(line), &err), &err);
    return file;
}

/* The directions of both layers as rows of v, float32 as they are stored. */
static void write_directions(const cbe_safetensors *golden, const char *path)
{
    cbe_tensor t;
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(cbe_safetensors_get(golden, "layers.0.v", &t, &err), &err);
    const size_t d = t.n_elements;
    const cbe_tensor_spec spec = {"v", CBE_F32, 2, {N_LAYERS, d}};
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, 1, &spec, 0, NULL, &err), &err);
    for (size_t layer = 0; layer < N_LAYERS; layer++) {
        char name[32];
        snprintf(name, sizeof name, "layers.%zu.v", layer);
        cbe_assert_ok(cbe_safetensors_get(golden, name, &t, &err), &err);
        cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, layer * d, d, t.data, &err), &err);
    }
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

/* Row `layer` of layers.<layer>.<part> against the golden
 * layers.<layer>.<mode>.<objective>.<part>. */
static void compare(const cbe_safetensors *got, const cbe_safetensors *golden, size_t layer,
                    const char *mode, const char *part, double absolute, double relative,
                    double of_largest)
{
    char name[96];
    cbe_tensor g, w;
    snprintf(name, sizeof name, "layers.%zu.%s", layer, part);
    cbe_assert_ok(cbe_safetensors_get(got, name, &g, &err), &err);
    snprintf(name, sizeof name, "layers.%zu.%s.%s", layer, mode, part);
    cbe_assert_ok(cbe_safetensors_get(golden, name, &w, &err), &err);
    assert_true(g.dtype == CBE_F64 && w.dtype == CBE_F64);
    const size_t n = w.n_elements;
    assert_int_equal(g.n_elements, N_LAYERS * n);
    double *a = malloc(g.n_bytes), *b = malloc(w.n_bytes), largest = 0;
    memcpy(a, g.data, g.n_bytes);
    memcpy(b, w.data, w.n_bytes);
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(b[i]));
    cbe_assert_close(a + layer * n, b, n, absolute + of_largest * largest, relative, "%s", name);
    free(a);
    free(b);
}

static void probe__meets_pytorch_in_every_mode_and_objective(void **state)
{
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char line[512];
        snprintf(line, sizeof line, "%%G/extract/%s/golden.safetensors", cases[c]);
        cbe_safetensors *golden = open_file(line);
        write_directions(golden, temp_path(state, "v.safetensors"));
        for (size_t m = 0; m < 4; m++)
            for (size_t o = 0; o < (m == 3 ? 1 : 2); o++) { /* optimal: kl alone is in the data */
                snprintf(line, sizeof line,
                         "probe --hidden-states %%G/extract/%s/hidden.safetensors --decoder "
                         "%%G/extract/%s/decoder.safetensors --vectors-file %%F/v.safetensors "
                         "--ablation %s "
                         "--objective %s --layers 0-1 -o %%F/out.safetensors",
                         cases[c], cases[c], modes[m], objectives[o]);
                program_done(line);
                cbe_safetensors *got = open_file("%F/out.safetensors");
                assert_int_equal(cbe_safetensors_count(got), (m == 3 ? 5 : 4) * N_LAYERS);
                char mode[32];
                snprintf(mode, sizeof mode, "%s.%s", modes[m], objectives[o]);
                for (size_t layer = 0; layer < N_LAYERS; layer++) {
                    compare(got, golden, layer, mode, "energy", 1e-6, 1e-5, 0);
                    compare(got, golden, layer, mode, "grad", 0, 0, 1e-4);
                    /* sharp-logit has logits of hundreds, whose float32 steps are 3e-5. */
                    compare(got, golden, layer, mode, "energy_per_token", 5e-5, 1e-5, 0);
                    /* more exactly, by the coefficients' range: test_golden_extract.c */
                    if (m == 3) compare(got, golden, layer, mode, "constant", 1e-2, 1e-3, 0);
                }
                cbe_safetensors_close(got);
            }
        cbe_safetensors_close(golden);
    }
}

static void probe__takes_one_direction_and_float64(void **state)
{
    double v[24], energy[2];
    for (size_t k = 0; k < 24; k++) v[k] = 0.25 * (double)(k % 5) - 0.3;
    for (int twice = 0; twice < 2; twice++) { /* (d), and the same as (2, d) */
        const cbe_tensor_spec spec = {"v", CBE_F64, twice ? 2 : 1, {twice ? 2 : 24, 24}};
        cbe_safetensors_writer *writer = NULL;
        const char *path = temp_path(state, "one.safetensors");
        cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, 1, &spec, 0, NULL, &err), &err);
        for (int row = 0; row <= twice; row++)
            cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 24 * (size_t)row, 24, v, &err),
                          &err);
        cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
        program_done("probe --hidden-states %H --decoder %E --vectors-file %F/one.safetensors -l 1 "
                     "-o %F/o.safetensors");
        cbe_safetensors *got = open_file("%F/o.safetensors");
        cbe_tensor t;
        cbe_assert_ok(cbe_safetensors_get(got, "layers.1.energy", &t, &err), &err);
        assert_int_equal(t.n_elements, 1 + twice);
        memcpy(&energy[twice], t.data, sizeof *energy);
        cbe_safetensors_close(got);
    }
    cbe_assert_close(&energy[1], &energy[0], 1, 0, 1e-12, "alone and in a batch");
}

/* kappa grows with the fourth power of the length. */
static void table__keeps_numbers_apart(void **state)
{
    double v[24];
    char words[5][32];
    for (size_t k = 0; k < 24; k++) v[k] = 50 * (k % 5 ? 1 : -2);
    const cbe_tensor_spec spec = {"v", CBE_F64, 1, {24}};
    cbe_safetensors_writer *writer = NULL;
    const char *path = temp_path(state, "long.safetensors");
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, path, 1, &spec, 0, NULL, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 24, v, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    program_done("probe --hidden-states %H --decoder %E --vectors-file %F/long.safetensors -l 1 "
                 "-o %F/long.out.safetensors");
    const char *row = strstr(program_out, "E/I\n");
    assert_non_null(row);
    assert_int_equal(sscanf(row + 4, "%31s %31s %31s %31s %31s", words[0], words[1], words[2],
                            words[3], words[4]),
                     5);
    assert_string_equal(words[0], "1");
    assert_true(strtod(words[3], NULL) > 1e4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe__meets_pytorch_in_every_mode_and_objective),
        cmocka_unit_test(probe__takes_one_direction_and_float64),
        cmocka_unit_test(table__keeps_numbers_apart),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
