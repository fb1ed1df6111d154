/* config.c - see config.h. Readers: config_gguf.c, config_json.c. */
#include "model/config.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "core/fail.h"

/* Names of sizes in messages. */
static const struct {
    const char *hidden, *heads, *kv_heads, *head, *vocab, *mlp, *eps;
} keys[CBE_N_FORMATS] = {
    [CBE_FORMAT_GGUF] = {"embedding_length", "attention.head_count", "attention.head_count_kv",
                         "attention.key_length", "vocab_size", "feed_forward_length",
                         "attention.layer_norm_epsilon, layer_norm_rms_epsilon"},
    [CBE_FORMAT_HUGGING_FACE] = {"hidden_size", "num_attention_heads", "num_key_value_heads",
                                 "head_dim", "vocab_size", "intermediate_size",
                                 "rms_norm_eps, layer_norm_eps, layer_norm_epsilon"},
};

void cbe_config_init(cbe_config *config, const cbe_family *family)
{
    const cbe_family_defaults *defaults = &family->defaults;
    *config = (cbe_config){.family = family, .traits = family->traits};
    config->sizes.norm_eps = defaults->norm_eps;
    config->sizes.head_size = defaults->head_size;
    config->tied = defaults->tied;
    config->attention_softcap = defaults->attention_softcap;
    config->logit_softcap = defaults->logit_softcap;
    config->final_norm = true;
    config->window = defaults->window;
    config->rotary_size = defaults->rotary_size;
    config->rotary_share = defaults->rotary_share > 0 ? defaults->rotary_share : 1;
    for (size_t i = 0; i < CBE_N_REACHES; i++)
        config->rope[i] = (cbe_rope){.base = defaults->rope_base > 0 ? defaults->rope_base : 10000,
                                     .original_context = defaults->original_context,
                                     .beta_fast = 32,
                                     .beta_slow = 1};
    if (defaults->local_rope_base > 0)
        config->rope[CBE_REACH_LOCAL].base = defaults->local_rope_base;
}

cbe_reach cbe_config_reach(const cbe_config *config, size_t block)
{
    return block < CBE_MAX_LOCAL_BLOCKS && config->local[block] ? CBE_REACH_LOCAL
                                                                : CBE_REACH_GLOBAL;
}

cbe_status cbe_config_set_windows(cbe_config *config, cbe_window_rule rule, size_t period,
                                  size_t from, const char *path, cbe_error *err)
{
    const size_t n = config->sizes.n_layers;
    if (rule == CBE_WINDOW_NONE || config->window == 0) return CBE_OK;
    if (n > CBE_MAX_LOCAL_BLOCKS)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: %zu blocks with windows of attention; at most %d are supported", path,
                        n, (int)CBE_MAX_LOCAL_BLOCKS);
    for (size_t i = 0; i < n; i++)
        config->local[i] = rule == CBE_WINDOW_ALL ||
                           (rule == CBE_WINDOW_PERIOD && (i + 1) % period != 0) ||
                           (rule == CBE_WINDOW_FROM && i >= from);
    return CBE_OK;
}

cbe_status cbe_config_explain(const cbe_config *config, cbe_status st, cbe_error *err)
{
    const bool may_follow =
        st == CBE_ERR_SHAPE || st == CBE_ERR_FORMAT || st == CBE_ERR_UNSUPPORTED;
    if (!config->assumed_key || !may_follow || !err) return st;
    char what[CBE_MESSAGE_SIZE];
    snprintf(what, sizeof what, "%s", err->message);
    return cbe_fail(err, st, err->offset,
                    "%s; config.json has no '%s', which is %zu by default in a %s model", what,
                    config->assumed_key, config->assumed_size, config->sizes.architecture);
}

static cbe_status check_numbers(const cbe_rope *rope, const char *path, cbe_error *err)
{
    const bool llama3 = rope->kind == CBE_ROPE_LLAMA3, yarn = rope->kind == CBE_ROPE_YARN;
    const struct {
        const char *what;
        double value;
        bool used;
    } numbers[] = {
        {"base (freq_base, rope_theta)", rope->base, true},
        {"factor", rope->factor, rope->kind != CBE_ROPE_DEFAULT},
        {"low_freq_factor", rope->low_frequency, llama3},
        {"high_freq_factor", rope->high_frequency, llama3},
        {"original_max_position_embeddings (original_context_length)", rope->original_context,
         llama3 || yarn || rope->kind == CBE_ROPE_LONGROPE},
        {"max_position_embeddings", rope->max_context, rope->kind == CBE_ROPE_DYNAMIC},
        {"beta_fast", rope->beta_fast, yarn},
        {"beta_slow", rope->beta_slow, yarn},
        {"attention_factor", rope->attention_factor, true},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].used && !(numbers[i].value > 0 && isfinite(numbers[i].value)))
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: rotary embedding: %s is %g, must be a positive number", path,
                            numbers[i].what, numbers[i].value);
    if (llama3 && !(rope->low_frequency < rope->high_frequency))
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: rotary embedding: low_freq_factor is %g, must be less than "
                        "high_freq_factor, %g",
                        path, rope->low_frequency, rope->high_frequency);
    if (yarn && !(rope->base > 1))
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: rotary embedding: base is %g, must be more than 1 for yarn", path,
                        rope->base);
    return CBE_OK;
}

cbe_status cbe_config_check_angles(const cbe_config *config, const char *path, cbe_error *err)
{
    const size_t pairs = config->rotary_size / 2;
    for (size_t r = 0; r < CBE_N_REACHES; r++) {
        const cbe_rope *rope = &config->rope[r];
        const double last = fmax(rope->max_context - 1, 1);
        for (size_t list = 0; list < 2; list++) { /* for short and for long contexts */
            double frequencies[CBE_MAX_ROTARY_PAIRS];
            const double length = list ? fmax(rope->max_context, rope->original_context + 1) : 1;
            cbe_rope_frequencies(rope, config->rotary_size,
                                 (size_t)fmin(length, CBE_CONFIG_SIZE_MAX), frequencies);
            for (size_t i = 0; i < pairs; i++)
                if (!(fabs(frequencies[i]) * last <= FLT_MAX))
                    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                                    "%s: rotary embedding: the angles of pair %zu overflow float32 "
                                    "(base %g, factor %g); PyTorch has NaN for them",
                                    path, i, rope->base, rope->factor);
        }
    }
    return CBE_OK;
}

/* The square root of 1 / t, with the temperature t of equation 22 of the YaRN paper. */
static double yarn_scale(double factor, double mscale)
{
    return 0.1 * mscale * log(factor) + 1;
}

/* Sets the values that follow from other values, and checks all. */
static cbe_status finish_rope(const cbe_config *config, cbe_rope *rope, const char *path,
                              cbe_error *err)
{
    cbe_status st;
    const double context = (double)config->sizes.max_context;
    rope->max_context = context;
    if (rope->original_context == 0) rope->original_context = context;
    if (rope->factor == 0 && (rope->kind == CBE_ROPE_YARN || rope->kind == CBE_ROPE_LONGROPE))
        rope->factor = context / rope->original_context;
    if (rope->attention_factor == 0) {
        rope->attention_factor = 1;
        if (rope->factor > 1 && rope->kind == CBE_ROPE_YARN) {
            const bool both = rope->mscale != 0 && rope->mscale_all != 0;
            rope->attention_factor = yarn_scale(rope->factor, both ? rope->mscale : 1) /
                                     (both ? yarn_scale(rope->factor, rope->mscale_all) : 1);
        }
        if (rope->factor > 1 && rope->kind == CBE_ROPE_LONGROPE)
            rope->attention_factor = sqrt(1 + log(rope->factor) / log(rope->original_context));
    }
    if ((st = check_numbers(rope, path, err)) != CBE_OK) return st;
    if (config->rotary_size > 2 * CBE_MAX_ROTARY_PAIRS)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: rotary embedding of %zu dimensions; at most %d are supported", path,
                        config->rotary_size, 2 * CBE_MAX_ROTARY_PAIRS);
    if (rope->n_divisors && rope->n_divisors != config->rotary_size / 2)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: rotary embedding: short_factor and long_factor have %zu numbers, must "
                        "have %zu, one for each pair of rotated dimensions",
                        path, rope->n_divisors, config->rotary_size / 2);
    for (size_t i = 0; i < 2 * rope->n_divisors; i++) {
        const double divisor = rope->divisors[i / rope->n_divisors][i % rope->n_divisors];
        if (!(divisor > 0 && isfinite(divisor)))
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: rotary embedding: number %zu of %s is %g, must be positive", path,
                            i % rope->n_divisors,
                            i < rope->n_divisors ? "short_factor" : "long_factor", divisor);
    }
    return CBE_OK;
}

static cbe_status finish_heads(cbe_config *config, cbe_model_format format, const char *path,
                               cbe_error *err)
{
    cbe_model_config *c = &config->sizes;
    if (c->n_kv_heads == 0) c->n_kv_heads = c->n_heads;
    if (c->n_heads % c->n_kv_heads != 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s is %zu, must be a multiple of %s, %zu",
                        path, keys[format].heads, c->n_heads, keys[format].kv_heads, c->n_kv_heads);
    if (c->head_size == 0) {
        if (c->hidden_size % c->n_heads != 0)
            return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s is %zu, must divide %s, %zu", path,
                            keys[format].heads, c->n_heads, keys[format].hidden, c->hidden_size);
        c->head_size = c->hidden_size / c->n_heads;
    }
    if (c->n_heads > CBE_CONFIG_SIZE_MAX / c->head_size)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s times %s is %zu times %zu, at most %d",
                        path, keys[format].heads, keys[format].head, c->n_heads, c->head_size,
                        (int)CBE_CONFIG_SIZE_MAX);
    if (config->traits.positions != CBE_POSITIONS_ROTARY) return CBE_OK;
    if (!(config->rotary_share > 0 && config->rotary_share <= 1))
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: partial_rotary_factor is %g, must be above 0 and at most 1", path,
                        config->rotary_share);
    if (config->rotary_size == 0)
        config->rotary_size = (size_t)((double)c->head_size * config->rotary_share);
    if (config->rotary_size > c->head_size || config->rotary_size % 2 != 0 ||
        config->rotary_size == 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: rotary embeddings of %zu of a head's %zu dimensions (%s, or %s by "
                        "%s); they must be even, and no more than there are",
                        path, config->rotary_size, c->head_size, keys[format].head,
                        keys[format].hidden, keys[format].heads);
    return CBE_OK;
}

cbe_status cbe_config_finish(cbe_config *config, cbe_model_format format, const char *path,
                             cbe_error *err)
{
    cbe_status st;
    cbe_model_config *c = &config->sizes;
    if (c->vocab_size == 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is missing", path,
                        keys[format].vocab);
    if (c->mlp_size == 0 && config->family->defaults.wide_mlp) c->mlp_size = 4 * c->hidden_size;
    if (c->mlp_size == 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is missing", path, keys[format].mlp);
    if ((st = finish_heads(config, format, path, err)) != CBE_OK) return st;
    if (!(c->norm_eps >= 0 && c->norm_eps < 1))
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: the norm's epsilon (%s) is %g, must be at least 0 and below 1", path,
                        keys[format].eps, c->norm_eps);
    if (config->query_scale == 0)
        config->query_scale = config->traits.unscaled_scores ? 1 : 1 / sqrt((double)c->head_size);
    const struct {
        const char *what;
        double value;
    } numbers[] = {
        {"scale of attention scores (query_pre_attn_scalar, attention.scale)", config->query_scale},
        {"attention's soft cap (attn_logit_softcapping)", config->attention_softcap},
        {"logits' soft cap (final_logit_softcapping)", config->logit_softcap},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!(numbers[i].value >= 0 && numbers[i].value <= FLT_MAX))
            return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: the %s is %g, must be positive", path,
                            numbers[i].what, numbers[i].value);
    if (config->traits.positions == CBE_POSITIONS_LEARNED && c->max_context == 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: the number of positions (max_position_embeddings, n_positions, "
                        "context_length) is missing",
                        path);
    if (config->embedding_size == 0) config->embedding_size = c->hidden_size;
    c->gated_mlp = config->traits.gated;
    if (config->traits.positions != CBE_POSITIONS_ROTARY) return CBE_OK;
    c->rope_base = config->rope[CBE_REACH_GLOBAL].base;
    for (size_t i = 0; i < CBE_N_REACHES; i++)
        if ((st = finish_rope(config, &config->rope[i], path, err)) != CBE_OK) return st;
    return cbe_config_check_angles(config, path, err);
}

double cbe_model_multiplications(const cbe_model_config *m, size_t state)
{
    const double d = (double)m->hidden_size, queries = (double)(m->n_heads * m->head_size),
                 values = (double)(m->n_kv_heads * m->head_size), mlp = (double)m->mlp_size;
    const double block = 2 * d * (queries + values) + (m->gated_mlp ? 3 : 2) * d * mlp;
    return (double)(m->n_layers - state) * block + (double)m->vocab_size * d;
}
