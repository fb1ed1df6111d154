/* test_vector_reports.c - what is reported of a direction in the whole model, against PyTorch in
 * float64; and the directions that it is compared with. */
#include "extract/vector_reports.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "extract/controls.h"
#include "extract/model_energies.h"
#include "extract/report_columns.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"

static cbe_error err;

/* A golden model, its tokens, and its hidden states. */
typedef struct {
    char *path;
    cbe_model *model;
    cbe_safetensors *file;
    cbe_tokens tokens;
    cbe_hidden_states *states;
    cbe_extraction_options options;
    size_t d;
    double *v;
} fixture;

static void open_fixture(fixture *f, const char *name)
{
    char *model_path = cbe_golden_path("models/%s", name);
    memset(f, 0, sizeof *f);
    f->path = cbe_golden_path("truth/%s/golden.safetensors", name);
    f->model = open_model(model_path);
    f->file = open_golden(f->path);
    f->tokens.ids =
        cbe_golden_ids(f->file, "input_ids", &f->tokens.n_sequences, &f->tokens.context_length);
    f->d = cbe_model_get_config(f->model)->hidden_size;
    f->v = cbe_golden_f64(f->file, "v", f->d);
    const size_t n_layers = cbe_model_get_config(f->model)->n_layers;
    bool layers[16];
    assert_true(n_layers < 16);
    for (size_t i = 0; i <= n_layers; i++) layers[i] = true;
    cbe_assert_ok(
        cbe_hidden_states_capture(&f->states, f->model, &f->tokens, layers, NULL, NULL, &err),
        &err);
    cbe_extraction_options_init(&f->options);
    f->options.site = CBE_SITE_POST;
    f->options.covariance = true;
    f->options.model = f->model;
    f->options.skip_positions = 1;
    free(model_path);
}

static void close_fixture(fixture *f)
{
    cbe_hidden_states_close(f->states);
    cbe_safetensors_close(f->file);
    cbe_model_close(f->model);
    free(f->tokens.ids);
    free(f->path);
    free(f->v);
}

/* The report of v at a layer, as if it had been found there. */
static void report(const fixture *f, size_t layer, cbe_layer_result *result)
{
    cbe_layer_objective *objective = NULL;
    cbe_objective *ignored;
    cbe_survey survey = {0};
    cbe_vector_record record = {0};
    const cbe_decoder *decoder = cbe_model_decoder(f->model);
    *result = (cbe_layer_result){.layer = layer};
    cbe_assert_ok(cbe_basis_make(&result->basis, f->d, 1, f->v, &record, &err), &err);
    cbe_assert_ok(cbe_layer_objective_create(&objective, f->states, decoder, &f->options, &err),
                  &err);
    cbe_assert_ok(cbe_layer_objective_set(objective, layer, &ignored, &err), &err);
    cbe_assert_ok(cbe_survey_make(&survey, objective, decoder, &err), &err);
    cbe_assert_ok(cbe_report_vectors(objective, &survey, result, &f->options, &err), &err);
    cbe_layer_objective_free(objective);
}

static double golden_number(const fixture *f, size_t layer, const char *what)
{
    char name[80];
    if (layer == SIZE_MAX)
        snprintf(name, sizeof name, "%s", what);
    else
        snprintf(name, sizeof name, "layers.%zu.%s", layer, what);
    double *x = cbe_golden_f64(f->file, name, 1);
    const double number = *x;
    free(x);
    return number;
}

/* The error of the mean of golden energies per token, by the means of sequences. */
static double golden_error(const fixture *f, size_t layer)
{
    const size_t n = f->tokens.n_sequences, each = f->tokens.context_length - 1;
    char name[80];
    double mean = 0, squares = 0;
    snprintf(name, sizeof name, "layers.%zu.euclidean.all.mean.energy_per_token", layer);
    double *x = cbe_golden_f64(f->file, name, n * each);
    for (size_t i = 0; i < n * each; i++) mean += x[i] / (double)(n * each);
    for (size_t b = 0; b < n; b++) {
        double of_sequence = 0;
        for (size_t i = 0; i < each; i++) of_sequence += x[b * each + i] / (double)each;
        squares += (of_sequence - mean) * (of_sequence - mean);
    }
    free(x);
    return sqrt(squares / (double)(n * (n - 1)));
}

static void report__matches_pytorch_in_float64(void **state)
{
    (void)state;
    static const char *const names[] = {"bloom", "gemma2", "gpt2", "gpt_neox", "llama", "olmo2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fixture f;
        open_fixture(&f, names[i]);
        size_t compared = 0;
        for (size_t layer = 0; layer < cbe_model_get_config(f.model)->n_layers; layer++) {
            cbe_layer_result result;
            char name[64];
            snprintf(name, sizeof name, "layers.%zu.euclidean.all.mean.energy_at.0.5", layer);
            if (!cbe_safetensors_has(f.file, name)) continue;
            report(&f, layer, &result);
            const cbe_vector_report *r = result.reports;
            const double got[] = {r->half_energy, r->tenth_energy, r->kappa, result.ceiling,
                                  r->standard_error},
                         want[] = {golden_number(&f, layer, "euclidean.all.mean.energy_at.0.5"),
                                   golden_number(&f, layer, "euclidean.all.mean.energy_at.0.1"),
                                   golden_number(&f, layer, "kappa"),
                                   golden_number(&f, SIZE_MAX, "ceiling"), golden_error(&f, layer)};
            cbe_assert_close(got, want, 5, 1e-6, 1e-4, "%s, layer %zu", names[i], layer);
            assert_int_equal(result.state, layer + 1);
            assert_true(isnan(r->held_out_energy));
            /* A principal component has the least kappa that there is, up to the ridge. */
            const double one = 1, kappa = result.controls[CBE_CONTROL_PRINCIPAL].kappa;
            cbe_assert_close(&kappa, &one, 1, 2e-3, 0, "kappa of the first component");
            assert_true(result.controls[CBE_CONTROL_RANDOM].energy > 0);
            assert_true(result.controls[CBE_CONTROL_RANDOM].standard_error > 0);
            cbe_layer_results_free(1, &result);
            compared++;
        }
        assert_true(compared >= 2);
        close_fixture(&f);
    }
}

/* Found through a lens, a direction has the energies in the model that PyTorch says. */
static void model_energies__match_pytorch_in_float64(void **state)
{
    (void)state;
    static const char *const names[] = {"bloom", "gemma2", "gpt2", "gpt_neox", "llama", "olmo2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fixture f;
        open_fixture(&f, names[i]);
        cbe_model_energies *energies = NULL;
        cbe_layer_objective *objective = NULL;
        cbe_objective *ignored;
        f.options.model = NULL; /* the logit lens */
        cbe_assert_ok(cbe_model_energies_create(&energies, f.states, f.model, &f.options, 0, &err),
                      &err);
        cbe_assert_ok(cbe_layer_objective_create(&objective, f.states, cbe_model_decoder(f.model),
                                                 &f.options, &err),
                      &err);
        for (size_t layer = 0; layer < cbe_model_get_config(f.model)->n_layers; layer++) {
            char name[64];
            cbe_layer_result result;
            cbe_survey survey = {0};
            snprintf(name, sizeof name, "layers.%zu.euclidean.own.mean.energy", layer);
            if (!cbe_safetensors_has(f.file, name)) continue;
            report(&f, layer, &result);
            cbe_assert_ok(cbe_layer_objective_set(objective, layer, &ignored, &err), &err);
            cbe_assert_ok(cbe_survey_make(&survey, objective, cbe_model_decoder(f.model), &err),
                          &err);
            cbe_assert_ok(cbe_model_energies_measure(energies, &survey, 0, &result, &err), &err);
            const cbe_vector_report *r = result.reports;
            const double got[] = {r->model_energy, r->own_energy, r->model_error},
                         want[] = {golden_number(&f, layer, "euclidean.all.mean.energy"),
                                   golden_number(&f, layer, "euclidean.own.mean.energy"),
                                   golden_error(&f, layer)};
            cbe_assert_close(got, want, 3, 1e-6, 1e-4, "%s, layer %zu", names[i], layer);
            assert_true(result.controls[CBE_CONTROL_PRINCIPAL].model_energy > 0);
            assert_true(result.controls[CBE_CONTROL_RANDOM].own_energy > 0);
            cbe_layer_results_free(1, &result);
        }
        cbe_model_energies_free(energies);
        cbe_layer_objective_free(objective);
        close_fixture(&f);
    }
}

/* Random directions have the covariance of the states, and are the same for the same seed and
 * state. */
static void controls__are_drawn_from_the_states(void **state)
{
    (void)state;
    enum { D = 3, SEEDS = 3000, EACH = CBE_RANDOM_CONTROLS };
    double mean[D] = {0}, values[D] = {9, 1, 0.25},
           components[D * D] = {0.6, 0.8, 0, -0.8, 0.6, 0, 0, 0, 1}, v[(1 + EACH) * D],
           again[(1 + EACH) * D], along[D] = {0};
    const cbe_covariance c = {D, 100, mean, values, components, 10.25};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        cbe_controls_make(&c, &cbe_metric_plain, seed, 5, v);
        for (size_t i = 1; i <= EACH; i++)
            for (size_t k = 0; k < D; k++) {
                double dot = 0;
                for (size_t j = 0; j < D; j++) dot += components[k * D + j] * v[i * D + j];
                along[k] += dot * dot / (SEEDS * EACH);
            }
    }
    /* Mean squares of the coordinates of a normalised draw, by an integral: for x = 1 / (1 + 2 t l)
     * E[z_k^2 l_k / sum] = integral of l_k x_k sqrt(x_0 x_1 x_2) dt. */
    double want[D] = {0};
    for (size_t step = 0; step < 400000; step++) {
        const double t = exp(-14 + 28 * ((double)step + 0.5) / 400000), dt = t * 28 / 400000;
        double root = 1;
        for (size_t k = 0; k < D; k++) root /= sqrt(1 + 2 * t * values[k]);
        for (size_t k = 0; k < D; k++) want[k] += values[k] / (1 + 2 * t * values[k]) * root * dt;
    }
    /* 24,000 draws: three standard errors are below 0.007. */
    cbe_assert_close(along, want, D, 0.007, 0, "mean squares");
    cbe_controls_make(&c, &cbe_metric_plain, 7, 5, v);
    cbe_controls_make(&c, &cbe_metric_plain, 7, 5, again);
    assert_memory_equal(v, again, sizeof v);
    assert_memory_equal(v, components, D * sizeof *v);
    cbe_controls_make(&c, &cbe_metric_plain, 7, 6, again);
    assert_true(memcmp(v + D, again + D, EACH * D * sizeof *v) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report__matches_pytorch_in_float64),
        cmocka_unit_test(model_energies__match_pytorch_in_float64),
        cmocka_unit_test(controls__are_drawn_from_the_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
