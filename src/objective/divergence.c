/*
 * divergence.c - see divergence.h.
 *
 * A panel of rows, one thread, goes through the vocabulary in chunks: logits of the chunk (a
 * product), exponentials less the row's largest logit so far, and their share of W' q (another).
 * Where a chunk raises the largest logit, what was summed up is scaled down (Milakov and Gimelshein
 * 2018, arXiv:1805.02867). Chunks stay in cache.
 */
#include "objective/divergence.h"

/* As in rows.c: the clamps inside cbe_expf stay out of vector loops otherwise. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/arrays.h"
#include "core/clones.h"
#include "math/exp.h"
#include "core/fail.h"
#include "math/gemm.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "math/norm.h"
#include "model/panels.h"
#include "math/rows.h"

enum {
    CHUNK = 2048,   /* vocabulary entries */
    MAX_ROWS = 512, /* of a panel; cbe_panel_size gives no more */
    N_ARRAYS = 5
};

struct cbe_divergence {
    const cbe_decoder *decoder;
    cbe_loss kind;
    bool capped, keeps_e, keeps_clean; /* keeps_e: kl without a cap; keeps_clean: kl with one */
    size_t n_rows, thread_floats;
    int n_threads;
    int64_t *labels;
    float *e;                          /* (n_rows, d) */
    float *clean;                      /* (n_rows, d): y */
    double *base;                      /* (n_rows): what the energy has that no ablation changes */
    float *work;                       /* (n_threads, thread_floats) */
    cbe_bf16_matrix **forward, **back; /* (n_chunks): W' and W of each chunk; NULL: none */
    size_t n_chunks;
};

/* Pointers into work. */
typedef struct {
    float *y, *grad, *clean_y, *grad_p; /* (MAX_ROWS, d) */
    float *logits, *clean_logits;       /* (MAX_ROWS, CHUNK) */
} room;

/* What the pass over the vocabulary brings of a row. */
typedef struct {
    float top;          /* largest logit so far */
    size_t top_token;   /* of that logit, the first; where it is wanted */
    double sum;         /* of exp(l - top) */
    int64_t label;      /* -1: none */
    double label_logit; /* of the label */
    float label_slope;  /* of the cap at the label */
    double change;      /* sum p (l - l'), with a cap */
} row_sums;

static void list_arrays(cbe_divergence *o, cbe_array list[N_ARRAYS])
{
    const size_t d = o->decoder->hidden_size, n = o->n_rows;
    const cbe_array arrays[N_ARRAYS] = {
        {&o->labels, o->kind == CBE_LOSS_CE ? n : 0, sizeof(int64_t), "labels"},
        {&o->e, o->keeps_e ? cbe_times(n, d, 1) : 0, sizeof(float), "expected unembedding"},
        {&o->clean, o->keeps_clean ? cbe_times(n, d, 1) : 0, sizeof(float), "clean states"},
        {&o->base, n, sizeof(double), "clean distributions"},
        {&o->work, cbe_times((size_t)o->n_threads, o->thread_floats, 1), sizeof(float),
         "logits of a chunk"},
    };
    memcpy(list, arrays, sizeof arrays);
}

static void describe(cbe_divergence *o, const cbe_decoder *decoder, cbe_loss kind, size_t n_rows)
{
    const bool capped = decoder->logit_softcap > 0, kl = kind == CBE_LOSS_KL;
    *o = (cbe_divergence){.decoder = decoder,
                          .kind = kind,
                          .capped = capped,
                          .keeps_e = kl && !capped,
                          .keeps_clean = kl && capped,
                          .n_rows = n_rows,
                          .n_threads = omp_get_max_threads()};
    const size_t matrices = o->keeps_clean ? 2 : 1;
    o->thread_floats = MAX_ROWS * matrices * (2 * decoder->hidden_size + CHUNK);
}

static room room_of(const cbe_divergence *o, size_t thread)
{
    const size_t rows = MAX_ROWS * o->decoder->hidden_size;
    room r = {.y = o->work + thread * o->thread_floats};
    r.grad = r.y + rows;
    r.logits = r.grad + rows;
    if (!o->keeps_clean) return r;
    r.clean_logits = r.logits + MAX_ROWS * CHUNK;
    r.clean_y = r.clean_logits + MAX_ROWS * CHUNK;
    r.grad_p = r.clean_y + rows;
    return r;
}

size_t cbe_divergence_bytes(const cbe_decoder *decoder, cbe_loss kind, size_t n_rows)
{
    cbe_divergence o;
    cbe_array list[N_ARRAYS];
    describe(&o, decoder, kind, n_rows);
    list_arrays(&o, list);
    return cbe_arrays_bytes(N_ARRAYS, list, sizeof o);
}

cbe_status cbe_divergence_create(cbe_divergence **out, const cbe_decoder *decoder, cbe_loss kind,
                                 size_t n_rows, const int64_t *labels, cbe_error *err)
{
    cbe_divergence *o = cbe_alloc_zero(1, sizeof *o, "divergence", err);
    if (!o) return CBE_ERR_NOMEM;
    cbe_array list[N_ARRAYS];
    describe(o, decoder, kind, n_rows);
    list_arrays(o, list);
    const cbe_status st = cbe_arrays_allocate(N_ARRAYS, list, err);
    if (st != CBE_OK) {
        cbe_divergence_free(o);
        return st;
    }
    if (o->labels) memcpy(o->labels, labels, n_rows * sizeof *labels);
    *out = o;
    return CBE_OK;
}

void cbe_divergence_free(cbe_divergence *o)
{
    if (!o) return;
    cbe_array list[N_ARRAYS];
    list_arrays(o, list);
    cbe_arrays_free(N_ARRAYS, list);
    for (size_t i = 0; i < o->n_chunks && o->forward && o->back; i++) {
        cbe_bf16_matrix_free(o->forward[i]);
        cbe_bf16_matrix_free(o->back[i]);
    }
    cbe_free(o->forward);
    cbe_free(o->back);
    cbe_free(o);
}

static size_t chunks_of(const cbe_decoder *decoder)
{
    return (decoder->vocab_size + CHUNK - 1) / CHUNK;
}

size_t cbe_divergence_bf16_bytes(const cbe_decoder *decoder)
{
    const size_t d = decoder->hidden_size;
    return cbe_times(chunks_of(decoder),
                     cbe_bf16_matrix_bytes(d, CHUNK) + cbe_bf16_matrix_bytes(CHUNK, d), 1);
}

size_t cbe_divergence_bf16_max_size(const cbe_decoder *decoder)
{
    return cbe_max_size(decoder->hidden_size, CHUNK);
}

cbe_status cbe_divergence_use_bf16(cbe_divergence *o, cbe_bf16 *bf16, cbe_error *err)
{
    const size_t d = o->decoder->hidden_size, vocab = o->decoder->vocab_size,
                 n = chunks_of(o->decoder);
    o->n_chunks = n;
    o->forward = cbe_alloc_zero(n, sizeof *o->forward, "unembedding in bfloat16", err);
    o->back = cbe_alloc_zero(n, sizeof *o->back, "unembedding in bfloat16", err);
    cbe_status st = o->forward && o->back ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const size_t first = i * CHUNK, columns = cbe_min_size(CHUNK, vocab - first);
        const float *weights = o->decoder->unembedding + first * d;
        st = cbe_bf16_matrix_create(&o->forward[i], bf16, d, columns, weights, d, true, err);
        if (st == CBE_OK)
            st = cbe_bf16_matrix_create(&o->back[i], bf16, columns, d, weights, d, false, err);
    }
    return st;
}

/* Logits (n, columns) of the vocabulary entries from `first` on. */
static void chunk_logits(const cbe_divergence *o, size_t n, size_t first, size_t columns,
                         const float *y, float *logits)
{
    const cbe_decoder *decoder = o->decoder;
    const size_t d = decoder->hidden_size;
    const cbe_bf16_matrix *matrix = o->forward ? o->forward[first / CHUNK] : NULL;
    if (cbe_bf16_in_use(matrix))
        cbe_bf16_gemm(matrix, n, y, d, 0, logits, CHUNK);
    else
        cbe_gemm(false, true, n, columns, d, 1, y, d, decoder->unembedding + first * d, d, 0,
                 logits, CHUNK);
    for (size_t r = 0; r < n; r++) {
        float *row = logits + r * CHUNK;
        if (decoder->bias) cbe_add_row(columns, decoder->bias + first, row);
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
    const cbe_bf16_matrix *matrix = o->back ? o->back[first / CHUNK] : NULL;
    const float beta = first ? 1 : 0;
    if (cbe_bf16_in_use(matrix))
        cbe_bf16_gemm(matrix, n, by_logits, CHUNK, beta, grad, d);
    else
        cbe_gemm(false, false, n, d, columns, 1, by_logits, CHUNK,
                 o->decoder->unembedding + first * d, d, beta, grad, d);
}

static void take_label(const cbe_divergence *o, size_t first, size_t columns, const float *logits,
                       row_sums *sums)
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
                      float *logits, float *clean, bool want_top, row_sums *sums, float *scale)
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

/* Rows y through the vocabulary: sums, with labels (n) in place of the rows' own the token on top
 * too, and with want_grad W' e (times the cap's slope) less the factor exp(top) in w->grad, and
 * where there is a w->clean_y to compare with W' p f in w->grad_p. */
static void pass(const cbe_divergence *o, size_t n, const cbe_divergence_item *items,
                 const int64_t *labels, bool compare, bool want_grad, const room *w, row_sums *sums)
{
    const size_t d = o->decoder->hidden_size, vocab = o->decoder->vocab_size;
    for (size_t r = 0; r < n; r++)
        sums[r] = (row_sums){.top = -INFINITY,
                             .label = labels      ? labels[r]
                                      : o->labels ? o->labels[items[r].row]
                                                  : -1};
    for (size_t first = 0; first < vocab; first += CHUNK) {
        const size_t columns = cbe_min_size(CHUNK, vocab - first);
        chunk_logits(o, n, first, columns, w->y, w->logits);
        if (compare) chunk_logits(o, n, first, columns, w->clean_y, w->clean_logits);
        for (size_t r = 0; r < n; r++) {
            float scale;
            chunk_row(o, items[r].row, first, columns, w->logits + r * CHUNK,
                      compare ? w->clean_logits + r * CHUNK : NULL, labels != NULL, &sums[r],
                      &scale);
            if (first && want_grad && scale < 1)
                cbe_scale_row(d, scale, w->grad + r * d, w->grad + r * d);
        }
        if (!want_grad) continue;
        chunk_gradient(o, n, first, columns, w->logits, w->grad);
        if (compare) chunk_gradient(o, n, first, columns, w->clean_logits, w->grad_p);
    }
}

static double dot(size_t d, const float *a, const float *b)
{
    double sum = 0;
    for (size_t k = 0; k < d; k++) sum += (double)a[k] * (double)b[k];
    return sum;
}

static void normalise(const cbe_divergence *o, const float *hidden, float *y)
{
    const cbe_decoder *decoder = o->decoder;
    cbe_norm_rows(decoder->norm, decoder->norm_eps, 1, decoder->hidden_size, hidden, decoder->gamma,
                  decoder->beta, y);
}

/* Clean rows: what energies and gradients will need of them. */
static void panel_clean(cbe_divergence *o, size_t n, const cbe_divergence_item *items,
                        const float *hidden, const room *w)
{
    const size_t d = o->decoder->hidden_size;
    row_sums sums[MAX_ROWS];
    for (size_t r = 0; r < n; r++) normalise(o, hidden + items[r].at * d, w->y + r * d);
    pass(o, n, items, NULL, false, o->keeps_e, w, sums);
    for (size_t r = 0; r < n; r++) {
        const size_t row = items[r].row;
        const double lse = (double)sums[r].top + log(sums[r].sum);
        o->base[row] = -lse;
        if (o->kind == CBE_LOSS_CE) o->base[row] += sums[r].label_logit;
        if (o->keeps_clean) memcpy(o->clean + row * d, w->y + r * d, d * sizeof(float));
        if (!o->keeps_e) continue;
        cbe_scale_row(d, (float)(1 / sums[r].sum), w->grad + r * d, o->e + row * d);
        o->base[row] += dot(d, o->e + row * d, w->y + r * d);
    }
}

/* grad of y' (d) from the sums, in place in w->grad. */
static void finish_gradient(const cbe_divergence *o, size_t row, const row_sums *sums, float *grad,
                            const float *grad_p)
{
    const size_t d = o->decoder->hidden_size;
    const float by_q = (float)(1 / sums->sum), by_p = o->labels ? sums->label_slope : 1;
    const float *p = o->labels    ? o->decoder->unembedding + (size_t)o->labels[row] * d
                     : o->keeps_e ? o->e + row * d
                                  : grad_p;
    for (size_t k = 0; k < d; k++) grad[k] = grad[k] * by_q - by_p * p[k];
}

static void panel_eval(const cbe_divergence *o, size_t n, const cbe_divergence_item *items,
                       const int64_t *labels, const float *hidden, double *energy,
                       cbe_divergence_measure *measures, float *grad, const room *w)
{
    const cbe_decoder *decoder = o->decoder;
    const size_t d = decoder->hidden_size;
    row_sums sums[MAX_ROWS];
    for (size_t r = 0; r < n; r++) {
        normalise(o, hidden + items[r].at * d, w->y + r * d);
        if (o->keeps_clean)
            memcpy(w->clean_y + r * d, o->clean + items[r].row * d, d * sizeof(float));
    }
    pass(o, n, items, labels, o->keeps_clean, grad != NULL, w, sums);
    for (size_t r = 0; r < n; r++) {
        const size_t row = items[r].row;
        const double lse = (double)sums[r].top + log(sums[r].sum);
        energy[r] = lse + o->base[row];
        if (measures)
            measures[r] = (cbe_divergence_measure){
                sums[r].label < 0 ? NAN : lse - sums[r].label_logit, sums[r].top_token};
        if (o->kind == CBE_LOSS_CE)
            energy[r] -= sums[r].label_logit;
        else if (o->keeps_e)
            energy[r] -= dot(d, o->e + row * d, w->y + r * d);
        else
            energy[r] += sums[r].change;
        if (!grad) continue;
        finish_gradient(o, row, &sums[r], w->grad + r * d,
                        o->keeps_clean ? w->grad_p + r * d : NULL);
        cbe_norm_rows_back(decoder->norm, decoder->norm_eps, 1, d, hidden + items[r].at * d,
                           decoder->gamma, w->grad + r * d, false, grad + items[r].at * d);
    }
}

typedef struct {
    cbe_divergence *o;
    const cbe_divergence_item *items;
    const float *hidden;
    double *energy; /* NULL: clean rows are taken */
    float *grad;
    const int64_t *labels; /* both NULL, or neither */
    cbe_divergence_measure *measures;
} panel_run;

static void run_panel(const panel_run *run, size_t thread, size_t first, size_t n)
{
    const room w = room_of(run->o, thread);
    if (run->energy)
        panel_eval(run->o, n, run->items + first, run->labels ? run->labels + first : NULL,
                   run->hidden, run->energy + first, run->measures ? run->measures + first : NULL,
                   run->grad, &w);
    else
        panel_clean(run->o, n, run->items + first, run->hidden, &w);
}

/* Items in panels, one thread each; a single panel outside of a region, so that the threads share
 * its products' tiles. */
static void each_panel(const panel_run *run, size_t n)
{
    if (n == 0) return;
    const size_t panel = cbe_panel_size(n);
    if (panel == n) {
        run_panel(run, 0, 0, n);
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(run->o->n_threads)
    for (size_t first = 0; first < n; first += panel)
        run_panel(run, (size_t)omp_get_thread_num(), first, cbe_min_size(panel, n - first));
}

cbe_status cbe_divergence_set_clean(cbe_divergence *o, const cbe_divergence_item *items,
                                    const float *hidden, cbe_error *err)
{
    const panel_run run = {.o = o, .items = items, .hidden = hidden};
    each_panel(&run, o->n_rows);
    for (size_t row = 0; row < o->n_rows; row++)
        if (!isfinite(o->base[row]))
            return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                            "the model's logits of token %zu are not finite; check the model", row);
    return CBE_OK;
}

void cbe_divergence_eval(cbe_divergence *o, size_t n, const cbe_divergence_item *items,
                         const float *hidden, double *energy, float *grad)
{
    const panel_run run = {
        .o = o, .items = items, .hidden = hidden, .energy = energy, .grad = grad};
    each_panel(&run, n);
}

void cbe_divergence_measure_rows(cbe_divergence *o, size_t n, const cbe_divergence_item *items,
                                 const float *hidden, const int64_t *labels, double *energy,
                                 cbe_divergence_measure *measures)
{
    const panel_run run = {.o = o,
                           .items = items,
                           .hidden = hidden,
                           .energy = energy,
                           .labels = labels,
                           .measures = measures};
    each_panel(&run, n);
}
