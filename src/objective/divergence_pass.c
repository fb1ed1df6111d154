/* divergence_pass.c - see divergence_pass.h. */
#include "objective/divergence_pass.h"

/* As in math/rows.c: the clamps inside cbe_expf stay out of vector loops otherwise. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

#include <math.h>

#include "core/clones.h"
#include "core/sizes.h"
#include "math/exp.h"
#include "math/gemm.h"
#include "math/rows.h"

CBE_CLONES static void add_bias(size_t n, const float *restrict bias, float common,
                                float *restrict logits)
{
#pragma omp simd
    for (size_t t = 0; t < n; t++) logits[t] += bias[t] - common;
}

/* Logits (n, columns) of the vocabulary entries from `first` on, less what all have in common. */
static void chunk_logits(const cbe_divergence *o, size_t n, size_t first, size_t columns,
                         const float *y, float *logits)
{
    const cbe_decoder *decoder = o->decoder;
    const size_t d = decoder->hidden_size;
    const cbe_bf16_matrix *matrix = o->forward ? o->forward[first / CBE_DIVERGENCE_CHUNK] : NULL;
    if (cbe_bf16_in_use(matrix))
        cbe_bf16_gemm(matrix, n, y, d, 0, logits, CBE_DIVERGENCE_CHUNK);
    else
        cbe_gemm(false, true, n, columns, d, 1, y, d, decoder->unembedding + first * d, d, 0,
                 logits, CBE_DIVERGENCE_CHUNK);
    for (size_t r = 0; r < n; r++) {
        float *row = logits + r * CBE_DIVERGENCE_CHUNK;
        if (decoder->bias) add_bias(columns, decoder->bias + first, o->common, row);
        if (o->capped) cbe_softcap_row(columns, (float)decoder->logit_softcap, row);
    }
}

/* One row of a chunk with a cap: ablated logits l become e f, e = exp(l - top), f = 1 - (l /
 * cap)^2; returns the sum of e. */
CBE_CLONES static double capped_row(size_t n, float inverse_cap, float top, float *l)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t t = 0; t < n; t++) {
        const float f = 1 - l[t] * inverse_cap * (l[t] * inverse_cap), e = cbe_expf(l[t] - top);
        sum += (double)e;
        l[t] = e * f;
    }
    return sum;
}

/* Clean logits become p f, f that of the ablated ones, l; returns sum p (clean - l). */
CBE_CLONES static double capped_clean_row(size_t n, float inverse_cap, float lse, const float *l,
                                          float *clean)
{
    double change = 0;
#pragma omp simd reduction(+ : change)
    for (size_t t = 0; t < n; t++) {
        const float f = 1 - l[t] * inverse_cap * (l[t] * inverse_cap), p = cbe_expf(clean[t] - lse);
        change += (double)(p * (clean[t] - l[t]));
        clean[t] = p * f;
    }
    return change;
}

/* grad (n, d) = what a chunk's logits became, times W; added up over chunks. */
static void chunk_gradient(const cbe_divergence *o, size_t n, size_t first, size_t columns,
                           const float *by_logits, float *grad)
{
    const size_t d = o->decoder->hidden_size;
    const cbe_bf16_matrix *matrix = o->back ? o->back[first / CBE_DIVERGENCE_CHUNK] : NULL;
    const float beta = first ? 1 : 0;
    if (cbe_bf16_in_use(matrix))
        cbe_bf16_gemm(matrix, n, by_logits, CBE_DIVERGENCE_CHUNK, beta, grad, d);
    else
        cbe_gemm(false, false, n, d, columns, 1, by_logits, CBE_DIVERGENCE_CHUNK,
                 o->decoder->unembedding + first * d, d, beta, grad, d);
}

static void take_label(const cbe_divergence *o, size_t first, size_t columns, const float *logits,
                       cbe_divergence_sums *sums)
{
    if (sums->label < 0) return;
    const size_t label = (size_t)sums->label;
    if (label < first || label >= first + columns) return;
    const double l = (double)logits[label - first], cap = o->decoder->logit_softcap;
    sums->label_logit = l;
    sums->label_slope = o->capped ? (float)(1 - l / cap * (l / cap)) : 1;
}

/* The first entry that is the row's largest, which is `top`; the last where that is none of
 * them. */
static size_t find_top(size_t n, const float *logits, float top)
{
    size_t t = 0;
    while (t + 1 < n && !(logits[t] >= top)) t++;
    return t;
}

/* Chunk of a row: its sums, and what the product with W takes in place of logits. scale: by how
 * much what was summed up before is to be scaled down. clean NULL: nothing is compared. */
static void chunk_row(const cbe_divergence *o, size_t row, size_t first, size_t columns,
                      float *logits, float *clean, bool want_top, cbe_divergence_sums *sums,
                      float *scale)
{
    const float top = cbe_max_row(columns, logits),
                inverse_cap = (float)(1 / o->decoder->logit_softcap);
    take_label(o, first, columns, logits, sums);
    if (want_top && top > sums->top) sums->top_token = first + find_top(columns, logits, top);
    *scale = 1;
    if (top > sums->top) {
        *scale = (float)exp((double)sums->top - (double)top);
        sums->sum *= (double)*scale;
        sums->top = top;
    }
    if (clean)
        sums->change += capped_clean_row(columns, inverse_cap, (float)-o->base[row], logits, clean);
    sums->sum += o->capped ? capped_row(columns, inverse_cap, sums->top, logits)
                           : cbe_exp_shifted_row(columns, sums->top, logits);
}

void cbe_divergence_pass(const cbe_divergence *o, size_t n, const cbe_divergence_item *items,
                         const int64_t *labels, bool compare, bool want_grad,
                         const cbe_divergence_room *w, cbe_divergence_sums *sums)
{
    const size_t d = o->decoder->hidden_size, vocab = o->decoder->vocab_size;
    for (size_t r = 0; r < n; r++)
        sums[r] = (cbe_divergence_sums){.top = -INFINITY,
                                        .label = labels      ? labels[r]
                                                 : o->labels ? o->labels[items[r].row]
                                                             : -1};
    for (size_t first = 0; first < vocab; first += CBE_DIVERGENCE_CHUNK) {
        const size_t columns = cbe_min_size(CBE_DIVERGENCE_CHUNK, vocab - first);
        chunk_logits(o, n, first, columns, w->y, w->logits);
        if (compare) chunk_logits(o, n, first, columns, w->clean_y, w->clean_logits);
        for (size_t r = 0; r < n; r++) {
            float scale;
            chunk_row(o, items[r].row, first, columns, w->logits + r * CBE_DIVERGENCE_CHUNK,
                      compare ? w->clean_logits + r * CBE_DIVERGENCE_CHUNK : NULL, labels != NULL,
                      &sums[r], &scale);
            if (first && want_grad && scale < 1)
                cbe_scale_row(d, scale, w->grad + r * d, w->grad + r * d);
        }
        if (!want_grad) continue;
        chunk_gradient(o, n, first, columns, w->logits, w->grad);
        if (compare) chunk_gradient(o, n, first, columns, w->clean_logits, w->grad_p);
    }
}
