/*
 * attention.c - see attention.h.
 *
 * Query heads that share a key-value head are stacked as rows of one product, so that the keys are
 * read once for the whole group. Scores are held for a block of queries of one group at a time:
 * (queries * group) x keys, for the keys that the block can see. Plain twin: tests/ref/model_ref.c.
 */
#include "model/attention.h"

#include <math.h>
#include <string.h>

#include "math/gemm.h"
#include "core/memory.h"
#include "math/rows.h"
#include "model/attention_scores.h"

void cbe_alibi_slopes(size_t n_heads, float *slopes)
{
    size_t power = 1;
    while (2 * power <= n_heads) power *= 2;
    for (size_t i = 0; i < n_heads; i++) {
        const double exponent = i < power ? (double)(i + 1) / (double)power
                                          : (double)(2 * (i - power) + 1) / (double)(2 * power);
        slopes[i] = (float)exp2(-8 * exponent);
    }
}

size_t cbe_attention_back_scratch(const cbe_attention_spec *spec, size_t context_length)
{
    const size_t group = spec->n_heads / spec->n_kv_heads;
    const size_t queries = cbe_attention_block_queries(spec, context_length),
                 rows = queries * group;
    const size_t matrices = spec->softcap > 0 ? 3 : 2;
    size_t row, floats;
    if (!cbe_mul_size(cbe_attention_max_keys(spec, context_length, queries), matrices, &row) ||
        !cbe_add_size(row, 3 * spec->head_size, &row))
        return 0;
    return cbe_mul_size(rows, row, &floats) ? floats : 0;
}

size_t cbe_attention_scratch(const cbe_attention_spec *spec, size_t context_length)
{
    const size_t group = spec->n_heads / spec->n_kv_heads;
    const size_t queries = cbe_attention_block_queries(spec, context_length),
                 rows = queries * group;
    size_t row, floats;
    if (!cbe_add_size(cbe_attention_max_keys(spec, context_length, queries),
                      2 * spec->head_size + 1, &row))
        return 0;
    return cbe_mul_size(rows, row, &floats) ? floats : 0;
}

/* Attention of tokens first .. last - 1 for the heads that share key-value head g. */
static void group_attention(const cbe_attention_spec *spec, size_t g, size_t first, size_t last,
                            const float *qkv, size_t stride, float *scratch, float *out)
{
    const size_t head_size = spec->head_size, group = spec->n_heads / spec->n_kv_heads;
    const size_t q_size = spec->n_heads * head_size, kv_size = spec->n_kv_heads * head_size;
    const size_t width = group * head_size; /* the group's columns of q and of out */
    const size_t window = spec->window ? spec->window : last;
    const size_t begin = first + 1 > window ? first + 1 - window : 0; /* first key of the block */
    const size_t rows = (last - first) * group, n_keys = last - begin;
    const float *keys = qkv + begin * stride + q_size + g * head_size, *values = keys + kv_size;
    float *queries = scratch, *mixed = queries + rows * head_size;
    float *sums = mixed + rows * head_size, *scores = sums + rows;

    for (size_t t = first; t < last; t++)
        memcpy(queries + (t - first) * width, qkv + t * stride + g * width, width * sizeof(float));
    cbe_gemm(false, true, rows, n_keys, head_size, (float)spec->scale, queries, head_size, keys,
             stride, 0, scores, n_keys);
    for (size_t r = 0; r < rows; r++) {
        const size_t t = first + r / group, seen_end = t + 1 - begin;
        const size_t seen_begin = t + 1 > window + begin ? t + 1 - window - begin : 0;
        float *row = scores + r * n_keys;
        sums[r] = (float)cbe_attention_exp_scores(spec, g * group + r % group,
                                                  seen_end - seen_begin, row + seen_begin);
        memset(row, 0, seen_begin * sizeof(float));
        memset(row + seen_end, 0, (n_keys - seen_end) * sizeof(float));
    }
    cbe_gemm(false, false, rows, head_size, n_keys, 1, scores, n_keys, values, stride, 0, mixed,
             head_size);
    for (size_t r = 0; r < rows; r++)
        cbe_scale_row(head_size, 1 / sums[r], mixed + r * head_size,
                      out + r / group * q_size + g * width + r % group * head_size);
}

void cbe_attention(const cbe_attention_spec *spec, size_t context_length, size_t first, size_t last,
                   const float *qkv, size_t stride, float *scratch, float *out)
{
    const size_t step = cbe_attention_block_queries(spec, context_length);
    for (size_t t = first; t < last; t += step) {
        const size_t end = last - t < step ? last : t + step;
        for (size_t g = 0; g < spec->n_kv_heads; g++)
            group_attention(spec, g, t, end, qkv, stride, scratch,
                            out + (t - first) * spec->n_heads * spec->head_size);
    }
}

/* Queries first .. last - 1 of the heads that share key-value head g: the gradient in queries is
 * stored, the gradient in the keys and values that they see is added. */
static void group_attention_back(const cbe_attention_spec *spec, size_t g, size_t first,
                                 size_t last, const float *qkv, size_t stride,
                                 const float *grad_out, float *scratch, float *grad_qkv)
{
    const size_t head_size = spec->head_size, group = spec->n_heads / spec->n_kv_heads;
    const size_t q_size = spec->n_heads * head_size, kv_size = spec->n_kv_heads * head_size;
    const size_t width = group * head_size;
    const size_t window = spec->window ? spec->window : last;
    const size_t begin = first + 1 > window ? first + 1 - window : 0;
    const size_t rows = (last - first) * group, n_keys = last - begin;
    const size_t at_keys = begin * stride + q_size + g * head_size, at_values = at_keys + kv_size;
    float *queries = scratch, *grads = queries + rows * head_size;
    float *grad_queries = grads + rows * head_size;
    float *p = grad_queries + rows * head_size, *grad_p = p + rows * n_keys;
    float *slope = spec->softcap > 0 ? grad_p + rows * n_keys : NULL;

    for (size_t t = first; t < last; t++) {
        const size_t at = (t - first) * width;
        memcpy(queries + at, qkv + t * stride + g * width, width * sizeof(float));
        memcpy(grads + at, grad_out + t * q_size + g * width, width * sizeof(float));
    }
    cbe_gemm(false, true, rows, n_keys, head_size, (float)spec->scale, queries, head_size,
             qkv + at_keys, stride, 0, p, n_keys);
    cbe_gemm(false, true, rows, n_keys, head_size, 1, grads, head_size, qkv + at_values, stride, 0,
             grad_p, n_keys);
    for (size_t r = 0; r < rows; r++) {
        const size_t t = first + r / group, seen_end = t + 1 - begin;
        const size_t seen_begin = t + 1 > window + begin ? t + 1 - window - begin : 0;
        const size_t seen = seen_end - seen_begin, tail = (n_keys - seen_end) * sizeof(float);
        float *row = p + r * n_keys, *grad_row = grad_p + r * n_keys;
        float *slope_row = slope ? slope + r * n_keys + seen_begin : NULL;
        cbe_attention_softmax(spec, g * group + r % group, seen, row + seen_begin, slope_row);
        cbe_attention_softmax_back(seen, row + seen_begin, slope_row, grad_row + seen_begin);
        memset(row, 0, seen_begin * sizeof(float));
        memset(row + seen_end, 0, tail);
        memset(grad_row, 0, seen_begin * sizeof(float));
        memset(grad_row + seen_end, 0, tail);
    }
    cbe_gemm(true, false, n_keys, head_size, rows, 1, p, n_keys, grads, head_size, 1,
             grad_qkv + at_values, stride);
    cbe_gemm(true, false, n_keys, head_size, rows, (float)spec->scale, grad_p, n_keys, queries,
             head_size, 1, grad_qkv + at_keys, stride);
    cbe_gemm(false, false, rows, head_size, n_keys, (float)spec->scale, grad_p, n_keys,
             qkv + at_keys, stride, 0, grad_queries, head_size);
    for (size_t t = first; t < last; t++)
        memcpy(grad_qkv + t * stride + g * width, grad_queries + (t - first) * width,
               width * sizeof(float));
}

void cbe_attention_back(const cbe_attention_spec *spec, size_t context_length, size_t g,
                        const float *qkv, size_t stride, const float *grad_out, float *scratch,
                        float *grad_qkv)
{
    const size_t step = cbe_attention_block_queries(spec, context_length),
                 head_size = spec->head_size;
    const size_t at_keys = spec->n_heads * head_size + g * head_size;
    const size_t at_values = at_keys + spec->n_kv_heads * head_size;
    for (size_t t = 0; t < context_length; t++) {
        memset(grad_qkv + t * stride + at_keys, 0, head_size * sizeof(float));
        memset(grad_qkv + t * stride + at_values, 0, head_size * sizeof(float));
    }
    for (size_t t = 0; t < context_length; t += step) {
        const size_t end = context_length - t < step ? context_length : t + step;
        group_attention_back(spec, g, t, end, qkv, stride, grad_out, scratch, grad_qkv);
    }
}
