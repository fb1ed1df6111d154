/*
 * affine_sums.c - sums of weighted products over tokens, of every layer; see affine_sums.h and
 * lens/fit.h.
 *
 * A thread has a layer and takes tokens in blocks of ROWS: rows are converted to float64,
 * multiplied by their weights, and two products are added, d^2 and 2 d^2 operations a token. All is
 * float64: a first token 100 times as long as other tokens leaves 12 digits of the moments about
 * the mean.
 */
#include "lens/affine_sums.h"

#include <math.h>
#include <omp.h>

#include "core/fail.h"
#include "math/gemm.h"
#include "core/memory.h"
#include "core/sizes.h"

enum { ROWS = 256 };

cbe_status cbe_affine_sums_create(cbe_affine_sums **out, size_t n_layers, size_t hidden_size,
                                  cbe_error *err)
{
    static const char what[] = "sums of the affine lens";
    size_t square;
    if (!cbe_mul_size(hidden_size, hidden_size, &square))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "a hidden size of %zu does not fit the address space", hidden_size);
    cbe_affine_sums *sums = cbe_alloc_zero(1, sizeof *sums, what, err);
    if (!sums) return CBE_ERR_NOMEM;
    sums->n_layers = n_layers;
    sums->hidden_size = hidden_size;
    bool made = (sums->layers = cbe_alloc_zero(n_layers, sizeof *sums->layers, what, err)) != NULL;
    for (size_t i = 0; i < n_layers && made; i++) {
        cbe_layer_sums *layer = &sums->layers[i];
        layer->x = cbe_alloc_zero(hidden_size, sizeof *layer->x, what, err);
        layer->r = cbe_alloc_zero(hidden_size, sizeof *layer->r, what, err);
        layer->xx = cbe_alloc_zero(square, sizeof *layer->xx, what, err);
        layer->xr = cbe_alloc_zero(square, sizeof *layer->xr, what, err);
        made = layer->x && layer->r && layer->xx && layer->xr;
    }
    if (!made) {
        cbe_affine_sums_free(sums);
        return CBE_ERR_NOMEM;
    }
    *out = sums;
    return CBE_OK;
}

void cbe_affine_sums_free(cbe_affine_sums *sums)
{
    if (!sums) return;
    for (size_t i = 0; i < sums->n_layers && sums->layers; i++) {
        cbe_free(sums->layers[i].x);
        cbe_free(sums->layers[i].r);
        cbe_free(sums->layers[i].xx);
        cbe_free(sums->layers[i].xr);
    }
    cbe_free(sums->layers);
    cbe_free(sums);
}

size_t cbe_affine_sums_n_tokens(const cbe_affine_sums *sums)
{
    return sums->n_tokens;
}

void cbe_rms_weights(size_t n, size_t d, const float *rows, double *weights)
{
    for (size_t i = 0; i < n; i++) {
        double squares = 0;
        for (size_t k = 0; k < d; k++) squares += (double)rows[i * d + k] * (double)rows[i * d + k];
        weights[i] = squares == 0 ? 0 : isfinite(squares) ? 1 / sqrt(squares / (double)d) : NAN;
    }
}

/* Adds n tokens to a layer's sums; x and r have room for ROWS rows. */
static void add_layer(cbe_layer_sums *layer, size_t n, size_t d, const float *hidden,
                      const float *last, const double *weights, double *x, double *r)
{
    for (size_t first = 0; first < n; first += ROWS) {
        const size_t rows = cbe_min_size(ROWS, n - first);
        for (size_t i = 0; i < rows; i++) {
            const double w = weights[first + i];
            const float *from = hidden + (first + i) * d, *to = last + (first + i) * d;
            double squares = 0;
            for (size_t k = 0; k < d; k++) {
                const double xk = w * (double)from[k], rk = w * ((double)to[k] - (double)from[k]);
                x[i * d + k] = xk;
                r[i * d + k] = rk;
                layer->x[k] += w * xk;
                layer->r[k] += w * rk;
                squares += rk * rk;
            }
            layer->r_squared += squares;
        }
        cbe_gram_f64(d, rows, x, layer->xx);
        cbe_gemm_f64(true, false, d, d, rows, 1, x, d, r, d, 1, layer->xr, d);
    }
}

cbe_status cbe_affine_sums_add(cbe_affine_sums *sums, size_t first, size_t n_tokens,
                               const float *const *hidden, cbe_error *err)
{
    const size_t d = sums->hidden_size, n_layers = sums->n_layers;
    const size_t threads = cbe_min_size((size_t)omp_get_max_threads(), n_layers ? n_layers : 1);
    double *weights = cbe_alloc(n_tokens, sizeof *weights, "token weights", err);
    double *rows = cbe_alloc(threads * 2 * ROWS, d * sizeof *rows, "rows of the affine fit", err);
    cbe_status st = weights && rows ? CBE_OK : CBE_ERR_NOMEM;
    if (st != CBE_OK) goto done;
    const float *last = hidden[n_layers] + first * d;
    cbe_rms_weights(n_tokens, d, last, weights);
#pragma omp parallel for schedule(dynamic) num_threads((int)threads)
    for (size_t i = 0; i < n_layers; i++) {
        double *own = rows + (size_t)omp_get_thread_num() * 2 * ROWS * d;
        add_layer(&sums->layers[i], n_tokens, d, hidden[i] + first * d, last, weights, own,
                  own + ROWS * d);
    }
    for (size_t n = 0; n < n_tokens; n++) sums->weight += weights[n] * weights[n];
    sums->n_tokens += n_tokens;
    if (!isfinite(sums->weight))
        st =
            cbe_fail(err, CBE_ERR_NUMERIC, -1, "hidden_states.%zu holds NaN or infinity", n_layers);
    for (size_t i = 0; i < n_layers && st == CBE_OK; i++)
        if (!isfinite(sums->layers[i].r_squared))
            st = cbe_fail(err, CBE_ERR_NUMERIC, -1,
                          "hidden_states.%zu holds NaN, infinity or numbers too large", i);
done:
    cbe_free(rows);
    cbe_free(weights);
    return st;
}

static void add_vector(size_t n, double *into, const double *from)
{
    for (size_t i = 0; i < n; i++) into[i] += from[i];
}

void cbe_affine_sums_merge(cbe_affine_sums *into, const cbe_affine_sums *from)
{
    const size_t d = into->hidden_size;
    for (size_t i = 0; i < into->n_layers; i++) {
        cbe_layer_sums *a = &into->layers[i];
        const cbe_layer_sums *b = &from->layers[i];
        add_vector(d, a->x, b->x);
        add_vector(d, a->r, b->r);
        add_vector(d * d, a->xx, b->xx);
        add_vector(d * d, a->xr, b->xr);
        a->r_squared += b->r_squared;
    }
    into->weight += from->weight;
    into->n_tokens += from->n_tokens;
}

void cbe_affine_covariance(const cbe_affine_sums *sums, size_t layer, double *out)
{
    /* The variance of a constant component is rounding, about 1e-16 of its square. */
    const double rounding = 1e-13;
    const cbe_layer_sums *s = &sums->layers[layer];
    const size_t d = sums->hidden_size;
    for (size_t i = 0; i < d; i++)
        for (size_t j = i; j < d; j++)
            out[i * d + j] = out[j * d + i] = s->xx[i * d + j] - s->x[i] * s->x[j] / sums->weight;
    for (size_t i = 0; i < d; i++)
        if (!(out[i * d + i] > rounding * s->xx[i * d + i])) {
            for (size_t j = 0; j < d; j++) out[i * d + j] = out[j * d + i] = 0;
        }
}
