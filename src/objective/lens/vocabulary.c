/*
 * vocabulary.c - the order of the vocabulary in a layer: entries that are likely come first.
 *
 * A lens gives nearly all probability to few entries: of SmolLM2's 49,152 four thousand have 99% of
 * it or more in every layer but the last ones. Rough evaluations, between which a search only
 * compares directions, leave unlikely entries out, as if the model did not know them: then products
 * with W~ and passes over Z take a tenth of the time. W~'s rows, and so the columns of Z, are
 * ordered so that likely entries lie together (docs/search.md).
 *
 * Where a lens's distributions are flat, no few entries have 99%. There some of the others, evenly
 * spread by probability, stand for all of them: each counts as often as there are entries for one
 * of them, since the logarithm of that number is added to its logit.
 *
 * The order must not depend on how tokens are divided over processes, nor on threads: probabilities
 * are summed up as whole multiples of 2^-40, exactly.
 */
#include "objective/lens/vocabulary.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/clones.h"
#include "core/sizes.h"
#include "objective/lens/rows.h"
#include "objective/lens/sample.h"

enum { LEAST_LIKELY = CBE_LENS_LEAST_VOCABULARY / CBE_LENS_LIKELY_SHARE };
/* Probability of the likely entries together, on average over tokens. */
static const double LIKELY = 0.99;
static const double UNIT = 0x1p40, ROUND = 0x1p52;

bool cbe_lens_may_be_rough(const cbe_lens_setup *setup)
{
    return setup->kind == CBE_LOSS_KL && setup->vocab_size >= CBE_LENS_LEAST_VOCABULARY;
}

/* W~ and the offset W beta + bias, less what all have in common, in order. */
static void fold_decoder(const cbe_lens_setup *setup, cbe_lens_layer *layer)
{
    const cbe_decoder *decoder = setup->decoder;
    const size_t d = setup->hidden_size;
    const float common = cbe_decoder_common(decoder);
#pragma omp parallel for schedule(static) num_threads(setup->n_threads)
    for (size_t t = 0; t < setup->vocab_size; t++) {
        const size_t entry = layer->order ? layer->order[t] : t;
        const float *row = decoder->unembedding + entry * d;
        double dot = decoder->bias ? (double)decoder->bias[entry] - (double)common : 0;
        for (size_t k = 0; k < d; k++) {
            layer->w[t * d + k] = row[k] * decoder->gamma[k];
            if (decoder->beta) dot += (double)row[k] * (double)decoder->beta[k];
        }
        if (layer->offset) layer->offset[t] = (float)(setup->capped ? dot : dot * CBE_LOG2E);
    }
}

/* cap(z / s + offset), as logits of base 2. */
static void cap_logits(const cbe_lens_setup *setup, const cbe_lens_layer *layer, double inverse_s,
                       float *z)
{
    const float cap = setup->decoder->logit_softcap, scale = (float)(inverse_s / (double)cap);
    for (size_t t = 0; t < setup->vocab_size; t++)
        z[t] = cap * (float)CBE_LOG2E *
               tanhf(scale * z[t] + (layer->offset ? layer->offset[t] / cap : 0));
}

/* sum += p, as a whole multiple of 1 / UNIT: adding ROUND and taking it away leaves the nearest
 * integer. */
CBE_CLONES static void add_probabilities(size_t n, const float *e, double scale, double *sum)
{
    for (size_t t = 0; t < n; t++) sum[t] += ((double)e[t] * scale + ROUND) - ROUND;
}

/* One row's probabilities. z is overwritten where logits are capped. */
static void add_row(const cbe_lens_setup *setup, const cbe_lens_layer *layer, size_t row, float *z,
                    float *e, double *sum)
{
    const cbe_kernels *k = setup->kernels;
    const size_t v = setup->vocab_size;
    const float a = setup->capped ? 1 : (float)(layer->inverse_s[row] * CBE_LOG2E);
    const float *offset = setup->capped ? NULL : layer->offset;
    if (setup->capped) cap_logits(setup, layer, layer->inverse_s[row], z);
    const float top = k->row_max(v, z, z, offset, a, 0);
    const cbe_row_sums sums = k->row_exp(v, z, z, offset, a, 0, -top, false, e);
    if (isfinite(sums.e)) add_probabilities(v, e, UNIT / sums.e, sum);
}

/* Sums over some rows of all processes, of every entry of the vocabulary in the decoder's order,
 * which is in force: into g_sum. Rows are made in pieces of a unit, which are the same however
 * tokens are divided. */
static void sum_probabilities(cbe_lens_objective *o)
{
    const size_t stride = o->setup.stride, searched = o->setup.all_rows - o->setup.all_held_out;
    const size_t before[] = {o->sample.first, o->sample.span, o->sample.all_active};
    double *total = o->work.g_sum;
    cbe_lens_activate(&o->setup, &o->sample, 0, searched,
                      cbe_min_size(CBE_LENS_RANKED_ROWS, searched));
    memset(total, 0, CBE_LENS_PARTS * stride * sizeof *total);
#pragma omp parallel for schedule(dynamic) num_threads(o->setup.n_threads)
    for (size_t part = 0; part < o->sample.n_parts; part++) {
        const size_t thread = (size_t)omp_get_thread_num();
        for (size_t unit = o->sample.n_units * part / o->sample.n_parts;
             unit < o->sample.n_units * (part + 1) / o->sample.n_parts; unit++)
            for (size_t first = o->sample.unit_begin[unit]; first < o->sample.unit_begin[unit + 1];
                 first += CBE_LENS_BLOCK) {
                const size_t n =
                    cbe_min_size(CBE_LENS_BLOCK, o->sample.unit_begin[unit + 1] - first);
                float *z = o->setup.storage == CBE_LOGITS_FLOAT32
                               ? o->layer.z + first * stride
                               : o->work.threads.rows + thread * CBE_LENS_BLOCK * stride;
                cbe_lens_make_rows(&o->setup, &o->layer, &o->work.threads, thread, n,
                                   o->sample.active + first, false, z);
                for (size_t i = 0; i < n; i++)
                    add_row(&o->setup, &o->layer, o->sample.active[first + i], z + i * stride,
                            o->work.threads.e + thread * cbe_lens_exp_rows(&o->setup) * stride,
                            total + part * stride);
            }
    }
#pragma omp parallel for schedule(static) num_threads(o->setup.n_threads)
    for (size_t t = 0; t < o->setup.vocab_size; t++)
        for (size_t part = 1; part < o->sample.n_parts; part++)
            total[t] += total[part * stride + t];
    cbe_processes_sum(o->setup.processes, o->setup.vocab_size, total);
    cbe_lens_activate(&o->setup, &o->sample, before[0], before[1], before[2]);
}

static int by_probability(const void *a, const void *b)
{
    const cbe_lens_rank *x = a, *y = b;
    if (x->probability != y->probability) return x->probability > y->probability ? -1 : 1;
    return x->entry < y->entry ? -1 : 1;
}

static int by_entry(const void *a, const void *b)
{
    const cbe_lens_rank *x = a, *y = b;
    return x->entry < y->entry ? -1 : 1;
}

/* How many of the ranks are likely; 0 if they are no small part of the vocabulary. */
static size_t count_likely(const cbe_lens_setup *setup, const cbe_lens_layer *layer)
{
    const double all =
        (double)cbe_min_size(CBE_LENS_RANKED_ROWS, setup->all_rows - setup->all_held_out) * UNIT;
    double sum = 0;
    size_t n = 0;
    for (size_t likely = LEAST_LIKELY; likely <= setup->vocab_size / CBE_LENS_LIKELY_SHARE;
         likely *= 2) {
        while (n < likely) sum += layer->ranks[n++].probability;
        if (sum >= LIKELY * all) return likely;
    }
    return 0;
}

/* Whether a few of the others can stand for them. A soft cap is applied behind the offset. */
static bool may_be_flat(const cbe_lens_setup *setup)
{
    return !setup->capped &&
           setup->vocab_size / CBE_LENS_LIKELY_SHARE >= CBE_LENS_FLAT_LIKELY + CBE_LENS_FLAT_OTHERS;
}

/* Puts entries that stand for all others, evenly spread, behind the likely ones. */
static void spread_others(size_t n, size_t likely, cbe_lens_rank *ranks)
{
    for (size_t i = 0; i < CBE_LENS_FLAT_OTHERS; i++) {
        /* Rises at least as fast as the place that it is put: none is moved twice. */
        const size_t from = likely + (2 * i + 1) * (n - likely) / (2 * CBE_LENS_FLAT_OTHERS);
        const cbe_lens_rank one = ranks[likely + i];
        ranks[likely + i] = ranks[from];
        ranks[from] = one;
    }
}

/* The rough view's offset: likely entries have the layer's; to the entries behind them the
 * logarithm of how many each stands for is added. */
static void set_rough_offset(const cbe_lens_setup *setup, cbe_lens_layer *layer, size_t likely)
{
    const cbe_lens_view *exact = &layer->views[CBE_LENS_EXACT];
    cbe_lens_view *rough = &layer->views[CBE_LENS_ROUGH];
    rough->offset = exact->offset;
    rough->offset_low = exact->offset_low;
    rough->offset_high = exact->offset_high;
    if (rough->vocab == likely) return;
    const float many =
        (float)log2((double)(setup->vocab_size - likely) / (double)(rough->vocab - likely));
    for (size_t t = 0; t < rough->vocab; t++)
        layer->rough_offset[t] = (layer->offset ? layer->offset[t] : 0) + (t < likely ? 0 : many);
    rough->offset = layer->rough_offset;
    rough->offset_high += many;
}

void cbe_lens_order_as_decoder(const cbe_lens_setup *setup, cbe_lens_layer *layer)
{
    for (size_t t = 0; layer->order && t < setup->vocab_size; t++) layer->order[t] = t;
    fold_decoder(setup, layer);
}

void cbe_lens_order_vocabulary(cbe_lens_objective *o)
{
    const size_t v = o->setup.vocab_size;
    size_t *rough = &o->layer.views[CBE_LENS_ROUGH].vocab;
    cbe_lens_rank *ranks = o->layer.ranks;
    if (!ranks) return;
    if (*rough < v)
        cbe_lens_order_as_decoder(&o->setup, &o->layer); /* BLAS may round a column by its place */
    sum_probabilities(o);
    for (size_t t = 0; t < v; t++) ranks[t] = (cbe_lens_rank){o->work.g_sum[t], t};
    qsort(ranks, v, sizeof *ranks, by_probability);
    size_t likely = count_likely(&o->setup, &o->layer);
    const bool flat = likely == 0 && may_be_flat(&o->setup);
    if (flat) {
        likely = CBE_LENS_FLAT_LIKELY;
        spread_others(v, likely, ranks);
    }
    *rough = flat ? likely + CBE_LENS_FLAT_OTHERS : likely ? likely : v;
    if (*rough == v) return;
    /* In the decoder's order among themselves: what lies side by side there stays so. */
    qsort(ranks, likely, sizeof *ranks, by_entry);
    qsort(ranks + likely, *rough - likely, sizeof *ranks, by_entry);
    qsort(ranks + *rough, v - *rough, sizeof *ranks, by_entry);
    for (size_t t = 0; t < v; t++) o->layer.order[t] = ranks[t].entry;
    fold_decoder(&o->setup, &o->layer);
    set_rough_offset(&o->setup, &o->layer, likely);
}
