/* test_ceiling.c - what predicting the same everywhere costs, against PyTorch in float64, and by
 * its definition. */
#include "objective/ceiling.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

#include "core/memory.h"
#include "model/model.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"

static cbe_error err;

/* Blocks of the last states, a sequence each, without its first position. */
static cbe_ceiling_block *cut(const capture *states, size_t n_sequences, size_t length)
{
    const size_t d = states->hidden_size;
    const float *last = states->hidden + states->n_layers * states->n_tokens * d;
    cbe_ceiling_block *blocks = malloc(n_sequences * sizeof *blocks);
    assert_non_null(blocks);
    for (size_t b = 0; b < n_sequences; b++)
        blocks[b] = (cbe_ceiling_block){length - 1, last + (b * length + 1) * d};
    return blocks;
}

/* H(mean p) - mean H(p) from logits, in float64. */
static double by_definition(const capture *states, size_t n_sequences, size_t length)
{
    const size_t v = states->vocab_size;
    double *p = malloc(v * sizeof *p), *mean = calloc(v, sizeof *mean), entropies = 0, entropy = 0;
    assert_true(p && mean);
    const double n = (double)(n_sequences * (length - 1));
    for (size_t i = 0; i < n_sequences * length; i++) {
        if (i % length == 0) continue;
        const float *z = states->logits + i * v;
        double top = (double)z[0], sum = 0;
        for (size_t t = 0; t < v; t++) top = fmax(top, (double)z[t]);
        for (size_t t = 0; t < v; t++) sum += p[t] = exp((double)z[t] - top);
        for (size_t t = 0; t < v; t++) {
            p[t] /= sum;
            mean[t] += p[t] / n;
            if (p[t] > 0) entropies -= p[t] * log(p[t]) / n;
        }
    }
    for (size_t t = 0; t < v; t++)
        if (mean[t] > 0) entropy -= mean[t] * log(mean[t]);
    free(p);
    free(mean);
    return entropy - entropies;
}

static void ceiling__matches_pytorch_and_the_definition(void **state)
{
    (void)state;
    static const char *const names[] = {"bloom", "gemma2", "gpt2", "gpt_neox", "llama", "olmo2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *model_path = cbe_golden_path("models/%s", names[i]);
        char *path = cbe_golden_path("truth/%s/golden.safetensors", names[i]);
        cbe_model *model = open_model(model_path);
        cbe_safetensors *file = open_golden(path);
        size_t n_sequences, length;
        int64_t *ids = cbe_golden_ids(file, "input_ids", &n_sequences, &length);
        capture states;
        capture_run(&states, model, n_sequences, length, ids);
        cbe_ceiling_block *blocks = cut(&states, n_sequences, length);
        double *want = cbe_golden_f64(file, "ceiling", 1), first = 0;
        const double defined = by_definition(&states, n_sequences, length);
        for (const cbe_kernels *const *k = cbe_kernels_table; *k; k++) {
            double got = 0;
            if (!(*k)->usable()) continue;
            cbe_assert_ok(cbe_ceiling(&got, cbe_model_decoder(model), (cbe_translator){0}, *k,
                                      n_sequences, blocks, NULL, &err),
                          &err);
            cbe_assert_close(&got, want, 1, 1e-6, 1e-4, "%s, %s", names[i], (*k)->name);
            cbe_assert_close(&got, &defined, 1, 1e-6, 1e-5, "%s, %s", names[i], (*k)->name);
            omp_set_num_threads(1);
            cbe_assert_ok(cbe_ceiling(&first, cbe_model_decoder(model), (cbe_translator){0}, *k,
                                      n_sequences, blocks, NULL, &err),
                          &err);
            omp_set_num_threads(2);
            assert_true(first == got);
        }
        free(want);
        free(blocks);
        capture_free(&states);
        free(ids);
        cbe_safetensors_close(file);
        cbe_model_close(model);
        free(path);
        free(model_path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ceiling__matches_pytorch_and_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
