/* config_gguf.c - see config.h. */
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "model/config.h"

enum { KEY_SIZE = 128 };

typedef struct {
    const cbe_gguf *file;
    const char *architecture;
} reader;

/* "llama" and "block_count" make "llama.block_count". */
static const char *full_key(const reader *in, const char *key, char out[KEY_SIZE])
{
    snprintf(out, KEY_SIZE, "%s.%s", in->architecture, key);
    return out;
}

/* *out keeps its value when the key is absent. */
static cbe_status read_size(const reader *in, const char *key, bool required, size_t *out,
                            cbe_error *err)
{
    char name[KEY_SIZE];
    full_key(in, key, name);
    if (!required && !cbe_gguf_has(in->file, name)) return CBE_OK;
    uint64_t value;
    const cbe_status st = cbe_gguf_uint(in->file, name, &value, err);
    if (st != CBE_OK) return st;
    if (value == 0 || value > CBE_CONFIG_SIZE_MAX)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is %llu, must be 1 to %d",
                        cbe_gguf_path(in->file), name, (unsigned long long)value,
                        (int)CBE_CONFIG_SIZE_MAX);
    *out = (size_t)value;
    return CBE_OK;
}

static cbe_status read_double(const reader *in, const char *key, bool required, double *out,
                              cbe_error *err)
{
    char name[KEY_SIZE];
    full_key(in, key, name);
    if (!required && !cbe_gguf_has(in->file, name)) return CBE_OK;
    return cbe_gguf_double(in->file, name, out, err);
}

static cbe_status read_rope(const reader *in, cbe_rope *rope, cbe_error *err)
{
    cbe_status st;
    char key[KEY_SIZE];
    if ((st = read_double(in, "rope.freq_base", false, &rope->base, err)) != CBE_OK) return st;
    full_key(in, "rope.scaling.type", key);
    if (cbe_gguf_has(in->file, key)) {
        cbe_span kind;
        if ((st = cbe_gguf_string(in->file, key, &kind, err)) != CBE_OK) return st;
        if (kind.length == 6 && memcmp(kind.data, "linear", 6) == 0) {
            rope->kind = CBE_ROPE_LINEAR;
            return read_double(in, "rope.scaling.factor", true, &rope->factor, err);
        }
        if (kind.length != 4 || memcmp(kind.data, "none", 4) != 0)
            return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                            "%s: %s '%.*s' is not supported (known: none, linear)",
                            cbe_gguf_path(in->file), key,
                            (int)(kind.length < 40 ? kind.length : 40), kind.data);
        return CBE_OK;
    }
    /* What files said before scaling had a type. */
    full_key(in, "rope.scale_linear", key);
    if (!cbe_gguf_has(in->file, key)) return CBE_OK;
    rope->kind = CBE_ROPE_LINEAR;
    return cbe_gguf_double(in->file, key, &rope->factor, err);
}

/* Keys that change the computation in a way we do not follow: they must be absent or have the
 * value. */
static cbe_status check_expected(const reader *in, const cbe_model_config *sizes, cbe_error *err)
{
    const struct {
        const char *key;
        uint64_t expected;
    } keys[] = {
        {"rope.dimension_count", sizes->head_size},
        {"attention.value_length", sizes->head_size},
        {"expert_count", 0},
        {"attention.sliding_window", 0},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char name[KEY_SIZE];
        full_key(in, keys[i].key, name);
        if (!cbe_gguf_has(in->file, name)) continue;
        uint64_t value;
        const cbe_status st = cbe_gguf_uint(in->file, name, &value, err);
        if (st != CBE_OK) return st;
        if (value != keys[i].expected)
            return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                            "%s: key '%s' is %llu; only %llu is supported for this model",
                            cbe_gguf_path(in->file), name, (unsigned long long)value,
                            (unsigned long long)keys[i].expected);
    }
    if (cbe_gguf_has(in->file, "split.count")) {
        uint64_t parts;
        const cbe_status st = cbe_gguf_uint(in->file, "split.count", &parts, err);
        if (st != CBE_OK) return st;
        if (parts > 1)
            return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                            "%s: one of %llu parts of a split model; join them first "
                            "(llama-gguf-split --merge)",
                            cbe_gguf_path(in->file), (unsigned long long)parts);
    }
    return CBE_OK;
}

cbe_status cbe_config_from_gguf(cbe_config *out, const cbe_gguf *file, cbe_error *err)
{
    cbe_status st;
    cbe_config config = {.rope = {.kind = CBE_ROPE_DEFAULT, .base = 10000}};
    cbe_span name;
    if ((st = cbe_gguf_string(file, "general.architecture", &name, err)) != CBE_OK) return st;
    config.family = cbe_family_find(CBE_FORMAT_GGUF, name.data, name.length);
    if (!config.family) {
        char known[128];
        cbe_family_list(CBE_FORMAT_GGUF, known, sizeof known);
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: general.architecture '%.*s' is not supported (known: %s)",
                        cbe_gguf_path(file), (int)(name.length < 60 ? name.length : 60), name.data,
                        known);
    }
    const reader in = {file, config.family->name[CBE_FORMAT_GGUF]};
    snprintf(config.sizes.architecture, sizeof config.sizes.architecture, "%s", in.architecture);
    for (size_t i = 0; i < CBE_N_CONFIG_SIZES; i++) {
        const cbe_config_size *size = &cbe_config_sizes[i];
        size_t *field = (size_t *)(void *)((char *)&config.sizes + size->offset);
        st = read_size(&in, size->key[CBE_FORMAT_GGUF], size->required, field, err);
        if (st != CBE_OK) return st;
    }
    const cbe_tensor_names *names = &config.family->tensors[CBE_FORMAT_GGUF];
    if (config.sizes.vocab_size == 0) { /* the key came late to the format; the tensor has it */
        cbe_tensor embedding;
        st = cbe_gguf_tensor(file, names->roles[CBE_ROLE_EMBEDDING], &embedding, err);
        if (st != CBE_OK) return st;
        if (embedding.n_dims > 0 && embedding.dims[0] <= CBE_CONFIG_SIZE_MAX)
            config.sizes.vocab_size = embedding.dims[0];
    }
    st = read_double(&in, "attention.layer_norm_rms_epsilon", true, &config.sizes.norm_eps, err);
    if (st != CBE_OK) return st;
    if ((st = read_rope(&in, &config.rope, err)) != CBE_OK) return st;
    config.tied = !cbe_gguf_has_tensor(file, names->roles[CBE_ROLE_UNEMBEDDING]);
    st = cbe_config_finish(&config, CBE_FORMAT_GGUF, cbe_gguf_path(file), err);
    if (st != CBE_OK) return st;
    if ((st = check_expected(&in, &config.sizes, err)) != CBE_OK) return st;
    *out = config;
    return CBE_OK;
}
