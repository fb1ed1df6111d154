/*
 * attention.c - see attention.h.
 *
 * Query heads that share a key-value head are stacked as rows of one product, so that the keys are
 * read once for all of them. Scores are held for a block of queries of one such group at a time:
 * (queries * group) x keys, of the keys that the block can see. Plain twin: tests/ref/model_ref.c.
 */
#include "model/attention.h"

#include <math.h>
#include <string.h>

#include "core/gemm.h"
#include "core/memory.h"
#include "model/clones.h"
#include "model/rows.h"

/* Scores of a block: this many floats (1 MiB, a second-level cache), but not fewer rows than
 * make an efficient product. Queries are limited too, for half of the block on the diagonal is
 * wasted. */
enum { SCORE_FLOATS = 1 << 18, MIN_ROWS = 64, MAX_QUERIES = 128 };

/* Keys that a block of `queries` can see. */
static size_t max_keys(const cbe_attention_spec *spec, size_t context_length, size_t queries)
{
    const size_t seen = spec->window ? spec->window + queries - 1 : context_length;
    return seen < context_length ? seen : context_length;
}

static size_t block_queries(const cbe_attention_spec *spec, size_t context_length)
{
    const size_t group = spec->n_heads / spec->n_kv_heads;
    size_t rows = SCORE_FLOATS / max_keys(spec, context_length, MAX_QUERIES);
    if (rows < MIN_ROWS) rows = MIN_ROWS;
    size_t queries = rows / group;
    if (queries > MAX_QUERIES) queries = MAX_QUERIES;
    if (queries > context_length) queries = context_length;
    return queries ? queries : 1;
}

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

size_t cbe_attention_scratch(const cbe_attention_spec *spec, size_t context_length)
{
    const size_t group = spec->n_heads / spec->n_kv_heads;
    const size_t queries = block_queries(spec, context_length), rows = queries * group;
    size_t row, floats;
    if (!cbe_add_size(max_keys(spec, context_length, queries), 2 * spec->head_size + 1, &row))
        return 0;
    return cbe_mul_size(rows, row, &floats) ? floats : 0;
}

/* x_i += slope (i - at): 0 at the token itself, less the farther back. */
CBE_CLONES static void add_ramp(size_t n, float slope, float at, float *x)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) x[i] += slope * ((float)(int)i - at);
}

/* Scores of a token with the keys that it sees become exp(score - largest); returns their sum. */
static double exp_scores(const cbe_attention_spec *spec, size_t head, size_t n, float *scores)
{
    if (spec->softcap > 0) cbe_softcap_row(n, (float)spec->softcap, scores);
    if (spec->slopes) add_ramp(n, spec->slopes[head], (float)(n - 1), scores);
    return cbe_exp_row(n, scores);
}

/* Tokens first .. last - 1 of the heads that share key-value head g. */
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
        sums[r] =
            (float)exp_scores(spec, g * group + r % group, seen_end - seen_begin, row + seen_begin);
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
    const size_t step = block_queries(spec, context_length);
    for (size_t t = first; t < last; t += step) {
        const size_t end = last - t < step ? last : t + step;
        for (size_t g = 0; g < spec->n_kv_heads; g++)
            group_attention(spec, g, t, end, qkv, stride, scratch,
                            out + (t - first) * spec->n_heads * spec->head_size);
    }
}
