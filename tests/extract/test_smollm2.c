/* SmolLM2 through the logit lens, with its own decoder: energies and gradients against PyTorch's
 * (tests/golden/smollm2), and the search by rough energies, which vocabularies of this size get. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objective/calls.h"
#include "extract/extraction.h"
#include "model/hidden_states.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"
#include "objective/lens/objective.h"
#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/smollm2.h"

static const size_t layers[] = {1, 15, 25};
static const cbe_ablation modes[] = {CBE_ABLATE_MEAN, CBE_ABLATE_ZERO};

static cbe_error err;

/* The layers' energies and gradients on hidden states of `states`. */
static void compare(const cbe_safetensors *golden, const cbe_hidden_states *states,
                    const cbe_decoder *decoder)
{
    const size_t d = decoder->hidden_size, n = cbe_hidden_states_n_tokens(states, 0);
    float *hidden = malloc(n * d * sizeof *hidden), *v32 = malloc(d * sizeof *v32);
    double *v = malloc(d * sizeof *v), *grad = malloc(d * sizeof *grad), energy;
    cbe_tensor t;
    cbe_assert_ok(cbe_safetensors_get(golden, "v", &t, &err), &err);
    cbe_assert_ok(cbe_tensor_to_float(&t, 0, d, v32, &err), &err);
    for (size_t k = 0; k < d; k++) v[k] = (double)v32[k];
    for (size_t m = 0; m < 2; m++) {
        const cbe_lens_options options = {n,    modes[m], CBE_LOSS_KL,        NULL, NULL, 1,
                                          NULL, NULL,     CBE_LOGITS_FLOAT32, NULL, 0,    0};
        cbe_objective *o = NULL;
        cbe_assert_ok(cbe_lens_objective_create(&o, decoder, &options, &err), &err);
        for (size_t l = 0; l < 3; l++) {
            char name[64];
            double largest = 0;
            cbe_assert_ok(cbe_hidden_states_read(states, layers[l], 0, hidden, &err), &err);
            cbe_assert_ok(
                cbe_lens_objective_set_layer(o, hidden, (cbe_translator){NULL, NULL}, NULL, &err),
                &err);
            cbe_assert_ok(cbe_objective_eval(o, 1, v, &energy, grad, NULL, &err), &err);
            snprintf(name, sizeof name, "lens.%zu.%s.energy", layers[l],
                     cbe_ablation_name(modes[m]));
            double *want = cbe_golden_f64(golden, name, 1);
            snprintf(name, sizeof name, "lens.%zu.%s.grad", layers[l], cbe_ablation_name(modes[m]));
            double *want_grad = cbe_golden_f64(golden, name, d);
            for (size_t k = 0; k < d; k++) largest = fmax(largest, fabs(want_grad[k]));
            /* PyTorch's values are themselves good to about 1e-5. */
            cbe_assert_close(&energy, want, 1, 0, 1e-4, "layer %zu %s", layers[l],
                             cbe_ablation_name(modes[m]));
            cbe_assert_close(grad, want_grad, d, 1e-3 * largest, 0, "%s", name);
            free(want);
            free(want_grad);
        }
        cbe_objective_free(o);
    }
    free(hidden);
    free(v32);
    free(v);
    free(grad);
}

static void lens__meets_pytorch_on_stored_and_on_captured_hidden_states(void **state)
{
    (void)state;
    const char *path = cbe_test_smollm2_path();
    static const char golden_path[] = CBE_TEST_DATA "/golden/smollm2/golden.safetensors";
    cbe_safetensors *golden = NULL;
    cbe_hidden_states *stored = NULL, *captured = NULL;
    cbe_model *model = NULL;
    cbe_tokens tokens = {0};
    bool wanted[31] = {false};
    for (size_t l = 0; l < 3; l++) wanted[layers[l]] = true;
    cbe_assert_ok(cbe_safetensors_open(&golden, golden_path, &err), &err);
    cbe_assert_ok(cbe_hidden_states_open(&stored, golden_path, &err), &err);
    cbe_assert_ok(cbe_tokens_load(&tokens, golden_path, NULL, &err), &err);
    cbe_assert_ok(cbe_model_open(&model, path, &err), &err);
    compare(golden, stored, cbe_model_decoder(model));
    cbe_assert_ok(cbe_hidden_states_capture(&captured, model, &tokens, wanted, NULL, NULL, &err),
                  &err);
    compare(golden, captured, cbe_model_decoder(model));
    cbe_hidden_states_close(captured);
    cbe_hidden_states_close(stored);
    cbe_tokens_free(&tokens);
    cbe_model_close(model);
    cbe_safetensors_close(golden);
}

/* The first vector of layer 15 through the logit lens. */
static cbe_basis search_layer(const cbe_hidden_states *states, const cbe_decoder *decoder,
                              bool rough, double *energy)
{
    static const size_t layer = 15;
    cbe_extraction_options options;
    cbe_layer_objective *layers_objective = NULL;
    cbe_objective *objective = NULL;
    cbe_layer_result result = {0};
    cbe_extraction_options_init(&options);
    options.skip_positions = 1;
    options.search.n_vectors = 1;
    options.covariance = true;
    cbe_assert_ok(cbe_layer_objective_create(&layers_objective, states, decoder, &options, &err),
                  &err);
    cbe_assert_ok(cbe_layer_objective_set(layers_objective, layer, &objective, &err), &err);
    assert_non_null(objective->set_rough);
    if (!rough) objective->set_rough = NULL;
    cbe_assert_ok(cbe_extract(layers_objective, 1, &layer, decoder, &options, NULL, &result, &err),
                  &err);
    cbe_assert_ok(cbe_objective_eval(objective, 1, result.basis.vectors, energy, NULL, NULL, &err),
                  &err);
    const cbe_basis basis = result.basis;
    result.basis = (cbe_basis){0};
    cbe_layer_results_free(1, &result);
    cbe_layer_objective_free(layers_objective);
    return basis;
}

/* The search that every real model gets, against the same search with exact energies alone. */
static void search__by_rough_energies_finds_what_exact_ones_find(void **state)
{
    (void)state;
    const char *const texts[] = {CBE_TEST_DATA "/../data/sample.txt"};
    const cbe_documents_options documents = {.kind = CBE_DOCUMENTS_FILE};
    cbe_model *model = NULL;
    cbe_tokenizer *tokenizer = NULL;
    cbe_tokens tokens = {0};
    cbe_hidden_states *states = NULL;
    bool wanted[31] = {[15] = true};
    double energies[2], cosine = 0;
    const double one = 1;
    cbe_assert_ok(cbe_model_open(&model, cbe_test_smollm2_path(), &err), &err);
    cbe_assert_ok(cbe_tokenizer_read(&tokenizer, cbe_test_smollm2_path(), NULL, NULL, &err), &err);
    cbe_assert_ok(cbe_tokens_from_texts(&tokens, tokenizer, 1, texts, &documents, 128, 640, &err),
                  &err);
    cbe_assert_ok(cbe_hidden_states_capture(&states, model, &tokens, wanted, NULL, NULL, &err),
                  &err);
    cbe_basis rough = search_layer(states, cbe_model_decoder(model), true, &energies[0]);
    cbe_basis exact = search_layer(states, cbe_model_decoder(model), false, &energies[1]);
    for (size_t k = 0; k < rough.hidden_size; k++) cosine += rough.vectors[k] * exact.vectors[k];
    cosine = fabs(cosine);
    /* What is told is exact: float32 logits leave 3e-7 nats. */
    cbe_assert_close(&rough.records->energy, &energies[0], 1, 1e-6, 0,
                     "energy by rough evaluations");
    cbe_assert_close(&rough.records->energy, &exact.records->energy, 1, 0, 1e-4,
                     "energies of both searches");
    cbe_assert_close(&cosine, &one, 1, 1e-3, 0, "vectors of both searches");
    assert_true(rough.records->evaluations < exact.records->evaluations);
    cbe_basis_free(&rough);
    cbe_basis_free(&exact);
    cbe_hidden_states_close(states);
    cbe_tokens_free(&tokens);
    cbe_tokenizer_free(tokenizer);
    cbe_model_close(model);
}

int main(void)
{
    if (!cbe_test_smollm2_path()) {
        print_message("SmolLM2 is not there: set CBE_SMOLLM2 or run scripts/get-model.sh\n");
        return 77; /* ctest shows the test as skipped */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lens__meets_pytorch_on_stored_and_on_captured_hidden_states),
        cmocka_unit_test(search__by_rough_energies_finds_what_exact_ones_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
