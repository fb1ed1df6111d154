/*
 * panels.c - see panels.h.
 *
 * Only attention needs tokens of other panels. Forward it needs their keys and values, so there are
 * two loops over panels: queries, keys and values first, then attention and the rest. Backward it
 * needs gradients in keys and values, which come from all later queries: first the rest by panels,
 * then attention by sequences and heads of keys and values, then queries, keys and values by
 * panels.
 */
#include "model/panels.h"

#include <omp.h>
#include <stdint.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "model/block_weights.h"

enum {
    /* BLAS packs the weights for each panel, which costs 4% at 256 rows, a tenth at 128, a fifth at
     * 64. */
    MAX_PANEL = 512,
    MIN_PANEL = 64,
    LEAST_SEQUENCE = 128, /* shorter sequences share panels */
    MIN_PANELS = 4        /* panels wanted, so that several threads have work */
};

size_t cbe_panel_size(size_t n_tokens)
{
    const size_t panel = cbe_min_size(cbe_max_size(n_tokens / MIN_PANELS, MIN_PANEL), MAX_PANEL);
    const size_t n_panels = (n_tokens - 1) / panel + 1;
    return (n_tokens - 1) / n_panels + 1; /* panels of equal size, but for 1 token */
}

bool cbe_panels_cut_by_sequence(size_t context_length)
{
    return context_length >= LEAST_SEQUENCE;
}

static bool cut_by_sequence(size_t context_length, size_t n_tokens)
{
    return cbe_panels_cut_by_sequence(context_length) && n_tokens % context_length == 0;
}

static size_t sequence_panel_size(size_t context_length, size_t n_tokens)
{
    if (!cut_by_sequence(context_length, n_tokens)) return cbe_panel_size(n_tokens);
    const size_t n_panels = (context_length - 1) / MAX_PANEL + 1;
    return (context_length - 1) / n_panels + 1;
}

static size_t thread_scratch(const cbe_panels *p)
{
    return p->back ? cbe_max_size(p->block.scratch_size, p->block.back_scratch_size)
                   : p->block.scratch_size;
}

static size_t count_panels(const cbe_panels *p, size_t n_tokens)
{
    const size_t piece = cbe_min_size(p->piece, n_tokens);
    return n_tokens / piece * ((piece - 1) / p->panel + 1);
}

/* Sets the sizes of *p, without allocating. */
static cbe_status describe(cbe_panels *p, const cbe_model *model, size_t context_length,
                           size_t batch_tokens, bool back, cbe_error *err)
{
    *p = (cbe_panels){.model = model,
                      .context_length = context_length,
                      .batch_tokens = batch_tokens,
                      .panel = sequence_panel_size(context_length, batch_tokens),
                      .piece =
                          cut_by_sequence(context_length, batch_tokens) ? context_length : SIZE_MAX,
                      .back = back};
    const size_t n_panels = count_panels(p, batch_tokens);
    const size_t heads = batch_tokens / context_length * model->config.sizes.n_kv_heads;
    p->n_threads = cbe_min_size((size_t)omp_get_max_threads(),
                                back ? cbe_max_size(n_panels, heads) : n_panels);
    return cbe_block_context_init(&p->block, &model->config, context_length, p->panel, err);
}

static cbe_status make_rope(const cbe_config *config, cbe_reach reach, size_t context_length,
                            float **out, cbe_error *err)
{
    const size_t half = config->rotary_size / 2;
    const cbe_rope *rope = &config->rope[reach];
    double frequencies[CBE_MAX_ROTARY_PAIRS];
    float *table = cbe_alloc(context_length, 2 * half * sizeof(float), "rotary table", err);
    if (!table) return CBE_ERR_NOMEM;
    cbe_rope_frequencies(rope, config->rotary_size, context_length, frequencies);
    cbe_rope_table(context_length, half, frequencies, rope->attention_factor, table);
    *out = table;
    return CBE_OK;
}

/* Makes the tables of positions. */
static cbe_status make_positions(cbe_block_context *block, const cbe_config *config, cbe_error *err)
{
    if (config->traits.positions == CBE_POSITIONS_ALIBI) {
        block->slopes = cbe_alloc(config->sizes.n_heads, sizeof(float), "slopes", err);
        if (!block->slopes) return CBE_ERR_NOMEM;
        cbe_alibi_slopes(config->sizes.n_heads, block->slopes);
    }
    if (config->traits.positions != CBE_POSITIONS_ROTARY) return CBE_OK;
    const cbe_status st = make_rope(config, CBE_REACH_GLOBAL, block->context_length,
                                    &block->rope[CBE_REACH_GLOBAL], err);
    if (st != CBE_OK) return st;
    if (config->family->defaults.local_rope_base > 0)
        return make_rope(config, CBE_REACH_LOCAL, block->context_length,
                         &block->rope[CBE_REACH_LOCAL], err);
    block->rope[CBE_REACH_LOCAL] = block->rope[CBE_REACH_GLOBAL];
    return CBE_OK;
}

cbe_status cbe_panels_init(cbe_panels *p, const cbe_model *model, size_t context_length,
                           size_t batch_tokens, bool back, cbe_error *err)
{
    cbe_status st = describe(p, model, context_length, batch_tokens, back, err);
    if (st != CBE_OK) return st;
    if ((st = make_positions(&p->block, &model->config, err)) != CBE_OK) return st;
    p->scratch =
        cbe_alloc(p->n_threads, thread_scratch(p) * sizeof(float), "room of the threads", err);
    if (!p->scratch) return CBE_ERR_NOMEM;
    if (model->n_resident == model->config.sizes.n_layers) return CBE_OK;
    p->block_memory = cbe_alloc(model->block_floats, sizeof(float), "weights of a block", err);
    return p->block_memory ? CBE_OK : CBE_ERR_NOMEM;
}

void cbe_panels_free(cbe_panels *p)
{
    cbe_free(p->block.rope[CBE_REACH_GLOBAL]);
    if (p->block.rope[CBE_REACH_LOCAL] != p->block.rope[CBE_REACH_GLOBAL])
        cbe_free(p->block.rope[CBE_REACH_LOCAL]);
    cbe_free(p->block.slopes);
    cbe_free(p->scratch);
    cbe_free(p->block_memory);
    *p = (cbe_panels){0};
}

size_t cbe_panels_bytes(const cbe_model *model, size_t context_length, size_t batch_tokens,
                        bool back)
{
    cbe_panels p;
    size_t bytes, positions;
    if (describe(&p, model, context_length, batch_tokens, back, NULL) != CBE_OK ||
        !cbe_mul_size(p.n_threads, thread_scratch(&p) * sizeof(float), &bytes) ||
        !cbe_mul_size(context_length, 2 * model->config.rotary_size * sizeof(float), &positions) ||
        !cbe_add_size(bytes, positions, &bytes))
        return SIZE_MAX;
    const bool resident = model->n_resident == model->config.sizes.n_layers;
    const size_t weights = resident ? 0 : model->block_floats * sizeof(float);
    return cbe_add_size(bytes, weights, &bytes) ? bytes : SIZE_MAX;
}

/* One loop over panels or heads. */
typedef struct {
    const cbe_panels *panels;
    const cbe_block *block;
    size_t index, n_tokens;
    cbe_reach reach;
    float *hidden, *qkv; /* hidden: forward the stream, backward the gradient in it */
    const cbe_block_kept *kept;
    float *grad_mixed, *grad_qkv;
} block_run;

static void panel_qkv(const block_run *run, size_t first, size_t n, float *scratch)
{
    const cbe_panels *p = run->panels;
    const cbe_model_config *c = &p->model->config.sizes;
    const size_t qk_size = (c->n_heads + c->n_kv_heads) * c->head_size;
    float *kept_qk = run->kept && run->kept->qk ? run->kept->qk + first * qk_size : NULL;
    cbe_block_qkv(&p->block, run->block, run->reach, first % p->context_length, n,
                  run->hidden + first * c->hidden_size, scratch,
                  run->qkv + first * p->block.qkv_size, kept_qk);
}

static void panel_rest(const block_run *run, size_t first, size_t n, float *scratch)
{
    const cbe_panels *p = run->panels;
    cbe_block_rest(&p->block, run->block, run->index, first, n, run->qkv, p->clean,
                   run->hidden + first * p->model->config.sizes.hidden_size, scratch, run->kept);
}

static void panel_rest_back(const block_run *run, size_t first, size_t n, float *scratch)
{
    const cbe_panels *p = run->panels;
    cbe_block_rest_back(&p->block, run->block, first, n, run->kept,
                        run->hidden + first * p->model->config.sizes.hidden_size, scratch,
                        run->grad_mixed + first * p->block.q_size);
}

static void panel_qkv_back(const block_run *run, size_t first, size_t n, float *scratch)
{
    const cbe_panels *p = run->panels;
    cbe_block_qkv_back(&p->block, run->block, run->reach, first, n, run->kept,
                       run->grad_qkv + first * p->block.qkv_size, scratch,
                       run->hidden + first * p->model->config.sizes.hidden_size);
}

/* Runs one of the functions above on all panels, the last panels first, since they see more keys of
 * a long sequence. Called by each thread of a parallel region, or outside of one. */
static void each_panel(const block_run *run,
                       void (*work)(const block_run *run, size_t first, size_t n, float *scratch))
{
    const cbe_panels *p = run->panels;
    const size_t piece = cbe_min_size(p->piece, run->n_tokens), each = (piece - 1) / p->panel + 1;
    const size_t n_panels = count_panels(p, run->n_tokens);
    if (n_panels == 1) { /* outside of a region, so that threads share the tiles of its products */
        work(run, 0, run->n_tokens, p->scratch);
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads((int)p->n_threads)
    for (size_t i = 0; i < n_panels; i++) {
        const size_t panel = n_panels - 1 - i, in_piece = panel % each * p->panel,
                     first = panel / each * piece + in_piece;
        work(run, first, cbe_min_size(p->panel, piece - in_piece),
             p->scratch + (size_t)omp_get_thread_num() * thread_scratch(p));
    }
}

static void each_head_back(const block_run *run)
{
    const cbe_panels *p = run->panels;
    const size_t n_heads = p->model->config.sizes.n_kv_heads;
    const size_t n = run->n_tokens / p->context_length * n_heads;
#pragma omp parallel for schedule(dynamic) num_threads((int)p->n_threads)
    for (size_t i = 0; i < n; i++)
        cbe_block_attention_back(&p->block, run->index, i / n_heads, i % n_heads, run->kept->qkv,
                                 p->clean, run->grad_mixed,
                                 p->scratch + (size_t)omp_get_thread_num() * thread_scratch(p),
                                 run->grad_qkv);
}

/* Finds a block's weights: resident, or expanded into *expanded. */
static cbe_status find_block(const cbe_panels *p, size_t index, cbe_block *expanded,
                             const cbe_block **out, cbe_error *err)
{
    const cbe_model *model = p->model;
    if (p->bf16) {
        *out = cbe_bf16_blocks_get(p->bf16, index);
        return CBE_OK;
    }
    *out = index < model->n_resident ? &model->blocks[index] : expanded;
    if (index < model->n_resident) return CBE_OK;
    return cbe_block_expand(model, model->source, index, p->block_memory, expanded, err);
}

cbe_status cbe_panels_block(const cbe_panels *p, size_t index, size_t n_tokens, float *hidden,
                            float *qkv, const cbe_block_kept *kept, cbe_error *err)
{
    cbe_block expanded;
    block_run run = {p,      NULL, index, n_tokens, cbe_config_reach(&p->model->config, index),
                     hidden, qkv,  kept,  NULL,     NULL};
    const cbe_status st = find_block(p, index, &expanded, &run.block, err);
    if (st != CBE_OK) return st;
    each_panel(&run, panel_qkv);
    each_panel(&run, panel_rest);
    return CBE_OK;
}

cbe_status cbe_panels_qkv(const cbe_panels *p, size_t index, size_t n_tokens, float *hidden,
                          float *qkv, cbe_error *err)
{
    cbe_block expanded;
    block_run run = {p,      NULL, index, n_tokens, cbe_config_reach(&p->model->config, index),
                     hidden, qkv,  NULL,  NULL,     NULL};
    const cbe_status st = find_block(p, index, &expanded, &run.block, err);
    if (st == CBE_OK) each_panel(&run, panel_qkv);
    return st;
}

cbe_status cbe_panels_block_back(const cbe_panels *p, size_t index, size_t n_tokens,
                                 const cbe_block_kept *kept, float *grad, float *grad_mixed,
                                 float *grad_qkv, cbe_error *err)
{
    cbe_block expanded;
    block_run run = {p,    NULL, index, n_tokens,   cbe_config_reach(&p->model->config, index),
                     grad, NULL, kept,  grad_mixed, grad_qkv};
    const cbe_status st = find_block(p, index, &expanded, &run.block, err);
    if (st != CBE_OK) return st;
    each_panel(&run, panel_rest_back);
    each_head_back(&run);
    each_panel(&run, panel_qkv_back);
    return CBE_OK;
}
