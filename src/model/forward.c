/*
 * forward.c - the forward pass; see cbe/model.h.
 *
 * Tokens go through a block in panels of fixed size, one thread each: a panel's rows stay in
 * cache between norm, products and activation, and BLAS runs single-threaded on large matrices.
 * Only attention needs other panels' tokens, and only their keys and values, so a block is two
 * parallel loops: queries, keys and values of all panels; then attention and the rest.
 *
 * N tokens of a batch, d hidden size, m MLP size, q + 2 kv the width of queries, keys and
 * values. Cost for each token and block: 2 d (q + 2 kv) + 2 q d + 6 d m and for attention 4 q
 * (keys seen). Panels depend on N alone, never on the number of threads: the bits are the same
 * for any. Plain twin: tests/ref/llama_ref.c.
 */
#include <omp.h>
#include <string.h>

#include "core/fail.h"
#include "core/gemm.h"
#include "core/memory.h"
#include "lens/decode.h"
#include "model/attention.h"
#include "model/elementwise.h"
#include "model/private.h"

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
    const cbe_model_config *config;
    size_t context_length, batch_tokens, panel, n_threads;
    size_t q_size, qkv_size, logit_tokens;
    float *rope;   /* (context_length, 2, head_size / 2) */
    float *hidden; /* (batch_tokens, d) */
    float *qkv;    /* (batch_tokens, qkv_size) */
    /* (n_threads, scratch_size): rows (panel, max(d, q)), MLP (panel, 2 m), attention */
    float *scratch;
    size_t scratch_size, mlp_at, attention_at;
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
    cbe_free(w->rope);
    cbe_free(w->hidden);
    cbe_free(w->qkv);
    cbe_free(w->scratch);
    cbe_free(w->logits);
    cbe_free(w->normalised);
}

static cbe_status workspace_init(workspace *w, const cbe_model *model, size_t n_sequences,
                                 size_t context_length, bool logits, cbe_error *err)
{
    const cbe_model_config *c = &model->config.sizes;
    const size_t d = c->hidden_size, half = c->head_size / 2;
    *w = (workspace){.model = model, .config = c, .context_length = context_length};
    w->q_size = c->n_heads * c->head_size;
    w->qkv_size = w->q_size + 2 * c->n_kv_heads * c->head_size;

    const size_t token_bytes = (d + w->qkv_size) * sizeof(float);
    const size_t wanted = min_size(BATCH_TOKENS, batch_bytes / token_bytes);
    const size_t batch = min_size(max_size(wanted / context_length, 1), n_sequences);
    w->batch_tokens = batch * context_length; /* no more than n_sequences * context_length: fits */
    w->panel = panel_of(w->batch_tokens);
    w->n_threads = min_size((size_t)omp_get_max_threads(), (w->batch_tokens - 1) / w->panel + 1);

    const size_t attention = cbe_attention_scratch(c, context_length);
    w->mlp_at = w->panel * max_size(d, w->q_size);
    w->attention_at = w->mlp_at + w->panel * 2 * c->mlp_size;
    if (!attention || !cbe_add_size(w->attention_at, attention, &w->scratch_size))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "sequences of %zu tokens do not fit the address space", context_length);
    w->rope = cbe_alloc(context_length, 2 * half * sizeof(float), "rotary table", err);
    w->hidden = cbe_alloc(w->batch_tokens, d * sizeof(float), "hidden states", err);
    w->qkv =
        cbe_alloc(w->batch_tokens, w->qkv_size * sizeof(float), "queries, keys and values", err);
    if (!w->rope || !w->hidden || !w->qkv) return CBE_ERR_NOMEM;
    size_t bytes;
    if (!cbe_mul_size(w->scratch_size, sizeof(float), &bytes))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "sequences of %zu tokens do not fit the address space", context_length);
    w->scratch = cbe_alloc(w->n_threads, bytes, "room of the threads", err);
    if (!w->scratch) return CBE_ERR_NOMEM;
    if (logits) {
        w->logit_tokens = max_size(LOGIT_BYTES / sizeof(float) / c->vocab_size, 1);
        w->logit_tokens = min_size(w->logit_tokens, w->batch_tokens);
        w->logits = cbe_alloc(w->logit_tokens, c->vocab_size * sizeof(float), "logits", err);
        w->normalised = cbe_alloc(w->logit_tokens, d * sizeof(float), "hidden states", err);
        if (!w->logits || !w->normalised) return CBE_ERR_NOMEM;
    }
    cbe_rope_table(context_length, half, model->rope_frequencies, w->rope);
    return CBE_OK;
}

/* Queries, keys and values of the tokens first .. last - 1, rotated. */
static void panel_qkv(const workspace *w, const cbe_block *block, size_t first, size_t last,
                      float *scratch)
{
    const cbe_model_config *c = w->config;
    const size_t n = last - first, d = c->hidden_size, half = c->head_size / 2;
    float *qkv = w->qkv + first * w->qkv_size;
    cbe_norm_rows(CBE_NORM_RMS, c->norm_eps, n, d, w->hidden + first * d, block->attention_norm,
                  NULL, scratch);
    cbe_gemm(false, true, n, w->qkv_size, d, 1, scratch, d, block->qkv, d, 0, qkv, w->qkv_size);
    for (size_t i = 0; i < n; i++) {
        const size_t position = (first + i) % w->context_length;
        cbe_rope_rotate(c->n_heads + c->n_kv_heads, half, w->rope + position * 2 * half,
                        qkv + i * w->qkv_size);
    }
}

/* Attention of the tokens first .. last - 1, which may lie in several sequences; out is (n, q). */
static void panel_attention(const workspace *w, size_t first, size_t last, float *scratch,
                            float *out)
{
    for (size_t n = first; n < last;) {
        const size_t position = n % w->context_length, start = n - position;
        const size_t end = min_size(last, start + w->context_length);
        cbe_attention(w->config, w->context_length, position, end - start,
                      w->qkv + start * w->qkv_size, w->qkv_size, scratch,
                      out + (n - first) * w->q_size);
        n = end;
    }
}

/* The rest of the block, adding to the hidden states. */
static void panel_rest(const workspace *w, const cbe_block *block, size_t first, size_t last,
                       float *scratch)
{
    const cbe_model_config *c = w->config;
    const size_t n = last - first, d = c->hidden_size, m = c->mlp_size;
    float *hidden = w->hidden + first * d, *rows = scratch, *mlp = scratch + w->mlp_at;
    panel_attention(w, first, last, scratch + w->attention_at, rows);
    cbe_gemm(false, true, n, d, w->q_size, 1, rows, w->q_size, block->attention_out, w->q_size, 1,
             hidden, d);
    cbe_norm_rows(CBE_NORM_RMS, c->norm_eps, n, d, hidden, block->mlp_norm, NULL, rows);
    cbe_gemm(false, true, n, 2 * m, d, 1, rows, d, block->gate_up, d, 0, mlp, 2 * m);
    for (size_t i = 0; i < n; i++) cbe_silu_product(m, mlp + i * 2 * m, mlp + i * 2 * m + m);
    cbe_gemm(false, true, n, d, m, 1, mlp, 2 * m, block->down, m, 1, hidden, d);
}

static void run_block(const workspace *w, const cbe_block *block, size_t n_tokens)
{
    const size_t n_panels = (n_tokens - 1) / w->panel + 1;
    if (n_panels == 1) { /* outside of a region, so that the threads share its products' tiles */
        panel_qkv(w, block, 0, n_tokens, w->scratch);
        panel_rest(w, block, 0, n_tokens, w->scratch);
        return;
    }
#pragma omp parallel num_threads((int)w->n_threads)
    {
        float *scratch = w->scratch + (size_t)omp_get_thread_num() * w->scratch_size;
#pragma omp for schedule(dynamic)
        for (size_t p = 0; p < n_panels; p++)
            panel_qkv(w, block, p * w->panel, min_size((p + 1) * w->panel, n_tokens), scratch);
            /* Later panels see more keys of a long sequence: the longest work first. */
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n_panels; i++) {
            const size_t p = n_panels - 1 - i;
            panel_rest(w, block, p * w->panel, min_size((p + 1) * w->panel, n_tokens), scratch);
        }
    }
}

static cbe_status give_logits(const workspace *w, const cbe_forward_sink *sink, size_t first,
                              size_t n_tokens, cbe_error *err)
{
    for (size_t n = 0; n < n_tokens; n += w->logit_tokens) {
        const size_t count = min_size(w->logit_tokens, n_tokens - n);
        cbe_decode(w->model->decoder, count, w->hidden + n * w->config->hidden_size, w->normalised,
                   w->logits);
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
    const size_t d = w->config->hidden_size;
    for (size_t n = 0; n < n_tokens; n++)
        memcpy(w->hidden + n * d, w->model->embedding + (size_t)ids[n] * d, d * sizeof(float));
    for (size_t layer = 0; layer <= n_blocks; layer++) {
        if (layer > 0) {
            run_block(w, &w->model->blocks[layer - 1], n_tokens);
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

static cbe_status check_ids(const cbe_model_config *config, size_t n_sequences,
                            size_t context_length, const int64_t *ids, cbe_error *err)
{
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
    if ((st = check_ids(config, n_sequences, context_length, ids, err)) != CBE_OK) return st;

    workspace w;
    st = workspace_init(&w, model, n_sequences, context_length, sink->logits != NULL, err);
    for (size_t first = 0; first < n_tokens && st == CBE_OK; first += w.batch_tokens)
        st = run_batch(&w, sink, n_blocks, first, min_size(w.batch_tokens, n_tokens - first),
                       n_tokens, ids + first, err);
    workspace_free(&w);
    return st;
}
