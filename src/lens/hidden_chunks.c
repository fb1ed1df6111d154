/* hidden_chunks.c - see hidden_chunks.h. */
#include "lens/hidden_chunks.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

enum { CHUNK_BYTES = 1 << 28, CHUNK_TOKENS = 4096 };

typedef struct {
    const cbe_hidden_chunks *chunks;
    size_t hidden_size;
    float **hidden;     /* (L + 1), each (tokens of a chunk, d) */
    size_t before, all; /* tokens of the chunks before this one; of all chunks */
} collector;

static cbe_status keep(void *context, size_t layer, size_t first, size_t n_tokens,
                       const float *hidden, cbe_error *err)
{
    (void)err;
    const collector *c = context;
    memcpy(c->hidden[layer] + first * c->hidden_size, hidden,
           n_tokens * c->hidden_size * sizeof *hidden);
    return CBE_OK;
}

static bool pass_progress(void *context, size_t done, size_t total)
{
    const collector *c = context;
    const size_t n_layers = cbe_model_get_config(c->chunks->model)->n_layers;
    (void)total;
    return c->chunks->progress(c->chunks->progress_context, c->before * n_layers + done,
                               c->all * n_layers);
}

static size_t sequences_of_chunk(const cbe_hidden_chunks *chunks, const cbe_model_config *config)
{
    size_t n = chunks->chunk_sequences;
    if (n == 0) {
        const size_t token_bytes = (config->n_layers + 1) * config->hidden_size * sizeof(float);
        size_t tokens = CHUNK_BYTES / token_bytes;
        if (tokens > CHUNK_TOKENS) tokens = CHUNK_TOKENS;
        n = tokens / chunks->context_length;
    }
    if (n < 1) n = 1;
    return n < chunks->n_sequences ? n : chunks->n_sequences;
}

cbe_status cbe_hidden_chunks_run(const cbe_hidden_chunks *chunks, cbe_error *err)
{
    const cbe_model_config *config = cbe_model_get_config(chunks->model);
    const size_t n_states = config->n_layers + 1, length = chunks->context_length;
    const size_t per_chunk = sequences_of_chunk(chunks, config);
    size_t size;
    if (!cbe_mul_size(per_chunk, length, &size) || !cbe_mul_size(size, config->hidden_size, &size))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "sequences of %zu tokens do not fit the address space", length);
    collector c = {chunks, config->hidden_size, NULL, 0, chunks->n_sequences * length};
    bool *wanted = cbe_alloc(n_states, sizeof *wanted, "layers", err);
    int64_t *ids = cbe_alloc(per_chunk * length, sizeof *ids, "token ids", err);
    c.hidden = cbe_alloc_zero(n_states, sizeof *c.hidden, "hidden states", err);
    cbe_status st = wanted && ids && c.hidden ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < n_states && st == CBE_OK; i++) {
        wanted[i] = true;
        if (!(c.hidden[i] = cbe_alloc(size, sizeof **c.hidden, "hidden states", err)))
            st = CBE_ERR_NOMEM;
    }
    const cbe_forward_sink sink = {wanted, keep, NULL, &c, chunks->progress ? pass_progress : NULL};
    for (size_t first = 0; first < chunks->n_sequences && st == CBE_OK; first += per_chunk) {
        const size_t left = chunks->n_sequences - first, n = left < per_chunk ? left : per_chunk;
        for (size_t s = 0; s < n; s++) {
            const size_t row = chunks->order ? chunks->order[first + s] : first + s;
            memcpy(ids + s * length, chunks->ids + row * length, length * sizeof *ids);
        }
        c.before = first * length;
        if ((st = cbe_model_forward(chunks->model, n, length, ids, &sink, err)) == CBE_OK)
            st =
                chunks->chunk(chunks->chunk_context, first, n, (const float *const *)c.hidden, err);
    }
    for (size_t i = 0; i < n_states && c.hidden; i++) cbe_free(c.hidden[i]);
    cbe_free(c.hidden);
    cbe_free(ids);
    cbe_free(wanted);
    return st;
}
