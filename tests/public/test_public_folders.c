/*
 * Model folders as people have them: kinds of trouble that were reported in public, each a row.
 *
 * A row changes the config.json of a golden model. Either nothing changes, to the bit of the
 * logits; or one value of the configuration is as it must be; or the folder is refused, by the name
 * of what is wrong. What transformers makes of such keys was measured by
 * tests/tools/compare_configs.py.
 */
#include "support/assert_close.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/private.h"
#include "support/capture.h"
#include "support/golden.h"

enum { SEQUENCES = 2, LENGTH = 9, TOKENS = SEQUENCES * LENGTH };

/* A value in a row's keys that takes the key out. */
static const char absent[] = "-";

/* config.json of a golden model with a row's keys, an object in JSON, put in; freed with free(). */
static char *changed_config(const char *model, const char *keys)
{
    size_t size;
    const char *key;
    json_t *value;
    char *path = cbe_golden_path("models/%s/config.json", model);
    unsigned char *text = cbe_read_file(path, &size);
    json_t *root = json_loadb((const char *)text, size, 0, NULL), *edit = json_loads(keys, 0, NULL);
    assert_true(root && edit);
    json_object_foreach(edit, key, value)
    {
        const char *word = json_string_value(value);
        if (word && strcmp(word, absent) == 0)
            json_object_del(root, key);
        else
            assert_int_equal(json_object_set(root, key, value), 0);
    }
    char *changed = json_dumps(root, 0);
    assert_non_null(changed);
    json_decref(root);
    json_decref(edit);
    free(text);
    free(path);
    return changed;
}

static void put_config(const char *folder, const char *model, const char *keys)
{
    char *text = changed_config(model, keys), *path = cbe_temp_path(folder, "config.json");
    cbe_write_file(path, text, strlen(text));
    free(text);
    free(path);
}

static void put_tensors(const char *folder, const char *name, const char *model,
                        const cbe_copy_edit *edit)
{
    char *from = cbe_golden_path("models/%s/model.safetensors", model),
         *to = cbe_temp_path(folder, name);
    cbe_copy_safetensors(from, to, edit);
    free(from);
    free(to);
}

static void put_text(const char *folder, const char *name, const char *text)
{
    char *path = cbe_temp_path(folder, name);
    cbe_write_file(path, text, strlen(text));
    free(path);
}

/* Logits of a model on some tokens, to be freed with free(). */
static float *logits_of(const cbe_model *model)
{
    int64_t ids[TOKENS];
    capture got;
    const size_t vocab = cbe_model_get_config(model)->vocab_size;
    for (size_t i = 0; i < TOKENS; i++) ids[i] = (int64_t)(i * i * 7 % vocab);
    capture_run(&got, model, SEQUENCES, LENGTH, ids);
    float *logits = malloc(TOKENS * vocab * sizeof *logits);
    assert_non_null(logits);
    memcpy(logits, got.logits, TOKENS * vocab * sizeof *logits);
    capture_free(&got);
    return logits;
}

/* The folder's logits are those of the golden model, to the bit; `remarks` lines are told. */
static void expect_same(const char *folder, const char *model, const char *row, size_t remarks)
{
    cbe_error err;
    cbe_model *changed = NULL;
    char *path = cbe_golden_path("models/%s", model);
    cbe_model *golden = open_model(path);
    if (cbe_model_open(&changed, folder, &err) != CBE_OK)
        fail_msg("%s, %s: %s", model, row, err.message);
    float *want = logits_of(golden), *got = logits_of(changed);
    const size_t n = TOKENS * cbe_model_get_config(golden)->vocab_size;
    if (memcmp(want, got, n * sizeof *want) != 0) fail_msg("%s, %s: other logits", model, row);
    size_t warnings = 0;
    while (cbe_model_warning(changed, warnings)) warnings++;
    assert_int_equal(warnings, remarks);
    free(want);
    free(got);
    cbe_model_close(golden);
    cbe_model_close(changed);
    free(path);
}

/* Keys of other families, other names of the family's own keys, and keys without a meaning. */
static void config__keys_that_change_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *model, *keys;
    } rows[] = {
        {"llama", "{\"layer_norm_eps\": 0.3, \"layer_norm_epsilon\": 0.3}"},
        {"llama", "{\"rotary_dim\": 2, \"rotary_pct\": 0.25, \"rotary_emb_base\": 77}"},
        {"llama", "{\"partial_rotary_factor\": 0.5}"},
        {"llama", "{\"activation_function\": \"relu\", \"hidden_activation\": \"gelu\"}"},
        {"llama", "{\"sliding_window\": 2, \"use_sliding_window\": true}"},
        {"llama", "{\"n_embd\": 8, \"n_layer\": 1, \"n_head\": 1, \"n_positions\": 8}"},
        {"llama", "{\"n_inner\": 8, \"ffn_dim\": 8, \"num_layers\": 1, \"num_heads\": 1}"},
        {"llama", "{\"add_cross_attention\": true, \"use_bidirectional_attention\": true}"},
        {"llama", "{\"apply_residual_connection_post_layernorm\": true}"},
        {"llama", "{\"torch_dtype\": \"float16\", \"dtype\": \"bfloat16\"}"},
        {"llama", "{\"hidden_act\": \"swish\"}"},
        {"llama", "{\"hidden_act\": null, \"attention_bias\": null, \"mlp_bias\": null}"},
        {"llama", "{\"rope_scaling\": null}"},
        {"llama", "{\"rope_scaling\": {}}"},
        {"llama", "{\"rope_parameters\": null, \"rope_theta\": 10000}"},
        {"llama", "{\"rope_parameters\": \"-\", \"rope_theta\": \"-\"}"},
        {"llama", "{\"rope_theta\": 77.0}"}, /* beside rope_parameters, which has one */
        {"llama", "{\"rope_parameters\": {\"type\": \"default\"}}"},
        {"llama-linear", "{\"rope_theta\": 500.0, \"rope_scaling\": "
                         "{\"type\": \"linear\", \"factor\": 3}}"}, /* both, the same */
        {"llama-linear", "{\"rope_parameters\": {\"rope_type\": \"linear\", \"type\": "
                         "\"dynamic\", \"factor\": 3.0, \"rope_theta\": 500}}"},
        {"mistral", "{\"num_key_value_heads\": 2, \"rms_norm_epsilon\": 0.3}"},
        {"gemma2", "{\"hidden_act\": \"gelu\", \"sliding_window_pattern\": 3}"},
        {"gemma2", "{\"hidden_activation\": \"gelu_accurate\"}"},
        {"gemma3", "{\"_sliding_window_pattern\": 2, \"rope_theta\": 5.0}"},
        {"gemma", "{\"hidden_act\": \"gelu\", \"hidden_activation\": \"relu\"}"},
        {"gpt2", "{\"n_ctx\": 8, \"intermediate_size\": 8, \"head_dim\": 2}"},
        {"gpt2", "{\"hidden_act\": \"relu\", \"layer_norm_eps\": 0.3}"},
        {"gpt2", "{\"activation_function\": \"gelu_fast\", \"num_key_value_heads\": 1}"},
        {"gpt_neo", "{\"n_positions\": 8, \"layer_norm_eps\": 0.3, \"sliding_window\": 1}"},
        {"gptj", "{\"rope_theta\": 77, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}"},
        {"gpt_neox", "{\"rope_theta\": 77, \"layer_norm_epsilon\": 0.3}"},
        {"gpt_neox", "{\"num_key_value_heads\": 1}"},
        {"opt", "{\"layer_norm_eps\": 0.3, \"intermediate_size\": 8, \"hidden_act\": \"gelu\"}"},
        {"bloom", "{\"max_position_embeddings\": 4, \"intermediate_size\": 8}"},
        {"bloom", "{\"activation_function\": \"relu\", \"hidden_act\": \"relu\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *folder = cbe_temp_folder();
        put_config(folder, rows[i].model, rows[i].keys);
        put_tensors(folder, "model.safetensors", rows[i].model, &(cbe_copy_edit){0});
        expect_same(folder, rows[i].model, rows[i].keys, 0);
        cbe_temp_remove(folder);
    }
}

typedef struct {
    cbe_activation activation;
    double eps, base, share; /* base of global blocks */
    size_t hidden, kv_heads, head, context, window, n_local;
    cbe_rope_kind kind;
} values;

static void read_values(const char *model, const char *keys, values *out)
{
    cbe_error err;
    cbe_config *config = malloc(sizeof *config);
    char *text = changed_config(model, keys);
    assert_non_null(config);
    if (cbe_config_from_json(config, text, strlen(text), "config.json", &err) != CBE_OK)
        fail_msg("%s, %s: %s", model, keys, err.message);
    const cbe_model_config *c = &config->sizes;
    *out = (values){config->traits.activation,
                    c->norm_eps,
                    config->rope[CBE_REACH_GLOBAL].base,
                    config->rotary_share,
                    c->hidden_size,
                    c->n_kv_heads,
                    c->head_size,
                    c->max_context,
                    config->window,
                    0,
                    config->rope[CBE_REACH_GLOBAL].kind};
    for (size_t i = 0; i < c->n_layers && i < CBE_MAX_LOCAL_BLOCKS; i++)
        out->n_local += config->local[i];
    free(text);
    free(config);
}

#define VALUE(member) offsetof(values, member), sizeof((values){0}.member)

/* Values that transformers reads, too, and that were read otherwise. */
static void config__values_are_those_of_transformers(void **state)
{
    (void)state;
    static const struct {
        const char *model, *keys;
        size_t offset, size; /* of the value */
        double want;
    } rows[] = {
        {"gemma2", "{\"hidden_activation\": \"gelu\"}", VALUE(activation), CBE_GELU},
        {"gemma3", "{\"hidden_activation\": \"gelu\"}", VALUE(activation), CBE_GELU},
        {"gemma", "{\"hidden_act\": \"gelu\"}", VALUE(activation), CBE_GELU_TANH},
        {"gemma", "{\"hidden_act\": \"gelu_python\"}", VALUE(activation), CBE_GELU},
        {"llama", "{\"hidden_act\": \"gelu_python_tanh\"}", VALUE(activation), CBE_GELU_TANH},
        {"llama", "{\"hidden_act\": \"gelu\"}", VALUE(activation), CBE_GELU},
        {"gpt_neox", "{\"hidden_act\": \"-\"}", VALUE(activation), CBE_GELU},
        {"llama", "{\"rms_norm_eps\": \"-\"}", VALUE(eps), 1e-6},
        {"phi3", "{\"rms_norm_eps\": null}", VALUE(eps), 1e-5},
        {"opt", "{\"layer_norm_eps\": 0.1}", VALUE(eps), 1e-5},
        {"gpt2", "{\"hidden_size\": 16, \"n_embd\": 24, \"n_head\": 2}", VALUE(hidden), 16},
        {"bloom", "{\"n_embed\": 16, \"n_head\": 2}", VALUE(hidden), 16},
        {"llama", "{\"hidden_size\": \"-\"}", VALUE(hidden), 4096},
        {"mistral", "{\"num_attention_heads\": 8, \"num_key_value_heads\": \"-\"}", VALUE(kv_heads),
         8},
        {"mistral", "{\"num_attention_heads\": 4, \"num_key_value_heads\": null}", VALUE(kv_heads),
         4},
        {"qwen3", "{\"head_dim\": \"-\"}", VALUE(head), 128},
        {"gpt2", "{\"n_positions\": \"-\", \"n_ctx\": 77}", VALUE(context), 1024},
        {"gpt_neox", "{\"rope_parameters\": \"-\", \"rotary_emb_base\": 77}", VALUE(base), 77},
        {"gpt_neox", "{\"rope_parameters\": \"-\", \"rope_theta\": 77}", VALUE(base), 10000},
        {"gpt_neox", "{\"rope_parameters\": \"-\", \"rotary_pct\": 0.5}", VALUE(share), 0.5},
        {"gpt_neox", "{\"rope_parameters\": \"-\", \"partial_rotary_factor\": 0.5}", VALUE(share),
         0.25},
        {"phi", "{\"rope_parameters\": {\"rope_theta\": 9}}", VALUE(share), 0.5},
        {"phi", "{\"rope_parameters\": {\"rope_theta\": 9}, \"partial_rotary_factor\": 0.25}",
         VALUE(share), 0.25},
        {"llama",
         "{\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 2}, "
         "\"rope_theta\": 77}",
         VALUE(base), 77},
        {"llama",
         "{\"rope_parameters\": null, \"rope_scaling\": {\"type\": \"linear\", "
         "\"factor\": 2, \"rope_theta\": 55}, \"rope_theta\": 77}",
         VALUE(base), 55},
        {"llama",
         "{\"rope_parameters\": null, \"rope_scaling\": {\"type\": \"linear\", "
         "\"factor\": 2}}",
         VALUE(kind), CBE_ROPE_LINEAR},
        {"mistral", "{\"sliding_window\": \"-\"}", VALUE(window), 4096},
        {"mistral", "{\"layer_types\": [\"full_attention\", \"sliding_attention\", \"attention\"]}",
         VALUE(n_local), 1},
        {"mistral", "{\"sliding_window\": 3, \"layer_types\": null}", VALUE(n_local), 3},
        {"gpt_neo", "{\"window_size\": \"-\"}", VALUE(window), 256},
        {"gpt_neo", "{\"attention_types\": \"-\", \"attention_layers\": \"-\", \"num_layers\": 24}",
         VALUE(n_local), 12},
        {"gemma3", "{\"layer_types\": \"-\", \"sliding_window_pattern\": 1}", VALUE(n_local), 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        values read;
        read_values(rows[i].model, rows[i].keys, &read);
        const char *at = (const char *)&read + rows[i].offset;
        double number;
        size_t size;
        unsigned small;
        if (rows[i].offset < offsetof(values, eps) || rows[i].offset == offsetof(values, kind)) {
            memcpy(&small, at, sizeof small); /* an enum */
            number = small;
        } else if (rows[i].offset < offsetof(values, hidden)) {
            memcpy(&number, at, sizeof number);
        } else {
            memcpy(&size, at, sizeof size);
            number = (double)size;
        }
        if (number != rows[i].want)
            fail_msg("%s, %s: %g, want %g", rows[i].model, rows[i].keys, number, rows[i].want);
    }
}

static void config__refusals_name_the_keys(void **state)
{
    (void)state;
    static const struct {
        const char *model, *keys, *says[2];
    } rows[] = {
        {"qwen3",
         "{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, "
         "\"original_max_position_embeddings\": 16}}",
         {"rope_scaling", "rope_parameters"}},
        {"llama-linear", /* transformers drops rope_parameters, with its rope_theta */
         "{\"rope_theta\": \"-\", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 3}}",
         {"rope_scaling", "rope_theta"}},
        {"llama",
         "{\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 5}}}",
         {"rope_parameters", "full_attention"}},
        {"gemma3", "{\"rope_parameters\": {\"rope_theta\": 5}}", {"rope_parameters", "attention"}},
        {"gemma3",
         "{\"rope_parameters\": \"-\", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}",
         {"rope_scaling", "rope_type"}},
        {"llama",
         "{\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 2, "
         "\"partial_rotary_factor\": 0.5}}",
         {"partial_rotary_factor", "llama"}},
        {"llama", "{\"is_causal\": false}", {"is_causal", ""}},
        {"llama", "{\"is_causal\": null}", {"is_causal", ""}},
        {"llama", "{\"per_layer_config\": {\"0\": {}}}", {"per_layer_config", ""}},
        {"gemma2", "{\"use_bidirectional_attention\": true}", {"use_bidirectional_attention", ""}},
        {"llama", "{\"hidden_act\": \"gelu_10\"}", {"hidden_act", "gelu_10"}},
        {"llama", "{\"num_hidden_layers\": \"-\"}", {"num_hidden_layers", "32"}},
        {"llama", "{\"hidden_size\": null}", {"hidden_size", "4096"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cbe_error err;
        cbe_model *model = NULL;
        char *folder = cbe_temp_folder();
        put_config(folder, rows[i].model, rows[i].keys);
        put_tensors(folder, "model.safetensors", rows[i].model, &(cbe_copy_edit){0});
        if (cbe_model_open(&model, folder, &err) == CBE_OK ||
            !strstr(err.message, rows[i].says[0]) || !strstr(err.message, rows[i].says[1]) ||
            strchr(err.message, '\n'))
            fail_msg("%s, %s: %s", rows[i].model, rows[i].keys, model ? "opened" : err.message);
        cbe_temp_remove(folder);
    }
}

/* Two shards, every tensor in one of them; the second has a copy of a matrix of the first whose
 * values differ, under its name. */
static char *make_shards(const char *index)
{
    char *folder = cbe_temp_folder();
    put_config(folder, "llama", "{}");
    put_tensors(folder, "a.safetensors", "llama", &(cbe_copy_edit){.drop = "lm_head.weight"});
    put_tensors(folder, "b.safetensors", "llama",
                &(cbe_copy_edit){.n_parts = 1,
                                 .drop = "lm_head.weight",
                                 .rename_from = "model.embed_tokens.weight",
                                 .rename_to = "lm_head.weight"});
    put_tensors(folder, "c.safetensors", "llama", &(cbe_copy_edit){.drop = "model.norm.weight"});
    put_text(folder, "model.safetensors.index.json", index);
    return folder;
}

/* A tensor in two shards: the index decides. */
static void shards__the_index_decides(void **state)
{
    (void)state;
    /* b has the embedding as lm_head.weight; c the right one. */
    static const char names[] = "\"model.norm.weight\": \"a.safetensors\", "
                                "\"model.embed_tokens.weight\": \"a.safetensors\", "
                                "\"nothing\": \"b.safetensors\", \"lm_head.weight\": ";
    char index[512];
    snprintf(index, sizeof index, "{\"metadata\": null, \"weight_map\": {%s\"c.safetensors\"}}",
             names);
    char *folder = make_shards(index);
    expect_same(folder, "llama", "the last shard", 0);
    cbe_temp_remove(folder);

    cbe_error err;
    cbe_model *model = NULL;
    snprintf(index, sizeof index,
             "{\"weight_map\": {%s\"b.safetensors\", \"none\": \"c.safetensors\"}}", names);
    folder = make_shards(index);
    cbe_assert_ok(cbe_model_open(&model, folder, &err), &err);
    const cbe_model_config *c = cbe_model_get_config(model);
    assert_memory_equal(model->embedding, model->decoder->unembedding,
                        c->vocab_size * c->hidden_size * sizeof(float));
    const char *warning = cbe_model_warning(model, 0); /* transformers takes the last */
    assert_non_null(strstr(warning, "lm_head.weight"));
    assert_non_null(strstr(warning, "b.safetensors"));
    assert_non_null(strstr(warning, "c.safetensors"));
    assert_null(cbe_model_warning(model, 1));
    cbe_model_close(model);
    cbe_temp_remove(folder);
}

/* An index beside a single file, which counts, whatever the index says. */
static void shards__a_single_file_comes_first(void **state)
{
    (void)state;
    char *folder = cbe_temp_folder();
    put_config(folder, "llama", "{}");
    put_tensors(folder, "model.safetensors", "llama", &(cbe_copy_edit){0});
    put_text(folder, "model.safetensors.index.json",
             "{\"weight_map\": {\"lm_head.weight\": \"gone.safetensors\"}}");
    expect_same(folder, "llama", "an index beside a single file", 0);
    cbe_temp_remove(folder);
}

/* gpt_neox's unembedding as transformers 5 calls it. */
static void tensors__have_newer_names(void **state)
{
    (void)state;
    char *folder = cbe_temp_folder();
    put_config(folder, "gpt_neox", "{}");
    put_tensors(folder, "model.safetensors", "gpt_neox",
                &(cbe_copy_edit){.rename_from = "embed_out.weight", .rename_to = "lm_head.weight"});
    expect_same(folder, "gpt_neox", "lm_head", 0);
    cbe_temp_remove(folder);
}

/* Names of files in an index as paths from its folder. */
static void shards__may_be_named_from_their_folder(void **state)
{
    (void)state;
    char *folder = cbe_temp_folder();
    put_config(folder, "llama", "{}");
    put_tensors(folder, "a.safetensors", "llama", &(cbe_copy_edit){0});
    put_text(folder, "model.safetensors.index.json",
             "{\"weight_map\": {\"lm_head.weight\": \"./a.safetensors\", "
             "\"model.norm.weight\": \"././a.safetensors\"}}");
    expect_same(folder, "llama", "./a.safetensors", 0);
    cbe_temp_remove(folder);
}

/* What DistributedDataParallel and torch.compile put before all names. */
static void tensors__are_found_in_wrappers(void **state)
{
    (void)state;
    static const char *const wrappers[] = {"module.", "_orig_mod.", "_orig_mod.module."};
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
        char *folder = cbe_temp_folder();
        put_config(folder, "llama", "{}");
        put_tensors(folder, "model.safetensors", "llama",
                    &(cbe_copy_edit){.add_prefix = wrappers[i]});
        expect_same(folder, "llama", wrappers[i], 1);
        cbe_temp_remove(folder);
    }
    cbe_error err;
    cbe_model *model = NULL;
    char *folder = cbe_temp_folder();
    put_config(folder, "llama", "{}");
    put_tensors(folder, "model.safetensors", "llama",
                &(cbe_copy_edit){.add_prefix = "language_model."});
    assert_int_equal(cbe_model_open(&model, folder, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "no tensor 'model.layers.0."));
    assert_non_null(strstr(err.message, "but 'language_model.model.layers.0."));
    cbe_temp_remove(folder);
}

/* Blocks taken off by num_hidden_layers alone, as transformers takes them off. */
static void blocks__may_be_more_than_are_used(void **state)
{
    (void)state;
    cbe_error err;
    cbe_model *model = NULL;
    char *folder = cbe_temp_folder(), *path = cbe_golden_path("models/llama");
    put_config(folder, "llama", "{\"num_hidden_layers\": 1}");
    put_tensors(folder, "model.safetensors", "llama", &(cbe_copy_edit){0});
    cbe_assert_ok(cbe_model_open(&model, folder, &err), &err);
    cbe_model *golden = open_model(path);
    char says[100];
    snprintf(says, sizeof says, "have %zu blocks, of which config.json names 1",
             cbe_model_get_config(golden)->n_layers);
    assert_non_null(strstr(cbe_model_warning(model, 0), says));
    assert_null(cbe_model_warning(model, 1));
    assert_int_equal(cbe_model_get_config(model)->n_layers, 1);
    cbe_model_close(golden);
    cbe_model_close(model);
    free(path);
    cbe_temp_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config__keys_that_change_nothing),
        cmocka_unit_test(config__values_are_those_of_transformers),
        cmocka_unit_test(config__refusals_name_the_keys),
        cmocka_unit_test(shards__the_index_decides),
        cmocka_unit_test(shards__a_single_file_comes_first),
        cmocka_unit_test(tensors__have_newer_names),
        cmocka_unit_test(shards__may_be_named_from_their_folder),
        cmocka_unit_test(tensors__are_found_in_wrappers),
        cmocka_unit_test(blocks__may_be_more_than_are_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
