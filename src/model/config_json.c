/* config_json.c - see config.h. Rotary embeddings: config_json_rope.c. */
#include "model/config_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "formats/json_keys.h"

/* A size and its keys: today's usual key, and those of GPT-2 and its relatives. */
typedef struct {
    const char *keys[3];
    size_t offset; /* offset of a size_t in cbe_model_config */
    bool required;
} size_key;

#define AT(field) offsetof(cbe_model_config, field)
static const size_key sizes[] = {
    {{"hidden_size", "n_embd", "n_embed"}, AT(hidden_size), true},
    {{"num_hidden_layers", "n_layer", "num_layers"}, AT(n_layers), true},
    {{"num_attention_heads", "n_head", "num_heads"}, AT(n_heads), true},
    {{"intermediate_size", "n_inner", "ffn_dim"}, AT(mlp_size), false},
    {{"vocab_size"}, AT(vocab_size), false},
    {{"num_key_value_heads"}, AT(n_kv_heads), false},
    {{"head_dim"}, AT(head_size), false},
    {{"max_position_embeddings", "n_positions", "n_ctx"}, AT(max_context), false},
};

static cbe_status read_sizes(yyjson_val *root, const char *path, cbe_model_config *config,
                             cbe_error *err)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t *field = (size_t *)(void *)((char *)config + sizes[i].offset);
        const char *found = NULL;
        for (size_t k = 0; k < 3 && !found; k++)
            if (sizes[i].keys[k] && cbe_json_get(root, sizes[i].keys[k])) found = sizes[i].keys[k];
        if (!found && sizes[i].required)
            return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is missing", path,
                            sizes[i].keys[0]);
        if (!found) continue;
        const cbe_status st = cbe_json_size(root, found, CBE_CONFIG_SIZE_MAX, path, field, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

static cbe_status read_numbers(yyjson_val *root, const char *path, cbe_config *config,
                               cbe_error *err)
{
    double query_scalar = config->family->defaults.query_scalar;
    const bool scaled = query_scalar > 0;
    const struct {
        const char *key;
        double *out;
    } numbers[] = {
        {"rms_norm_eps", &config->sizes.norm_eps},
        {"layer_norm_eps", &config->sizes.norm_eps},
        {"layer_norm_epsilon", &config->sizes.norm_eps},
        {"query_pre_attn_scalar", &query_scalar},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const cbe_status st = cbe_json_double(root, numbers[i].key, path, numbers[i].out, err);
        if (st != CBE_OK) return st;
    }
    if (scaled) config->query_scale = 1 / sqrt(query_scalar);
    return CBE_OK;
}

/* Reads a cap that the family has. null means none. 0 in a file is an error, since PyTorch divides
 * by it; only cbe_config has 0 for none. */
static cbe_status read_softcap(yyjson_val *root, const char *path, const char *key, double *out,
                               cbe_error *err)
{
    if (yyjson_is_null(cbe_json_at(root, key))) *out = 0;
    const cbe_status st = cbe_json_double(root, key, path, out, err);
    if (st != CBE_OK || *out != 0 || !cbe_json_get(root, key)) return st;
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: key '%s' is 0, must be positive; null is for no soft cap", path, key);
}

static cbe_status read_softcaps(yyjson_val *root, const char *path, cbe_config *config,
                                cbe_error *err)
{
    const cbe_family_defaults *defaults = &config->family->defaults;
    if (defaults->attention_softcap > 0) {
        const cbe_status st =
            read_softcap(root, path, "attn_logit_softcapping", &config->attention_softcap, err);
        if (st != CBE_OK) return st;
    }
    if (!(defaults->keys & CBE_KEY_LOGIT_SOFTCAP)) return CBE_OK;
    return read_softcap(root, path, "final_logit_softcapping", &config->logit_softcap, err);
}

/* Reads keys that set a trait, if the family has the key and the file gives it. */
static cbe_status read_flags(yyjson_val *root, const char *path, cbe_config *config, cbe_error *err)
{
    cbe_traits *traits = &config->traits;
    const unsigned keys = config->family->defaults.keys;
    bool attention = traits->qkv_bias == CBE_BIAS_ALWAYS, mlp = traits->mlp_bias == CBE_BIAS_ALWAYS;
    bool all = true, before = true, affine = true, scaled = true, no_final_norm = false;
    bool head_norms = false;
    const struct {
        unsigned key;
        const char *name;
        bool *out;
    } flags[] = {
        {0, "tie_word_embeddings", &config->tied},
        {CBE_KEY_PARALLEL, "use_parallel_residual", &traits->parallel},
        {CBE_KEY_ATTENTION_BIAS, "attention_bias", &attention},
        {CBE_KEY_MLP_BIAS, "mlp_bias", &mlp},
        {CBE_KEY_OPT, "enable_bias", &all},
        {CBE_KEY_OPT, "do_layer_norm_before", &before},
        {CBE_KEY_OPT, "layer_norm_elementwise_affine", &affine},
        {CBE_KEY_OPT, "_remove_final_layer_norm", &no_final_norm},
        {CBE_KEY_SCORE_SCALE, "scale_attn_weights", &scaled},
        {CBE_KEY_SCORE_SCALE, "scale_attn_by_inverse_layer_idx", &config->scale_by_block},
        {CBE_KEY_QK_NORM, "qk_layernorm", &head_norms},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (flags[i].key != (keys & flags[i].key)) continue;
        const cbe_status st = cbe_json_bool(root, flags[i].name, path, flags[i].out, err);
        if (st != CBE_OK) return st;
    }
    if (keys & CBE_KEY_ATTENTION_BIAS)
        traits->qkv_bias = traits->attention_out_bias = attention ? CBE_BIAS_ALWAYS : CBE_BIAS_NONE;
    if (keys & CBE_KEY_MLP_BIAS) traits->mlp_bias = mlp ? CBE_BIAS_ALWAYS : CBE_BIAS_NONE;
    if (!all) traits->qkv_bias = traits->attention_out_bias = traits->mlp_bias = CBE_BIAS_NONE;
    if (head_norms) traits->qk_norm = CBE_QK_NORM_HEAD;
    traits->norms_of_sums = !before;
    traits->norms_no_gain = !affine;
    traits->unscaled_scores |= !scaled;
    config->final_norm = before && !no_final_norm;
    return CBE_OK;
}

static cbe_status read_activation(yyjson_val *root, const char *path, cbe_config *config,
                                  cbe_error *err)
{
    cbe_status st;
    const char *name = NULL, *key = NULL;
    static const char *const keys[] = {"hidden_act", "activation_function", "hidden_activation"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!cbe_json_get(root, keys[i])) continue;
        key = keys[i];
        if ((st = cbe_json_string(root, key, path, &name, err)) != CBE_OK) return st;
    }
    if (!name) return CBE_OK;
    const cbe_activation found = cbe_activation_find(name);
    if (found == CBE_N_ACTIVATIONS)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: %s '%.40s' is not supported (known: silu, gelu, gelu_new, "
                        "gelu_pytorch_tanh, quick_gelu, relu)",
                        path, key, name);
    /* Gemma's first files say gelu but mean the tanh form. */
    if (found != CBE_GELU || !config->traits.scaled_embedding) config->traits.activation = found;
    return CBE_OK;
}

/* Refuses options that would change the computation. */
static cbe_status check_unsupported(yyjson_val *root, const char *path, cbe_error *err)
{
    static const char *const flags[] = {"apply_residual_connection_post_layernorm",
                                        "add_cross_attention", "use_bidirectional_attention"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool set = false;
        const cbe_status st = cbe_json_bool(root, flags[i], path, &set, err);
        if (st != CBE_OK) return st;
        if (set)
            return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                            "%s: %s is true, which is not supported for this model", path,
                            flags[i]);
    }
    if (cbe_json_get(root, "quantization_config"))
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: quantization_config: quantised folders are not supported; use the "
                        "model's float weights or a .gguf file",
                        path);
    return CBE_OK;
}

static cbe_status unknown_kind(const char *path, const char *key, const char *kind, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s: %s: attention '%.40s' is not supported",
                    path, key, kind ? kind : "?");
}

/* Reads a list of kinds, one for each block. */
static cbe_status read_kinds(yyjson_val *list, const char *path, const char *key,
                             cbe_config *config, cbe_error *err)
{
    const size_t n = config->sizes.n_layers;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) != n || n > CBE_MAX_LOCAL_BLOCKS)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: key '%s' must list one kind for each of the %zu blocks", path, key, n);
    for (size_t i = 0; i < n; i++) {
        const char *kind = yyjson_get_str(yyjson_arr_get(list, i));
        const bool local =
            kind && (strcmp(kind, "sliding_attention") == 0 || strcmp(kind, "local") == 0);
        if (!local &&
            (!kind || (strcmp(kind, "full_attention") != 0 && strcmp(kind, "global") != 0)))
            return unknown_kind(path, key, kind, err);
        config->local[i] = local;
    }
    return CBE_OK;
}

/* Reads GPT-Neo's list: [[["global", "local"], 12]] means global, local, 12 times. */
static cbe_status read_attention_types(yyjson_val *types, const char *path, cbe_config *config,
                                       cbe_error *err)
{
    static const char key[] = "attention_types";
    const size_t n = config->sizes.n_layers;
    size_t filled = 0;
    for (size_t i = 0; i < yyjson_arr_size(types); i++) {
        yyjson_val *item = yyjson_arr_get(types, i), *kinds = yyjson_arr_get(item, 0);
        const int64_t times = yyjson_get_sint(yyjson_arr_get(item, 1));
        for (int64_t t = 0; t < times && yyjson_arr_size(kinds) > 0; t++)
            for (size_t k = 0; k < yyjson_arr_size(kinds); k++) {
                const char *kind = yyjson_get_str(yyjson_arr_get(kinds, k));
                const bool local = kind && strcmp(kind, "local") == 0;
                if (!local && (!kind || strcmp(kind, "global") != 0))
                    return unknown_kind(path, key, kind, err);
                if (filled == n || filled == CBE_MAX_LOCAL_BLOCKS) goto count;
                config->local[filled++] = local;
            }
    }
    if (filled == n) return CBE_OK;
count:
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: key '%s' must describe as many blocks as there are, %zu", path, key, n);
}

cbe_status cbe_config_json_windows(yyjson_val *root, const char *path, cbe_config *config,
                                   cbe_error *err)
{
    cbe_status st;
    const cbe_family_defaults *defaults = &config->family->defaults;
    size_t period = defaults->window_period, from = 28; /* transformers' max_window_layers */
    bool used = false;
    if (defaults->window_rule == CBE_WINDOW_NONE) return CBE_OK;
    if ((st = cbe_json_bool(root, "use_sliding_window", path, &used, err)) != CBE_OK) return st;
    if (defaults->window_rule == CBE_WINDOW_FROM && !used) {
        config->window = 0; /* no window, even if other keys give one */
        return CBE_OK;
    }
    const char *key = defaults->window_rule == CBE_WINDOW_LISTED ? "window_size" : "sliding_window";
    /* null means no window. */
    if (yyjson_is_null(cbe_json_at(root, key))) config->window = 0;
    const struct {
        const char *key;
        size_t *out;
    } numbers[] = {
        {key, &config->window},
        {"sliding_window_pattern", &period},
        {"_sliding_window_pattern", &period},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if ((st = cbe_json_size(root, numbers[i].key, CBE_CONFIG_SIZE_MAX, path, numbers[i].out,
                                err)) != CBE_OK)
            return st;
    double first = (double)from; /* read as a number, since it may be 0 */
    if ((st = cbe_json_double(root, "max_window_layers", path, &first, err)) != CBE_OK) return st;
    from = first >= 0 && first < CBE_MAX_LOCAL_BLOCKS ? (size_t)first : CBE_MAX_LOCAL_BLOCKS;
    if (config->window == 0) return CBE_OK;
    yyjson_val *list = cbe_json_get(root, "layer_types");
    if (list && defaults->window_rule != CBE_WINDOW_ALL)
        return read_kinds(list, path, "layer_types", config, err);
    if (defaults->window_rule != CBE_WINDOW_LISTED)
        return cbe_config_set_windows(config, defaults->window_rule, period, from, path, err);
    if ((list = cbe_json_get(root, "attention_layers")))
        return read_kinds(list, path, "attention_layers", config, err);
    list = cbe_json_get(root, "attention_types");
    if (!list)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key 'attention_types' is missing", path);
    return read_attention_types(list, path, config, err);
}

static cbe_status find_family(yyjson_val *root, const char *path, const cbe_family **out,
                              cbe_error *err)
{
    const char *type = NULL;
    const cbe_status st = cbe_json_string(root, "model_type", path, &type, err);
    if (st != CBE_OK) return st;
    if (!type) return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key 'model_type' is missing", path);
    *out = cbe_family_find(CBE_FORMAT_HUGGING_FACE, type, strlen(type));
    if (*out) return CBE_OK;
    char known[256];
    cbe_family_list(CBE_FORMAT_HUGGING_FACE, known, sizeof known);
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: model_type '%.60s' is not supported (known: %s)", path, type, known);
}

static cbe_status read_config(yyjson_val *root, const char *path, cbe_config *config,
                              cbe_error *err)
{
    cbe_status st;
    const cbe_family *family;
    if (!yyjson_is_obj(root))
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: must be a JSON object", path);
    if ((st = find_family(root, path, &family, err)) != CBE_OK) return st;
    cbe_config_init(config, family);
    cbe_model_config *c = &config->sizes;
    snprintf(c->architecture, sizeof c->architecture, "%s", family->name[CBE_FORMAT_HUGGING_FACE]);
    if ((st = read_sizes(root, path, c, err)) != CBE_OK) return st;
    if ((st = read_numbers(root, path, config, err)) != CBE_OK) return st;
    if ((st = read_softcaps(root, path, config, err)) != CBE_OK) return st;
    if ((st = read_flags(root, path, config, err)) != CBE_OK) return st;
    if ((st = read_activation(root, path, config, err)) != CBE_OK) return st;
    if ((st = check_unsupported(root, path, err)) != CBE_OK) return st;
    if ((family->defaults.keys & CBE_KEY_OPT) &&
        (st = cbe_json_size(root, "word_embed_proj_dim", CBE_CONFIG_SIZE_MAX, path,
                            &config->embedding_size, err)) != CBE_OK)
        return st;
    if (config->traits.positions == CBE_POSITIONS_ROTARY &&
        (st = cbe_config_json_rope(root, path, config, err)) != CBE_OK)
        return st;
    if ((st = cbe_config_json_windows(root, path, config, err)) != CBE_OK) return st;
    return cbe_config_finish(config, CBE_FORMAT_HUGGING_FACE, path, err);
}

cbe_status cbe_config_from_json(cbe_config *out, const char *text, size_t length, const char *path,
                                cbe_error *err)
{
    cbe_config config;
    yyjson_doc *doc = NULL;
    cbe_status st = cbe_json_read(&doc, text, length, path, err);
    if (st != CBE_OK) return st;
    st = read_config(yyjson_doc_get_root(doc), path, &config, err);
    yyjson_doc_free(doc);
    if (st == CBE_OK) *out = config;
    return st;
}
