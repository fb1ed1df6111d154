/* labels.c - see labels.h. */
#include "fisher/labels.h"

/* As in math/rows.c: comparisons stay out of vector loops otherwise. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <string.h>

#include "core/arrays.h"
#include "core/clones.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "math/gemm.h"
#include "math/random.h"
#include "math/rows.h"

enum {
    CHUNK = 2048,    /* vocabulary entries; labels depend on it */
    MAX_PANEL = 128, /* rows, of one sequence */
    N_ARRAYS = 5
};

struct cbe_labels {
    const cbe_decoder *decoder;
    cbe_labels_options options;
    float common;         /* of the decoder's logits */
    size_t n_tokens;      /* n_sequences S */
    size_t n_taken;       /* sequences of the last take */
    size_t panels, panel; /* of a sequence, and most rows of one */
    size_t n_threads;     /* that have room in work */
    size_t thread_floats;
    float *expected; /* (n_tokens, d): E */
    int64_t *drawn;  /* (R, n_tokens) */
    float *slope;    /* (R, n_tokens): of the cap at the label */
    double *sum;     /* (n_tokens): of exp(logit - largest logit) */
    float *work;     /* (n_threads, thread_floats) */
};

/* A thread's part of work. */
typedef struct {
    float *y, *grad; /* (panel, d): normalised states; sums of e f W */
    float *logits;   /* (panel, CHUNK) */
    float *slopes;   /* (CHUNK): of the cap, of one row */
} room;

/* The rows of a panel, all of one sequence. */
typedef struct {
    size_t at, n;    /* index in the batch of the first row, and their number */
    uint64_t number; /* of the first row among all tokens */
    const float *last;
    const cbe_labels_given *given;
} rows_of_panel;

static void describe(cbe_labels *o, const cbe_decoder *decoder, const cbe_labels_options *options)
{
    const size_t d = decoder->hidden_size, rows = options->context_length - options->skip_positions,
                 panels = (rows - 1) / MAX_PANEL + 1, panel = (rows - 1) / panels + 1;
    *o = (cbe_labels){.decoder = decoder,
                      .options = *options,
                      .common = cbe_decoder_common(decoder),
                      .n_tokens = cbe_times(options->n_sequences, options->context_length, 1),
                      .panels = panels,
                      .panel = panel,
                      .n_threads = (size_t)omp_get_max_threads(),
                      .thread_floats = panel * (2 * d + CHUNK) + CHUNK};
}

static void list_arrays(cbe_labels *o, cbe_array list[N_ARRAYS])
{
    const size_t n = o->n_tokens, draws = o->options.n_draws;
    const cbe_array arrays[N_ARRAYS] = {
        {&o->expected, cbe_times(n, o->decoder->hidden_size, 1), sizeof(float),
         "expected unembedding"},
        {&o->drawn, cbe_times(n, draws, 1), sizeof(int64_t), "labels"},
        {&o->slope, cbe_times(n, draws, 1), sizeof(float), "slopes at labels"},
        {&o->sum, n, sizeof(double), "clean distributions"},
        {&o->work, cbe_times(o->n_threads, o->thread_floats, 1), sizeof(float),
         "logits of a chunk"},
    };
    memcpy(list, arrays, sizeof arrays);
}

size_t cbe_labels_bytes(const cbe_decoder *decoder, const cbe_labels_options *options)
{
    cbe_labels o;
    cbe_array list[N_ARRAYS];
    describe(&o, decoder, options);
    list_arrays(&o, list);
    return cbe_arrays_bytes(N_ARRAYS, list, sizeof o);
}

cbe_status cbe_labels_create(cbe_labels **out, const cbe_decoder *decoder,
                             const cbe_labels_options *options, cbe_error *err)
{
    cbe_labels *o = cbe_alloc_zero(1, sizeof *o, "labels", err);
    if (!o) return CBE_ERR_NOMEM;
    cbe_array list[N_ARRAYS];
    describe(o, decoder, options);
    list_arrays(o, list);
    const cbe_status st = cbe_arrays_allocate(N_ARRAYS, list, err);
    if (st == CBE_OK)
        *out = o;
    else
        cbe_labels_free(o);
    return st;
}

void cbe_labels_free(cbe_labels *o)
{
    if (!o) return;
    cbe_array list[N_ARRAYS];
    list_arrays(o, list);
    cbe_arrays_free(N_ARRAYS, list);
    cbe_free(o);
}

static room room_of(const cbe_labels *o, size_t thread)
{
    room w = {.y = o->work + thread * o->thread_floats};
    w.grad = w.y + o->panel * o->decoder->hidden_size;
    w.logits = w.grad + o->panel * o->decoder->hidden_size;
    w.slopes = w.logits + o->panel * CHUNK;
    return w;
}

CBE_CLONES static void add_bias(size_t n, const float *restrict bias, float common,
                                float *restrict logits)
{
#pragma omp simd
    for (size_t t = 0; t < n; t++) logits[t] += bias[t] - common;
}

CBE_CLONES static void slopes_of(size_t n, float inverse_cap, const float *restrict logits,
                                 float *restrict slopes)
{
#pragma omp simd
    for (size_t t = 0; t < n; t++)
        slopes[t] = 1 - logits[t] * inverse_cap * (logits[t] * inverse_cap);
}

CBE_CLONES static void times(size_t n, const float *restrict factors, float *restrict x)
{
#pragma omp simd
    for (size_t t = 0; t < n; t++) x[t] *= factors[t];
}

/* The entry in which the running sum of weights passes `target`; for a target that rounding has
 * left above the sum, the last entry that has a weight. */
static size_t find_entry(size_t n, const float *weights, double target)
{
    size_t last = 0;
    double sum = 0;
    for (size_t t = 0; t < n; t++) {
        if (weights[t] > 0) last = t;
        sum += (double)weights[t];
        if (sum > target) return t;
    }
    return last;
}

/* One row's draws when a chunk comes by. @param before  sum of the weights of earlier chunks */
static void draw_labels(cbe_labels *o, size_t at, uint64_t number, size_t first, size_t columns,
                        const float *weights, const float *slopes, double before, double sum)
{
    for (size_t r = 0; r < o->options.n_draws; r++) {
        const double target =
            cbe_random_at(o->options.seed, r, number, first / CHUNK) * (before + sum);
        if (first > 0 && !(target < sum)) continue;
        const size_t t = find_entry(columns, weights, target), to = r * o->n_tokens + at;
        o->drawn[to] = (int64_t)(first + t);
        o->slope[to] = slopes ? slopes[t] : 1;
    }
}

/* One row's labels that are given, where they lie in the chunk. */
static void look_up_labels(cbe_labels *o, const cbe_labels_given *given, size_t at, size_t first,
                           size_t columns, const float *slopes)
{
    for (size_t r = 0; r < o->options.n_draws; r++) {
        const int64_t label = given->labels[r * given->stride + at];
        const size_t t = (size_t)label - first, to = r * o->n_tokens + at;
        if (label < 0 || t >= columns) continue;
        o->drawn[to] = label;
        o->slope[to] = slopes ? slopes[t] : 1;
    }
}

/* Logits (n, columns) of a chunk, less what all have in common. */
static void chunk_logits(const cbe_labels *o, size_t n, size_t first, size_t columns, const room *w)
{
    const cbe_decoder *decoder = o->decoder;
    const size_t d = decoder->hidden_size;
    cbe_gemm(false, true, n, columns, d, 1, w->y, d, decoder->unembedding + first * d, d, 0,
             w->logits, CHUNK);
    for (size_t r = 0; r < n; r++) {
        float *row = w->logits + r * CHUNK;
        if (decoder->bias) add_bias(columns, decoder->bias + first, o->common, row);
        if (decoder->logit_softcap > 0)
            cbe_softcap_row(columns, (float)decoder->logit_softcap, row);
    }
}

/* One row of a chunk: its logits become e f, e = exp(logit - top). */
static void chunk_row(cbe_labels *o, const rows_of_panel *p, size_t r, size_t first, size_t columns,
                      float *top, const room *w)
{
    const cbe_decoder *decoder = o->decoder;
    const size_t at = p->at + r, d = decoder->hidden_size;
    float *row = w->logits + r * CHUNK;
    const float *slopes = NULL;
    const float largest = cbe_max_row(columns, row);
    if (decoder->logit_softcap > 0) {
        slopes_of(columns, (float)(1 / decoder->logit_softcap), row, w->slopes);
        slopes = w->slopes;
    }
    if (largest > *top) {
        const float scale = (float)exp((double)*top - (double)largest);
        o->sum[at] *= (double)scale;
        if (first) cbe_scale_row(d, scale, w->grad + r * d, w->grad + r * d);
        *top = largest;
    }
    const double sum = cbe_exp_shifted_row(columns, *top, row);
    if (p->given->labels)
        look_up_labels(o, p->given, at, first, columns, slopes);
    else
        draw_labels(o, at, p->number + r, first, columns, row, slopes, o->sum[at], sum);
    o->sum[at] += sum;
    if (slopes) times(columns, slopes, row);
}

static void take_panel(cbe_labels *o, const rows_of_panel *p, const room *w)
{
    const cbe_decoder *decoder = o->decoder;
    const size_t d = decoder->hidden_size;
    float top[MAX_PANEL];
    cbe_norm_rows(decoder->norm, decoder->norm_eps, p->n, d, p->last + p->at * d, decoder->gamma,
                  decoder->beta, w->y);
    for (size_t r = 0; r < p->n; r++) {
        top[r] = -INFINITY;
        o->sum[p->at + r] = 0;
    }
    for (size_t first = 0; first < decoder->vocab_size; first += CHUNK) {
        const size_t columns = cbe_min_size(CHUNK, decoder->vocab_size - first);
        chunk_logits(o, p->n, first, columns, w);
        for (size_t r = 0; r < p->n; r++) chunk_row(o, p, r, first, columns, &top[r], w);
        cbe_gemm(false, false, p->n, d, columns, 1, w->logits, CHUNK,
                 decoder->unembedding + first * d, d, first ? 1 : 0, w->grad, d);
    }
    for (size_t r = 0; r < p->n; r++)
        cbe_scale_row(d, (float)(1 / o->sum[p->at + r]), w->grad + r * d,
                      o->expected + (p->at + r) * d);
}

static cbe_status check_given(const cbe_labels *o, const cbe_labels_given *given, cbe_error *err)
{
    const size_t n = o->n_taken * o->options.context_length;
    for (size_t i = 0; given->labels && i < o->options.n_draws * n; i++) {
        const int64_t label = given->labels[i / n * given->stride + i % n];
        if (label < -1 || (label >= 0 && (uint64_t)label >= o->decoder->vocab_size))
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "label %lld of token %zu is not below the vocabulary size %zu",
                            (long long)label, i % n, o->decoder->vocab_size);
    }
    return CBE_OK;
}

cbe_status cbe_labels_take(cbe_labels *o, size_t first, size_t n_sequences, const float *last,
                           const cbe_labels_given *given, cbe_error *err)
{
    const cbe_labels_given none = {0};
    const size_t length = o->options.context_length, skip = o->options.skip_positions;
    const size_t panels = o->panels, each = o->panel;
    o->n_taken = n_sequences;
    if (!given) given = &none;
    const cbe_status st = check_given(o, given, err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < o->n_tokens * o->options.n_draws; i++) o->drawn[i] = -1;
    cbe_gemm_enter();
#pragma omp parallel for schedule(dynamic) num_threads((int)o->n_threads)
    for (size_t i = 0; i < n_sequences * panels; i++) {
        const size_t from = skip + i % panels * each, sequence = i / panels;
        const rows_of_panel p = {sequence * length + from, cbe_min_size(each, length - from),
                                 (uint64_t)(first + sequence) * length + from, last, given};
        const room w = room_of(o, (size_t)omp_get_thread_num());
        take_panel(o, &p, &w);
    }
    cbe_gemm_leave();
    for (size_t n = 0; n < n_sequences * length; n++)
        if (n % length >= skip && !isfinite(o->sum[n]))
            return cbe_fail(
                err, CBE_ERR_NUMERIC, -1,
                "the model's logits of sequence %zu, position %zu are not finite; check "
                "the model",
                first + n / length, n % length);
    return CBE_OK;
}

const int64_t *cbe_labels_get(const cbe_labels *o, size_t draw)
{
    return o->drawn + draw * o->n_tokens;
}

void cbe_labels_gradient(const cbe_labels *o, size_t draw, const float *last, float *grad)
{
    const cbe_decoder *decoder = o->decoder;
    const size_t d = decoder->hidden_size, n = o->n_taken * o->options.context_length;
#pragma omp parallel for schedule(static) num_threads((int)o->n_threads)
    for (size_t m = 0; m < n; m++) {
        const int64_t label = o->drawn[draw * o->n_tokens + m];
        float *g = grad + m * d;
        if (label < 0) {
            memset(g, 0, d * sizeof *g);
            continue;
        }
        const float *row = decoder->unembedding + (size_t)label * d, *e = o->expected + m * d;
        const float slope = o->slope[draw * o->n_tokens + m];
        for (size_t k = 0; k < d; k++) g[k] = slope * row[k] - e[k];
        cbe_norm_rows_back(decoder->norm, decoder->norm_eps, 1, d, last + m * d, decoder->gamma, g,
                           false, g);
    }
}
