/*
 * forward.c - the forward pass; see cbe/model.h.
 *
 * Tokens go through a block in panels of fixed size, one thread each: a panel's rows stay in
 * cache between norm, products and activation, and BLAS runs single-threaded on large matrices.
 * Only attention needs other panels' tokens, and only their keys and values, so a block is two
 * parallel loops (block.h): queries, keys and values of all panels; then attention and the rest.
 *
 * N tokens of a batch, d hidden size, m MLP size, q + 2 kv the width of queries, keys and
 * values. Cost for each token and block: 2 d (q + 2 kv) + 2 q d + 4 or 6 d m, and for attention
 * 4 q (keys seen). Panels depend on N alone, never on the number of threads: the bits are the
 * same for any. Weights that wait in their file are expanded a block at a time, once for each
 * batch. Plain twin: tests/ref/model_ref.c.
 */
#include <omp.h>

#include "core/fail.h"
#include "core/memory.h"
#include "lens/decode.h"
#include "model/block.h"
#include "model/block_weights.h"
#include "model/embedding.h"

enum {
    BATCH_TOKENS = 8192, /* tokens in one batch, when whole sequences allow it */
    MAX_PANEL = 256,     /* OpenBLAS loses a tenth of its speed at 128 rows, a fifth at 64 */
    MIN_PANEL = 64,
    MIN_PANELS = 8,       /* wanted, so that several threads have work */
    LOGIT_BYTES = 1 << 25 /* a block of logits, of one token at least */
};

static const size_t batch_bytes = (size_t)1 << 28;

typedef struct {
    const cbe_model *model;
    cbe_block_context block;
    size_t context_length, batch_tokens, panel, n_threads;
    float *hidden;       /* (batch_tokens, d) */
    float *qkv;          /* (batch_tokens, qkv_size) */
    float *scratch;      /* (n_threads, block.scratch_size) */
    float *block_memory; /* of a block that is not resident; NULL: all are */
    size_t logit_tokens;
    float *logits, *normalised; /* (logit_tokens, V), (logit_tokens, d) */
} workspace;

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t panel_of(size_t n_tokens)
{
    const size_t panel = min_size(max_size(n_tokens / MIN_PANELS, MIN_PANEL), MAX_PANEL);
    const size_t n_panels = (n_tokens - 1) / panel + 1;
    return (n_tokens - 1) / n_panels + 1; /* as equal as can be */
}

static void workspace_free(workspace *w)
{
    cbe_free(w->block.rope[CBE_REACH_GLOBAL]);
    if (w->block.rope[CBE_REACH_LOCAL] != w->block.rope[CBE_REACH_GLOBAL])
        cbe_free(w->block.rope[CBE_REACH_LOCAL]);
    cbe_free(w->block.slopes);
    cbe_free(w->hidden);
    cbe_free(w->qkv);
    cbe_free(w->scratch);
    cbe_free(w->block_memory);
    cbe_free(w->logits);
    cbe_free(w->normalised);
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

/* Tables of positions. */
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

static cbe_status workspace_init(workspace *w, const cbe_model *model, size_t n_sequences,
                                 size_t context_length, bool logits, cbe_error *err)
{
    cbe_status st;
    const cbe_model_config *c = &model->config.sizes;
    const size_t d = c->hidden_size;
    const size_t qkv_size = (c->n_heads + 2 * c->n_kv_heads) * c->head_size;
    *w = (workspace){.model = model, .context_length = context_length};

    const size_t token_bytes = (d + qkv_size) * sizeof(float);
    const size_t wanted = min_size(BATCH_TOKENS, batch_bytes / token_bytes);
    const size_t batch = min_size(max_size(wanted / context_length, 1), n_sequences);
    w->batch_tokens = batch * context_length; /* no more than n_sequences * context_length: fits */
    w->panel = panel_of(w->batch_tokens);
    w->n_threads = min_size((size_t)omp_get_max_threads(), (w->batch_tokens - 1) / w->panel + 1);
    st = cbe_block_context_init(&w->block, &model->config, context_length, w->panel, err);
    if (st != CBE_OK) return st;
    if ((st = make_positions(&w->block, &model->config, err)) != CBE_OK) return st;

    w->hidden = cbe_alloc(w->batch_tokens, d * sizeof(float), "hidden states", err);
    w->qkv = cbe_alloc(w->batch_tokens, qkv_size * sizeof(float), "queries, keys and values", err);
    if (!w->hidden || !w->qkv) return CBE_ERR_NOMEM;
    w->scratch =
        cbe_alloc(w->n_threads, w->block.scratch_size * sizeof(float), "room of the threads", err);
    if (!w->scratch) return CBE_ERR_NOMEM;
    if (model->n_resident < c->n_layers) {
        w->block_memory = cbe_alloc(model->block_floats, sizeof(float), "weights of a block", err);
        if (!w->block_memory) return CBE_ERR_NOMEM;
    }
    if (!logits) return CBE_OK;
    w->logit_tokens = max_size(LOGIT_BYTES / sizeof(float) / c->vocab_size, 1);
    w->logit_tokens = min_size(w->logit_tokens, w->batch_tokens);
    w->logits = cbe_alloc(w->logit_tokens, c->vocab_size * sizeof(float), "logits", err);
    w->normalised = cbe_alloc(w->logit_tokens, d * sizeof(float), "hidden states", err);
    return w->logits && w->normalised ? CBE_OK : CBE_ERR_NOMEM;
}

static void panel_qkv(const workspace *w, const cbe_block *block, cbe_reach reach, size_t first,
                      size_t last, float *scratch)
{
    const size_t d = w->model->config.sizes.hidden_size;
    cbe_block_qkv(&w->block, block, reach, first % w->context_length, last - first,
                  w->hidden + first * d, scratch, w->qkv + first * w->block.qkv_size);
}

static void panel_rest(const workspace *w, const cbe_block *block, size_t index, size_t first,
                       size_t last, float *scratch)
{
    const size_t d = w->model->config.sizes.hidden_size;
    cbe_block_rest(&w->block, block, index, first, last - first, w->qkv, w->hidden + first * d,
                   scratch);
}

static void run_block(const workspace *w, const cbe_block *block, size_t index, size_t n_tokens)
{
    const size_t n_panels = (n_tokens - 1) / w->panel + 1;
    const cbe_reach reach = cbe_config_reach(&w->model->config, index);
    if (n_panels == 1) { /* outside of a region, so that the threads share its products' tiles */
        panel_qkv(w, block, reach, 0, n_tokens, w->scratch);
        panel_rest(w, block, index, 0, n_tokens, w->scratch);
        return;
    }
#pragma omp parallel num_threads((int)w->n_threads)
    {
        float *scratch = w->scratch + (size_t)omp_get_thread_num() * w->block.scratch_size;
#pragma omp for schedule(dynamic)
        for (size_t p = 0; p < n_panels; p++)
            panel_qkv(w, block, reach, p * w->panel, min_size((p + 1) * w->panel, n_tokens),
                      scratch);
            /* Later panels see more keys of a long sequence: the longest work first. */
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n_panels; i++) {
            const size_t p = n_panels - 1 - i;
            panel_rest(w, block, index, p * w->panel, min_size((p + 1) * w->panel, n_tokens),
                       scratch);
        }
    }
}

/* Block number `index`, expanded first if need be. */
static cbe_status run_layer(const workspace *w, size_t index, size_t n_tokens, cbe_error *err)
{
    const cbe_model *model = w->model;
    if (index < model->n_resident) {
        run_block(w, &model->blocks[index], index, n_tokens);
        return CBE_OK;
    }
    cbe_block block;
    const cbe_status st =
        cbe_block_expand(model, model->source, index, w->block_memory, &block, err);
    if (st == CBE_OK) run_block(w, &block, index, n_tokens);
    return st;
}

static cbe_status give_logits(const workspace *w, const cbe_forward_sink *sink, size_t first,
                              size_t n_tokens, cbe_error *err)
{
    for (size_t n = 0; n < n_tokens; n += w->logit_tokens) {
        const size_t count = min_size(w->logit_tokens, n_tokens - n);
        cbe_decode(w->model->decoder, count, w->hidden + n * w->model->config.sizes.hidden_size,
                   w->normalised, w->logits);
        const cbe_status st = sink->logits(sink->context, first + n, count, w->logits, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* One batch of whole sequences; first: its first token in the whole run of n_total tokens. */
static cbe_status run_batch(const workspace *w, const cbe_forward_sink *sink, size_t n_blocks,
                            size_t first, size_t n_tokens, size_t n_total, const int64_t *ids,
                            cbe_error *err)
{
    cbe_status st;
    st = cbe_embed(w->model, w->context_length, n_tokens, ids, w->hidden, err);
    if (st != CBE_OK) return st;
    for (size_t layer = 0; layer <= n_blocks; layer++) {
        if (layer > 0) {
            if ((st = run_layer(w, layer - 1, n_tokens, err)) != CBE_OK) return st;
            if (sink->progress &&
                !sink->progress(sink->context, first * n_blocks + n_tokens * layer,
                                n_total * n_blocks))
                return cbe_fail(err, CBE_ERR_CANCELLED, -1, "cancelled");
        }
        if (!sink->layers || !sink->layers[layer]) continue;
        st = sink->hidden(sink->context, layer, first, n_tokens, w->hidden, err);
        if (st != CBE_OK) return st;
    }
    return sink->logits ? give_logits(w, sink, first, n_tokens, err) : CBE_OK;
}

static cbe_status check_ids(const cbe_config *whole, size_t n_sequences, size_t context_length,
                            const int64_t *ids, cbe_error *err)
{
    const cbe_model_config *config = &whole->sizes;
    if (whole->traits.positions == CBE_POSITIONS_LEARNED && context_length > config->max_context)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "sequences of %zu tokens, but the model has a position embedding for %zu "
                        "only; give shorter ones (--context-length)",
                        context_length, config->max_context);
    for (size_t n = 0; n < n_sequences * context_length; n++)
        if (ids[n] < 0 || (uint64_t)ids[n] >= config->vocab_size)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "token id %lld at position %zu of sequence %zu is not in the model's "
                            "vocabulary, 0 to %zu",
                            (long long)ids[n], n % context_length, n / context_length,
                            config->vocab_size - 1);
    return CBE_OK;
}

cbe_status cbe_model_forward(const cbe_model *model, size_t n_sequences, size_t context_length,
                             const int64_t *ids, const cbe_forward_sink *sink, cbe_error *err)
{
    cbe_status st;
    const cbe_model_config *config = &model->config.sizes;
    const size_t n_layers = config->n_layers;
    size_t n_tokens, n_blocks = 0;
    bool wanted = sink->logits != NULL;
    for (size_t i = 0; i <= n_layers && sink->layers; i++)
        if (sink->layers[i]) {
            wanted = true;
            n_blocks = i;
        }
    if (sink->logits) n_blocks = n_layers;
    if (!cbe_mul_size(n_sequences, context_length, &n_tokens))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "%zu sequences of %zu tokens do not fit the address space", n_sequences,
                        context_length);
    if (n_tokens == 0 || !wanted) return CBE_OK;
    if ((st = check_ids(&model->config, n_sequences, context_length, ids, err)) != CBE_OK)
        return st;

    workspace w;
    st = workspace_init(&w, model, n_sequences, context_length, sink->logits != NULL, err);
    for (size_t first = 0; first < n_tokens && st == CBE_OK; first += w.batch_tokens)
        st = run_batch(&w, sink, n_blocks, first, min_size(w.batch_tokens, n_tokens - first),
                       n_tokens, ids + first, err);
    workspace_free(&w);
    return st;
}
