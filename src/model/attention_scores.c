/* attention_scores.c - see attention_scores.h. */
#include "model/attention_scores.h"

#include "core/clones.h"
#include "math/rows.h"

/* A block has at most SCORE_FLOATS scores (1 MiB, a second-level cache), but at least MIN_ROWS
 * rows, for an efficient product. Queries are limited, since half of the block on the diagonal is
 * wasted. */
enum { SCORE_FLOATS = 1 << 18, MIN_ROWS = 64, MAX_QUERIES = 128 };

size_t cbe_attention_max_keys(const cbe_attention_spec *spec, size_t context_length, size_t queries)
{
    const size_t seen = spec->window ? spec->window + queries - 1 : context_length;
    return seen < context_length ? seen : context_length;
}

size_t cbe_attention_block_queries(const cbe_attention_spec *spec, size_t context_length)
{
    const size_t group = spec->n_heads / spec->n_kv_heads;
    size_t rows = SCORE_FLOATS / cbe_attention_max_keys(spec, context_length, MAX_QUERIES);
    if (rows < MIN_ROWS) rows = MIN_ROWS;
    size_t queries = rows / group;
    if (queries > MAX_QUERIES) queries = MAX_QUERIES;
    if (queries > context_length) queries = context_length;
    return queries ? queries : 1;
}

/* x_i += slope (i - at): 0 at the token itself, and the lower the farther back. */
CBE_CLONES static void add_ramp(size_t n, float slope, float at, float *x)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) x[i] += slope * ((float)(int)i - at);
}

double cbe_attention_exp_scores(const cbe_attention_spec *spec, size_t head, size_t n,
                                float *scores)
{
    if (spec->softcap > 0) cbe_softcap_row(n, (float)spec->softcap, scores);
    if (spec->slopes) add_ramp(n, spec->slopes[head], (float)(n - 1), scores);
    return cbe_exp_row(n, scores);
}

void cbe_attention_softmax(const cbe_attention_spec *spec, size_t head, size_t n, float *scores,
                           float *slope)
{
    if (spec->softcap > 0) {
        const float inverse = (float)(1 / spec->softcap);
        cbe_softcap_row(n, (float)spec->softcap, scores);
        for (size_t i = 0; i < n; i++) slope[i] = 1 - scores[i] * inverse * (scores[i] * inverse);
    }
    if (spec->slopes) add_ramp(n, spec->slopes[head], (float)(n - 1), scores);
    const double sum = cbe_exp_row(n, scores);
    cbe_scale_row(n, (float)(1 / sum), scores, scores);
}

/* grad = p (grad - p . grad): from the gradient in probabilities to the gradient in scores. */
CBE_CLONES static void softmax_back(size_t n, const float *p, float *grad)
{
    double along = 0;
#pragma omp simd reduction(+ : along)
    for (size_t i = 0; i < n; i++) along += (double)(p[i] * grad[i]);
    const float mean = (float)along;
#pragma omp simd
    for (size_t i = 0; i < n; i++) grad[i] = p[i] * (grad[i] - mean);
}

CBE_CLONES static void multiply_row(size_t n, const float *factor, float *x)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) x[i] *= factor[i];
}

void cbe_attention_softmax_back(size_t n, const float *p, const float *slope, float *grad)
{
    softmax_back(n, p, grad);
    if (slope) multiply_row(n, slope, grad);
}
