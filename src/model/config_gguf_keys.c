/*
 * config_gguf_keys.c - the keys of a GGUF file's architecture that config_gguf.c does not read:
 * each must leave the computation as it is here.
 *
 * A value that means "none" (0, false, an empty text or list, and 1 for a factor) is always right.
 * Any other value of a key that the format's reference computes with is refused, and so is one of
 * an unknown key of attention or rotary embeddings; one of another unknown key is remarked on.
 */
#include "model/config_gguf_keys.h"

#include <string.h>

#include "core/fail.h"

enum { KEY_SIZE = 160, VALUE_SIZE = 48 };

typedef enum {
    READ = 0, /* config_gguf.c reads it, or the computation does not depend on it */
    NONE,     /* refused unless it means "none" */
    FACTOR,   /* refused unless it is 1 or means "none" */
    REMARKED
} key_rule;

/* A name that ends in a dot or an underscore stands for all keys that begin with it. The first row
 * that fits counts. */
static const struct {
    const char *name;
    key_rule rule;
} rules[] = {
    {"vocab_size", READ},
    {"context_length", READ},
    {"embedding_length", READ},
    {"block_count", READ},
    {"feed_forward_length", READ},
    {"attention.head_count", READ},
    {"attention.head_count_kv", READ},
    {"attention.key_length", READ},
    {"attention.layer_norm_epsilon", READ},
    {"attention.layer_norm_rms_epsilon", READ},
    {"attention.sliding_window", READ},
    {"attention.sliding_window_pattern", READ},
    {"attention.scale", READ},
    {"attn_logit_softcapping", READ},
    {"final_logit_softcapping", READ},
    {"rope.dimension_count", READ},
    {"rope.freq_base", READ},
    {"rope.freq_base_swa", READ},
    {"rope.global.freq_base", READ},
    {"rope.local.freq_base", READ},
    {"rope.scale_linear", READ},
    {"rope.scaling.type", READ},
    {"rope.scaling.factor", READ},
    {"rope.scaling.original_context_length", READ},
    {"rope.scaling.attn_factor", READ},
    {"rope.scaling.yarn_beta_fast", READ},
    {"rope.scaling.yarn_beta_slow", READ},
    /* Not of the hidden states of text: training, pooling, heads, images, sound. */
    {"rope.scaling.finetuned", READ},
    {"expert_used_count", READ},
    {"pooling_type", READ},
    {"decoder_start_token_id", READ},
    {"classifier.", READ},
    {"dense_2_", READ},
    {"dense_3_", READ},
    {"vision.", READ},
    {"audio.", READ},
    {"mm.", READ},
    {"logit_scale", FACTOR},
    {"residual_scale", FACTOR},
    {"embedding_scale", FACTOR},
    {"attention.output_scale", FACTOR},
    {"attention.value_scale", FACTOR},
    {"rope.scaling.alpha", FACTOR},
    {"rope.scaling.yarn_attn_factor", FACTOR},
    {"attention.", NONE},
    {"rope.", NONE},
    {"activation_sparsity_scale", NONE},
    {"altup.", NONE},
    {"convnext.", NONE},
    {"decoder_block_count", NONE},
    {"deepstack_mapping", NONE},
    {"embedding_length_out", NONE},
    {"embedding_length_per_layer_input", NONE},
    {"expert_", NONE},
    {"experts_", NONE},
    {"features_length", NONE},
    {"full_attention_interval", NONE},
    {"hash_layer_count", NONE},
    {"hyper_connection.", NONE},
    {"interleave_moe_layer_step", NONE},
    {"kda.", NONE},
    {"leading_dense_block_count", NONE},
    {"moe_", NONE},
    {"n_deepstack_layers", NONE},
    {"nextn_predict_layers", NONE},
    {"norm_before_residual", NONE},
    {"posnet.", NONE},
    {"rescale_every_n_layers", NONE},
    {"router_logit_softcapping", NONE},
    {"shortconv.", NONE},
    {"ssm.", NONE},
    {"swiglu_", NONE},
    {"swin_norm", NONE},
    {"target_", NONE},
    {"time_", NONE},
    {"token_shift_count", NONE},
    {"wkv.", NONE},
    {"xielu.", NONE},
    {"", REMARKED},
};

static key_rule find_rule(const char *name)
{
    size_t i = 0;
    for (;; i++) {
        const char *rule_name = rules[i].name;
        const size_t length = strlen(rule_name);
        const bool begins =
            length == 0 || rule_name[length - 1] == '.' || rule_name[length - 1] == '_';
        if (begins ? strncmp(name, rule_name, length) == 0 : strcmp(name, rule_name) == 0) break;
    }
    return rules[i].rule;
}

/* A key and what config_gguf.c would compute with in its place. */
typedef struct {
    const char *name;
    double expected[2]; /* either is right */
} expectation;

/* Reads a bool or a number as a number. @return whether it is one */
static bool read_number(const cbe_gguf *file, const char *key, double *out)
{
    bool flag;
    if (cbe_gguf_double(file, key, out, NULL) == CBE_OK) return true;
    if (cbe_gguf_bool(file, key, &flag, NULL) != CBE_OK) return false;
    *out = flag;
    return true;
}

/* Whether a value means "none". */
static cbe_status is_none(const cbe_gguf *file, const char *key, bool *none, cbe_error *err)
{
    double value;
    cbe_span text;
    float *floats = NULL;
    size_t n = 0;
    *none = false;
    if (read_number(file, key, &value)) {
        *none = value == 0;
    } else if (cbe_gguf_string(file, key, &text, NULL) == CBE_OK) {
        *none = text.length == 0;
    } else {
        cbe_error why = {0};
        const cbe_status st = cbe_gguf_floats(file, key, &floats, &n, &why);
        if (st == CBE_ERR_NOMEM) {
            if (err) *err = why;
            return st;
        }
        *none = st == CBE_OK;
        for (size_t i = 0; st == CBE_OK && i < n; i++) *none = *none && floats[i] == 0;
        cbe_gguf_free_array(floats);
    }
    return CBE_OK;
}

static cbe_status refuse(const cbe_gguf *file, const char *key, const char *value, cbe_error *err)
{
    return cbe_fail(
        err, CBE_ERR_UNSUPPORTED, -1,
        "%s: key '%s' is %s, which changes what the model computes and is not supported",
        cbe_gguf_path(file), key, value);
}

/* The text of a key, if it is one. */
static bool read_text(const cbe_gguf *file, const char *key, char out[VALUE_SIZE])
{
    cbe_span text;
    if (cbe_gguf_string(file, key, &text, NULL) != CBE_OK || text.length >= VALUE_SIZE)
        return false;
    memcpy(out, text.data, text.length);
    out[text.length] = 0;
    return true;
}

/* Whether a key that has one right value for a model has it. @return false: the key is not one */
static bool is_special(const cbe_config *config, const cbe_gguf *file, const char *name,
                       const char *key, bool *right)
{
    const cbe_model_config *sizes = &config->sizes;
    const bool yarn = config->rope[CBE_REACH_GLOBAL].kind == CBE_ROPE_YARN;
    const expectation numbers[] = {
        {"attention.value_length", {(double)sizes->head_size, (double)sizes->head_size}},
        {"attention.key_length_swa", {(double)sizes->head_size, 0}},
        {"attention.value_length_swa", {(double)sizes->head_size, 0}},
        {"rope.dimension_count_swa", {(double)config->rotary_size, 0}},
        {"rope.scaling.yarn_ext_factor", {yarn, -1}},
        {"attention.causal", {1, 1}},
        {"use_parallel_residual", {config->traits.parallel, config->traits.parallel}},
    };
    double number;
    char text[VALUE_SIZE];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(name, numbers[i].name) == 0) {
            *right = read_number(file, key, &number) &&
                     (number == numbers[i].expected[0] || number == numbers[i].expected[1]);
            return true;
        }
    if (strcmp(name, "hidden_activation") == 0) {
        *right =
            read_text(file, key, text) && cbe_activation_find(text) == config->traits.activation;
        return true;
    }
    if (strcmp(name, "tensor_data_layout") == 0) {
        /* Rows of q and k are where converters to this architecture put them. */
        const bool moved = config->family->tensors[CBE_FORMAT_GGUF]->interleaved_rotary;
        *right = read_text(file, key, text) &&
                 strcmp(text, moved ? "Meta AI original pth" : "reference") == 0;
        return true;
    }
    return false;
}

static cbe_status check_key(const cbe_config *config, const cbe_gguf *file, const char *name,
                            const char *key, const char *value, cbe_remarks *remarks,
                            cbe_error *err)
{
    bool right, none;
    double number;
    if (is_special(config, file, name, key, &right))
        return right ? CBE_OK : refuse(file, key, value, err);
    const key_rule rule = find_rule(name);
    const bool rotary = config->traits.positions == CBE_POSITIONS_ROTARY;
    if (rule == READ || (!rotary && strncmp(name, "rope.", 5) == 0)) return CBE_OK;
    const cbe_status st = is_none(file, key, &none, err);
    if (st != CBE_OK || none) return st;
    if (rule == FACTOR && read_number(file, key, &number) && number == 1) return CBE_OK;
    return rule == REMARKED ? cbe_remark(remarks, err,
                                         "%s: key '%s' is not known, and its value, %s, changes "
                                         "nothing here",
                                         cbe_gguf_path(file), key, value)
                            : refuse(file, key, value, err);
}

/* Refuses tensors outside of blocks that change the computation of other architectures. */
static cbe_status check_tensors(const cbe_config *config, const cbe_gguf *file, cbe_error *err)
{
    static const char *const others[] = {"token_embd_norm", "token_embd.bias",  "token_embd.scale",
                                         "token_types",     "position_embd",    "per_layer_",
                                         "altup_",          "output_norm.bias", "output_norm_2",
                                         "output.scale",    "output_hc_",       "enc."};
    const bool learned = config->traits.positions == CBE_POSITIONS_LEARNED,
               biased = config->traits.norm == CBE_NORM_LAYER;
    for (size_t i = 0; i < cbe_gguf_count(file); i++) {
        const char *name = cbe_gguf_name(file, i);
        for (size_t k = 0; k < sizeof others / sizeof *others; k++)
            if (strncmp(name, others[k], strlen(others[k])) == 0 &&
                !(learned && strcmp(others[k], "position_embd") == 0) &&
                !(biased && strcmp(others[k], "output_norm.bias") == 0))
                return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                                "%s: tensor '%.80s' has no place in a %s model; leaving it out "
                                "would give wrong results",
                                cbe_gguf_path(file), name, config->sizes.architecture);
    }
    return CBE_OK;
}

cbe_status cbe_config_check_gguf_keys(const cbe_config *config, const cbe_gguf *file,
                                      cbe_remarks *remarks, cbe_error *err)
{
    cbe_span key;
    char value[VALUE_SIZE], text[KEY_SIZE];
    const char *architecture = config->sizes.architecture;
    const size_t length = strlen(architecture);
    for (size_t i = 0; cbe_gguf_describe(file, i, &key, value, sizeof value); i++) {
        if (key.length <= length || key.length >= sizeof text ||
            memcmp(key.data, architecture, length) != 0 || key.data[length] != '.')
            continue;
        memcpy(text, key.data, key.length);
        text[key.length] = 0;
        const cbe_status st = check_key(config, file, text + length + 1, text, value, remarks, err);
        if (st != CBE_OK) return st;
    }
    return check_tensors(config, file, err);
}
