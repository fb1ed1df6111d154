/* config_gguf.c - see config.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "model/config.h"
#include "model/config_gguf_keys.h"

enum { KEY_SIZE = 128 };

typedef struct {
    const cbe_gguf *file;
    const char *architecture;
} reader;

/* Joins "llama" and "block_count" to "llama.block_count". */
static const char *full_key(const reader *in, const char *key, char out[KEY_SIZE])
{
    snprintf(out, KEY_SIZE, "%s.%s", in->architecture, key);
    return out;
}

/* Of a list with a number for each block the number, if all are one; lists of other lengths and of
 * different numbers are refused. */
static cbe_status read_list(const reader *in, const char *name, size_t n_blocks, uint64_t *out,
                            cbe_error *err)
{
    int64_t *list = NULL;
    size_t n;
    cbe_status st = cbe_gguf_ints(in->file, name, &list, &n, err);
    if (st != CBE_OK) return st;
    if (n == 0 || n != n_blocks)
        st = cbe_fail(err, CBE_ERR_FORMAT, -1,
                      "%s: key '%s' is a list of %zu numbers for %zu blocks",
                      cbe_gguf_path(in->file), name, n, n_blocks);
    for (size_t i = 1; st == CBE_OK && i < n; i++)
        if (list[i] != list[0])
            st = cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                          "%s: key '%s' is %lld for block 0 and %lld for block %zu; a model whose "
                          "blocks differ in it is not supported",
                          cbe_gguf_path(in->file), name, (long long)list[0], (long long)list[i], i);
    if (st == CBE_OK) *out = list[0] < 0 ? 0 : (uint64_t)list[0];
    cbe_gguf_free_array(list);
    return st;
}

static bool has(const reader *in, const char *key)
{
    char name[KEY_SIZE];
    return cbe_gguf_has(in->file, full_key(in, key, name));
}

static bool is_architecture(const reader *in, const char *name)
{
    return strcmp(in->architecture, name) == 0;
}

/* Reads a size. If the key is not required and absent, *out keeps its value.
 * @param n_blocks  the length of a list in place of the size; 0: there is no such list */
static cbe_status read_size(const reader *in, const char *key, bool required, size_t n_blocks,
                            size_t *out, cbe_error *err)
{
    char name[KEY_SIZE];
    full_key(in, key, name);
    if (!required && !cbe_gguf_has(in->file, name)) return CBE_OK;
    uint64_t value;
    const cbe_status st = n_blocks > 0 && cbe_gguf_is_array(in->file, name)
                              ? read_list(in, name, n_blocks, &value, err)
                              : cbe_gguf_uint(in->file, name, &value, err);
    if (st != CBE_OK) return st;
    if (value == 0 || value > CBE_CONFIG_SIZE_MAX)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is %llu, must be 1 to %d",
                        cbe_gguf_path(in->file), name, (unsigned long long)value,
                        (int)CBE_CONFIG_SIZE_MAX);
    *out = (size_t)value;
    return CBE_OK;
}

static cbe_status read_double(const reader *in, const char *key, double *out, cbe_error *err)
{
    char name[KEY_SIZE];
    full_key(in, key, name);
    if (!cbe_gguf_has(in->file, name)) return CBE_OK;
    return cbe_gguf_double(in->file, name, out, err);
}

/* Reads the number of positions: 0 if it is not said, and at most what a size may be. */
static cbe_status read_context(const reader *in, size_t *out, cbe_error *err)
{
    char name[KEY_SIZE];
    uint64_t value = 0;
    full_key(in, "context_length", name);
    const cbe_status st =
        cbe_gguf_has(in->file, name) ? cbe_gguf_uint(in->file, name, &value, err) : CBE_OK;
    *out = value < CBE_CONFIG_SIZE_MAX ? (size_t)value : CBE_CONFIG_SIZE_MAX;
    return st;
}

static cbe_status read_sizes(const reader *in, cbe_model_config *c, cbe_error *err)
{
    const struct {
        const char *key;
        bool required, by_block;
        size_t *out;
    } sizes[] = {
        {"embedding_length", true, false, &c->hidden_size},
        {"block_count", true, false, &c->n_layers},
        {"attention.head_count", true, true, &c->n_heads},
        {"feed_forward_length", true, true, &c->mlp_size},
        {"vocab_size", false, false, &c->vocab_size},
        {"attention.head_count_kv", false, true, &c->n_kv_heads},
        {"attention.key_length", false, false, &c->head_size},
    };
    c->head_size = 0; /* without the key, head size is hidden size / heads in every architecture */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const cbe_status st = read_size(in, sizes[i].key, sizes[i].required,
                                        sizes[i].by_block ? c->n_layers : 0, sizes[i].out, err);
        if (st != CBE_OK) return st;
    }
    return read_context(in, &c->max_context, err);
}

/* Reads the kind of scaling of rotary embeddings; a factor without a kind is linear. */
static cbe_status rope_kind(const reader *in, cbe_rope_kind *out, cbe_error *err)
{
    static const char key[] = "rope.scaling.type";
    static const struct {
        const char *name;
        cbe_rope_kind kind;
    } kinds[] = {{"none", CBE_ROPE_DEFAULT},
                 {"linear", CBE_ROPE_LINEAR},
                 {"yarn", CBE_ROPE_YARN},
                 /* longrope's divisors are tensors (weights.c); a factor is applied besides. */
                 {"longrope", CBE_ROPE_LINEAR}};
    char name[KEY_SIZE];
    cbe_span kind;
    if (!has(in, key)) {
        *out = CBE_ROPE_LINEAR;
        return CBE_OK;
    }
    const cbe_status st = cbe_gguf_string(in->file, full_key(in, key, name), &kind, err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kind.length == strlen(kinds[i].name) &&
            memcmp(kind.data, kinds[i].name, kind.length) == 0) {
            *out = kinds[i].kind;
            return CBE_OK;
        }
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: %s '%.*s' is not supported (known: none, linear, yarn, longrope)",
                    cbe_gguf_path(in->file), name, (int)(kind.length < 40 ? kind.length : 40),
                    kind.data);
}

/* Metadata are float32. If longrope's attention factor is the usual one rounded, the exact factor
 * is taken, so that the model has the same bits as the folder that it was made from. */
static double exact_factor(double given, double context, double original)
{
    if (!(context > original && original > 1)) return given;
    const double usual = sqrt(1 + log(context / original) / log(original));
    return (float)usual == (float)given ? usual : given;
}

/* Reads rotary embeddings. Scaling applies to global blocks; local blocks have a base of their own
 * in some architectures. */
static cbe_status read_rope(const reader *in, cbe_config *config, cbe_error *err)
{
    cbe_status st;
    cbe_rope *global = &config->rope[CBE_REACH_GLOBAL], *local = &config->rope[CBE_REACH_LOCAL];
    const bool apart = config->family->defaults.local_rope_base > 0;
    const struct {
        const char *key;
        double *out;
    } numbers[] = {
        /* as ollama writes bases of Gemma 3 */
        {"rope.global.freq_base", &global->base},
        {"rope.local.freq_base", &local->base},
        {"rope.freq_base", &global->base},
        /* the key of files from before scaling had a type */
        {"rope.scale_linear", &global->factor},
        {"rope.scaling.factor", &global->factor},
        {"rope.scaling.original_context_length", &global->original_context},
        {"rope.scaling.attn_factor", &global->attention_factor},
        {"rope.scaling.yarn_beta_fast", &global->beta_fast},
        {"rope.scaling.yarn_beta_slow", &global->beta_slow},
        {"rope.freq_base_swa", &local->base},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if ((st = read_double(in, numbers[i].key, numbers[i].out, err)) != CBE_OK) return st;
    global->attention_factor = exact_factor(
        global->attention_factor, (double)config->sizes.max_context, global->original_context);
    if ((st = rope_kind(in, &global->kind, err)) != CBE_OK) return st;
    if (global->factor == 0) global->factor = 1; /* 0, too, stands for none */
    if (global->kind == CBE_ROPE_LINEAR && global->factor == 1) global->kind = CBE_ROPE_DEFAULT;
    if (global->kind == CBE_ROPE_YARN && global->attention_factor > 0 && global->factor > 1)
        /* GGUF's factor multiplies YaRN's own */
        global->attention_factor *= 0.1 * log(global->factor) + 1;
    if (!apart) *local = *global;
    return read_size(in, "rope.dimension_count", false, 0, &config->rotary_size, err);
}

/* Factor of scores. Gemma's largest models take d / heads in place of the head size; only the
 * number of blocks tells, as files do not say. */
static double query_scale(const reader *in, const cbe_model_config *c)
{
    const bool largest = (is_architecture(in, "gemma2") && c->n_layers == 46) ||
                         (is_architecture(in, "gemma3") && c->n_layers == 62);
    return largest ? 1 / sqrt((double)c->hidden_size / (double)c->n_heads) : 0;
}

/* Reads which blocks are local from a list with a flag for each. */
static cbe_status read_local(const reader *in, const char *name, cbe_config *config, cbe_error *err)
{
    int64_t *list = NULL;
    size_t n;
    cbe_status st = cbe_gguf_ints(in->file, name, &list, &n, err);
    if (st != CBE_OK) return st;
    if (n != config->sizes.n_layers)
        st = cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is a list of %zu flags for %zu blocks",
                      cbe_gguf_path(in->file), name, n, config->sizes.n_layers);
    /* refuses too many blocks */
    if (st == CBE_OK)
        st = cbe_config_set_windows(config, CBE_WINDOW_ALL, 1, 0, cbe_gguf_path(in->file), err);
    for (size_t i = 0; st == CBE_OK && i < n; i++) config->local[i] = list[i] != 0;
    cbe_gguf_free_array(list);
    return st;
}

/* Reads which blocks are local. If the pattern is a number n, every n-th block is global. */
static cbe_status read_windows(const reader *in, cbe_config *config, cbe_error *err)
{
    cbe_status st;
    char name[KEY_SIZE];
    cbe_window_rule rule = config->family->defaults.window_rule;
    size_t period = config->family->defaults.window_period;
    uint64_t window = rule == CBE_WINDOW_PERIOD ? config->window : 0;
    full_key(in, "attention.sliding_window", name);
    if (cbe_gguf_has(in->file, name) &&
        (st = cbe_gguf_uint(in->file, name, &window, err)) != CBE_OK)
        return st;
    if (window > CBE_CONFIG_SIZE_MAX)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key '%s' is %llu, at most %d",
                        cbe_gguf_path(in->file), name, (unsigned long long)window,
                        (int)CBE_CONFIG_SIZE_MAX);
    config->window = (size_t)window;
    if (window == 0) return CBE_OK;
    if (rule == CBE_WINDOW_FROM)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: key '%s' is %llu; it is not supported for this model, whose file does "
                        "not say which blocks it rules",
                        cbe_gguf_path(in->file), name, (unsigned long long)window);
    full_key(in, "attention.sliding_window_pattern", name);
    if (cbe_gguf_has(in->file, name) && cbe_gguf_is_array(in->file, name))
        return read_local(in, name, config, err);
    st = read_size(in, "attention.sliding_window_pattern", false, 0, &period, err);
    if (st != CBE_OK) return st;
    return cbe_config_set_windows(config, rule == CBE_WINDOW_PERIOD ? rule : CBE_WINDOW_ALL, period,
                                  0, cbe_gguf_path(in->file), err);
}

static cbe_status read_attention(const reader *in, cbe_config *config, cbe_error *err)
{
    cbe_status st;
    config->query_scale = query_scale(in, &config->sizes);
    const struct {
        const char *key;
        double *out;
    } numbers[] = {
        {"attn_logit_softcapping", &config->attention_softcap},
        {"final_logit_softcapping", &config->logit_softcap},
        {"attention.scale", &config->query_scale},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if ((st = read_double(in, numbers[i].key, numbers[i].out, err)) != CBE_OK) return st;
    return read_windows(in, config, err);
}

/* Adapts traits to GGUF: files do not say which biases there are, and hold gains as they are
 * applied. */
static void set_traits(cbe_traits *traits)
{
    cbe_bias *const biases[] = {&traits->qkv_bias, &traits->attention_out_bias, &traits->mlp_bias,
                                &traits->unembedding_bias};
    for (size_t i = 0; i < sizeof biases / sizeof *biases; i++)
        if (*biases[i] == CBE_BIAS_NONE) *biases[i] = CBE_BIAS_IF_PRESENT;
    traits->gain_offset = false;
}

/* Refuses a file that says that it holds another thing than a model. */
static cbe_status check_type(const cbe_gguf *file, cbe_error *err)
{
    static const char key[] = "general.type";
    static const struct {
        const char *type, *what;
    } others[] = {{"adapter", "a LoRA adapter"},
                  {"mmproj", "the image part of a model"},
                  {"imatrix", "statistics for quantising a model"},
                  {"vocab", "a tokenizer without a model"}};
    cbe_span type;
    if (!cbe_gguf_has(file, key)) return CBE_OK;
    const cbe_status st = cbe_gguf_string(file, key, &type, err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (type.length == strlen(others[i].type) &&
            memcmp(type.data, others[i].type, type.length) == 0)
            return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                            "%s: holds %s (%s is '%s'), not a model: give the model's own file",
                            cbe_gguf_path(file), others[i].what, key, others[i].type);
    return CBE_OK;
}

static cbe_status find_family(const cbe_gguf *file, const cbe_family **out, cbe_error *err)
{
    cbe_span name;
    const cbe_status st = cbe_gguf_string(file, "general.architecture", &name, err);
    if (st != CBE_OK) return st;
    *out = cbe_family_find(CBE_FORMAT_GGUF, name.data, name.length);
    if (*out) return CBE_OK;
    char known[256];
    cbe_family_list(CBE_FORMAT_GGUF, known, sizeof known);
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: general.architecture '%.*s' is not supported (known: %s)",
                    cbe_gguf_path(file), (int)(name.length < 60 ? name.length : 60), name.data,
                    known);
}

cbe_status cbe_config_from_gguf(cbe_config *out, const cbe_gguf *file, cbe_remarks *remarks,
                                cbe_error *err)
{
    cbe_status st;
    cbe_config config;
    const cbe_family *family;
    char key[KEY_SIZE], tensor[64];
    if ((st = check_type(file, err)) != CBE_OK) return st;
    if ((st = find_family(file, &family, err)) != CBE_OK) return st;
    const reader in = {file, family->name[CBE_FORMAT_GGUF]};
    const cbe_tensor_names *names = family->tensors[CBE_FORMAT_GGUF];
    cbe_config_init(&config, family);
    set_traits(&config.traits);
    cbe_model_config *c = &config.sizes;
    snprintf(c->architecture, sizeof c->architecture, "%s", in.architecture);
    if ((st = read_sizes(&in, c, err)) != CBE_OK) return st;
    if (c->vocab_size == 0) { /* older files lack the key; the tensor's shape tells */
        cbe_tensor embedding;
        snprintf(tensor, sizeof tensor, "%s.weight", names->roles[CBE_ROLE_EMBEDDING]);
        if ((st = cbe_gguf_tensor(file, tensor, &embedding, err)) != CBE_OK) return st;
        if (embedding.n_dims > 0 && embedding.dims[0] <= CBE_CONFIG_SIZE_MAX)
            c->vocab_size = embedding.dims[0];
    }
    full_key(&in,
             config.traits.norm == CBE_NORM_RMS ? "attention.layer_norm_rms_epsilon"
                                                : "attention.layer_norm_epsilon",
             key);
    if ((st = cbe_gguf_double(file, key, &c->norm_eps, err)) != CBE_OK) return st;
    if (config.traits.positions == CBE_POSITIONS_ROTARY &&
        (st = read_rope(&in, &config, err)) != CBE_OK)
        return st;
    if ((st = read_attention(&in, &config, err)) != CBE_OK) return st;
    snprintf(tensor, sizeof tensor, "%s.weight", names->roles[CBE_ROLE_UNEMBEDDING]);
    config.tied = !cbe_gguf_has_tensor(file, tensor);
    st = cbe_config_finish(&config, CBE_FORMAT_GGUF, cbe_gguf_path(file), err);
    if (st != CBE_OK) return st;
    if ((st = cbe_config_check_gguf_keys(&config, file, remarks, err)) != CBE_OK) return st;
    *out = config;
    return CBE_OK;
}
