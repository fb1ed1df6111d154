/*
 * block.c - see block.h.
 *
 * A thread's scratch: rows (panel, max(d, q)); MLP (panel, max(2 m or m, d)); attention. The
 * backward pass has further MLP rows of m in front of the attention's part.
 */
#include "model/block.h"

#include <string.h>

#include "core/fail.h"
#include "math/gemm.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "math/norm.h"
#include "model/attention_own.h"
#include "model/rope.h"
#include "math/rows.h"

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
    size_t attention = 0, back = 0, bytes;
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
        const size_t back_floats = cbe_attention_back_scratch(&spec, context_length);
        fits = floats != 0 && back_floats != 0;
        attention = cbe_max_size(attention, floats);
        back = cbe_max_size(back, back_floats);
    }
    context->mlp_at = max_panel * cbe_max_size(c->hidden_size, q);
    context->attention_at =
        context->mlp_at + max_panel * cbe_max_size(up_size(config), c->hidden_size);
    const size_t back_rows = context->attention_at + max_panel * c->mlp_size;
    context->back_scratch_size = cbe_max_size(back, back_rows);
    if (!fits || !cbe_add_size(context->attention_at, attention, &context->scratch_size) ||
        !cbe_mul_size(context->scratch_size, sizeof(float), &bytes) ||
        !cbe_mul_size(context->back_scratch_size, sizeof(float), &bytes))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "sequences of %zu tokens do not fit the address space", context_length);
    return CBE_OK;
}

/* Returns norm(x), written to out, or x if there is no norm; x and out (n, d). */
static const float *normed(const cbe_config *config, const cbe_norm_weights *norm, size_t n,
                           const float *x, float *out)
{
    if (!norm->gamma) return x;
    cbe_norm_rows(config->traits.norm, config->sizes.norm_eps, n, config->sizes.hidden_size, x,
                  norm->gamma, norm->beta, out);
    return out;
}

/* out (n, outputs) = x W' + bias + beta out. */
static void linear(const cbe_linear *map, size_t n, size_t outputs, size_t inputs, const float *x,
                   size_t ldx, float beta, float *out)
{
    if (cbe_bf16_in_use(map->forward))
        cbe_bf16_gemm(map->forward, n, x, ldx, beta, out, outputs);
    else
        cbe_gemm(false, true, n, outputs, inputs, 1, x, ldx, map->weight, inputs, beta, out,
                 outputs);
    for (size_t i = 0; i < n && map->bias; i++) cbe_add_row(outputs, map->bias, out + i * outputs);
}

/* grad_x (n, inputs) = grad_out W. */
static void linear_back(const cbe_linear *map, size_t n, size_t outputs, size_t inputs,
                        const float *grad_out, size_t ldg, float *grad_x, size_t ldx)
{
    if (cbe_bf16_in_use(map->back))
        cbe_bf16_gemm(map->back, n, grad_out, ldg, 0, grad_x, ldx);
    else
        cbe_gemm(false, false, n, inputs, outputs, 1, grad_out, ldg, map->weight, inputs, 0, grad_x,
                 ldx);
}

/* Copies rows to `kept`, for the backward pass; kept may be NULL. */
static void keep_rows(size_t n, size_t d, const float *rows, float *kept)
{
    if (kept) memcpy(kept, rows, n * d * sizeof *rows);
}

/* hidden += norm(map(x)); branch has room for (n, d). kept: [out] the norm's input; NULL skips
 * it. */
static void add_branch(const cbe_block_context *context, const cbe_linear *map,
                       const cbe_norm_weights *after, size_t n, size_t inputs, const float *x,
                       size_t ldx, float *branch, float *hidden, float *kept)
{
    const size_t d = context->config->sizes.hidden_size;
    if (!after->gamma) {
        linear(map, n, d, inputs, x, ldx, 1, hidden);
        return;
    }
    linear(map, n, d, inputs, x, ldx, 0, branch);
    keep_rows(n, d, branch, kept);
    normed(context->config, after, n, branch, branch);
    cbe_add_row(n * d, branch, hidden);
}

/* Backward pass of normed: grad = (or += if add) the gradient in x; grad_out itself if there is no
 * norm. */
static void normed_back(const cbe_config *config, const cbe_norm_weights *norm, size_t n,
                        const float *x, const float *grad_out, bool add, float *grad)
{
    const size_t d = config->sizes.hidden_size;
    if (norm->gamma)
        cbe_norm_rows_back(config->traits.norm, config->sizes.norm_eps, n, d, x, norm->gamma,
                           grad_out, add, grad);
    else if (add)
        cbe_add_row(n * d, grad_out, grad);
}

/* Backward pass of add_branch: the gradient (n, inputs) in the branch's input, from the gradient in
 * the stream. */
static void branch_back(const cbe_block_context *context, const cbe_linear *map,
                        const cbe_norm_weights *after, size_t n, size_t inputs, const float *kept,
                        const float *grad, float *rows, float *grad_x, size_t ldx)
{
    const size_t d = context->config->sizes.hidden_size;
    if (after->gamma) normed_back(context->config, after, n, kept, grad, false, rows);
    linear_back(map, n, d, inputs, after->gamma ? rows : grad, d, grad_x, ldx);
}

/* Norms of one token's queries or keys of n_heads heads. */
static void head_norm(const cbe_config *config, const cbe_norm_weights *norm, size_t n_heads,
                      float *x)
{
    const size_t head_size = config->sizes.head_size;
    const bool whole = config->traits.qk_norm == CBE_QK_NORM_WHOLE;
    if (!norm->gamma) return;
    cbe_norm_rows(config->traits.norm, config->sizes.norm_eps, whole ? 1 : n_heads,
                  whole ? n_heads * head_size : head_size, x, norm->gamma, norm->beta, x);
}

static void head_norm_back(const cbe_config *config, const cbe_norm_weights *norm, size_t n_heads,
                           const float *x, float *grad)
{
    const size_t head_size = config->sizes.head_size;
    const bool whole = config->traits.qk_norm == CBE_QK_NORM_WHOLE;
    if (!norm->gamma) return;
    cbe_norm_rows_back(config->traits.norm, config->sizes.norm_eps, whole ? 1 : n_heads,
                       whole ? n_heads * head_size : head_size, x, norm->gamma, grad, false, grad);
}

static const float *rope_row(const cbe_block_context *context, cbe_reach reach, size_t position)
{
    return context->rope[reach] + position % context->context_length * context->config->rotary_size;
}

void cbe_block_qkv(const cbe_block_context *context, const cbe_block *block, cbe_reach reach,
                   size_t position, size_t n, const float *hidden, float *scratch, float *qkv,
                   float *kept_qk)
{
    const cbe_config *config = context->config;
    const cbe_model_config *c = &config->sizes;
    const size_t d = c->hidden_size, half = config->rotary_size / 2;
    const size_t qk_size = (c->n_heads + c->n_kv_heads) * c->head_size;
    const cbe_norm_weights none = {NULL, NULL};
    const float *x = normed(config, config->traits.norms_of_sums ? &none : &block->attention_norm,
                            n, hidden, scratch);
    linear(&block->qkv, n, context->qkv_size, d, x, d, 0, qkv);
    for (size_t i = 0; i < n; i++) {
        float *row = qkv + i * context->qkv_size;
        keep_rows(1, qk_size, row, kept_qk ? kept_qk + i * qk_size : NULL);
        head_norm(config, &block->query_norm, c->n_heads, row);
        head_norm(config, &block->key_norm, c->n_kv_heads, row + context->q_size);
        if (context->rope[reach])
            cbe_rope_rotate(c->n_heads + c->n_kv_heads, c->head_size, half,
                            rope_row(context, reach, position + i), row);
    }
}

void cbe_block_qkv_back(const cbe_block_context *context, const cbe_block *block, cbe_reach reach,
                        size_t first, size_t n, const cbe_block_kept *kept, float *grad_qkv,
                        float *scratch, float *grad)
{
    const cbe_config *config = context->config;
    const cbe_model_config *c = &config->sizes;
    const size_t d = c->hidden_size, half = config->rotary_size / 2;
    const size_t qk_size = (c->n_heads + c->n_kv_heads) * c->head_size;
    const cbe_norm_weights none = {NULL, NULL};
    for (size_t i = 0; i < n; i++) {
        float *row = grad_qkv + i * context->qkv_size;
        if (context->rope[reach])
            cbe_rope_rotate_back(c->n_heads + c->n_kv_heads, c->head_size, half,
                                 rope_row(context, reach, first + i), row);
        const float *qk = kept->qk ? kept->qk + (first + i) * qk_size : NULL;
        head_norm_back(config, &block->query_norm, c->n_heads, qk, row);
        head_norm_back(config, &block->key_norm, c->n_kv_heads, qk + (qk ? context->q_size : 0),
                       row + context->q_size);
    }
    linear_back(&block->qkv, n, context->qkv_size, d, grad_qkv, context->qkv_size, scratch, d);
    normed_back(config, config->traits.norms_of_sums ? &none : &block->attention_norm, n,
                kept->input + first * d, scratch, true, grad);
}

/* Keys and values of the clean sequence of one of the batch's sequences. */
static const float *clean_rows(const cbe_block_context *context, const cbe_block_clean *clean,
                               size_t sequence)
{
    const size_t row = context->qkv_size - context->q_size;
    return clean->rows + clean->sequence[sequence] * context->context_length * row;
}

/* Attention of a panel's tokens, which may lie in several sequences; out is (n, q). */
static void panel_attention(const cbe_block_context *context, size_t index, size_t first,
                            size_t last, const float *qkv, const cbe_block_clean *clean,
                            float *scratch, float *out)
{
    const cbe_attention_spec spec = attention_spec(context, index);
    const size_t length = context->context_length;
    for (size_t n = first; n < last;) {
        const size_t position = n % length, start = n - position;
        const size_t end = last < start + length ? last : start + length;
        float *to = out + (n - first) * context->q_size;
        if (clean)
            cbe_attention_own(&spec, length, position, end - start, qkv + n * context->qkv_size,
                              context->qkv_size, clean_rows(context, clean, start / length),
                              scratch, to);
        else
            cbe_attention(&spec, length, position, end - start, qkv + start * context->qkv_size,
                          context->qkv_size, scratch, to);
        n = end;
    }
}

/* The norm through which the MLP reads the stream. In a parallel block without a norm for it, the
 * MLP shares the attention's norm. */
static const cbe_norm_weights *norm_before_mlp(const cbe_config *config, const cbe_block *block)
{
    static const cbe_norm_weights none = {NULL, NULL};
    if (config->traits.norms_of_sums) return &none;
    return config->traits.parallel && !block->mlp_norm.gamma ? &block->attention_norm
                                                             : &block->mlp_norm;
}

/* mlp = f(Wu norm(h)), (n, ld) with m numbers in each row; returns ld. rows has room for (n, d).
 * kept_up: [out] Wu norm(h); NULL: it is not kept. */
static size_t mlp_inner(const cbe_config *config, const cbe_block *block, size_t n,
                        const float *hidden, float *rows, float *kept_up, float *mlp)
{
    const cbe_traits *traits = &config->traits;
    const size_t d = config->sizes.hidden_size, m = config->sizes.mlp_size;
    const size_t width = up_size(config), ld = kept_up ? m : width;
    const float *x = normed(config, norm_before_mlp(config, block), n, hidden, rows);
    float *up = kept_up ? kept_up : mlp;
    linear(&block->up, n, width, d, x, d, 0, up);
    for (size_t i = 0; i < n; i++) {
        const float *a = up + i * width;
        if (traits->gated)
            cbe_activate_gated(traits->activation, m, a, a + m, mlp + i * ld);
        else
            cbe_activate(traits->activation, m, a, mlp + i * ld);
    }
    return ld;
}

/* Backward pass of mlp_inner: adds the gradient in the stream to grad, from grad_mlp (n, m);
 * grad_up has room for (n, up_size). */
static void mlp_inner_back(const cbe_config *config, const cbe_block *block, size_t n,
                           const float *stream, const float *up, const float *grad_mlp,
                           float *grad_up, float *rows, float *grad)
{
    const cbe_traits *traits = &config->traits;
    const size_t d = config->sizes.hidden_size, m = config->sizes.mlp_size;
    const size_t width = up_size(config);
    for (size_t i = 0; i < n; i++) {
        const float *a = up + i * width, *g = grad_mlp + i * m;
        float *to = grad_up + i * width;
        if (traits->gated)
            cbe_activate_gated_back(traits->activation, m, a, a + m, g, to, to + m);
        else
            cbe_activate_back(traits->activation, m, a, g, to);
    }
    linear_back(&block->up, n, width, d, grad_up, width, rows, d);
    normed_back(config, norm_before_mlp(config, block), n, stream, rows, true, grad);
}

/* Row `first` of an array that is kept; NULL if it is not kept. */
static float *kept_rows(float *kept, size_t first, size_t width)
{
    return kept ? kept + first * width : NULL;
}

void cbe_block_rest(const cbe_block_context *context, const cbe_block *block, size_t index,
                    size_t first, size_t n, const float *qkv, const cbe_block_clean *clean,
                    float *hidden, float *scratch, const cbe_block_kept *kept)
{
    const cbe_config *config = context->config;
    const size_t q = context->q_size, m = config->sizes.mlp_size, d = config->sizes.hidden_size;
    const cbe_block_kept to = kept ? *kept : (cbe_block_kept){0};
    float *rows = scratch, *mlp = scratch + context->mlp_at;
    float *attention = scratch + context->attention_at;
    float *kept_up = kept_rows(to.up, first, up_size(config));
    float *kept_attention = kept_rows(to.attention, first, d);
    float *kept_mlp = kept_rows(to.mlp, first, d);
    if (config->traits.parallel) {
        /* The MLP's inner half comes first: it reads the old stream, which nothing needs
         * afterwards. */
        const size_t ld = mlp_inner(config, block, n, hidden, rows, kept_up, mlp);
        add_branch(context, &block->down, &block->after_mlp_norm, n, m, mlp, ld, rows, hidden,
                   kept_mlp);
        panel_attention(context, index, first, first + n, qkv, clean, attention, rows);
        add_branch(context, &block->attention_out, &block->after_attention_norm, n, q, rows, q, mlp,
                   hidden, kept_attention);
        return;
    }
    panel_attention(context, index, first, first + n, qkv, clean, attention, rows);
    add_branch(context, &block->attention_out, &block->after_attention_norm, n, q, rows, q, mlp,
               hidden, kept_attention);
    keep_rows(n, d, hidden, kept_rows(to.middle, first, d));
    if (config->traits.norms_of_sums) normed(config, &block->attention_norm, n, hidden, hidden);
    const size_t ld = mlp_inner(config, block, n, hidden, rows, kept_up, mlp);
    add_branch(context, &block->down, &block->after_mlp_norm, n, m, mlp, ld, rows, hidden,
               kept_mlp);
    keep_rows(n, d, hidden, kept_rows(to.output, first, d));
    if (config->traits.norms_of_sums) normed(config, &block->mlp_norm, n, hidden, hidden);
}

void cbe_block_rest_back(const cbe_block_context *context, const cbe_block *block, size_t first,
                         size_t n, const cbe_block_kept *kept, float *grad, float *scratch,
                         float *grad_mixed)
{
    const cbe_config *config = context->config;
    const size_t q = context->q_size, m = config->sizes.mlp_size, d = config->sizes.hidden_size;
    const bool sums = config->traits.norms_of_sums, parallel = config->traits.parallel;
    float *rows = scratch, *grad_up = scratch + context->mlp_at;
    float *grad_mlp = scratch + context->attention_at;
    const float *stream = parallel ? kept->input + first * d : kept->middle + first * d;
    if (sums) normed_back(config, &block->mlp_norm, n, kept->output + first * d, grad, false, grad);
    /* Both branches of a parallel block take the gradient in the stream after the block. */
    if (parallel)
        branch_back(context, &block->attention_out, &block->after_attention_norm, n, q,
                    kept_rows(kept->attention, first, d), grad, rows, grad_mixed, q);
    branch_back(context, &block->down, &block->after_mlp_norm, n, m, kept_rows(kept->mlp, first, d),
                grad, rows, grad_mlp, m);
    mlp_inner_back(config, block, n, stream, kept->up + first * up_size(config), grad_mlp, grad_up,
                   rows, grad);
    if (parallel) return;
    if (sums) normed_back(config, &block->attention_norm, n, stream, grad, false, grad);
    branch_back(context, &block->attention_out, &block->after_attention_norm, n, q,
                kept_rows(kept->attention, first, d), grad, rows, grad_mixed, q);
}

void cbe_block_attention_back(const cbe_block_context *context, size_t index, size_t sequence,
                              size_t head, const float *qkv, const cbe_block_clean *clean,
                              const float *grad_mixed, float *scratch, float *grad_qkv)
{
    const cbe_attention_spec spec = attention_spec(context, index);
    const size_t length = context->context_length, stride = context->qkv_size,
                 first = sequence * length;
    const float *grad_out = grad_mixed + first * context->q_size;
    if (clean)
        cbe_attention_own_back(&spec, length, head, qkv + first * stride, stride,
                               clean_rows(context, clean, sequence), grad_out, scratch,
                               grad_qkv + first * stride);
    else
        cbe_attention_back(&spec, length, head, qkv + first * stride, stride, grad_out, scratch,
                           grad_qkv + first * stride);
}

/* Lists the arrays of *kept and their widths; width 0: the backward pass does not need the
 * array. */
static size_t list_kept(const cbe_config *config, cbe_block_kept *kept, float **slots[8],
                        size_t widths[8])
{
    const cbe_traits *traits = &config->traits;
    const cbe_model_config *c = &config->sizes;
    const size_t d = c->hidden_size, qk = (c->n_heads + c->n_kv_heads) * c->head_size;
    const struct {
        float **slot;
        size_t width;
    } list[] = {
        {&kept->input, d},
        {&kept->qkv, qk + c->n_kv_heads * c->head_size},
        {&kept->qk, traits->qk_norm != CBE_QK_NORM_NONE ? qk : 0},
        {&kept->attention, traits->norms & CBE_NORM_AFTER_ATTENTION ? d : 0},
        {&kept->middle, traits->parallel ? 0 : d},
        {&kept->up, up_size(config)},
        {&kept->mlp, traits->norms & CBE_NORM_AFTER_MLP ? d : 0},
        {&kept->output, traits->norms_of_sums ? d : 0},
    };
    for (size_t i = 0; i < 8; i++) {
        slots[i] = list[i].slot;
        widths[i] = list[i].width;
    }
    return 8;
}

size_t cbe_block_kept_size(const cbe_config *config)
{
    cbe_block_kept kept;
    float **slots[8];
    size_t widths[8], total = 0;
    const size_t n = list_kept(config, &kept, slots, widths);
    for (size_t i = 0; i < n; i++) total += widths[i];
    return total;
}

void cbe_block_kept_init(cbe_block_kept *kept, const cbe_config *config, size_t n_tokens,
                         float *memory)
{
    float **slots[8];
    size_t widths[8];
    const size_t n = list_kept(config, kept, slots, widths);
    for (size_t i = 0; i < n; i++) {
        *slots[i] = widths[i] ? memory : NULL;
        memory += widths[i] * n_tokens;
    }
}
