/*
 * Full bases, k = d, whose every vector is probed again: the energy that extract tells is that of
 * the vector it tells it of, for every objective, ablation, lens and preset, and in the whole
 * model. Energies of the objective ce lie on both sides of zero; in golden/extract/negative nearly
 * all of them lie below it.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"
#include "support/tensor_file.h"

static cbe_error err;

/* With the address sanitizer one combination in three. */
#ifdef __SANITIZE_ADDRESS__
enum { EVERY = 3 };
#else
enum { EVERY = 1 };
#endif

static const char *const ablations[] = {"mean", "resample", "zero", "optimal"},
                         *const objectives[] = {"kl", "ce"};

/* Vectors are stored as float32: products of two are off by some 1e-7. */
static void assert_orthonormal(const char *line, size_t d, size_t k, const float *basis)
{
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++) {
            double dot = 0;
            const double want = i == j;
            for (size_t row = 0; row < d; row++)
                dot += (double)basis[row * k + i] * (double)basis[row * k + j];
            cbe_assert_close(&dot, &want, 1, 1e-6, 0, "%s: vectors %zu and %zu", line, i, j);
        }
}

/* Runs extract with k = d and probes what it found.
 * @param inputs  what the run is on, for extract and probe alike
 * @param probed  options for both
 * @param search  options for extract alone
 * @return how many of the energies are below zero */
static size_t check(const char *inputs, const char *probed, const char *search, size_t layer,
                    double absolute, double relative)
{
    char line[1024], name[64];
    size_t n_negative = 0, n, k;
    snprintf(line, sizeof line, "extract %s %s %s -l %zu -k 0 -q -t 1 --held-out 0 -o %%F/out",
             inputs, probed, search, layer);
    program_done(line);
    cbe_safetensors *file = NULL;
    cbe_assert_ok(cbe_safetensors_open(&file, program_expand("%F/out/basis.safetensors"), &err),
                  &err);
    snprintf(name, sizeof name, "layers.%zu.energies", layer);
    float *energies = cbe_golden_floats(file, name, &k);
    snprintf(name, sizeof name, "layers.%zu.basis", layer);
    float *basis = cbe_golden_floats(file, name, &n);
    cbe_safetensors_close(file);
    assert_int_equal(n, k * k);
    assert_orthonormal(line, k, k, basis);
    write_columns("%F/v.safetensors", k, k, basis);
    char again[1024];
    snprintf(again, sizeof again,
             "probe %s %s -l %zu -q -t 1 --vectors-file %%F/v.safetensors -o %%F/probe.safetensors",
             inputs, probed, layer);
    program_done(again);
    cbe_assert_ok(cbe_safetensors_open(&file, program_expand("%F/probe.safetensors"), &err), &err);
    snprintf(name, sizeof name, "layers.%zu.energy", layer);
    double *want = cbe_golden_f64(file, name, k);
    cbe_safetensors_close(file);
    for (size_t j = 0; j < k; j++) {
        const double told = (double)energies[j];
        cbe_assert_close(&told, &want[j], 1, absolute, relative, "%s: vector %zu", line, j);
        if (j > 0) assert_true(energies[j] <= energies[j - 1]);
        n_negative += told < 0;
    }
    free(energies);
    free(basis);
    free(want);
    return n_negative;
}

static void files_of(char *out, size_t size, const char *name, const char *more)
{
    snprintf(out, size,
             "--hidden-states %%G/extract/%s/hidden.safetensors --decoder "
             "%%G/extract/%s/decoder.safetensors %s",
             name, name, more);
}

/* Energies that are all but one below zero, from the first vector on. */
static void extract__tells_energies_below_zero(void **state)
{
    (void)state;
    char inputs[256], options[64];
    files_of(inputs, sizeof inputs, "negative", "");
    for (size_t a = 0; a < 4; a++) {
        static const char *const searches[] = {"", "--starts 2", "--preset seed",
                                               "--preset tuned-lens"};
        for (size_t s = 0; s < 4; s++) {
            snprintf(options, sizeof options, "--ablation %s --objective ce --skip-positions 0",
                     ablations[a]);
            const char *search = a == 3 && s == 0 ? "--starts 6" : searches[s];
            assert_true(check(inputs, options, search, 0, 1e-6, 1e-5) > 0);
        }
    }
}

static void extract__tells_energies_through_lenses(void **state)
{
    (void)state;
    static const struct {
        const char *name, *lens;
        double absolute; /* logits of hundreds have float32 steps of 3e-5 */
    } cases[] = {
        {"layernorm-logit", "", 2e-6},
        {"rmsnorm-logit", "", 2e-6},
        {"softcap-logit", "", 2e-6},
        {"massive-logit", "", 5e-5},
        {"sharp-logit", "", 5e-5},
        {"layernorm-tuned", "--lens tuned=%G/extract/layernorm-tuned/lens", 2e-6},
        {"rmsnorm-tuned", "--lens tuned=%G/extract/rmsnorm-tuned/lens", 2e-6},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t a = 0; a < 4; a++)
            for (size_t o = 0; o < 2; o++) {
                if ((a + o + c) % EVERY) continue;
                static const char *const searches[] = {"--starts 2 --max-iter 12",
                                                       "--preset seed --max-iter 12"};
                char inputs[320], options[96];
                files_of(inputs, sizeof inputs, cases[c].name, cases[c].lens);
                snprintf(options, sizeof options,
                         "--ablation %s --objective %s --skip-positions %zu", ablations[a],
                         objectives[o], (a + c) % 2);
                /* Where few tokens rule the output, minima over the constant lie closer together
                 * than the grid that is tried. */
                const bool close_minima = a == 3 && o == 1 && cases[c].absolute > 1e-5;
                check(inputs, options, searches[(a + o + c) % 2], c % 2, cases[c].absolute,
                      close_minima ? 5e-3 : 1e-4);
            }
}

static void extract__tells_energies_of_a_model(void **state)
{
    (void)state;
    static const struct {
        const char *name, *lens, *search;
    } cases[] = {
        {"llama", "--lens model", "--starts 2 --max-iter 2"},
        {"gpt2", "--lens model", "--preset seed --max-iter 2"},
        {"llama", "--lens logit --site post", "--starts 2 --max-iter 6"},
        {"gpt2", "--lens affine", "--starts 2 --max-iter 6"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t a = 0; a < 4; a++)
            for (size_t o = 0; o < 2; o++) {
                if ((a + o + c) % EVERY) continue;
                char inputs[320], options[128];
                snprintf(inputs, sizeof inputs,
                         "%%G/models/%s --tokens %%G/models/%s/golden.safetensors", cases[c].name,
                         cases[c].name);
                snprintf(options, sizeof options,
                         "%s --ablation %s --objective %s --skip-positions 0", cases[c].lens,
                         ablations[a], objectives[o]);
                check(inputs, options, cases[c].search, 1, 5e-6, 1e-4);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extract__tells_energies_below_zero),
        cmocka_unit_test(extract__tells_energies_through_lenses),
        cmocka_unit_test(extract__tells_energies_of_a_model),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
