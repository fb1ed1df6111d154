/* config_json.c - see config.h. Rotary embeddings: config_json_rope.c; windows:
 * config_json_windows.c. */
#include "model/config_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "formats/json_keys.h"

/* Offsets of sizes in cbe_model_config. */
#define AT(field) offsetof(cbe_model_config, field)
static const size_t offsets[] = {
    [CBE_SIZE_HIDDEN] = AT(hidden_size),    [CBE_SIZE_LAYERS] = AT(n_layers),
    [CBE_SIZE_HEADS] = AT(n_heads),         [CBE_SIZE_KV_HEADS] = AT(n_kv_heads),
    [CBE_SIZE_HEAD] = AT(head_size),        [CBE_SIZE_MLP] = AT(mlp_size),
    [CBE_SIZE_VOCABULARY] = AT(vocab_size), [CBE_SIZE_CONTEXT] = AT(max_context),
};
_Static_assert(sizeof offsets / sizeof *offsets == CBE_N_SIZES, "one offset for each size");

/* Reads the first name of a size that is there; null is as good as not there, but for heads of keys
 * and values, which are then as many as heads. */
static cbe_status read_size(yyjson_val *root, const char *path, cbe_size_kind kind,
                            cbe_config *config, cbe_error *err)
{
    const cbe_size_key *key = &config->family->keys->sizes[kind];
    size_t *field = (size_t *)(void *)((char *)&config->sizes + offsets[kind]);
    *field = key->absent;
    for (size_t i = 0; i < 2 && key->names[i]; i++)
        if (cbe_json_get(root, key->names[i]))
            return cbe_json_size(root, key->names[i], CBE_CONFIG_SIZE_MAX, path, field, err);
    if (!key->names[0]) return CBE_OK;
    if (kind == CBE_SIZE_KV_HEADS && cbe_json_at(root, key->names[0])) *field = 0;
    if (*field && kind != CBE_SIZE_CONTEXT && !config->assumed_key) {
        config->assumed_key = key->names[0];
        config->assumed_size = *field;
    }
    return CBE_OK;
}

static cbe_status read_numbers(yyjson_val *root, const char *path, cbe_config *config,
                               cbe_error *err)
{
    const char *eps = config->family->keys->norm_eps;
    double query_scalar = config->family->defaults.query_scalar;
    cbe_status st;
    if (eps && (st = cbe_json_double(root, eps, path, &config->sizes.norm_eps, err)) != CBE_OK)
        return st;
    if (query_scalar == 0) return CBE_OK;
    st = cbe_json_double(root, "query_pre_attn_scalar", path, &query_scalar, err);
    config->query_scale = 1 / sqrt(query_scalar);
    return st;
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
    const char *name = NULL, *key = config->family->keys->activation;
    if (!key) return CBE_OK;
    const cbe_status st = cbe_json_string(root, key, path, &name, err);
    if (st != CBE_OK || !name) return st;
    const cbe_activation found = cbe_activation_find(name);
    if (found == CBE_N_ACTIVATIONS)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: %s '%.40s' is not supported (known: silu, gelu, gelu_new, "
                        "gelu_pytorch_tanh, quick_gelu, relu)",
                        path, key, name);
    const bool tanh_form = config->family->keys->gelu_is_tanh && strcmp(name, "gelu") == 0;
    config->traits.activation = tanh_form ? CBE_GELU_TANH : found;
    return CBE_OK;
}

/* Refuses options that would change the computation. */
static cbe_status check_unsupported(yyjson_val *root, const char *path, const cbe_config *config,
                                    cbe_error *err)
{
    bool set = false;
    static const char *const whole[][2] = {
        {"quantization_config", "quantised folders are not supported; use the model's float "
                                "weights or a .gguf file"},
        {"per_layer_config", "blocks with sizes of their own are not supported"},
        {"transformers_weights", "weights under another file's name are not supported; call the "
                                 "file model.safetensors and leave the key out"},
    };
    const char *flag = config->family->keys->refused;
    const cbe_status st = flag ? cbe_json_bool(root, flag, path, &set, err) : CBE_OK;
    if (st != CBE_OK) return st;
    if (set)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: %s is true, which is not supported for this model", path, flag);
    yyjson_val *causal = cbe_json_at(root, "is_causal");
    if (causal && !yyjson_is_true(causal))
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: is_causal is not true; tokens that see later ones are not supported",
                        path);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (cbe_json_get(root, whole[i][0]))
            return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s: %s: %s", path, whole[i][0],
                            whole[i][1]);
    return CBE_OK;
}

/* GPT-NeoX divides hidden_size by the heads in attention, and rotates as head_dim says. */
static cbe_status check_rotary_head(yyjson_val *root, const char *path, const cbe_config *config,
                                    cbe_error *err)
{
    const char *key = config->family->keys->rotary_head;
    const cbe_model_config *c = &config->sizes;
    size_t size = 0;
    const cbe_status st =
        key ? cbe_json_size(root, key, CBE_CONFIG_SIZE_MAX, path, &size, err) : CBE_OK;
    if (st != CBE_OK || size == 0 || c->n_heads == 0 || size == c->hidden_size / c->n_heads)
        return st;
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: %s is %zu, but heads have hidden_size / num_attention_heads = %zu; a "
                    "rotation of another size is not supported",
                    path, key, size, c->hidden_size / c->n_heads);
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
    for (int i = 0; i < CBE_N_SIZES; i++)
        if ((st = read_size(root, path, (cbe_size_kind)i, config, err)) != CBE_OK) return st;
    if ((st = read_numbers(root, path, config, err)) != CBE_OK) return st;
    if ((st = read_softcaps(root, path, config, err)) != CBE_OK) return st;
    if ((st = read_flags(root, path, config, err)) != CBE_OK) return st;
    if ((st = read_activation(root, path, config, err)) != CBE_OK) return st;
    if ((st = check_unsupported(root, path, config, err)) != CBE_OK) return st;
    if ((st = check_rotary_head(root, path, config, err)) != CBE_OK) return st;
    if ((family->defaults.keys & CBE_KEY_OPT) &&
        (st = cbe_json_size(root, "word_embed_proj_dim", CBE_CONFIG_SIZE_MAX, path,
                            &config->embedding_size, err)) != CBE_OK)
        return st;
    if (config->traits.positions == CBE_POSITIONS_ROTARY &&
        (st = cbe_config_json_rope(root, path, config, err)) != CBE_OK)
        return st;
    if ((st = cbe_config_json_windows(root, path, config, err)) != CBE_OK) return st;
    st = cbe_config_finish(config, CBE_FORMAT_HUGGING_FACE, path, err);
    return cbe_config_explain(config, st, err);
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
