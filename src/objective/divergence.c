/* divergence.c - see divergence.h; panels of rows run in parallel, each by divergence_pass.h. */
#include "objective/divergence.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/arrays.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "math/norm.h"
#include "model/panels.h"
#include "math/rows.h"
#include "objective/divergence_pass.h"

enum { N_ARRAYS = 5 };

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
                          .common = cbe_decoder_common(decoder),
                          .keeps_e = kl && !capped,
                          .keeps_clean = kl && capped,
                          .n_rows = n_rows,
                          .n_threads = omp_get_max_threads()};
    const size_t matrices = o->keeps_clean ? 2 : 1;
    o->thread_floats =
        CBE_DIVERGENCE_MAX_ROWS * matrices * (2 * decoder->hidden_size + CBE_DIVERGENCE_CHUNK);
}

static cbe_divergence_room room_of(const cbe_divergence *o, size_t thread)
{
    const size_t rows = CBE_DIVERGENCE_MAX_ROWS * o->decoder->hidden_size;
    cbe_divergence_room r = {.y = o->work + thread * o->thread_floats};
    r.grad = r.y + rows;
    r.logits = r.grad + rows;
    if (!o->keeps_clean) return r;
    r.clean_logits = r.logits + CBE_DIVERGENCE_MAX_ROWS * CBE_DIVERGENCE_CHUNK;
    r.clean_y = r.clean_logits + CBE_DIVERGENCE_MAX_ROWS * CBE_DIVERGENCE_CHUNK;
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
    return (decoder->vocab_size + CBE_DIVERGENCE_CHUNK - 1) / CBE_DIVERGENCE_CHUNK;
}

size_t cbe_divergence_bf16_bytes(const cbe_decoder *decoder)
{
    const size_t d = decoder->hidden_size;
    return cbe_times(chunks_of(decoder),
                     cbe_bf16_matrix_bytes(d, CBE_DIVERGENCE_CHUNK) +
                         cbe_bf16_matrix_bytes(CBE_DIVERGENCE_CHUNK, d),
                     1);
}

size_t cbe_divergence_bf16_max_size(const cbe_decoder *decoder)
{
    return cbe_max_size(decoder->hidden_size, CBE_DIVERGENCE_CHUNK);
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
        const size_t first = i * CBE_DIVERGENCE_CHUNK,
                     columns = cbe_min_size(CBE_DIVERGENCE_CHUNK, vocab - first);
        const float *weights = o->decoder->unembedding + first * d;
        st = cbe_bf16_matrix_create(&o->forward[i], bf16, d, columns, weights, d, true, err);
        if (st == CBE_OK)
            st = cbe_bf16_matrix_create(&o->back[i], bf16, columns, d, weights, d, false, err);
    }
    return st;
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
                        const float *hidden, const cbe_divergence_room *w)
{
    const size_t d = o->decoder->hidden_size;
    cbe_divergence_sums sums[CBE_DIVERGENCE_MAX_ROWS];
    for (size_t r = 0; r < n; r++) normalise(o, hidden + items[r].at * d, w->y + r * d);
    cbe_divergence_pass(o, n, items, NULL, false, o->keeps_e, w, sums);
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
static void finish_gradient(const cbe_divergence *o, size_t row, const cbe_divergence_sums *sums,
                            float *grad, const float *grad_p)
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
                       cbe_divergence_measure *measures, float *grad, const cbe_divergence_room *w)
{
    const cbe_decoder *decoder = o->decoder;
    const size_t d = decoder->hidden_size;
    cbe_divergence_sums sums[CBE_DIVERGENCE_MAX_ROWS];
    for (size_t r = 0; r < n; r++) {
        normalise(o, hidden + items[r].at * d, w->y + r * d);
        if (o->keeps_clean)
            memcpy(w->clean_y + r * d, o->clean + items[r].row * d, d * sizeof(float));
    }
    cbe_divergence_pass(o, n, items, labels, o->keeps_clean, grad != NULL, w, sums);
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
    const cbe_divergence_room w = room_of(run->o, thread);
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
