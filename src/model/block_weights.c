/*
 * block_weights.c - see block_weights.h.
 *
 * A block is a list of fields. Each field is an array of cbe_block, made of one or more tensors
 * stacked by rows. Traits and plan give the list; checking, measuring and reading walk it.
 */
#include "model/block_weights.h"

#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "formats/read_tensor.h"

enum {
    MAX_FIELDS = 24,
    MAX_PARTS = 3,
    FLOATS_ALIGNED = CBE_ALIGNMENT / sizeof(float),
    MOST_BLOCKS = 1000000 /* numbers of blocks beyond are not told exactly */
};

static const char weight[] = "weight", bias[] = "bias";

/* A tensor, or the part of it that goes to one field. */
typedef struct {
    cbe_tensor_role role;
    const char *ending;
    /* Shape of the tensor before a transposition; columns 0: a vector of `rows`. */
    size_t rows, columns;
    cbe_row_order order;
} part;

typedef struct {
    size_t offset; /* offset of a const float * in cbe_block */
    size_t floats; /* number of floats of all parts */
    bool gain;     /* a norm's gain: files may hold it minus 1; without parts it is all ones */
    size_t n_parts;
    part parts[MAX_PARTS];
} field;

typedef struct {
    size_t count;
    field fields[MAX_FIELDS];
} field_list;

void cbe_tensor_name(const cbe_block_plan *plan, cbe_tensor_role role, size_t block,
                     const char *ending, char out[CBE_TENSOR_NAME_SIZE])
{
    const char *name = plan->names->roles[role];
    if (role >= CBE_FIRST_BLOCK_ROLE)
        snprintf(out, CBE_TENSOR_NAME_SIZE, "%s%s%zu.%s.%s", plan->prefix,
                 plan->names->block_prefix, block, name, ending);
    else if (role == CBE_ROLE_UNEMBEDDING) /* the unembedding has no prefix */
        snprintf(out, CBE_TENSOR_NAME_SIZE, "%s.%s", plan->unembedding, ending);
    else
        snprintf(out, CBE_TENSOR_NAME_SIZE, "%s%s.%s", plan->prefix, name, ending);
}

static field *add_field(field_list *list, size_t offset, size_t floats)
{
    field *f = &list->fields[list->count++];
    *f = (field){.offset = offset, .floats = floats};
    return f;
}

static void add_norm(field_list *list, const cbe_config *config, size_t offset,
                     cbe_tensor_role role, size_t size)
{
    const cbe_traits *traits = &config->traits;
    const cbe_row_order all = {.count = size, .head_size = size};
    field *gamma = add_field(list, offset + offsetof(cbe_norm_weights, gamma), size);
    gamma->gain = true;
    if (traits->norms_no_gain) return;
    gamma->parts[gamma->n_parts++] = (part){role, weight, size, 0, all};
    if (traits->norm != CBE_NORM_LAYER) return;
    field *beta = add_field(list, offset + offsetof(cbe_norm_weights, beta), size);
    beta->parts[beta->n_parts++] = (part){role, bias, size, 0, all};
}

/* Adds the weight of a linear map, made of n_parts tensors, and its bias. */
static void add_linear(field_list *list, size_t offset, bool has_bias, size_t columns,
                       size_t n_parts, const part *parts)
{
    size_t rows = 0;
    for (size_t i = 0; i < n_parts; i++) rows += parts[i].order.count;
    field *w = add_field(list, offset + offsetof(cbe_linear, weight), rows * columns);
    for (size_t i = 0; i < n_parts; i++) w->parts[w->n_parts++] = parts[i];
    if (!has_bias) return;
    field *b = add_field(list, offset + offsetof(cbe_linear, bias), rows);
    for (size_t i = 0; i < n_parts; i++) {
        part *p = &b->parts[b->n_parts++];
        *p = parts[i];
        p->ending = bias;
        p->columns = 0;
        p->order.transposed = false;
    }
}

/* A part that is a whole matrix, rows in their order. */
static part whole(const cbe_block_plan *plan, cbe_tensor_role role, size_t rows, size_t columns)
{
    return (part){role,
                  weight,
                  rows,
                  columns,
                  {.count = rows, .head_size = rows, .transposed = plan->names->transposed}};
}

static void add_qkv(field_list *list, const cbe_config *config, const cbe_block_plan *plan)
{
    const cbe_model_config *c = &config->sizes;
    const size_t head = c->head_size, d = c->hidden_size;
    const size_t heads[3] = {c->n_heads, c->n_kv_heads, c->n_kv_heads};
    const size_t all = (c->n_heads + 2 * c->n_kv_heads) * head;
    part parts[3];
    for (size_t i = 0, first = 0; i < 3; first += heads[i] * head, i++) {
        parts[i] = whole(plan, CBE_ROLE_QUERY + i, heads[i] * head, d);
        parts[i].order.head_size = head;
        if (plan->names->interleaved_rotary && i < 2)
            parts[i].order.interleaved = config->rotary_size;
        if (!plan->fused_qkv) continue;
        parts[i].role = CBE_ROLE_QKV;
        parts[i].rows = all;
        parts[i].order.first = plan->names->qkv_by_head ? i * head : first;
        parts[i].order.step = plan->names->qkv_by_head ? 3 * head : 0;
    }
    add_linear(list, offsetof(cbe_block, qkv), plan->qkv_bias, d, 3, parts);
}

static void add_mlp(field_list *list, const cbe_config *config, const cbe_block_plan *plan)
{
    const size_t d = config->sizes.hidden_size, m = config->sizes.mlp_size;
    part up[2] = {whole(plan, CBE_ROLE_UP, m, d)};
    size_t n_parts = 1;
    if (config->traits.gated && plan->fused_gate_up) {
        up[0] = whole(plan, CBE_ROLE_GATE_UP, 2 * m, d);
    } else if (config->traits.gated) {
        up[0] = whole(plan, CBE_ROLE_GATE, m, d);
        up[n_parts++] = whole(plan, CBE_ROLE_UP, m, d);
    }
    add_linear(list, offsetof(cbe_block, up), plan->mlp_bias, d, n_parts, up);
    const part down = whole(plan, CBE_ROLE_DOWN, d, m);
    add_linear(list, offsetof(cbe_block, down), plan->mlp_bias, m, 1, &down);
}

static void list_fields(const cbe_config *config, const cbe_block_plan *plan, field_list *list)
{
    const cbe_model_config *c = &config->sizes;
    const size_t d = c->hidden_size, q = c->n_heads * c->head_size;
    const unsigned norms = config->traits.norms;
    const bool whole_norm = config->traits.qk_norm == CBE_QK_NORM_WHOLE;
    const struct {
        bool there;
        size_t offset;
        cbe_tensor_role role;
        size_t size;
    } norm_fields[] = {
        {norms & CBE_NORM_BEFORE_ATTENTION, offsetof(cbe_block, attention_norm),
         CBE_ROLE_ATTENTION_NORM, d},
        {norms & CBE_NORM_AFTER_ATTENTION, offsetof(cbe_block, after_attention_norm),
         CBE_ROLE_AFTER_ATTENTION_NORM, d},
        {norms & CBE_NORM_BEFORE_MLP, offsetof(cbe_block, mlp_norm), CBE_ROLE_MLP_NORM, d},
        {norms & CBE_NORM_AFTER_MLP, offsetof(cbe_block, after_mlp_norm), CBE_ROLE_AFTER_MLP_NORM,
         d},
        {config->traits.qk_norm != CBE_QK_NORM_NONE, offsetof(cbe_block, query_norm),
         CBE_ROLE_QUERY_NORM, whole_norm ? q : c->head_size},
        {config->traits.qk_norm != CBE_QK_NORM_NONE, offsetof(cbe_block, key_norm),
         CBE_ROLE_KEY_NORM, whole_norm ? c->n_kv_heads * c->head_size : c->head_size},
    };
    list->count = 0;
    for (size_t i = 0; i < sizeof norm_fields / sizeof *norm_fields; i++)
        if (norm_fields[i].there)
            add_norm(list, config, norm_fields[i].offset, norm_fields[i].role, norm_fields[i].size);
    add_qkv(list, config, plan);
    const part out = whole(plan, CBE_ROLE_ATTENTION_OUT, d, q);
    add_linear(list, offsetof(cbe_block, attention_out), plan->attention_out_bias, q, 1, &out);
    add_mlp(list, config, plan);
}

static cbe_status find(const cbe_block_plan *plan, const cbe_source *source, const part *p,
                       size_t block, cbe_tensor *tensor, const char **path, cbe_error *err)
{
    char name[CBE_TENSOR_NAME_SIZE];
    cbe_tensor_name(plan, p->role, block, p->ending, name);
    const cbe_status st = cbe_source_get(source, name, tensor, path, err);
    if (st != CBE_OK) return st;
    const bool transposed = p->order.transposed;
    const size_t dims[] = {transposed ? p->columns : p->rows, transposed ? p->rows : p->columns};
    return cbe_tensor_expect(tensor, *path, p->columns ? 2 : 1, dims, err);
}

static bool has(const cbe_block_plan *plan, const cbe_source *source, cbe_tensor_role role,
                const char *ending)
{
    char name[CBE_TENSOR_NAME_SIZE];
    if (!plan->names->roles[role]) return false;
    cbe_tensor_name(plan, role, 0, ending, name);
    return cbe_source_has(source, name);
}

static cbe_status make_plan(const cbe_config *config, const cbe_source *source,
                            cbe_block_plan *plan, cbe_error *err)
{
    const cbe_traits *traits = &config->traits;
    const char *const *roles = plan->names->roles;
    plan->fused_qkv =
        roles[CBE_ROLE_QKV] && (!roles[CBE_ROLE_QUERY] || has(plan, source, CBE_ROLE_QKV, weight));
    plan->fused_gate_up = roles[CBE_ROLE_GATE_UP] != NULL;
    const cbe_tensor_role q = plan->fused_qkv ? CBE_ROLE_QKV : CBE_ROLE_QUERY;
    const struct {
        cbe_bias bias;
        cbe_tensor_role role;
        bool *out;
    } biases[] = {
        {traits->qkv_bias, q, &plan->qkv_bias},
        {traits->attention_out_bias, CBE_ROLE_ATTENTION_OUT, &plan->attention_out_bias},
        {traits->mlp_bias, CBE_ROLE_DOWN, &plan->mlp_bias},
    };
    for (size_t i = 0; i < sizeof biases / sizeof *biases; i++)
        *biases[i].out =
            biases[i].bias == CBE_BIAS_ALWAYS ||
            (biases[i].bias == CBE_BIAS_IF_PRESENT && has(plan, source, biases[i].role, bias));
    if (plan->fused_qkv && plan->names->qkv_by_head &&
        config->sizes.n_kv_heads != config->sizes.n_heads)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: %zu heads for keys and values of %zu; a %s model must have as many",
                        cbe_source_path(source), config->sizes.n_kv_heads, config->sizes.n_heads,
                        config->sizes.architecture);
    return CBE_OK;
}

/* Whether `rest`, a name behind the block's number, is that of one of the block's tensors. */
static bool is_known(const cbe_block_plan *plan, const field_list *list, const char *rest)
{
    for (size_t f = 0; f < list->count; f++)
        for (size_t i = 0; i < list->fields[f].n_parts; i++) {
            const part *p = &list->fields[f].parts[i];
            const char *name = plan->names->roles[p->role];
            const size_t length = strlen(name);
            if (strncmp(rest, name, length) == 0 && rest[length] == '.' &&
                strcmp(rest + length + 1, p->ending) == 0)
                return true;
        }
    for (size_t i = 0; i < CBE_MAX_IGNORED && plan->names->ignored[i]; i++)
        if (strcmp(rest, plan->names->ignored[i]) == 0) return true;
    return false;
}

/* Refuses an unknown tensor inside a block: without it the result would be wrong. Blocks past those
 * that the configuration names are counted in *n_blocks where files may have them. */
static cbe_status check_name(const cbe_model *model, const cbe_source *source,
                             const field_list *list, const char *name, size_t *n_blocks,
                             cbe_error *err)
{
    const cbe_block_plan *plan = &model->plan;
    const size_t n_layers = model->config.sizes.n_layers;
    char start[CBE_TENSOR_NAME_SIZE];
    const int length =
        snprintf(start, sizeof start, "%s%s", plan->prefix, plan->names->block_prefix);
    if (strncmp(name, start, (size_t)length) != 0) return CBE_OK;
    size_t block = 0;
    const char *rest = name + length;
    for (; *rest >= '0' && *rest <= '9'; rest++)
        if (block < MOST_BLOCKS) block = block * 10 + (size_t)(*rest - '0');
    if (*rest != '.') return CBE_OK;
    if (block >= *n_blocks) *n_blocks = block + 1;
    if (block >= n_layers && cbe_source_format(source) == CBE_FORMAT_HUGGING_FACE) return CBE_OK;
    if (block >= n_layers)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: tensor '%s' is in a block past the %zu that the configuration names",
                        cbe_source_path(source), name, n_layers);
    if (is_known(plan, list, rest + 1)) return CBE_OK;
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: tensor '%s' has no place in a %s model; leaving it out would give wrong "
                    "results",
                    cbe_source_path(source), name, model->config.sizes.architecture);
}

static size_t aligned(size_t floats)
{
    return (floats + FLOATS_ALIGNED - 1) / FLOATS_ALIGNED * FLOATS_ALIGNED;
}

cbe_status cbe_blocks_check(cbe_model *model, const cbe_source *source, cbe_remarks *remarks,
                            cbe_error *err)
{
    cbe_status st;
    field_list list;
    const size_t count = cbe_source_count(source), n_layers = model->config.sizes.n_layers;
    if ((st = make_plan(&model->config, source, &model->plan, err)) != CBE_OK) return st;
    if (n_layers > count)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: %zu blocks in the configuration, but only %zu tensors in the files",
                        cbe_source_path(source), n_layers, count);
    list_fields(&model->config, &model->plan, &list);
    size_t n_blocks = n_layers;
    for (size_t i = 0; i < count; i++) {
        st = check_name(model, source, &list, cbe_source_name(source, i), &n_blocks, err);
        if (st != CBE_OK) return st;
    }
    if (n_blocks > n_layers &&
        (st = cbe_remark(remarks, err,
                         "%s: the files have %zu blocks, of which config.json names %zu: the first "
                         "%zu are used, as by transformers",
                         cbe_source_path(source), n_blocks, n_layers, n_layers)) != CBE_OK)
        return st;
    for (size_t block = 0; block < n_layers; block++)
        for (size_t f = 0; f < list.count; f++)
            for (size_t i = 0; i < list.fields[f].n_parts; i++) {
                cbe_tensor tensor;
                const char *path;
                st = find(&model->plan, source, &list.fields[f].parts[i], block, &tensor, &path,
                          err);
                if (st != CBE_OK) return st;
            }
    /* The shapes are those of existing files, so the sum cannot overflow. */
    model->block_floats = 0;
    for (size_t f = 0; f < list.count; f++) model->block_floats += aligned(list.fields[f].floats);
    return CBE_OK;
}

static cbe_status read_field(const cbe_model *model, const cbe_source *source, size_t block,
                             const field *f, float *to, cbe_error *err)
{
    cbe_status st;
    float *next = to;
    for (size_t i = 0; i < f->n_parts; i++) {
        const part *p = &f->parts[i];
        cbe_tensor tensor;
        const char *path;
        if ((st = find(&model->plan, source, p, block, &tensor, &path, err)) != CBE_OK) return st;
        if ((st = cbe_read_tensor(&tensor, &p->order, path, next, err)) != CBE_OK) return st;
        next += p->order.count * (p->columns ? p->columns : 1);
    }
    if (f->gain && (f->n_parts == 0 || model->config.traits.gain_offset))
        for (size_t i = 0; i < f->floats; i++) to[i] = f->n_parts ? to[i] + 1 : 1;
    return CBE_OK;
}

cbe_status cbe_block_expand(const cbe_model *model, const cbe_source *source, size_t i,
                            float *memory, cbe_block *out, cbe_error *err)
{
    field_list list;
    list_fields(&model->config, &model->plan, &list);
    *out = (cbe_block){0};
    for (size_t f = 0; f < list.count; f++) {
        const cbe_status st = read_field(model, source, i, &list.fields[f], memory, err);
        if (st != CBE_OK) return st;
        const float **array = (const float **)(void *)((char *)out + list.fields[f].offset);
        *array = memory;
        memory += aligned(list.fields[f].floats);
    }
    return CBE_OK;
}
