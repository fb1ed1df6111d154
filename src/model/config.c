/* config.c - see config.h. Readers: config_gguf.c, config_json.c. */
#include "model/config.h"

#include <math.h>

#include "core/fail.h"

#define AT(field) offsetof(cbe_model_config, field)

const cbe_config_size cbe_config_sizes[CBE_N_CONFIG_SIZES] = {
    {{"embedding_length", "hidden_size"}, AT(hidden_size), true},
    {{"block_count", "num_hidden_layers"}, AT(n_layers), true},
    {{"attention.head_count", "num_attention_heads"}, AT(n_heads), true},
    {{"feed_forward_length", "intermediate_size"}, AT(mlp_size), true},
    {{"vocab_size", "vocab_size"}, AT(vocab_size), false},
    {{"attention.head_count_kv", "num_key_value_heads"}, AT(n_kv_heads), false},
    {{"attention.key_length", "head_dim"}, AT(head_size), false},
    {{"context_length", "max_position_embeddings"}, AT(max_context), false},
};

/* The key of a field, for messages. */
static const char *key_of(size_t offset, cbe_model_format format)
{
    for (size_t i = 0; i < CBE_N_CONFIG_SIZES; i++)
        if (cbe_config_sizes[i].offset == offset) return cbe_config_sizes[i].key[format];
    return "?";
}

static cbe_status check_rope(const cbe_rope *rope, const char *path, cbe_error *err)
{
    const struct {
        const char *what;
        double value;
        bool used;
    } numbers[] = {
        {"base (freq_base, rope_theta)", rope->base, true},
        {"factor", rope->factor, rope->kind != CBE_ROPE_DEFAULT},
        {"low_freq_factor", rope->low_frequency, rope->kind == CBE_ROPE_LLAMA3},
        {"high_freq_factor", rope->high_frequency, rope->kind == CBE_ROPE_LLAMA3},
        {"original_max_position_embeddings", rope->original_context, rope->kind == CBE_ROPE_LLAMA3},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].used && !(numbers[i].value > 0 && isfinite(numbers[i].value)))
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: rotary embedding: %s is %g, must be a positive number", path,
                            numbers[i].what, numbers[i].value);
    if (rope->kind == CBE_ROPE_LLAMA3 && !(rope->low_frequency < rope->high_frequency))
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: rotary embedding: low_freq_factor is %g, must be less than "
                        "high_freq_factor, %g",
                        path, rope->low_frequency, rope->high_frequency);
    return CBE_OK;
}

cbe_status cbe_config_finish(cbe_config *config, cbe_model_format format, const char *path,
                             cbe_error *err)
{
    cbe_model_config *c = &config->sizes;
    if (c->vocab_size == 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is missing", path,
                        key_of(AT(vocab_size), format));
    if (c->n_kv_heads == 0) c->n_kv_heads = c->n_heads;
    if (c->n_heads % c->n_kv_heads != 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s is %zu, must be a multiple of %s, %zu",
                        path, key_of(AT(n_heads), format), c->n_heads,
                        key_of(AT(n_kv_heads), format), c->n_kv_heads);
    if (c->head_size == 0) {
        if (c->hidden_size % c->n_heads != 0)
            return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s is %zu, must divide %s, %zu", path,
                            key_of(AT(n_heads), format), c->n_heads,
                            key_of(AT(hidden_size), format), c->hidden_size);
        c->head_size = c->hidden_size / c->n_heads;
    }
    if (c->head_size % 2 != 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: %s (or %s by %s) is %zu, must be even for rotary embeddings", path,
                        key_of(AT(head_size), format), key_of(AT(hidden_size), format),
                        key_of(AT(n_heads), format), c->head_size);
    if (c->n_heads > CBE_CONFIG_SIZE_MAX / c->head_size)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s times %s is %zu times %zu, at most %d",
                        path, key_of(AT(n_heads), format), key_of(AT(head_size), format),
                        c->n_heads, c->head_size, (int)CBE_CONFIG_SIZE_MAX);
    if (!(c->norm_eps >= 0 && c->norm_eps < 1))
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: the norm's epsilon (%s) is %g, must be at least 0 and below 1", path,
                        format == CBE_FORMAT_GGUF ? "attention.layer_norm_rms_epsilon"
                                                  : "rms_norm_eps",
                        c->norm_eps);
    c->rope_base = config->rope.base;
    return check_rope(&config->rope, path, err);
}
