/* config_json.c - see config.h. A null counts as absent, as transformers has it. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "model/config.h"

typedef struct {
    const json_t *object;
    const char *path;
} reader;

static const json_t *get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static cbe_status wrong_type(const reader *in, const char *key, const char *expected,
                             cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' must be %s", in->path, key, expected);
}

/* The readers leave *out as it is when the key is absent. */

static cbe_status read_size(const reader *in, const char *key, bool required, size_t *out,
                            cbe_error *err)
{
    const json_t *value = get(in->object, key);
    if (!value)
        return required
                   ? cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is missing", in->path, key)
                   : CBE_OK;
    if (!json_is_integer(value)) return wrong_type(in, key, "an integer", err);
    const json_int_t number = json_integer_value(value);
    if (number < 1 || number > CBE_CONFIG_SIZE_MAX)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is %lld, must be 1 to %d", in->path,
                        key, (long long)number, (int)CBE_CONFIG_SIZE_MAX);
    *out = (size_t)number;
    return CBE_OK;
}

static cbe_status read_double(const reader *in, const json_t *object, const char *key, double *out,
                              cbe_error *err)
{
    const json_t *value = get(object, key);
    if (!value) return CBE_OK;
    if (!json_is_number(value)) return wrong_type(in, key, "a number", err);
    *out = json_number_value(value);
    return CBE_OK;
}

static cbe_status read_bool(const reader *in, const char *key, bool *out, cbe_error *err)
{
    const json_t *value = get(in->object, key);
    if (!value) return CBE_OK;
    if (!json_is_boolean(value)) return wrong_type(in, key, "true or false", err);
    *out = json_is_true(value);
    return CBE_OK;
}

static cbe_status read_string(const reader *in, const json_t *object, const char *key,
                              const char **out, cbe_error *err)
{
    const json_t *value = get(object, key);
    if (!value) return CBE_OK;
    if (!json_is_string(value)) return wrong_type(in, key, "a string", err);
    *out = json_string_value(value);
    return CBE_OK;
}

static cbe_status rope_kind(const reader *in, const char *name, cbe_rope_kind *out, cbe_error *err)
{
    static const char *const names[] = {"default", "linear", "llama3"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_ROPES, "one name for each kind");
    for (int i = 0; i < CBE_N_ROPES; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (cbe_rope_kind)i;
            return CBE_OK;
        }
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: rotary scaling '%.40s' is not supported (known: default, linear, llama3)",
                    in->path, name);
}

/* transformers 5 has everything in rope_parameters; transformers 4 has rope_theta beside
 * rope_scaling, whose kind older files call "type". */
static cbe_status read_rope(const reader *in, cbe_rope *rope, cbe_error *err)
{
    cbe_status st;
    const char *place = get(in->object, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    const json_t *scaling = get(in->object, place);
    if (scaling && !json_is_object(scaling)) return wrong_type(in, place, "an object", err);
    double rotary_share = 1;
    const char *kind = "default";
    const struct {
        const json_t *object;
        const char *key;
        double *out;
    } numbers[] = {
        {in->object, "rope_theta", &rope->base},
        {in->object, "partial_rotary_factor", &rotary_share},
        {scaling, "rope_theta", &rope->base},
        {scaling, "partial_rotary_factor", &rotary_share},
        {scaling, "factor", &rope->factor},
        {scaling, "low_freq_factor", &rope->low_frequency},
        {scaling, "high_freq_factor", &rope->high_frequency},
        {scaling, "original_max_position_embeddings", &rope->original_context},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        st = read_double(in, numbers[i].object, numbers[i].key, numbers[i].out, err);
        if (st != CBE_OK) return st;
    }
    if (rotary_share != 1)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: partial_rotary_factor is %g; only 1 is supported for this model",
                        in->path, rotary_share);
    if ((st = read_string(in, scaling, "type", &kind, err)) != CBE_OK) return st;
    if ((st = read_string(in, scaling, "rope_type", &kind, err)) != CBE_OK) return st;
    return rope_kind(in, kind, &rope->kind, err);
}

/* Options that change the computation in a way we do not follow. */
static cbe_status check_expected(const reader *in, cbe_error *err)
{
    cbe_status st;
    const char *activation = "silu";
    if ((st = read_string(in, in->object, "hidden_act", &activation, err)) != CBE_OK) return st;
    if (strcmp(activation, "silu") != 0)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: hidden_act '%.40s' is not supported for this model (known: silu)",
                        in->path, activation);
    static const char *const flags[] = {"attention_bias", "mlp_bias"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool set = false;
        if ((st = read_bool(in, flags[i], &set, err)) != CBE_OK) return st;
        if (set)
            return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                            "%s: %s is true; biases are not supported for this model", in->path,
                            flags[i]);
    }
    if (get(in->object, "quantization_config"))
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: quantization_config: quantised folders are not supported; use the "
                        "model's float weights or a .gguf file",
                        in->path);
    return CBE_OK;
}

static cbe_status read_config(const reader *in, cbe_config *config, cbe_error *err)
{
    cbe_status st;
    const char *type = NULL;
    if (!json_is_object(in->object))
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: must be a JSON object", in->path);
    if ((st = read_string(in, in->object, "model_type", &type, err)) != CBE_OK) return st;
    if (!type)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key 'model_type' is missing", in->path);
    config->family = cbe_family_find(CBE_FORMAT_HUGGING_FACE, type, strlen(type));
    if (!config->family) {
        char known[128];
        cbe_family_list(CBE_FORMAT_HUGGING_FACE, known, sizeof known);
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: model_type '%.60s' is not supported (known: %s)", in->path, type,
                        known);
    }
    cbe_model_config *sizes = &config->sizes;
    snprintf(sizes->architecture, sizeof sizes->architecture, "%s", type);
    for (size_t i = 0; i < CBE_N_CONFIG_SIZES; i++) {
        const cbe_config_size *size = &cbe_config_sizes[i];
        size_t *field = (size_t *)(void *)((char *)sizes + size->offset);
        st = read_size(in, size->key[CBE_FORMAT_HUGGING_FACE], size->required, field, err);
        if (st != CBE_OK) return st;
    }
    st = read_double(in, in->object, "rms_norm_eps", &sizes->norm_eps, err);
    if (st != CBE_OK) return st;
    if ((st = read_rope(in, &config->rope, err)) != CBE_OK) return st;
    if ((st = read_bool(in, "tie_word_embeddings", &config->tied, err)) != CBE_OK) return st;
    if ((st = check_expected(in, err)) != CBE_OK) return st;
    return cbe_config_finish(config, CBE_FORMAT_HUGGING_FACE, in->path, err);
}

cbe_status cbe_config_from_json(cbe_config *out, const char *text, size_t length, const char *path,
                                cbe_error *err)
{
    /* Absent keys have the values that transformers gives them. */
    cbe_config config = {.sizes.norm_eps = 1e-6, .rope = {.base = 10000}};
    json_error_t problem;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &problem);
    if (!root)
        return cbe_fail(err, CBE_ERR_FORMAT, problem.position, "%s: line %d: %s", path,
                        problem.line, problem.text);
    const reader in = {root, path};
    const cbe_status st = read_config(&in, &config, err);
    json_decref(root);
    if (st == CBE_OK) *out = config;
    return st;
}
