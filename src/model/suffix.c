/* suffix.c - see suffix.h. block.h has a block's forward and backward pass. */
#include "model/suffix.h"

#include <stdint.h>
#include <string.h>

#include "core/arrays.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "model/panels.h"

struct cbe_suffix {
    const cbe_model *model;
    cbe_suffix_options options;
    cbe_panels panels;
    cbe_bf16 *bf16;               /* borrowed; NULL: products in float32 */
    cbe_bf16_blocks *bf16_blocks; /* owned; panels.bf16 points to it */
    size_t n_tokens;              /* most tokens of a batch */
    float *hidden, *grad;         /* (n_tokens, d) */
    /* (n_tokens, qkv_size): queries, keys and values if not kept, and their gradient */
    float *qkv;
    float *grad_mixed; /* (n_tokens, q_size) */
    float *inputs;     /* (n blocks, n_tokens, d): CBE_SUFFIX_INPUTS; else NULL */
    float *kept;       /* (n blocks or 1, n_tokens, kept size) */
    float *clean;      /* (n blocks, n_clean S, k | v): own scope; else NULL */
    size_t *clean_of;  /* (n_sequences) clean sequence of each one of the batch, likewise */
    size_t *at_hand;   /* (n_clean) sequences whose keys and values are in `clean`, likewise */
    size_t n_at_hand, first_at_hand; /* how many, and from which block on */

    size_t first, n_run; /* first block and number of tokens of the last forward pass */
};

enum { N_ARRAYS = 9 };

static void describe(cbe_suffix *s, const cbe_model *model, const cbe_suffix_options *options)
{
    *s = (cbe_suffix){.model = model, .options = *options};
    s->n_tokens = cbe_times(options->n_sequences, options->context_length, 1);
}

/* Lists every array, with sizes from the members set before. */
static void list_arrays(cbe_suffix *s, cbe_array list[N_ARRAYS])
{
    const cbe_model_config *c = &s->model->config.sizes;
    const size_t q = c->n_heads * c->head_size, qkv = q + 2 * c->n_kv_heads * c->head_size;
    const size_t blocks = c->n_layers - s->options.first, n = s->n_tokens;
    const size_t kept = cbe_block_kept_size(&s->model->config);
    const bool back = s->options.way_back != CBE_SUFFIX_FORWARD,
               recompute = s->options.way_back == CBE_SUFFIX_INPUTS;
    const cbe_array arrays[N_ARRAYS] = {
        {&s->hidden, cbe_times(n, c->hidden_size, 1), sizeof(float), "hidden states"},
        {&s->grad, back ? cbe_times(n, c->hidden_size, 1) : 0, sizeof(float), "gradients"},
        {&s->qkv, cbe_times(n, qkv, 1), sizeof(float), "queries, keys and values"},
        {&s->grad_mixed, back ? cbe_times(n, q, 1) : 0, sizeof(float), "gradients"},
        {&s->inputs, recompute ? cbe_times(blocks, n, c->hidden_size) : 0, sizeof(float),
         "hidden states before blocks"},
        {&s->kept, back ? cbe_times(recompute ? blocks != 0 : blocks, n, kept) : 0, sizeof(float),
         "activations"},
        {&s->clean,
         cbe_times(blocks, cbe_times(s->options.n_clean, s->options.context_length, 1), qkv - q),
         sizeof(float), "clean keys and values"},
        {&s->clean_of, s->options.n_clean ? s->options.n_sequences : 0, sizeof(size_t),
         "sequences"},
        {&s->at_hand, s->options.n_clean, sizeof(size_t), "sequences"},
    };
    memcpy(list, arrays, sizeof arrays);
}

size_t cbe_suffix_bytes(const cbe_model *model, const cbe_suffix_options *options)
{
    cbe_suffix s;
    cbe_array list[N_ARRAYS];
    describe(&s, model, options);
    if (s.n_tokens == SIZE_MAX) return SIZE_MAX;
    list_arrays(&s, list);
    return cbe_arrays_bytes(N_ARRAYS, list,
                            cbe_panels_bytes(model, options->context_length, s.n_tokens,
                                             options->way_back != CBE_SUFFIX_FORWARD));
}

cbe_status cbe_suffix_create(cbe_suffix **out, const cbe_model *model,
                             const cbe_suffix_options *options, cbe_error *err)
{
    cbe_suffix *s = cbe_alloc_zero(1, sizeof *s, "suffix of the model", err);
    if (!s) return CBE_ERR_NOMEM;
    describe(s, model, options);
    cbe_status st = cbe_panels_init(&s->panels, model, options->context_length, s->n_tokens,
                                    options->way_back != CBE_SUFFIX_FORWARD, err);
    cbe_array list[N_ARRAYS];
    list_arrays(s, list);
    if (st == CBE_OK) st = cbe_arrays_allocate(N_ARRAYS, list, err);
    if (st == CBE_OK)
        *out = s;
    else
        cbe_suffix_free(s);
    return st;
}

void cbe_suffix_free(cbe_suffix *s)
{
    if (!s) return;
    cbe_array list[N_ARRAYS];
    list_arrays(s, list);
    cbe_arrays_free(N_ARRAYS, list);
    cbe_panels_free(&s->panels);
    cbe_bf16_blocks_free(s->bf16_blocks);
    cbe_free(s);
}

cbe_status cbe_suffix_use_bf16(cbe_suffix *s, cbe_bf16 *bf16, cbe_error *err)
{
    const bool back = s->options.way_back != CBE_SUFFIX_FORWARD;
    const cbe_status st =
        cbe_bf16_blocks_create(&s->bf16_blocks, s->model, s->options.first, back, bf16, err);
    if (st != CBE_OK) return st;
    s->bf16 = bf16;
    s->panels.bf16 = s->bf16_blocks;
    return CBE_OK;
}

float *cbe_suffix_hidden(cbe_suffix *suffix)
{
    return suffix->hidden;
}

float *cbe_suffix_grad(cbe_suffix *suffix)
{
    return suffix->grad;
}

/* Arrays in which block number `index` keeps values for the backward pass. */
static cbe_block_kept kept_of(const cbe_suffix *s, size_t index)
{
    const cbe_config *config = &s->model->config;
    const size_t at = index - s->options.first, d = config->sizes.hidden_size;
    cbe_block_kept kept;
    float *memory = s->kept + (s->options.way_back == CBE_SUFFIX_INPUTS
                                   ? 0
                                   : at * s->n_tokens * cbe_block_kept_size(config));
    cbe_block_kept_init(&kept, config, s->n_tokens, memory);
    if (s->options.way_back == CBE_SUFFIX_INPUTS) kept.input = s->inputs + at * s->n_tokens * d;
    return kept;
}

/* Floats of a row of clean keys and values. */
static size_t clean_width(const cbe_suffix *s)
{
    return s->panels.block.qkv_size - s->panels.block.q_size;
}

/* Clean keys and values of block number `index`. */
static float *clean_rows(const cbe_suffix *s, size_t index)
{
    const size_t rows = s->options.n_clean * s->options.context_length;
    return s->clean + (index - s->options.first) * rows * clean_width(s);
}

void cbe_suffix_forget_clean(cbe_suffix *suffix)
{
    suffix->n_at_hand = 0;
}

/* Runs n_at_hand clean sequences, which are in s->hidden. */
static cbe_status run_clean(cbe_suffix *s, size_t first, cbe_error *err)
{
    const size_t n_layers = s->model->config.sizes.n_layers, width = clean_width(s);
    const size_t n = s->n_at_hand * s->options.context_length, stride = s->panels.block.qkv_size;
    cbe_status st = CBE_OK;
    for (size_t i = first; i < n_layers && st == CBE_OK; i++) {
        float *rows = clean_rows(s, i);
        st = i + 1 < n_layers ? cbe_panels_block(&s->panels, i, n, s->hidden, s->qkv, NULL, err)
                              : cbe_panels_qkv(&s->panels, i, n, s->hidden, s->qkv, err);
        for (size_t t = 0; t < n && st == CBE_OK; t++)
            memcpy(rows + t * width, s->qkv + (t + 1) * stride - width, width * sizeof *rows);
    }
    if (st == CBE_OK && s->bf16) st = cbe_bf16_check(s->bf16, err);
    return st;
}

cbe_status cbe_suffix_set_clean(cbe_suffix *s, size_t first, const float *hidden, size_t count,
                                const size_t *sequences, size_t begin, size_t n, cbe_error *err)
{
    const size_t size = s->options.context_length * s->model->config.sizes.hidden_size;
    if (s->options.n_clean == 0) return CBE_OK;
    /* If there is room for all sequences, they serve every batch. */
    const bool all = count <= s->options.n_clean;
    const size_t start = all ? 0 : begin, n_wanted = all ? count : n;
    bool at_hand = s->n_at_hand == n_wanted && s->first_at_hand == first;
    for (size_t p = 0; p < n; p++) s->clean_of[p] = all ? (begin + p) % count : p;
    for (size_t i = 0; i < n_wanted; i++) {
        const size_t at = (start + i) % count, b = sequences ? sequences[at] : at;
        at_hand = at_hand && s->at_hand[i] == b;
        s->at_hand[i] = b;
    }
    if (at_hand) return CBE_OK;
    for (size_t i = 0; i < n_wanted; i++)
        memcpy(s->hidden + i * size, hidden + s->at_hand[i] * size, size * sizeof *hidden);
    s->n_at_hand = n_wanted;
    s->first_at_hand = first;
    const cbe_status st = run_clean(s, first, err);
    if (st != CBE_OK) s->n_at_hand = 0;
    return st;
}

/* Runs a block on a batch. */
static cbe_status run_block(cbe_suffix *s, size_t index, float *qkv, const cbe_block_kept *kept,
                            cbe_error *err)
{
    const cbe_block_clean clean = {s->clean ? clean_rows(s, index) : NULL, s->clean_of};
    s->panels.clean = s->clean ? &clean : NULL;
    const cbe_status st = cbe_panels_block(&s->panels, index, s->n_run, s->hidden, qkv, kept, err);
    s->panels.clean = NULL;
    return st;
}

/* Runs the backward pass of a block. */
static cbe_status run_block_back(cbe_suffix *s, size_t index, const cbe_block_kept *kept,
                                 cbe_error *err)
{
    const cbe_block_clean clean = {s->clean ? clean_rows(s, index) : NULL, s->clean_of};
    s->panels.clean = s->clean ? &clean : NULL;
    const cbe_status st = cbe_panels_block_back(&s->panels, index, s->n_run, kept, s->grad,
                                                s->grad_mixed, s->qkv, err);
    s->panels.clean = NULL;
    return st;
}

cbe_status cbe_suffix_forward(cbe_suffix *s, size_t first, size_t n_sequences, bool keep,
                              cbe_error *err)
{
    const size_t n_layers = s->model->config.sizes.n_layers;
    const size_t n = n_sequences * s->options.context_length;
    cbe_status st = CBE_OK;
    s->first = first;
    s->n_run = n;
    for (size_t i = first; i < n_layers && st == CBE_OK; i++) {
        cbe_block_kept kept = {0};
        const bool whole = keep && s->options.way_back == CBE_SUFFIX_ALL;
        if (keep) {
            kept = kept_of(s, i);
            memcpy(kept.input, s->hidden, n * s->model->config.sizes.hidden_size * sizeof(float));
        }
        st = run_block(s, i, whole ? kept.qkv : s->qkv, whole ? &kept : NULL, err);
    }
    if (st == CBE_OK && s->bf16) st = cbe_bf16_check(s->bf16, err);
    return st;
}

cbe_status cbe_suffix_backward(cbe_suffix *s, cbe_error *err)
{
    const size_t n = s->n_run, bytes = n * s->model->config.sizes.hidden_size * sizeof(float);
    cbe_status st = CBE_OK;
    for (size_t i = s->model->config.sizes.n_layers; i-- > s->first && st == CBE_OK;) {
        const cbe_block_kept kept = kept_of(s, i);
        if (s->options.way_back == CBE_SUFFIX_INPUTS) {
            memcpy(s->hidden, kept.input, bytes);
            st = run_block(s, i, kept.qkv, &kept, err);
        }
        if (st == CBE_OK) st = run_block_back(s, i, &kept, err);
    }
    if (st == CBE_OK && s->bf16) st = cbe_bf16_check(s->bf16, err);
    return st;
}
