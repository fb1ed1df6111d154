/* Configurations: both formats, defaults, and hostile values, each refused by its key's name. */
#include "support/assert_close.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "model/config.h"
#include "support/golden.h"

/* A valid config.json; test cases replace single keys of it. */
static const char base_json[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 64, \"num_hidden_layers\": 3,"
    " \"num_attention_heads\": 8, \"num_key_value_heads\": 2, \"intermediate_size\": 144,"
    " \"vocab_size\": 139, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-05,"
    " \"hidden_act\": \"silu\", \"tie_word_embeddings\": false, \"head_dim\": null,"
    " \"rope_theta\": 5000.0, \"rope_scaling\": null}";

/* value NULL removes the key. */
static cbe_status read_with(const char *key, const char *value, cbe_config *out, cbe_error *err)
{
    json_t *root = json_loads(base_json, 0, NULL);
    assert_non_null(root);
    if (key && value) {
        json_t *new_value = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(new_value);
        json_object_set_new(root, key, new_value);
    } else if (key) {
        json_object_del(root, key);
    }
    char *text = json_dumps(root, 0);
    assert_non_null(text);
    const cbe_status st = cbe_config_from_json(out, text, strlen(text), "dir/config.json", err);
    free(text);
    json_decref(root);
    return st;
}

static void config__reads_all_sizes_from_json(void **state)
{
    (void)state;
    cbe_error err;
    cbe_config config;
    cbe_assert_ok(read_with(NULL, NULL, &config, &err), &err);
    const cbe_model_config *c = &config.sizes;
    assert_string_equal(c->architecture, "llama");
    assert_int_equal(c->hidden_size, 64);
    assert_int_equal(c->n_layers, 3);
    assert_int_equal(c->n_heads, 8);
    assert_int_equal(c->n_kv_heads, 2);
    assert_int_equal(c->head_size, 8);
    assert_int_equal(c->mlp_size, 144);
    assert_int_equal(c->vocab_size, 139);
    assert_int_equal(c->max_context, 64);
    assert_true(c->norm_eps == 1e-5 && c->rope_base == 5000);
    assert_false(config.tied);
}

static void config__fills_in_the_defaults_of_transformers(void **state)
{
    (void)state;
    cbe_error err;
    cbe_config config;
    cbe_assert_ok(read_with("num_key_value_heads", NULL, &config, &err), &err);
    assert_int_equal(config.sizes.n_kv_heads, 8);
    cbe_assert_ok(read_with("rope_theta", NULL, &config, &err), &err);
    assert_true(config.rope[0].base == 10000);
    cbe_assert_ok(read_with("rms_norm_eps", NULL, &config, &err), &err);
    assert_true(config.sizes.norm_eps == 1e-6);
    cbe_assert_ok(read_with("max_position_embeddings", NULL, &config, &err), &err);
    assert_int_equal(config.sizes.max_context, 2048);
    cbe_assert_ok(read_with("vocab_size", NULL, &config, &err), &err);
    assert_int_equal(config.sizes.vocab_size, 32000);
    assert_string_equal(config.assumed_key, "vocab_size");
    cbe_assert_ok(read_with("hidden_size", "null", &config, &err), &err);
    assert_int_equal(config.sizes.hidden_size, 4096);
    assert_int_equal(config.sizes.head_size, 512);
    cbe_assert_ok(read_with("head_dim", "20", &config, &err), &err);
    assert_int_equal(config.sizes.head_size, 20);
}

static void config__reads_rotary_scaling_of_either_transformers(void **state)
{
    (void)state;
    cbe_error err;
    cbe_config config;
    const char *linear[] = {"{\"type\": \"linear\", \"factor\": 4.0}",
                            "{\"rope_type\": \"linear\", \"factor\": 4}"};
    for (size_t i = 0; i < 2; i++) {
        cbe_assert_ok(read_with("rope_scaling", linear[i], &config, &err), &err);
        assert_int_equal(config.rope[0].kind, CBE_ROPE_LINEAR);
        assert_true(config.rope[0].factor == 4 && config.rope[0].base == 5000);
    }
    cbe_assert_ok(read_with("rope_parameters",
                            "{\"rope_type\": \"llama3\", \"rope_theta\": 7, \"factor\": 8,"
                            " \"low_freq_factor\": 1, \"high_freq_factor\": 4,"
                            " \"original_max_position_embeddings\": 32}",
                            &config, &err),
                  &err);
    assert_int_equal(config.rope[0].kind, CBE_ROPE_LLAMA3);
    assert_true(config.rope[0].base == 7 && config.sizes.rope_base == 7);
    assert_true(config.rope[0].original_context == 32 && config.rope[0].high_frequency == 4);
}

static void config__refuses_bad_json_values_by_key(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        cbe_status status;
        const char *word; /* in the message; NULL: the key */
    } cases[] = {
        {"model_type", "\"mamba\"", CBE_ERR_UNSUPPORTED, "'mamba'"},
        {"model_type", NULL, CBE_ERR_FORMAT, NULL},
        {"model_type", "3", CBE_ERR_FORMAT, NULL},
        {"hidden_size", "0", CBE_ERR_FORMAT, NULL},
        {"hidden_size", "-64", CBE_ERR_FORMAT, NULL},
        {"hidden_size", "64.5", CBE_ERR_FORMAT, NULL},
        {"hidden_size", "\"64\"", CBE_ERR_FORMAT, NULL},
        {"hidden_size", "9223372036854775807", CBE_ERR_FORMAT, NULL},
        {"hidden_size", "65", CBE_ERR_FORMAT, "num_attention_heads"},
        {"num_hidden_layers", "0", CBE_ERR_FORMAT, NULL},
        {"num_attention_heads", "7", CBE_ERR_FORMAT, NULL},
        {"num_attention_heads", "64", CBE_ERR_FORMAT, "must be even"},
        {"num_key_value_heads", "3", CBE_ERR_FORMAT, NULL},
        {"num_key_value_heads", "16", CBE_ERR_FORMAT, NULL},
        {"num_key_value_heads", "0", CBE_ERR_FORMAT, NULL},
        {"head_dim", "0", CBE_ERR_FORMAT, NULL},
        {"head_dim", "7", CBE_ERR_FORMAT, NULL},
        {"head_dim", "16777216", CBE_ERR_FORMAT, NULL},
        {"vocab_size", "16777217", CBE_ERR_FORMAT, NULL},
        {"rms_norm_eps", "-1", CBE_ERR_FORMAT, NULL},
        {"rms_norm_eps", "\"tiny\"", CBE_ERR_FORMAT, NULL},
        {"rope_theta", "0", CBE_ERR_FORMAT, NULL},
        {"rope_theta", "[1]", CBE_ERR_FORMAT, NULL},
        {"rope_scaling", "\"linear\"", CBE_ERR_FORMAT, NULL},
        {"rope_scaling", "{\"type\": \"linear\"}", CBE_ERR_FORMAT, "factor"},
        {"rope_scaling", "{\"type\": \"linear\", \"factor\": -2}", CBE_ERR_FORMAT, "factor"},
        {"rope_scaling", "{\"rope_type\": \"mrope\", \"factor\": 2}", CBE_ERR_UNSUPPORTED,
         "'mrope'"},
        {"rope_scaling", "{\"type\": \"dynamic\"}", CBE_ERR_FORMAT, "factor"},
        {"rope_scaling", "{\"type\": \"yarn\", \"factor\": 2, \"beta_fast\": 0}", CBE_ERR_FORMAT,
         "beta_fast"},
        {"rope_scaling", "{\"type\": \"longrope\", \"short_factor\": [1, 1, 1, 1]}", CBE_ERR_FORMAT,
         "long_factor"},
        {"rope_scaling",
         "{\"type\": \"longrope\", \"short_factor\": [1, 1], \"long_factor\": [1, 2]}",
         CBE_ERR_FORMAT, "must have 4"},
        {"rope_scaling",
         "{\"type\": \"longrope\", \"short_factor\": [1, 1, 1, 1], \"long_factor\": [1, 0, 1, 2]}",
         CBE_ERR_FORMAT, "number 1 of long_factor"},
        {"rope_scaling",
         "{\"type\": \"longrope\", \"short_factor\": \"all\", \"long_factor\": [1, 0, 1, 2]}",
         CBE_ERR_FORMAT, "short_factor"},
        {"rope_parameters",
         "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": "
         "4,"
         " \"original_max_position_embeddings\": 32}",
         CBE_ERR_FORMAT, "low_freq_factor"},
        {"rope_parameters",
         "{\"rope_type\": \"linear\", \"factor\": 2, \"partial_rotary_factor\": 0.5}",
         CBE_ERR_UNSUPPORTED, "partial_rotary_factor"},
        {"hidden_act", "\"mish\"", CBE_ERR_UNSUPPORTED, NULL},
        {"is_causal", "false", CBE_ERR_UNSUPPORTED, NULL},
        {"per_layer_config", "{\"0\": {}}", CBE_ERR_UNSUPPORTED, NULL},
        {"transformers_weights", "\"x.safetensors\"", CBE_ERR_UNSUPPORTED, NULL},
        {"mlp_bias", "1", CBE_ERR_FORMAT, NULL},
        {"tie_word_embeddings", "\"yes\"", CBE_ERR_FORMAT, NULL},
        {"quantization_config", "{\"bits\": 4}", CBE_ERR_UNSUPPORTED, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        cbe_config config;
        memset(&config, 0x5a, sizeof config);
        const cbe_config before = config;
        const cbe_status st = read_with(cases[i].key, cases[i].value, &config, &err);
        const char *word = cases[i].word ? cases[i].word : cases[i].key;
        if (st != cases[i].status || err.code != st || !strstr(err.message, word) ||
            !strstr(err.message, "dir/config.json"))
            fail_msg("%s = %s: %s \"%s\"", cases[i].key,
                     cases[i].value ? cases[i].value : "nothing", cbe_status_name(st), err.message);
        assert_memory_equal(&config, &before, sizeof config);
    }
}

static void config__refuses_text_that_is_not_a_json_object(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "3",
                                        "{\"a\": 1, \"a\": 2}",
                                        "\xff{}",
                                        "{\"hidden_size\": 99999999999999999999999}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cbe_error err = {0};
        cbe_config config;
        assert_int_equal(cbe_config_from_json(&config, texts[i], strlen(texts[i]), "c.json", &err),
                         CBE_ERR_FORMAT);
        assert_non_null(strstr(err.message, "c.json"));
    }
}

/* The same from the config.json of a golden model. */
static cbe_status read_model_with(const char *model, const char *key, const char *value,
                                  cbe_config *out, cbe_error *err)
{
    char name[128];
    size_t size;
    snprintf(name, sizeof name, "models/%s/config.json", model);
    char *path = cbe_golden_path(name);
    unsigned char *data = cbe_read_file(path, &size);
    json_t *root = json_loadb((const char *)data, size, 0, NULL);
    json_t *new_value = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_true(root && new_value);
    json_object_set_new(root, key, new_value);
    char *text = json_dumps(root, 0);
    assert_non_null(text);
    const cbe_status st = cbe_config_from_json(out, text, strlen(text), "dir/config.json", err);
    free(text);
    json_decref(root);
    free(data);
    free(path);
    return st;
}

#define LLAMA3(rest) "{\"rope_type\": \"llama3\", \"rope_theta\": 1e4, " rest "}"
#define YARN(rest)   "{\"rope_type\": \"yarn\", \"rope_theta\": 1e4, " rest "}"
#define LONGROPE(shorts, rest)                                                                     \
    "{\"rope_type\": \"longrope\", \"rope_theta\": 1e4, \"partial_rotary_factor\": 1, "            \
    "\"short_factor\": [" shorts "], \"long_factor\": [1, 1, 1, 1]" rest "}"

/* What transformers 5.x on torch computes as NaN, ends at, or can only mean as a slip. */
static void config__refuses_numbers_that_cannot_be_computed_with(void **state)
{
    (void)state;
    static const struct {
        const char *model, *key, *value, *says; /* after the file's name */
    } cases[] = {
        {"llama", "rope_parameters", "{\"rope_theta\": 1e-300}",
         "rotary embedding: the angles of pair 1 overflow float32 (base 1e-300, factor 0); PyTorch "
         "has "
         "NaN for them"},
        {"llama", "rope_parameters", "{\"rope_theta\": -1}",
         "rotary embedding: base (freq_base, rope_theta) is -1, must be"},
        {"llama", "rope_parameters", "{\"rope_type\": \"linear\", \"factor\": 0}",
         "rotary embedding: factor is 0, must be"},
        {"llama", "rope_parameters", "{\"rope_type\": \"linear\", \"factor\": 1e-38}",
         "rotary embedding: the angles of pair 0 overflow"},
        {"llama", "rope_parameters", "{\"rope_type\": \"linear\", \"factor\": 1e-300}",
         "rotary embedding: the angles of pair 0 overflow"},
        {"llama", "rope_parameters", YARN("\"factor\": 0"),
         "rotary embedding: factor is 0, must be a positive number"},
        {"llama", "rope_parameters", YARN("\"factor\": 1e-300"),
         "rotary embedding: the angles of pair "},
        {"llama", "rope_parameters", YARN("\"factor\": 4, \"original_max_position_embeddings\": 0"),
         "rotary embedding: original_max_position_embeddings is 0, must be a positive number"},
        {"llama", "rope_parameters", YARN("\"factor\": 4, \"attention_factor\": 0.0"),
         "rotary embedding: attention_factor is 0, must be a positive number"},
        {"llama", "rope_parameters", YARN("\"factor\": 4, \"beta_slow\": 0"),
         "rotary embedding: beta_slow is 0, must be"},
        {"llama", "rope_parameters", YARN("\"factor\": 4, \"mscale\": -1e9, \"mscale_all_dim\": 1"),
         "rotary embedding: attention_factor is -"},
        {"llama", "rope_parameters",
         LLAMA3("\"factor\": 4, \"low_freq_factor\": 0, \"high_freq_factor\": 4, "
                "\"original_max_position_embeddings\": 16"),
         "rotary embedding: low_freq_factor is 0, must be a positive number"},
        {"llama", "rope_parameters",
         LLAMA3("\"factor\": 4, \"low_freq_factor\": 1, \"high_freq_factor\": 4, "
                "\"original_max_position_embeddings\": 0"),
         "rotary embedding: original_max_position_embeddings is 0, must be a positive number"},
        {"phi3-longrope", "rope_parameters", LONGROPE("0, 0, 0, 0", ""),
         "rotary embedding: number 0 of short_factor is 0, must be"},
        {"phi3-longrope", "rope_parameters", LONGROPE("1e-45, 1, 1, 1", ""),
         "rotary embedding: the angles of pair 0 overflow"},
        {"phi3-longrope", "rope_parameters", LONGROPE("1, 1, 1, 1", ", \"factor\": 0"),
         "rotary embedding: factor is 0, must be"},
        {"phi3-longrope", "original_max_position_embeddings", "0",
         "rotary embedding: original_max_position_embeddings is 0, must be a positive number"},
        {"phi3-longrope", "original_max_position_embeddings", "1",
         "rotary embedding: attention_factor is inf, must be"},
        {"gemma2", "attn_logit_softcapping", "0",
         "key 'attn_logit_softcapping' is 0, must be positive; null is for no soft cap"},
        {"gemma2", "attn_logit_softcapping", "0.0",
         "key 'attn_logit_softcapping' is 0, must be positive; null"},
        {"gemma2", "attn_logit_softcapping", "-5",
         "the attention's soft cap (attn_logit_softcapping) is -5, must be"},
        {"gemma2", "attn_logit_softcapping", "1e39",
         "the attention's soft cap (attn_logit_softcapping) is 1e+39, must be"},
        {"gemma2", "final_logit_softcapping", "0",
         "key 'final_logit_softcapping' is 0, must be positive; null is for no soft cap"},
        {"gemma2", "final_logit_softcapping", "1e39",
         "the logits' soft cap (final_logit_softcapping) is 1e+39, must be"},
        {"gemma3", "final_logit_softcapping", "0",
         "key 'final_logit_softcapping' is 0, must be positive; null"},
        {"gemma2", "query_pre_attn_scalar", "0",
         "the scale of attention scores (query_pre_attn_scalar, attention.scale) is inf"},
        {"gemma2", "query_pre_attn_scalar", "-1",
         "the scale of attention scores (query_pre_attn_scalar, attention.scale) is "},
        {"gemma2", "query_pre_attn_scalar", "1e-90",
         "the scale of attention scores (query_pre_attn_scalar, attention.scale) is 1e+45"},
        {"gemma2", "sliding_window", "0", "key 'sliding_window' is 0, must be 1 to 16777216"},
        {"mistral", "sliding_window", "-1", "key 'sliding_window' is -1, must be 1 to 16777216"},
        {"qwen2-window", "sliding_window", "0", "key 'sliding_window' is 0, must be 1 to 16777216"},
        {"gemma3", "sliding_window_pattern", "0",
         "key 'sliding_window_pattern' is 0, must be 1 to 16777216"},
        {"phi", "rope_parameters", "{\"partial_rotary_factor\": 1.5}",
         "partial_rotary_factor is 1.5, must be above 0 and at most 1"},
        {"phi", "rope_parameters", "{\"partial_rotary_factor\": 0}",
         "partial_rotary_factor is 0, must be above 0 and at most 1"},
        {"gptj", "rotary_dim", "0", "key 'rotary_dim' is 0, must be 1 to 16777216"},
        {"gptj", "rotary_dim", "3", "rotary embeddings of 3 of a head's 16 dimensions"},
        {"gpt2", "layer_norm_epsilon", "-1e-5",
         "the norm's epsilon (rms_norm_eps, layer_norm_eps, layer_norm_epsilon) is -1e-05"},
        {"llama", "head_dim", "0", "key 'head_dim' is 0, must be 1 to 16777216"},
        {"llama", "num_hidden_layers", "0", "key 'num_hidden_layers' is 0, must be 1 to 16777216"},
        {"bloom", "vocab_size", "0", "key 'vocab_size' is 0, must be 1 to 16777216"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        cbe_config config;
        char want[256];
        snprintf(want, sizeof want, "dir/config.json: %s", cases[i].says);
        const cbe_status st =
            read_model_with(cases[i].model, cases[i].key, cases[i].value, &config, &err);
        if (st != CBE_ERR_FORMAT || strncmp(err.message, want, strlen(want)) != 0)
            fail_msg("%s, %s = %s: %s \"%s\"", cases[i].model, cases[i].key, cases[i].value,
                     cbe_status_name(st), st == CBE_OK ? "" : err.message);
    }
}

/* What looks odd and gives finite numbers in PyTorch, the same as here. */
static void config__accepts_odd_numbers_that_can_be_computed_with(void **state)
{
    (void)state;
    static const struct {
        const char *model, *key, *value;
    } cases[] = {
        {"llama", "rms_norm_eps", "0.0"},
        {"llama", "rope_parameters", "{\"rope_theta\": 0.5}"},
        {"llama", "rope_parameters", "{\"rope_theta\": 1}"},
        {"llama", "rope_parameters", "{\"rope_theta\": 1e-38}"},
        {"llama", "rope_parameters", "{\"rope_theta\": 1e300}"},
        {"llama", "rope_parameters", "{\"rope_type\": \"linear\", \"factor\": 0.5}"},
        {"llama", "rope_parameters", "{\"rope_type\": \"linear\", \"factor\": 1e300}"},
        {"llama", "rope_parameters", "{\"rope_type\": \"dynamic\", \"factor\": 0.5}"},
        {"llama", "rope_parameters",
         "{\"rope_type\": \"default\", \"factor\": 0, \"original_max_position_embeddings\": 0}"},
        {"llama", "rope_parameters", YARN("\"factor\": 0.5")},
        {"llama", "rope_parameters", YARN("\"factor\": 4, \"beta_fast\": 1, \"beta_slow\": 32")},
        {"llama", "rope_parameters", YARN("\"factor\": 4, \"mscale\": 0, \"mscale_all_dim\": 1")},
        {"gemma2", "attn_logit_softcapping", "null"},
        {"gemma2", "attn_logit_softcapping", "1e-320"},
        {"gemma2", "final_logit_softcapping", "null"},
        {"gemma2", "final_logit_softcapping", "1e38"},
        {"gemma2", "query_pre_attn_scalar", "1e90"},
        {"gemma2", "sliding_window", "1"},
        {"gemma2", "sliding_window", "null"},
        {"mistral", "sliding_window", "null"},
        {"qwen2", "sliding_window", "0"}, /* use_sliding_window is false */
        {"phi", "rope_parameters", "{\"partial_rotary_factor\": 1}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        cbe_config config;
        const cbe_status st =
            read_model_with(cases[i].model, cases[i].key, cases[i].value, &config, &err);
        if (st != CBE_OK)
            fail_msg("%s, %s = %s: %s", cases[i].model, cases[i].key, cases[i].value, err.message);
    }
}

/* Where the kind of scaling has no attention factor it is 1, whatever the file says; mscale counts
 * with either sign. */
static void config__takes_the_attention_factor_where_the_kind_has_one(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        double factor;
    } cases[] = {
        {"{\"rope_type\": \"default\", \"attention_factor\": 2}", 1},
        {"{\"rope_type\": \"linear\", \"factor\": 2, \"attention_factor\": 2}", 1},
        {LLAMA3("\"factor\": 4, \"low_freq_factor\": 1, \"high_freq_factor\": 4, "
                "\"original_max_position_embeddings\": 16, "
                "\"attention_factor\": 2"),
         1},
        {YARN("\"factor\": 4, \"attention_factor\": 2"), 2},
        {YARN("\"factor\": 4, \"mscale\": -1, \"mscale_all_dim\": 1"), 0.756497713},
        {YARN("\"factor\": 4, \"mscale\": 1, \"mscale_all_dim\": -1"), 1.321881062},
        {YARN("\"factor\": 4, \"mscale\": 0, \"mscale_all_dim\": 1"), 1.138629436},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err;
        cbe_config config;
        cbe_assert_ok(read_model_with("llama", "rope_parameters", cases[i].value, &config, &err),
                      &err);
        cbe_assert_close(&config.rope[0].attention_factor, &cases[i].factor, 1, 1e-7, 0, "%s",
                         cases[i].value);
    }
}

/* Reads the configuration of a GGUF file after a change of one key's value: `size` bytes at
 * `value` written where the value lies. */
static cbe_status read_gguf_of(const char *name, const char *key, const void *value, size_t size,
                               cbe_config *out, cbe_error *err)
{
    size_t file_size;
    char *from = cbe_golden_path(name);
    unsigned char *data = cbe_read_file(from, &file_size);
    const size_t length = strlen(key);
    size_t at = 0;
    while (at + length < file_size && memcmp(data + at, key, length) != 0) at++;
    assert_true(at + length < file_size);
    memcpy(data + at + length + 4, value, size); /* after the value's type */
    char *folder = cbe_temp_folder(), *path = cbe_temp_path(folder, "changed.gguf");
    cbe_write_file(path, data, file_size);
    cbe_gguf *file = NULL;
    cbe_assert_ok(cbe_gguf_open(&file, path, err), err);
    const cbe_status st = cbe_config_from_gguf(out, file, NULL, err);
    cbe_gguf_close(file);
    cbe_temp_remove(folder);
    free(path);
    free(data);
    free(from);
    return st;
}

static cbe_status read_gguf_with(const char *key, const void *value, size_t size, cbe_config *out,
                                 cbe_error *err)
{
    return read_gguf_of("gguf/tiny-llama/llama-f16.gguf", key, value, size, out, err);
}

/* Metadata of float32: 0, -1, infinity, NaN and the least number above 0, wherever a file has
 * one. */
static void config__refuses_gguf_numbers_that_cannot_be_computed_with(void **state)
{
    (void)state;
    enum { ZERO = 1, SMALL = 2 }; /* taken: 0 (none, for a cap), the least number above 0 */
    static const struct {
        const char *file, *key;
        unsigned taken;
    } keys[] = {
        {"tiny-llama/llama-f16.gguf", "llama.rope.freq_base", 0},
        {"tiny-llama/llama-f16.gguf", "llama.attention.layer_norm_rms_epsilon", ZERO | SMALL},
        {"families/gemma2.gguf", "gemma2.attn_logit_softcapping", ZERO | SMALL},
        {"families/gemma2.gguf", "gemma2.final_logit_softcapping", ZERO | SMALL},
        {"families/gemma2.gguf", "gemma2.attention.layer_norm_rms_epsilon", ZERO | SMALL},
        {"families/gpt2.gguf", "gpt2.attention.layer_norm_epsilon", ZERO | SMALL},
        {"families/gemma3-linear.gguf", "gemma3.rope.scaling.factor", ZERO},
        {"families/phi3-longrope.gguf", "phi3.rope.scaling.attn_factor", ZERO | SMALL},
        {"families/qwen2.gguf", "qwen2.rope.freq_base", 0},
    };
    static const struct {
        float value;
        unsigned taken;
    } values[] = {{0, ZERO},     {-0.0f, ZERO},  {1e-45f, SMALL}, {-1, 0},
                  {INFINITY, 0}, {-INFINITY, 0}, {NAN, 0}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            char name[128];
            cbe_error err = {0};
            cbe_config config;
            snprintf(name, sizeof name, "gguf/%s", keys[i].file);
            const cbe_status st =
                read_gguf_of(name, keys[i].key, &values[k].value, 4, &config, &err);
            const bool taken = (keys[i].taken & values[k].taken) != 0;
            if ((st == CBE_OK) != taken ||
                (!taken && (st != CBE_ERR_FORMAT || !strstr(err.message, "changed.gguf: "))))
                fail_msg("%s = %g: %s \"%s\"", keys[i].key, (double)values[k].value,
                         cbe_status_name(st), st == CBE_OK ? "" : err.message);
        }
}

static void config__reads_all_sizes_from_gguf(void **state)
{
    (void)state;
    cbe_error err;
    cbe_config config;
    const uint32_t context = 77;
    cbe_assert_ok(read_gguf_with("llama.context_length", &context, 4, &config, &err), &err);
    const cbe_model_config *c = &config.sizes;
    assert_string_equal(c->architecture, "llama");
    assert_int_equal(c->hidden_size, 64);
    assert_int_equal(c->n_layers, 2);
    assert_int_equal(c->n_heads, 4);
    assert_int_equal(c->n_kv_heads, 2);
    assert_int_equal(c->head_size, 16);
    assert_int_equal(c->mlp_size, 160);
    assert_int_equal(c->vocab_size, 320);
    assert_int_equal(c->max_context, 77);
    assert_true(c->rope_base == 10000 && c->norm_eps == (double)1e-5f);
    assert_false(config.tied);
}

static void config__refuses_bad_gguf_values_by_key(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
        cbe_status status;
        const char *word; /* in the message; NULL: the key */
    } cases[] = {
        {"llama.embedding_length", 0, CBE_ERR_FORMAT, NULL},
        {"llama.embedding_length", UINT32_MAX, CBE_ERR_FORMAT, NULL},
        {"llama.embedding_length", 62, CBE_ERR_FORMAT, "attention.head_count"},
        {"llama.block_count", 0, CBE_ERR_FORMAT, NULL},
        {"llama.block_count", UINT32_MAX, CBE_ERR_FORMAT, NULL},
        {"llama.feed_forward_length", 0, CBE_ERR_FORMAT, NULL},
        {"llama.attention.head_count", 0, CBE_ERR_FORMAT, NULL},
        {"llama.attention.head_count", 3, CBE_ERR_FORMAT, "attention.head_count"},
        {"llama.attention.head_count_kv", 3, CBE_ERR_FORMAT, "attention.head_count_kv"},
        {"llama.attention.head_count_kv", 0, CBE_ERR_FORMAT, NULL},
        {"llama.rope.dimension_count", 18, CBE_ERR_FORMAT, "18 of a head's 16"},
        {"llama.vocab_size", 0, CBE_ERR_FORMAT, NULL},
        {"llama.rope.freq_base", 0xc2c80000 /* -100 */, CBE_ERR_FORMAT, "freq_base"},
        {"llama.rope.freq_base", 0x7fc00000 /* NaN */, CBE_ERR_FORMAT, NULL},
        {"llama.attention.layer_norm_rms_epsilon", 0xbf800000 /* -1 */, CBE_ERR_FORMAT,
         "layer_norm_rms_epsilon"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        cbe_config config;
        const cbe_status st = read_gguf_with(cases[i].key, &cases[i].value, 4, &config, &err);
        const char *word = cases[i].word ? cases[i].word : cases[i].key;
        if (st != cases[i].status || !strstr(err.message, word) ||
            !strstr(err.message, "changed.gguf"))
            fail_msg("%s = %u: %s \"%s\"", cases[i].key, cases[i].value, cbe_status_name(st),
                     err.message);
    }
}

static void config__names_an_unknown_gguf_architecture(void **state)
{
    (void)state;
    cbe_error err;
    cbe_config config;
    static const char value[] = "\5\0\0\0\0\0\0\0bloom";
    assert_int_equal(read_gguf_with("general.architecture", value, sizeof value - 1, &config, &err),
                     CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'bloom'"));
    assert_non_null(strstr(err.message, "llama"));
}

static void rope__frequencies_follow_their_definitions(void **state)
{
    (void)state;
    double got[4];
    const cbe_rope plain = {.kind = CBE_ROPE_DEFAULT, .base = 16};
    cbe_rope_frequencies(&plain, 8, 1, got);
    cbe_assert_close(got, ((double[]){1, 0.5, 0.25, 0.125}), 4, 1e-15, 0, "default");
    const cbe_rope linear = {.kind = CBE_ROPE_LINEAR, .base = 16, .factor = 4};
    cbe_rope_frequencies(&linear, 8, 1, got);
    cbe_assert_close(got, ((double[]){0.25, 0.125, 0.0625, 0.03125}), 4, 1e-15, 0, "linear");
    /* With an original context of 2 pi 16 the frequencies are 16, 8, 4, 2 turns: the first is
     * kept, the last divided by the factor, 8 and 4 lie a half and a tenth of the way from 3 to
     * 13. */
    const cbe_rope llama3 = {.kind = CBE_ROPE_LLAMA3,
                             .base = 16,
                             .factor = 4,
                             .low_frequency = 3,
                             .high_frequency = 13,
                             .original_context = 100.53096491487338};
    cbe_rope_frequencies(&llama3, 8, 1, got);
    cbe_assert_close(got, ((double[]){1, 0.5 * (0.5 + 0.5 / 4), 0.25 * (0.1 + 0.9 / 4), 0.125 / 4}),
                     4, 1e-14, 0, "llama3");
    /* Turns in the same context as above: 8 at pair 1, 2 at pair 3: a ramp between them. */
    const cbe_rope yarn = {.kind = CBE_ROPE_YARN,
                           .base = 16,
                           .factor = 4,
                           .beta_fast = 8,
                           .beta_slow = 2,
                           .fractional = true,
                           .original_context = 100.53096491487338};
    cbe_rope_frequencies(&yarn, 8, 1, got);
    cbe_assert_close(got, ((double[]){1, 0.5, 0.25 * (0.5 + 0.5 / 4), 0.125 / 4}), 4, 1e-13, 0,
                     "yarn");
    /* Up to the model's context nothing changes; at 2.5 times that the base is (2 * 2.5 - 1)^(8/6)
     * times as large: 4^(8/6) 16. */
    const cbe_rope dynamic = {
        .kind = CBE_ROPE_DYNAMIC, .base = 16, .factor = 2, .max_context = 100};
    cbe_rope_frequencies(&dynamic, 8, 100, got);
    cbe_assert_close(got, ((double[]){1, 0.5, 0.25, 0.125}), 4, 1e-15, 0, "dynamic, short");
    cbe_rope_frequencies(&dynamic, 8, 250, got);
    const double base = 16 * pow(4, 8.0 / 6);
    cbe_assert_close(got, ((double[]){1, pow(base, -0.25), pow(base, -0.5), pow(base, -0.75)}), 4,
                     1e-15, 0, "dynamic, long");
    const cbe_rope longrope = {.kind = CBE_ROPE_LONGROPE,
                               .base = 16,
                               .original_context = 100,
                               .n_divisors = 4,
                               .divisors = {{1, 1, 2, 2}, {1, 2, 4, 8}}};
    cbe_rope_frequencies(&longrope, 8, 100, got);
    cbe_assert_close(got, ((double[]){1, 0.5, 0.125, 0.0625}), 4, 1e-15, 0, "longrope, short");
    cbe_rope_frequencies(&longrope, 8, 101, got);
    cbe_assert_close(got, ((double[]){1, 0.25, 0.0625, 0.015625}), 4, 1e-15, 0, "longrope, long");
}

static void rope__angles_stay_exact_at_far_positions(void **state)
{
    (void)state;
    /* Position 100,000 at frequency 0.7: float32 angles would be off by 4e-3. */
    const double frequency = 0.7;
    enum { FAR = 100000 };
    float *table = malloc((FAR + 1) * 2 * sizeof *table);
    assert_non_null(table);
    cbe_rope_table(FAR + 1, 1, &frequency, 1, table);
    const double got[] = {(double)table[2 * FAR], (double)table[2 * FAR + 1]};
    const double want[] = {cos(70000.0), sin(70000.0)};
    cbe_assert_close(got, want, 2, 1e-7, 0, "cosine, sine");
    free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config__reads_all_sizes_from_json),
        cmocka_unit_test(config__fills_in_the_defaults_of_transformers),
        cmocka_unit_test(config__reads_rotary_scaling_of_either_transformers),
        cmocka_unit_test(config__refuses_bad_json_values_by_key),
        cmocka_unit_test(config__refuses_text_that_is_not_a_json_object),
        cmocka_unit_test(config__reads_all_sizes_from_gguf),
        cmocka_unit_test(config__refuses_numbers_that_cannot_be_computed_with),
        cmocka_unit_test(config__accepts_odd_numbers_that_can_be_computed_with),
        cmocka_unit_test(config__takes_the_attention_factor_where_the_kind_has_one),
        cmocka_unit_test(config__refuses_gguf_numbers_that_cannot_be_computed_with),
        cmocka_unit_test(config__refuses_bad_gguf_values_by_key),
        cmocka_unit_test(config__names_an_unknown_gguf_architecture),
        cmocka_unit_test(rope__frequencies_follow_their_definitions),
        cmocka_unit_test(rope__angles_stay_exact_at_far_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
