/*
 * attention.c - see attention.h.
 *
 * Query heads that share a key-value head are stacked as rows of one product, so that the keys are
 * read once for all of them. Scores are held for a block of queries of one such group at a time:
 * (queries * group) x keys. Plain twin: tests/ref/llama_ref.c.
 */
#include "model/attention.h"

#include <math.h>
#include <string.h>

#include "core/gemm.h"
#include "core/memory.h"
#include "model/elementwise.h"

/* Scores of a block: this many floats (1 MiB, a second-level cache), but not fewer rows than
 * make an efficient product. Queries are limited too, for half of the block on the diagonal is
 * wasted. */
enum { SCORE_FLOATS = 1 << 18, MIN_ROWS = 64, MAX_QUERIES = 128 };

static size_t block_queries(const cbe_model_config *config, size_t context_length)
{
    const size_t group = config->n_heads / config->n_kv_heads;
    size_t rows = SCORE_FLOATS / context_length;
    if (rows < MIN_ROWS) rows = MIN_ROWS;
    size_t queries = rows / group;
    if (queries > MAX_QUERIES) queries = MAX_QUERIES;
    if (queries > context_length) queries = context_length;
    return queries ? queries : 1;
}

size_t cbe_attention_scratch(const cbe_model_config *config, size_t context_length)
{
    const size_t group = config->n_heads / config->n_kv_heads;
    const size_t rows = block_queries(config, context_length) * group;
    size_t row, floats;
    if (!cbe_add_size(context_length, 2 * config->head_size + 1, &row)) return 0;
    return cbe_mul_size(rows, row, &floats) ? floats : 0;
}

/* Tokens first .. last - 1 of the heads that share key-value head g. */
static void group_attention(const cbe_model_config *config, size_t g, size_t first, size_t last,
                            const float *qkv, size_t stride, float *scratch, float *out)
{
    const size_t head_size = config->head_size, group = config->n_heads / config->n_kv_heads;
    const size_t q_size = config->n_heads * head_size, kv_size = config->n_kv_heads * head_size;
    const size_t width = group * head_size; /* the group's columns of q and of out */
    const size_t rows = (last - first) * group, n_keys = last;
    const float *keys = qkv + q_size + g * head_size, *values = keys + kv_size;
    float *queries = scratch, *mixed = queries + rows * head_size;
    float *sums = mixed + rows * head_size, *scores = sums + rows;

    for (size_t t = first; t < last; t++)
        memcpy(queries + (t - first) * width, qkv + t * stride + g * width, width * sizeof(float));
    cbe_gemm(false, true, rows, n_keys, head_size, (float)(1 / sqrt((double)head_size)), queries,
             head_size, keys, stride, 0, scores, n_keys);
    for (size_t r = 0; r < rows; r++) {
        const size_t visible = first + r / group + 1;
        float *row = scores + r * n_keys;
        sums[r] = (float)cbe_exp_row(visible, row);
        memset(row + visible, 0, (n_keys - visible) * sizeof(float));
    }
    cbe_gemm(false, false, rows, head_size, n_keys, 1, scores, n_keys, values, stride, 0, mixed,
             head_size);
    for (size_t r = 0; r < rows; r++)
        cbe_scale_row(head_size, 1 / sums[r], mixed + r * head_size,
                      out + r / group * q_size + g * width + r % group * head_size);
}

void cbe_attention(const cbe_model_config *config, size_t context_length, size_t first, size_t last,
                   const float *qkv, size_t stride, float *scratch, float *out)
{
    const size_t step = block_queries(config, context_length);
    for (size_t t = first; t < last; t += step) {
        const size_t end = last - t < step ? last : t + step;
        for (size_t g = 0; g < config->n_kv_heads; g++)
            group_attention(config, g, t, end, qkv, stride, scratch,
                            out + (t - first) * config->n_heads * config->head_size);
    }
}
