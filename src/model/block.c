/*
 * block.c - see block.h.
 *
 * A thread's scratch: rows (panel, max(d, q)); MLP (panel, max(2 m or m, d)); attention.
 */
#include "model/block.h"

#include "core/fail.h"
#include "core/gemm.h"
#include "core/memory.h"
#include "model/norm.h"
#include "model/rope.h"
#include "model/rows.h"

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t up_size(const cbe_config *config)
{
    return config->traits.gated ? 2 * config->sizes.mlp_size : config->sizes.mlp_size;
}

static cbe_attention_spec attention_spec(const cbe_block_context *context, size_t index)
{
    const cbe_config *config = context->config;
    const bool local = cbe_config_reach(config, index) == CBE_REACH_LOCAL;
    return (cbe_attention_spec){
        .n_heads = config->sizes.n_heads,
        .n_kv_heads = config->sizes.n_kv_heads,
        .head_size = config->sizes.head_size,
        .window = local ? config->window : 0,
        .scale = config->scale_by_block ? config->query_scale / (double)(index + 1)
                                        : config->query_scale,
        .softcap = config->attention_softcap,
        .slopes = context->slopes,
    };
}

cbe_status cbe_block_context_init(cbe_block_context *context, const cbe_config *config,
                                  size_t context_length, size_t max_panel, cbe_error *err)
{
    const cbe_model_config *c = &config->sizes;
    const size_t q = c->n_heads * c->head_size;
    size_t attention = 0, bytes;
    *context = (cbe_block_context){.config = config,
                                   .context_length = context_length,
                                   .max_panel = max_panel,
                                   .q_size = q,
                                   .qkv_size = q + 2 * c->n_kv_heads * c->head_size};
    bool fits = true;
    for (int reach = 0; reach < CBE_N_REACHES && fits; reach++) {
        cbe_attention_spec spec = attention_spec(context, 0);
        spec.window = reach == CBE_REACH_LOCAL ? config->window : 0;
        const size_t floats = cbe_attention_scratch(&spec, context_length);
        fits = floats != 0;
        attention = max_size(attention, floats);
    }
    context->mlp_at = max_panel * max_size(c->hidden_size, q);
    context->attention_at = context->mlp_at + max_panel * max_size(up_size(config), c->hidden_size);
    if (!fits || !cbe_add_size(context->attention_at, attention, &context->scratch_size) ||
        !cbe_mul_size(context->scratch_size, sizeof(float), &bytes))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "sequences of %zu tokens do not fit the address space", context_length);
    return CBE_OK;
}

/* out = x, or norm(x) where there is one; x and out (n, d). Returns where the result is. */
static const float *normed(const cbe_config *config, const cbe_norm_weights *norm, size_t n,
                           const float *x, float *out)
{
    if (!norm->gamma) return x;
    cbe_norm_rows(config->traits.norm, config->sizes.norm_eps, n, config->sizes.hidden_size, x,
                  norm->gamma, norm->beta, out);
    return out;
}

/* out (n, outputs) = x W' + bias + beta out */
static void linear(const cbe_linear *map, size_t n, size_t outputs, size_t inputs, const float *x,
                   size_t ldx, float beta, float *out)
{
    cbe_gemm(false, true, n, outputs, inputs, 1, x, ldx, map->weight, inputs, beta, out, outputs);
    for (size_t i = 0; i < n && map->bias; i++) cbe_add_row(outputs, map->bias, out + i * outputs);
}

/* hidden += norm(map(x)); branch has room for (n, d). */
static void add_branch(const cbe_block_context *context, const cbe_linear *map,
                       const cbe_norm_weights *after, size_t n, size_t inputs, const float *x,
                       size_t ldx, float *branch, float *hidden)
{
    const size_t d = context->config->sizes.hidden_size;
    if (!after->gamma) {
        linear(map, n, d, inputs, x, ldx, 1, hidden);
        return;
    }
    linear(map, n, d, inputs, x, ldx, 0, branch);
    normed(context->config, after, n, branch, branch);
    cbe_add_row(n * d, branch, hidden);
}

/* Norms of one token's queries or keys, n_heads of them. */
static void head_norm(const cbe_config *config, const cbe_norm_weights *norm, size_t n_heads,
                      float *x)
{
    const size_t head_size = config->sizes.head_size;
    const bool whole = config->traits.qk_norm == CBE_QK_NORM_WHOLE;
    if (!norm->gamma) return;
    cbe_norm_rows(config->traits.norm, config->sizes.norm_eps, whole ? 1 : n_heads,
                  whole ? n_heads * head_size : head_size, x, norm->gamma, norm->beta, x);
}

void cbe_block_qkv(const cbe_block_context *context, const cbe_block *block, cbe_reach reach,
                   size_t position, size_t n, const float *hidden, float *scratch, float *qkv)
{
    const cbe_config *config = context->config;
    const cbe_model_config *c = &config->sizes;
    const size_t d = c->hidden_size, half = config->rotary_size / 2;
    const cbe_norm_weights none = {NULL, NULL};
    const float *x = normed(config, config->traits.norms_of_sums ? &none : &block->attention_norm,
                            n, hidden, scratch);
    linear(&block->qkv, n, context->qkv_size, d, x, d, 0, qkv);
    for (size_t i = 0; i < n; i++) {
        float *row = qkv + i * context->qkv_size;
        head_norm(config, &block->query_norm, c->n_heads, row);
        head_norm(config, &block->key_norm, c->n_kv_heads, row + context->q_size);
        if (context->rope[reach])
            cbe_rope_rotate(
                c->n_heads + c->n_kv_heads, c->head_size, half,
                context->rope[reach] + (position + i) % context->context_length * 2 * half, row);
    }
}

/* Attention of the panel's tokens, which may lie in several sequences; out is (n, q). */
static void panel_attention(const cbe_block_context *context, size_t index, size_t first,
                            size_t last, const float *qkv, float *scratch, float *out)
{
    const cbe_attention_spec spec = attention_spec(context, index);
    const size_t length = context->context_length;
    for (size_t n = first; n < last;) {
        const size_t position = n % length, start = n - position;
        const size_t end = last < start + length ? last : start + length;
        cbe_attention(&spec, length, position, end - start, qkv + start * context->qkv_size,
                      context->qkv_size, scratch, out + (n - first) * context->q_size);
        n = end;
    }
}

/* mlp = f(Wu norm(h)), (n, ld) with m numbers in each row; returns ld. rows has room for (n, d). */
static size_t mlp_inner(const cbe_config *config, const cbe_block *block, size_t n,
                        const float *hidden, float *rows, float *mlp)
{
    const cbe_traits *traits = &config->traits;
    const size_t d = config->sizes.hidden_size, m = config->sizes.mlp_size, ld = up_size(config);
    /* Without a norm of its own the MLP of a parallel block shares that of the attention. */
    const cbe_norm_weights none = {NULL, NULL};
    const cbe_norm_weights *norm =
        traits->parallel && !block->mlp_norm.gamma ? &block->attention_norm : &block->mlp_norm;
    const float *x = normed(config, traits->norms_of_sums ? &none : norm, n, hidden, rows);
    linear(&block->up, n, ld, d, x, d, 0, mlp);
    for (size_t i = 0; i < n; i++) {
        if (traits->gated)
            cbe_activate_gated(traits->activation, m, mlp + i * ld, mlp + i * ld + m);
        else
            cbe_activate(traits->activation, m, mlp + i * ld);
    }
    return ld;
}

void cbe_block_rest(const cbe_block_context *context, const cbe_block *block, size_t index,
                    size_t first, size_t n, const float *qkv, float *hidden, float *scratch)
{
    const cbe_config *config = context->config;
    const size_t q = context->q_size, m = config->sizes.mlp_size;
    float *rows = scratch, *mlp = scratch + context->mlp_at;
    float *attention = scratch + context->attention_at;
    if (config->traits.parallel) {
        /* The MLP's larger half first, from the old stream; then nothing needs that any more. */
        const size_t ld = mlp_inner(config, block, n, hidden, rows, mlp);
        add_branch(context, &block->down, &block->after_mlp_norm, n, m, mlp, ld, rows, hidden);
        panel_attention(context, index, first, first + n, qkv, attention, rows);
        add_branch(context, &block->attention_out, &block->after_attention_norm, n, q, rows, q, mlp,
                   hidden);
        return;
    }
    panel_attention(context, index, first, first + n, qkv, attention, rows);
    add_branch(context, &block->attention_out, &block->after_attention_norm, n, q, rows, q, mlp,
               hidden);
    if (config->traits.norms_of_sums) normed(config, &block->attention_norm, n, hidden, hidden);
    const size_t ld = mlp_inner(config, block, n, hidden, rows, mlp);
    add_branch(context, &block->down, &block->after_mlp_norm, n, m, mlp, ld, rows, hidden);
    if (config->traits.norms_of_sums) normed(config, &block->mlp_norm, n, hidden, hidden);
}
