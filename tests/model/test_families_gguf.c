/*
 * GGUF architectures: the same model as the Hugging Face folder from which it was made
 * (tests/tools/make_model_gguf.py), and configurations that must be refused.
 */
#include "support/assert_close.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/private.h"
#include "support/capture.h"
#include "support/golden.h"

enum { N_SEQUENCES = 3, LENGTH = 38, N_TOKENS = N_SEQUENCES * LENGTH };

static void run(const char *path, capture *out)
{
    int64_t ids[N_TOKENS];
    cbe_model *model = open_model(path);
    const size_t vocab = cbe_model_get_config(model)->vocab_size;
    for (size_t k = 0; k < N_TOKENS; k++) ids[k] = (int64_t)(k * k * 3 % vocab);
    capture_run(out, model, N_SEQUENCES, LENGTH, ids);
    cbe_model_close(model);
}

/* To the bit, though 1e-6 would do. */
static void gguf__gives_the_hidden_states_of_the_folder(void **state)
{
    const char *name = *state;
    char *folder = cbe_golden_path("models/%s", name);
    char *file = cbe_golden_path("gguf/families/%s.gguf", name);
    capture want, got;
    run(folder, &want);
    run(file, &got);
    assert_int_equal(got.hidden_size, want.hidden_size);
    assert_int_equal(got.n_layers, want.n_layers);
    const size_t n = (want.n_layers + 1) * N_TOKENS * want.hidden_size;
    assert_memory_equal(got.hidden, want.hidden, n * sizeof(float));
    assert_memory_equal(got.logits, want.logits, N_TOKENS * want.vocab_size * sizeof(float));
    capture_free(&want);
    capture_free(&got);
    free(folder);
    free(file);
}

static void gguf__matches_golden(void **state)
{
    const char *name = *state;
    char *golden = cbe_golden_path("models/%s/golden.safetensors", name);
    char *file = cbe_golden_path("gguf/families/%s.gguf", name);
    cbe_model *model = open_model(file);
    compare_with_golden(model, golden, "", 1e-5, 1.2e-4); /* as in test_families.c */
    cbe_model_close(model);
    free(golden);
    free(file);
}

/* Quantised blocks, expanded when they are needed. */
static void gguf__has_the_same_bits_within_a_memory_budget(void **state)
{
    (void)state;
    cbe_error err;
    static const char *const types[] = {"f16", "q8_0", "q4_0", "q4_1"};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        char *path = cbe_golden_path("gguf/tiny-llama/llama-%s.gguf", types[t]);
        cbe_model *model = open_model(path), *small = NULL;
        const size_t matrix = model->config.sizes.vocab_size * model->config.sizes.hidden_size;
        const cbe_model_options options = {.memory =
                                               (matrix + model->block_floats) * sizeof(float)};
        cbe_assert_ok(cbe_model_open_with(&small, path, &options, &err), &err);
        assert_int_equal(small->n_resident, 0);
        assert_null(small->embedding);
        int64_t ids[60];
        for (size_t k = 0; k < 60; k++) ids[k] = (int64_t)(k * 31 % 320);
        capture want, got;
        capture_run(&want, model, 2, 30, ids);
        capture_run(&got, small, 2, 30, ids);
        assert_memory_equal(got.hidden, want.hidden, 3 * 60 * want.hidden_size * sizeof(float));
        assert_memory_equal(got.logits, want.logits, 60 * want.vocab_size * sizeof(float));
        capture_free(&want);
        capture_free(&got);
        cbe_model_close(model);
        cbe_model_close(small);
        free(path);
    }
}

/* A copy of a file in which the bytes `from`, found once, are `to`. */
static char *change(const char *folder, const char *name, const char *from, size_t size,
                    const char *to)
{
    size_t file_size, at = 0;
    char *from_path = cbe_golden_path("gguf/families/%s.gguf", name);
    char *path = cbe_temp_path(folder, "changed.gguf");
    unsigned char *data = cbe_read_file(from_path, &file_size);
    while (at + size <= file_size && memcmp(data + at, from, size) != 0) at++;
    assert_true(at + size <= file_size);
    memcpy(data + at, to, size);
    cbe_write_file(path, data, file_size);
    free(data);
    free(from_path);
    return path;
}

static void gguf__names_what_it_does_not_follow(void **state)
{
    (void)state;
    static const struct {
        const char *name, *from, *to;
        cbe_status status;
        const char *word;
    } cases[] = {
        {"gpt2", "gpt2", "gptx", CBE_ERR_UNSUPPORTED, "'gptx'"},
        {"gpt2", "blk.1.attn_qkv.bias", "blk.1.attn_qkv.bios", CBE_ERR_UNSUPPORTED,
         "blk.1.attn_qkv.bios"},
        {"gpt2", "position_embd.weight", "pasition_embd.weight", CBE_ERR_FORMAT,
         "position_embd.weight"},
        {"qwen3", "blk.2.attn_q_norm.weight", "blk.2.attn_q_nurm.weight", CBE_ERR_UNSUPPORTED,
         "blk.2.attn_q_nurm.weight"},
        {"phi3-longrope", "rope_factors_long.weight", "rope_factors_lung.weight", CBE_ERR_FORMAT,
         "rope_factors_long.weight"},
        {"phi", "output.bias", "output.bios", CBE_ERR_FORMAT, "output.bias"},
    };
    char *folder = cbe_temp_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        cbe_model *model = NULL;
        char *path =
            change(folder, cases[i].name, cases[i].from, strlen(cases[i].from), cases[i].to);
        const cbe_status st = cbe_model_open(&model, path, &err);
        if (st != cases[i].status || !strstr(err.message, cases[i].word) || model)
            fail_msg("%s: %s \"%s\"", cases[i].from, cbe_status_name(st), err.message);
        free(path);
    }
    cbe_temp_remove(folder);
}

int main(void)
{
    static char names[][16] = {"gemma", "gemma2",        "gemma3-linear", "gpt2", "phi",
                               "phi3",  "phi3-longrope", "qwen2",         "qwen3"};
    enum { N_NAMES = sizeof names / sizeof *names };
    struct CMUnitTest tests[2 * N_NAMES + 2] = {
        cmocka_unit_test(gguf__has_the_same_bits_within_a_memory_budget),
        cmocka_unit_test(gguf__names_what_it_does_not_follow),
    };
    for (size_t i = 0; i < N_NAMES; i++) {
        tests[2 + 2 * i] = (struct CMUnitTest)cmocka_unit_test_prestate(
            gguf__gives_the_hidden_states_of_the_folder, names[i]);
        tests[3 + 2 * i] =
            (struct CMUnitTest)cmocka_unit_test_prestate(gguf__matches_golden, names[i]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
