/*
 * forward.c - the forward pass; see model/model.h.
 *
 * Blocks run panel by panel in threads (panels.h). Only attention needs tokens of other panels:
 * their keys and values.
 *
 * N tokens of a batch, d hidden size, m MLP size, q + 2 kv the width of queries, keys and values.
 * Cost for each token and block: 2 d (q + 2 kv) + 2 q d + 4 or 6 d m, and for attention 4 q (keys
 * seen). Panels depend on N alone, so the bits are the same for any number of threads. Weights that
 * stay in their file are expanded a block at a time, once for each batch. Plain twin:
 * tests/ref/model_ref.c.
 */
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "model/decode.h"
#include "model/embedding.h"
#include "model/panels.h"

enum {
    BATCH_TOKENS = 8192,  /* most tokens of a batch; one sequence may be longer */
    LOGIT_BYTES = 1 << 25 /* a block of logits; at least one token */
};

static const size_t batch_bytes = (size_t)1 << 28;

typedef struct {
    const cbe_model *model;
    cbe_panels panels;
    size_t context_length, batch_tokens;
    float *hidden; /* (batch_tokens, d) */
    float *qkv;    /* (batch_tokens, qkv_size) */
    size_t logit_tokens;
    float *logits, *normalised; /* (logit_tokens, V), (logit_tokens, d) */
} workspace;

static void workspace_free(workspace *w)
{
    cbe_panels_free(&w->panels);
    cbe_free(w->hidden);
    cbe_free(w->qkv);
    cbe_free(w->logits);
    cbe_free(w->normalised);
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
    const size_t wanted = cbe_min_size(BATCH_TOKENS, batch_bytes / token_bytes);
    const size_t batch = cbe_min_size(cbe_max_size(wanted / context_length, 1), n_sequences);
    /* cannot overflow: at most n_sequences * context_length */
    w->batch_tokens = batch * context_length;
    st = cbe_panels_init(&w->panels, model, context_length, w->batch_tokens, false, err);
    if (st != CBE_OK) return st;

    w->hidden = cbe_alloc(w->batch_tokens, d * sizeof(float), "hidden states", err);
    w->qkv = cbe_alloc(w->batch_tokens, qkv_size * sizeof(float), "queries, keys and values", err);
    if (!w->hidden || !w->qkv) return CBE_ERR_NOMEM;
    if (!logits) return CBE_OK;
    w->logit_tokens = cbe_max_size(LOGIT_BYTES / sizeof(float) / c->vocab_size, 1);
    w->logit_tokens = cbe_min_size(w->logit_tokens, w->batch_tokens);
    w->logits = cbe_alloc(w->logit_tokens, c->vocab_size * sizeof(float), "logits", err);
    w->normalised = cbe_alloc(w->logit_tokens, d * sizeof(float), "hidden states", err);
    return w->logits && w->normalised ? CBE_OK : CBE_ERR_NOMEM;
}

static cbe_status give_logits(const workspace *w, const cbe_forward_sink *sink, size_t first,
                              size_t n_tokens, cbe_error *err)
{
    for (size_t n = 0; n < n_tokens; n += w->logit_tokens) {
        const size_t count = cbe_min_size(w->logit_tokens, n_tokens - n);
        cbe_decode(w->model->decoder, 0, count, w->hidden + n * w->model->config.sizes.hidden_size,
                   w->normalised, w->logits);
        const cbe_status st = sink->logits(sink->context, first + n, count, w->logits, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* Runs a batch of whole sequences; first: index of its first token among the run's n_total
 * tokens. */
static cbe_status run_batch(const workspace *w, const cbe_forward_sink *sink, size_t n_blocks,
                            size_t first, size_t n_tokens, size_t n_total, const int64_t *ids,
                            cbe_error *err)
{
    cbe_status st;
    st = cbe_embed(w->model, w->context_length, n_tokens, ids, w->hidden, err);
    if (st != CBE_OK) return st;
    for (size_t layer = 0; layer <= n_blocks; layer++) {
        if (layer > 0) {
            if ((st = cbe_panels_block(&w->panels, layer - 1, n_tokens, w->hidden, w->qkv, NULL,
                                       err)) != CBE_OK)
                return st;
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
                        "only; give shorter ones (" CBE_OPTION("context-length") ")",
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
        st = run_batch(&w, sink, n_blocks, first, cbe_min_size(w.batch_tokens, n_tokens - first),
                       n_tokens, ids + first, err);
    workspace_free(&w);
    return st;
}

bool cbe_forward_is_by_sequence(size_t context_length)
{
    return cbe_panels_cut_by_sequence(context_length);
}
