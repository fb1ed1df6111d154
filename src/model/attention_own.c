/*
 * attention_own.c - see attention_own.h.
 *
 * Blocks of queries as in attention.c. Products go over clean keys and values, with a zero in place
 * of the token's own probability; the own part starts the sums that the products go on with.
 */
#include "model/attention_own.h"

#include <string.h>

#include "math/gemm.h"
#include "math/rows.h"
#include "model/attention_scores.h"

/* Places of the arrays of one key-value head, for a block of queries of one sequence. */
typedef struct {
    size_t head_size, group, width, q_size, kv_size;
    size_t at_query, at_key, at_value;  /* of the group in a row q | k | v */
    size_t window, begin, rows, n_keys; /* begin: first key that the block sees */
    const float *keys, *values;         /* clean, from `begin` on; rows are 2 kv_size apart */
} places;

static places find_places(const cbe_attention_spec *spec, size_t g, size_t first, size_t last,
                          const float *clean)
{
    places p = {.head_size = spec->head_size,
                .group = spec->n_heads / spec->n_kv_heads,
                .q_size = spec->n_heads * spec->head_size,
                .kv_size = spec->n_kv_heads * spec->head_size,
                .window = spec->window ? spec->window : last};
    p.width = p.group * p.head_size;
    p.at_query = g * p.width;
    p.at_key = p.q_size + g * p.head_size;
    p.at_value = p.at_key + p.kv_size;
    p.begin = first + 1 > p.window ? first + 1 - p.window : 0;
    p.rows = (last - first) * p.group;
    p.n_keys = last - p.begin;
    p.keys = clean + p.begin * 2 * p.kv_size + g * p.head_size;
    p.values = p.keys + p.kv_size;
    return p;
}

static float dot(size_t n, const float *a, const float *b)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* out += factor x. */
static void add_times(size_t n, float factor, const float *x, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) out[i] += factor * x[i];
}

/* First key that token t sees, counted from the block's first key. */
static size_t seen_from(const places *p, size_t t)
{
    return t + 1 > p->window + p->begin ? t + 1 - p->window - p->begin : 0;
}

/* Sets a row's entries outside of from .. to - 1 to zero. */
static void keep_between(float *row, size_t from, size_t to, size_t n)
{
    memset(row, 0, from * sizeof *row);
    memset(row + to, 0, (n - to) * sizeof *row);
}

/* Tokens first .. last - 1 for the heads that share key-value head g; own and out begin with token
 * `first`. */
static void group_attention(const cbe_attention_spec *spec, size_t g, size_t first, size_t last,
                            const float *own, size_t stride, const float *clean, float *scratch,
                            float *out)
{
    const places p = find_places(spec, g, first, last, clean);
    const size_t size = p.head_size;
    float *queries = scratch, *mixed = queries + p.rows * size;
    float *sums = mixed + p.rows * size, *scores = sums + p.rows;

    for (size_t i = 0; i < last - first; i++)
        memcpy(queries + i * p.width, own + i * stride + p.at_query, p.width * sizeof(float));
    cbe_gemm(false, true, p.rows, p.n_keys, size, (float)spec->scale, queries, size, p.keys,
             2 * p.kv_size, 0, scores, p.n_keys);
    for (size_t r = 0; r < p.rows; r++) {
        const size_t i = r / p.group, t = first + i, self = t - p.begin, from = seen_from(&p, t);
        const float *token = own + i * stride;
        float *row = scores + r * p.n_keys;
        row[self] = (float)spec->scale * dot(size, queries + r * size, token + p.at_key);
        sums[r] = (float)cbe_attention_exp_scores(spec, g * p.group + r % p.group, self + 1 - from,
                                                  row + from);
        cbe_scale_row(size, row[self], token + p.at_value, mixed + r * size);
        keep_between(row, from, self, p.n_keys);
    }
    cbe_gemm(false, false, p.rows, size, p.n_keys, 1, scores, p.n_keys, p.values, 2 * p.kv_size, 1,
             mixed, size);
    for (size_t r = 0; r < p.rows; r++)
        cbe_scale_row(size, 1 / sums[r], mixed + r * size,
                      out + r / p.group * p.q_size + p.at_query + r % p.group * size);
}

void cbe_attention_own(const cbe_attention_spec *spec, size_t context_length, size_t first,
                       size_t last, const float *own, size_t stride, const float *clean,
                       float *scratch, float *out)
{
    const size_t step = cbe_attention_block_queries(spec, context_length);
    for (size_t t = first; t < last; t += step) {
        const size_t end = last - t < step ? last : t + step;
        for (size_t g = 0; g < spec->n_kv_heads; g++)
            group_attention(spec, g, t, end, own + (t - first) * stride, stride, clean, scratch,
                            out + (t - first) * spec->n_heads * spec->head_size);
    }
}

/* Queries first .. last - 1 of the heads that share key-value head g; own, grad_out and grad_own
 * begin with token `first`. */
static void group_attention_back(const cbe_attention_spec *spec, size_t g, size_t first,
                                 size_t last, const float *own, size_t stride, const float *clean,
                                 const float *grad_out, float *scratch, float *grad_own)
{
    const places p = find_places(spec, g, first, last, clean);
    const size_t size = p.head_size;
    const float scale = (float)spec->scale;
    float *queries = scratch, *grads = queries + p.rows * size;
    float *grad_queries = grads + p.rows * size;
    float *scores = grad_queries + p.rows * size, *grad_scores = scores + p.rows * p.n_keys;
    float *slope = spec->softcap > 0 ? grad_scores + p.rows * p.n_keys : NULL;

    for (size_t i = 0; i < last - first; i++) {
        const size_t bytes = p.width * sizeof(float);
        memcpy(queries + i * p.width, own + i * stride + p.at_query, bytes);
        memcpy(grads + i * p.width, grad_out + i * p.q_size + p.at_query, bytes);
        memset(grad_own + i * stride + p.at_key, 0, size * sizeof(float));
        memset(grad_own + i * stride + p.at_value, 0, size * sizeof(float));
    }
    cbe_gemm(false, true, p.rows, p.n_keys, size, scale, queries, size, p.keys, 2 * p.kv_size, 0,
             scores, p.n_keys);
    cbe_gemm(false, true, p.rows, p.n_keys, size, 1, grads, size, p.values, 2 * p.kv_size, 0,
             grad_scores, p.n_keys);
    for (size_t r = 0; r < p.rows; r++) {
        const size_t i = r / p.group, t = first + i, self = t - p.begin, from = seen_from(&p, t);
        const float *token = own + i * stride, *query = queries + r * size,
                    *grad = grads + r * size;
        float *row = scores + r * p.n_keys, *grad_row = grad_scores + r * p.n_keys;
        float *slope_row = slope ? slope + r * p.n_keys + from : NULL;
        float *grad_token = grad_own + i * stride;
        row[self] = scale * dot(size, query, token + p.at_key);
        grad_row[self] = dot(size, grad, token + p.at_value);
        cbe_attention_softmax(spec, g * p.group + r % p.group, self + 1 - from, row + from,
                              slope_row);
        cbe_attention_softmax_back(self + 1 - from, row + from, slope_row, grad_row + from);
        const float by_own = scale * grad_row[self];
        add_times(size, row[self], grad, grad_token + p.at_value);
        add_times(size, by_own, query, grad_token + p.at_key);
        cbe_scale_row(size, by_own, token + p.at_key, grad_queries + r * size);
        keep_between(grad_row, from, self, p.n_keys);
    }
    cbe_gemm(false, false, p.rows, size, p.n_keys, scale, grad_scores, p.n_keys, p.keys,
             2 * p.kv_size, 1, grad_queries, size);
    for (size_t i = 0; i < last - first; i++)
        memcpy(grad_own + i * stride + p.at_query, grad_queries + i * p.width,
               p.width * sizeof(float));
}

void cbe_attention_own_back(const cbe_attention_spec *spec, size_t context_length, size_t g,
                            const float *own, size_t stride, const float *clean,
                            const float *grad_out, float *scratch, float *grad_own)
{
    const size_t step = cbe_attention_block_queries(spec, context_length);
    for (size_t t = 0; t < context_length; t += step) {
        const size_t end = context_length - t < step ? context_length : t + step;
        group_attention_back(spec, g, t, end, own + t * stride, stride, clean,
                             grad_out + t * spec->n_heads * spec->head_size, scratch,
                             grad_own + t * stride);
    }
}
