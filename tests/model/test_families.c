/*
 * Each family of models: PyTorch's golden values, the plain twin, names and keys of other writers.
 *
 * Tolerances: an entry is a sum of some hundred float32 products, each rounded to 6e-8, and every
 * block multiplies what came before: 1e-6 of the largest entry is expected, and 1.3e-6 is the most
 * that was measured; of logits 1.5e-5 (of 14).
 */
#include "support/assert_close.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "objective/lens/objective.h"
#include "math/norm.h"
#include "model/private.h"
#include "ref/lens_ref.h"
#include "ref/model_ref.h"
#include "support/capture.h"
#include "support/families.h"
#include "support/golden.h"

static const double hidden_tolerance = 1e-5, logit_tolerance = 1.2e-4;

static bool exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static void copy_file(const char *from, const char *folder, const char *name)
{
    size_t size;
    unsigned char *data = cbe_read_file(from, &size);
    char *to = cbe_temp_path(folder, name);
    cbe_write_file(to, data, size);
    free(data);
    free(to);
}

/* A folder with a golden model's weights, and the config file of that name as its config.json. */
static char *make_folder(const char *name, const char *config, const cbe_copy_edit *edit)
{
    char *folder = cbe_temp_folder();
    char *from = cbe_golden_path("models/%s/%s", name, config);
    copy_file(from, folder, "config.json");
    free(from);
    from = cbe_golden_path("models/%s/model.safetensors", name);
    char *to = cbe_temp_path(folder, "model.safetensors");
    cbe_copy_safetensors(from, to, edit);
    free(from);
    free(to);
    return folder;
}

static void compare_folder(const char *folder, const char *name)
{
    char *golden = cbe_golden_path("models/%s/golden.safetensors", name);
    cbe_model *model = open_model(folder);
    compare_with_golden(model, golden, "", hidden_tolerance, logit_tolerance);
    cbe_model_close(model);
    free(golden);
}

static void family__matches_golden(void **state)
{
    const char *name = *state;
    char *folder = cbe_golden_path("models/%s", name);
    compare_folder(folder, name);
    free(folder);
}

static void family__matches_golden_with_keys_of_transformers_4(void **state)
{
    const char *name = *state;
    char *config = cbe_golden_path("models/%s/config.v4.json", name);
    if (exists(config)) {
        char *folder = make_folder(name, "config.v4.json", &(cbe_copy_edit){0});
        compare_folder(folder, name);
        cbe_temp_remove(folder);
    }
    free(config);
}

/* As AutoModel rather than AutoModelForCausalLM writes them. */
static void family__reads_names_without_the_prefix(void **state)
{
    const char *name = *state;
    static const char *const prefixes[] = {"model.decoder.", "model.", "transformer.", "gpt_neox."};
    char *path = cbe_golden_path("models/%s", name);
    cbe_model *model = open_model(path);
    const char *prefix = model->plan.prefix;
    bool known = false;
    for (size_t i = 0; i < 4; i++) known |= strcmp(prefix, prefixes[i]) == 0;
    assert_true(known);
    char *folder = make_folder(name, "config.json", &(cbe_copy_edit){.strip_prefix = prefix});
    compare_folder(folder, name);
    cbe_temp_remove(folder);
    cbe_model_close(model);
    free(path);
}

/* As safetensors' save_model writes a shared matrix: under the last of its names alone. */
static void family__reads_a_shared_matrix_as_unembedding(void **state)
{
    const char *name = *state;
    char from[96], to[96], *path = cbe_golden_path("models/%s", name);
    cbe_model *model = open_model(path);
    const cbe_block_plan *plan = &model->plan;
    if (model->config.tied) {
        snprintf(from, sizeof from, "%s%s.weight", plan->prefix,
                 plan->names->roles[CBE_ROLE_EMBEDDING]);
        snprintf(to, sizeof to, "%s.weight", plan->names->roles[CBE_ROLE_UNEMBEDDING]);
        char *folder = make_folder(name, "config.json",
                                   &(cbe_copy_edit){.rename_from = from, .rename_to = to});
        compare_folder(folder, name);
        cbe_temp_remove(folder);
    }
    cbe_model_close(model);
    free(path);
}

/* The golden model's config.json, which ties the embeddings from here on. */
static void tie(const char *folder)
{
    static const char key[] = "\"tie_word_embeddings\": ";
    size_t size;
    char *path = cbe_temp_path(folder, "config.json");
    char *text = (char *)cbe_read_file(path, &size);
    text[size] = 0;
    char *at = strstr(text, key);
    assert_non_null(at);
    memcpy(at + strlen(key), "true ", 5);
    cbe_write_file(path, text, size);
    free(text);
    free(path);
}

/* A model that is said to be tied, and is not: its unembedding counts, and is told of. */
static void family__keeps_an_unembedding_that_differs(void **state)
{
    cbe_error err;
    const char *name = *state;
    char *path = cbe_golden_path("models/%s", name);
    cbe_model *model = open_model(path);
    if (!model->config.tied) {
        cbe_remarks remarks = {0};
        cbe_model *tied = NULL;
        char *folder = make_folder(name, "config.json", &(cbe_copy_edit){0});
        tie(folder);
        compare_folder(folder, name);
        const cbe_model_options options = {.remarks = &remarks};
        cbe_assert_ok(cbe_model_open_with(&tied, folder, &options, &err), &err);
        assert_int_equal(remarks.n, 1);
        assert_non_null(strstr(remarks.lines[0], model->plan.names->roles[CBE_ROLE_EMBEDDING]));
        assert_non_null(strstr(remarks.lines[0], model->plan.unembedding));
        assert_non_null(strstr(remarks.lines[0], "tie_word_embeddings"));
        cbe_model_close(tied);
        cbe_remarks_free(&remarks);
        cbe_assert_ok(cbe_model_open(&tied, folder, &err), &err);
        assert_non_null(strstr(cbe_model_warning(tied, 0), "tie_word_embeddings"));
        assert_null(cbe_model_warning(tied, 1));
        cbe_model_close(tied);
        cbe_temp_remove(folder);
    }
    cbe_model_close(model);
    free(path);
}

static void family__matches_the_plain_twin(void **state)
{
    const char *name = *state;
    char *path = cbe_golden_path("models/%s", name);
    cbe_model *model = open_model(path);
    const cbe_model_config *c = cbe_model_get_config(model);
    const bool learned = model->config.traits.positions == CBE_POSITIONS_LEARNED;
    const size_t shapes[][2] = {{7, 39}, {1, learned ? 40 : 410}};
    for (size_t i = 0; i < 2; i++) {
        const size_t n = shapes[i][0] * shapes[i][1];
        const size_t n_hidden = (c->n_layers + 1) * n * c->hidden_size,
                     n_logits = n * c->vocab_size;
        int64_t *ids = malloc(n * sizeof *ids);
        double *want = malloc((n_hidden + n_logits) * sizeof *want);
        float *rounded = malloc((n_hidden + n_logits) * sizeof *rounded);
        assert_true(ids && want && rounded);
        for (size_t k = 0; k < n; k++) ids[k] = (int64_t)(k * k * 7 % c->vocab_size);
        capture got;
        capture_run(&got, model, shapes[i][0], shapes[i][1], ids);
        cbe_model_ref(model, shapes[i][0], shapes[i][1], ids, want, want + n_hidden);
        for (size_t k = 0; k < n_hidden + n_logits; k++) rounded[k] = (float)want[k];
        cbe_assert_close_f32(got.hidden, rounded, n_hidden,
                             2 * hidden_tolerance * largest(rounded, n_hidden), 0,
                             "%s, hidden states, %zu x %zu", name, shapes[i][0], shapes[i][1]);
        cbe_assert_close_f32(got.logits, rounded + n_hidden, n_logits, 2 * logit_tolerance, 0,
                             "%s, logits, %zu x %zu", name, shapes[i][0], shapes[i][1]);
        capture_free(&got);
        free(ids);
        free(want);
        free(rounded);
    }
    cbe_model_close(model);
    free(path);
}

/* The least memory, and one with which some blocks are resident: the same bits. */
static void family__has_the_same_bits_within_a_memory_budget(void **state)
{
    cbe_error err;
    const char *name = *state;
    char *path = cbe_golden_path("models/%s", name);
    cbe_model *model = open_model(path);
    const cbe_model_config *c = cbe_model_get_config(model);
    const size_t matrix = c->vocab_size * c->hidden_size * sizeof(float);
    const size_t block = model->block_floats * sizeof(float);
    const size_t fixed = model->config.embedding_size == c->hidden_size ? matrix : 2 * matrix;
    const size_t budgets[] = {fixed + block, fixed + 2 * block, fixed + c->n_layers * block};
    const size_t resident[] = {0, c->n_layers == 2 ? 2 : 1, c->n_layers};
    int64_t ids[2 * 30];
    for (size_t k = 0; k < 60; k++) ids[k] = (int64_t)(k * 31 % c->vocab_size);
    capture want;
    capture_run(&want, model, 2, 30, ids);
    for (size_t i = 0; i < 3; i++) {
        const cbe_model_options options = {.memory = budgets[i]};
        cbe_model *small = NULL;
        cbe_assert_ok(cbe_model_open_with(&small, path, &options, &err), &err);
        assert_int_equal(small->n_resident, resident[i]);
        capture got;
        capture_run(&got, small, 2, 30, ids);
        assert_memory_equal(got.hidden, want.hidden,
                            (c->n_layers + 1) * 60 * c->hidden_size * sizeof(float));
        assert_memory_equal(got.logits, want.logits, 60 * c->vocab_size * sizeof(float));
        capture_free(&got);
        cbe_model_close(small);
    }
    const cbe_model_options options = {.memory = budgets[0] - 1};
    cbe_model *none = NULL;
    assert_int_equal(cbe_model_open_with(&none, path, &options, &err), CBE_ERR_ARG);
    assert_null(none);
    capture_free(&want);
    cbe_model_close(model);
    free(path);
}

static void expect_refusal(const char *folder, cbe_status status, const char *word)
{
    cbe_error err = {0};
    cbe_model *model = NULL;
    const cbe_status st = cbe_model_open(&model, folder, &err);
    if (st != status || err.code != st || !strstr(err.message, word) || model)
        fail_msg("%s \"%s\", expected %s with \"%s\"", cbe_status_name(st), err.message,
                 cbe_status_name(status), word);
}

/* Each tensor outside of blocks and in block 1 left out, and each matrix turned; one model of each
 * family, and those that have tensors of their own. */
static void family__names_missing_tensors_and_wrong_shapes(void **state)
{
    cbe_error err;
    const char *name = *state;
    if (strchr(name, '-') && strcmp(name, "opt-post-norm") != 0 && strcmp(name, "phi-norms") != 0)
        return;
    char *path = cbe_golden_path("models/%s/model.safetensors", name);
    char *folder = make_folder(name, "config.json", &(cbe_copy_edit){0});
    char *to = cbe_temp_path(folder, "model.safetensors");
    cbe_safetensors *file = open_golden(path);
    for (size_t i = 0; i < cbe_safetensors_count(file); i++) {
        cbe_tensor tensor;
        const char *tensor_name = cbe_safetensors_name(file, i);
        const bool in_block = strstr(tensor_name, "layers.") || strstr(tensor_name, "h.");
        if (in_block && !strstr(tensor_name, ".1.")) continue;
        cbe_copy_safetensors(path, to, &(cbe_copy_edit){.drop = tensor_name});
        expect_refusal(folder, CBE_ERR_FORMAT, tensor_name);
        cbe_assert_ok(cbe_safetensors_get(file, tensor_name, &tensor, &err), &err);
        if (tensor.n_dims != 2 || tensor.dims[0] == tensor.dims[1]) continue;
        cbe_copy_safetensors(path, to, &(cbe_copy_edit){.transpose = tensor_name});
        expect_refusal(folder, CBE_ERR_SHAPE, tensor_name);
    }
    cbe_safetensors_close(file);
    cbe_temp_remove(folder);
    free(to);
    free(path);
}

/* What old files hold besides weights. */
static void buffers__of_old_files_are_ignored(void **state)
{
    (void)state;
    static const struct {
        const char *name, *from, *buffer;
    } cases[] = {
        {"gpt2", "transformer.h.1.attn.c_attn.bias", "transformer.h.1.attn.masked_bias"},
        {"gpt2", "transformer.h.1.attn.c_attn.bias", "transformer.h.1.attn.bias"},
        {"gpt_neo", "transformer.h.1.ln_2.bias", "transformer.h.1.attn.attention.masked_bias"},
        {"gptj", "transformer.h.1.mlp.fc_in.bias", "transformer.h.1.attn.masked_bias"},
        {"gpt_neox", "gpt_neox.layers.1.mlp.dense_h_to_4h.bias",
         "gpt_neox.layers.1.attention.masked_bias"},
        {"gpt_neox", "gpt_neox.layers.1.mlp.dense_h_to_4h.bias",
         "gpt_neox.layers.1.attention.rotary_emb.inv_freq"},
        {"phi", "model.layers.1.mlp.fc1.bias", "model.layers.1.self_attn.rotary_emb.inv_freq"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const cbe_copy_edit edit = {.rename_from = cases[i].from, .rename_to = cases[i].buffer};
        char *folder = make_folder(cases[i].name, "config.json", &edit);
        /* Not the buffer is complained about, but what was taken away for it. */
        expect_refusal(folder, CBE_ERR_FORMAT, cases[i].from);
        cbe_temp_remove(folder);
    }
}

/* A model without a final norm: the decoder's norm leaves hidden states as they are, to the bit,
 * and the lens objective reads it like any other. */
static void decoder__stands_for_a_missing_final_norm(void **state)
{
    (void)state;
    cbe_error err;
    char *path = cbe_golden_path("models/opt-post-norm");
    cbe_model *model = open_model(path);
    const cbe_decoder *decoder = cbe_model_decoder(model);
    enum { TOKENS = 20 };
    const size_t d = decoder->hidden_size;
    float *hidden = malloc(2 * TOKENS * d * sizeof *hidden), *normed = hidden + TOKENS * d;
    double *v = malloc(3 * d * sizeof *v), *grad = v + d, *want_grad = grad + d, energy;
    assert_true(hidden && v);
    for (size_t i = 0; i < TOKENS * d; i++) hidden[i] = (float)(3 * sin(1.3 * (double)i * i));
    cbe_norm_rows(decoder->norm, decoder->norm_eps, TOKENS, d, hidden, decoder->gamma,
                  decoder->beta, normed);
    assert_memory_equal(hidden, normed, TOKENS * d * sizeof *hidden);
    for (size_t i = 0; i < d; i++) v[i] = 0.3 * cos((double)i);
    const cbe_lens_options options = {
        .n_tokens = TOKENS, .ablation = CBE_ABLATE_MEAN, .kind = CBE_LOSS_KL, .max_batch = 1};
    cbe_objective *objective = NULL;
    const cbe_translator none = {NULL, NULL};
    cbe_assert_ok(cbe_lens_objective_create(&objective, decoder, &options, &err), &err);
    cbe_assert_ok(cbe_lens_objective_set_layer(objective, hidden, none, NULL, &err), &err);
    cbe_assert_ok(cbe_objective_eval(objective, 1, v, &energy, grad, NULL, &err), &err);
    const double want =
        cbe_lens_energy_ref(decoder, &options, hidden, none, NULL, v, 0, NULL, want_grad);
    assert_true(want > 1e-3);
    double top = 0;
    for (size_t i = 0; i < d; i++) top = fmax(top, fabs(want_grad[i]));
    /* Logits are float32, some tens: 1e-5. */
    cbe_assert_close(&energy, &want, 1, 0, 1e-5, "energy");
    cbe_assert_close(grad, want_grad, d, 1e-5 * top, 0, "gradient");
    cbe_objective_free(objective);
    cbe_model_close(model);
    free(hidden);
    free(v);
    free(path);
}

int main(void)
{
    static char names[][24] = {
        CBE_TEST_FAMILIES /* not const: cmocka's initial state is not */
    };
    static const struct {
        const char *name;
        CMUnitTestFunction function;
    } kinds[] = {
        {"matches_golden", family__matches_golden},
        {"matches_golden_with_keys_of_transformers_4",
         family__matches_golden_with_keys_of_transformers_4},
        {"reads_names_without_the_prefix", family__reads_names_without_the_prefix},
        {"reads_a_shared_matrix_as_unembedding", family__reads_a_shared_matrix_as_unembedding},
        {"keeps_an_unembedding_that_differs", family__keeps_an_unembedding_that_differs},
        {"matches_the_plain_twin", family__matches_the_plain_twin},
        {"has_the_same_bits_within_a_memory_budget",
         family__has_the_same_bits_within_a_memory_budget},
        {"names_missing_tensors_and_wrong_shapes", family__names_missing_tensors_and_wrong_shapes},
    };
    enum { N_NAMES = sizeof names / sizeof *names, N_KINDS = sizeof kinds / sizeof *kinds };
    static char titles[N_NAMES * N_KINDS][96];
    static struct CMUnitTest tests[N_NAMES * N_KINDS + 2] = {
        [N_NAMES * N_KINDS] = cmocka_unit_test(buffers__of_old_files_are_ignored),
        [N_NAMES * N_KINDS + 1] = cmocka_unit_test(decoder__stands_for_a_missing_final_norm),
    };
    for (size_t i = 0; i < N_NAMES * N_KINDS; i++) {
        snprintf(titles[i], sizeof titles[i], "%s__%s", names[i / N_KINDS],
                 kinds[i % N_KINDS].name);
        tests[i] = (struct CMUnitTest){titles[i], kinds[i % N_KINDS].function, NULL, NULL,
                                       names[i / N_KINDS]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
