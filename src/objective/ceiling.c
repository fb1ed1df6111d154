/* ceiling.c - see ceiling.h. */
#include "objective/ceiling.h"

#include <math.h>
#include <string.h>

#include "core/arrays.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "model/decode.h"
#include "processes/long_sums.h"

enum { ROWS = 32 /* of logits at once */ };

static const double LOG2E = 1.4426950408889634074, LN2 = 0.69314718055994530942;

typedef struct {
    const cbe_decoder *decoder;
    const cbe_kernels *kernels;
    cbe_translator translator;
    float *x, *normalised; /* (ROWS, d) */
    float *logits, *e;     /* (ROWS, V) */
    double *weight;        /* (ROWS): 1 / sum e of a row */
    double *entropy;       /* (ROWS) */
    double *block;         /* (V): sum of p over a sequence */
    cbe_long_sum *sums;    /* (V + 2): of p over sequences, of entropies, of tokens */
} work;

/* Adds the distributions of n tokens, at most ROWS, to block. @return their entropies added up */
static double add_rows(work *w, size_t n, const float *hidden)
{
    const size_t d = w->decoder->hidden_size, v = w->decoder->vocab_size;
    double entropy = 0;
    if (w->translator.weight) {
        cbe_translate(w->translator, n, d, hidden, w->x);
        hidden = w->x;
    }
    cbe_decode(w->decoder, cbe_decoder_common(w->decoder), n, hidden, w->normalised, w->logits);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        const float *z = w->logits + i * v;
        const double top = w->kernels->row_max(v, z, z, NULL, (float)LOG2E, 0);
        const cbe_row_sums sums =
            w->kernels->row_exp(v, z, z, NULL, (float)LOG2E, 0, (float)-top, false, w->e + i * v);
        w->weight[i] = 1 / sums.e;
        w->entropy[i] = log(sums.e) + top * LN2 - sums.ey / sums.e;
    }
#pragma omp parallel for schedule(static)
    for (size_t t = 0; t < v; t++)
        for (size_t i = 0; i < n; i++) w->block[t] += (double)w->e[i * v + t] * w->weight[i];
    for (size_t i = 0; i < n; i++) entropy += w->entropy[i];
    return entropy;
}

static void add_block(work *w, const cbe_ceiling_block *block)
{
    const size_t d = w->decoder->hidden_size, v = w->decoder->vocab_size;
    double entropy = 0;
    memset(w->block, 0, v * sizeof *w->block);
    for (size_t first = 0; first < block->n; first += ROWS)
        entropy += add_rows(w, cbe_min_size(ROWS, block->n - first), block->hidden + first * d);
    for (size_t t = 0; t < v; t++) cbe_long_add(&w->sums[t], w->block[t]);
    cbe_long_add(&w->sums[v], entropy);
    cbe_long_add(&w->sums[v + 1], (double)block->n);
}

/* I from the sums of all processes. */
static double ceiling_of(const cbe_long_sum *sums, size_t v)
{
    const double n = cbe_long_value(&sums[v + 1]);
    double entropy = 0;
    for (size_t t = 0; t < v; t++) {
        const double p = cbe_long_value(&sums[t]) / n;
        if (!(p == 0)) entropy -= p * log(p);
    }
    return entropy - cbe_long_value(&sums[v]) / n;
}

cbe_status cbe_ceiling(double *out, const cbe_decoder *decoder, cbe_translator translator,
                       const cbe_kernels *kernels, size_t n_blocks, const cbe_ceiling_block *blocks,
                       const cbe_processes *processes, cbe_error *err)
{
    const size_t d = decoder->hidden_size, v = decoder->vocab_size;
    work w = {.decoder = decoder, .kernels = kernels, .translator = translator};
    const cbe_array arrays[] = {
        {&w.x, translator.weight ? ROWS * d : 0, sizeof *w.x, "distributions"},
        {&w.normalised, ROWS * d, sizeof *w.normalised, "distributions"},
        {&w.logits, cbe_times(ROWS, v, 1), sizeof *w.logits, "distributions"},
        {&w.e, cbe_times(ROWS, v, 1), sizeof *w.e, "distributions"},
        {&w.weight, ROWS, sizeof *w.weight, "distributions"},
        {&w.entropy, ROWS, sizeof *w.entropy, "distributions"},
        {&w.block, v, sizeof *w.block, "distributions"},
        {&w.sums, v + 2, sizeof *w.sums, "distributions"},
    };
    const size_t count = sizeof arrays / sizeof *arrays;
    cbe_status st = cbe_arrays_allocate(count, arrays, err);
    if ((st = cbe_processes_agree(processes, st, err)) == CBE_OK) {
        memset(w.sums, 0, (v + 2) * sizeof *w.sums);
        for (size_t b = 0; b < n_blocks; b++) add_block(&w, &blocks[b]);
        cbe_processes_add_up(processes, v + 2, w.sums);
        if (cbe_long_value(&w.sums[v + 1]) > 0)
            *out = ceiling_of(w.sums, v);
        else
            st = cbe_fail(err, CBE_ERR_ARG, -1, "there are no tokens");
    }
    cbe_arrays_free(count, arrays);
    return st;
}
