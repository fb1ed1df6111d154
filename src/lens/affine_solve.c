/*
 * affine_solve.c - from sums to translators: ridge regression with the ridge chosen on held-out
 * sums.
 *
 * With D = diag S and the eigenvectors of D^-1/2 S D^-1/2 = Q' diag(l) Q (rows of Q), every ridge
 * is cheap.
 *
 *   T = Q D^-1/2 (d, d)    R = T C    A'(ridge) = T' F R,  F = diag 1 / (l + ridge)
 *
 * With held-out moments about the fitted means, S_h and C_h, the error of a ridge is, up to a
 * constant,
 *
 *   sum_jk F_j F_k (T S_h T')_jk (R R')_jk - 2 sum_k F_k ((T C_h) R')_kk
 *
 * in O(d^2). A layer costs two eigendecompositions and about 16 d^3 in products; a thread has a
 * layer.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "math/eigen.h"
#include "core/fail.h"
#include "math/gemm.h"
#include "core/memory.h"
#include "lens/affine_sums.h"

/* sqrt 10 */
static const double least_ridge = 1e-6, most_ridge = 100, ridge_step = 3.1622776601683795;

/* Scratch of a thread: matrices (d, d) and vectors (d). */
typedef struct {
    size_t d;
    double *transform, *response; /* T, R */
    double *square, *product, *other;
    double *values, *mean_x, *mean_r, *scale;
} room;

enum { ROOM_MATRICES = 5, ROOM_VECTORS = 4 };

static room room_in(double *memory, size_t d)
{
    const size_t m = d * d;
    double *vectors = memory + ROOM_MATRICES * m;
    return (room){
        d,       memory,      memory + m,      memory + 2 * m, memory + 3 * m, memory + 4 * m,
        vectors, vectors + d, vectors + 2 * d, vectors + 3 * d};
}

/* Computes a layer's xr about given means of x and r: out (d, d). */
static void cross_about(const cbe_affine_sums *sums, size_t layer, const double *mean_x,
                        const double *mean_r, double *out)
{
    const cbe_layer_sums *s = &sums->layers[layer];
    const size_t d = sums->hidden_size;
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < d; j++)
            out[i * d + j] = s->xr[i * d + j] - mean_x[i] * s->r[j] - s->x[i] * mean_r[j] +
                             sums->weight * mean_x[i] * mean_r[j];
}

static void square_about(const cbe_affine_sums *sums, size_t layer, const double *mean_x,
                         double *out)
{
    const cbe_layer_sums *s = &sums->layers[layer];
    const size_t d = sums->hidden_size;
    for (size_t i = 0; i < d; i++)
        for (size_t j = i; j < d; j++)
            out[i * d + j] = out[j * d + i] = s->xx[i * d + j] - mean_x[i] * s->x[j] -
                                              s->x[i] * mean_x[j] +
                                              sums->weight * mean_x[i] * mean_x[j];
}

/* Computes means, T, R and eigenvalues of a layer. */
static cbe_status decompose(const cbe_affine_sums *sums, size_t layer, room *w, cbe_error *err)
{
    const cbe_layer_sums *s = &sums->layers[layer];
    const size_t d = w->d;
    for (size_t i = 0; i < d; i++) {
        w->mean_x[i] = s->x[i] / sums->weight;
        w->mean_r[i] = s->r[i] / sums->weight;
    }
    cbe_affine_covariance(sums, layer, w->transform);
    for (size_t i = 0; i < d; i++) {
        const double variance = w->transform[i * d + i];
        w->scale[i] = variance > 0 ? 1 / sqrt(variance) : 0;
    }
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < d; j++) w->transform[i * d + j] *= w->scale[i] * w->scale[j];
    const cbe_status st = cbe_eigen_symmetric(d, w->transform, w->values, err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i < d; i++) {
        if (w->values[i] < 0) w->values[i] = 0;
        for (size_t j = 0; j < d; j++) w->transform[i * d + j] *= w->scale[j];
    }
    cross_about(sums, layer, w->mean_x, w->mean_r, w->product);
    cbe_gemm_f64(false, false, d, d, d, 1, w->transform, d, w->product, d, 0, w->response, d);
    return CBE_OK;
}

/* Finds the ridge with the least held-out error, after decompose. */
static void choose_ridge(const cbe_affine_sums *held_out, size_t layer, room *w,
                         cbe_affine_layer *report)
{
    const size_t d = w->d;
    const cbe_layer_sums *s = &held_out->layers[layer];
    square_about(held_out, layer, w->mean_x, w->square);
    cbe_gemm_f64(false, false, d, d, d, 1, w->transform, d, w->square, d, 0, w->product, d);
    cbe_gemm_f64(false, true, d, d, d, 1, w->product, d, w->transform, d, 0, w->square, d);
    cbe_gemm_f64(false, true, d, d, d, 1, w->response, d, w->response, d, 0, w->product, d);
    for (size_t i = 0; i < d * d; i++) w->square[i] *= w->product[i];
    cross_about(held_out, layer, w->mean_x, w->mean_r, w->product);
    cbe_gemm_f64(false, false, d, d, d, 1, w->transform, d, w->product, d, 0, w->other, d);
    double constant = s->r_squared;
    for (size_t i = 0; i < d; i++) {
        constant += w->mean_r[i] * (held_out->weight * w->mean_r[i] - 2 * s->r[i]);
        double sum = 0;
        for (size_t j = 0; j < d; j++) sum += w->other[i * d + j] * w->response[i * d + j];
        w->scale[i] = sum;
    }
    const double count = (double)held_out->n_tokens * (double)d;
    *report = (cbe_affine_layer){most_ridge, s->r_squared / count, INFINITY};
    for (double ridge = least_ridge; ridge < most_ridge * 1.001; ridge *= ridge_step) {
        double error = constant;
        for (size_t i = 0; i < d; i++) {
            const double f = 1 / (w->values[i] + ridge);
            double row = 0;
            for (size_t j = 0; j < d; j++) row += w->square[i * d + j] / (w->values[j] + ridge);
            error += f * (row - 2 * w->scale[i]);
        }
        if (error / count < report->error_affine) {
            report->error_affine = error / count;
            report->ridge = ridge;
        }
    }
}

/* Computes A and b for a ridge, after decompose; false if they are not finite. */
static bool translator(room *w, double ridge, float *weight, float *bias)
{
    const size_t d = w->d;
    bool finite = true;
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < d; j++)
            w->product[i * d + j] = w->transform[i * d + j] / (w->values[i] + ridge);
    cbe_gemm_f64(true, false, d, d, d, 1, w->response, d, w->product, d, 0, w->other, d);
    for (size_t i = 0; i < d; i++) {
        double b = w->mean_r[i];
        for (size_t j = 0; j < d; j++) {
            weight[i * d + j] = (float)w->other[i * d + j];
            /* takes A rounded to float, as it is stored, since means may be large */
            b -= (double)weight[i * d + j] * w->mean_x[j];
        }
        bias[i] = (float)b;
        finite = finite && isfinite(bias[i]);
    }
    return finite;
}

static cbe_status solve_layer(const cbe_affine_sums *fitted, const cbe_affine_sums *held_out,
                              const cbe_affine_sums *all, size_t layer, room *w,
                              cbe_affine_layer *report, float *weight, float *bias, cbe_error *err)
{
    cbe_status st;
    if ((st = decompose(fitted, layer, w, err)) != CBE_OK) return st;
    choose_ridge(held_out, layer, w, report);
    if ((st = decompose(all, layer, w, err)) != CBE_OK) return st;
    if (isfinite(report->error_affine) && translator(w, report->ridge, weight, bias)) return CBE_OK;
    return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                    "layer %zu: numbers of its hidden states are too large for a fit", layer);
}

cbe_status cbe_affine_solve(cbe_tuned_lens **out, const cbe_affine_sums *fitted,
                            const cbe_affine_sums *held_out, cbe_affine_layer *layers,
                            cbe_error *err)
{
    const size_t n_layers = fitted->n_layers, d = fitted->hidden_size;
    if (!(fitted->weight > 0) || !(held_out->weight > 0))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "an affine lens needs tokens to fit and others to choose the ridge by");
    const size_t threads =
        (size_t)omp_get_max_threads() < n_layers ? (size_t)omp_get_max_threads() : n_layers;
    const size_t each = ROOM_MATRICES * d * d + ROOM_VECTORS * d;
    cbe_affine_sums *all = NULL;
    cbe_tuned_lens *lens = NULL;
    cbe_affine_layer *reports =
        cbe_alloc_zero(n_layers, sizeof *reports, "report of the affine fit", err);
    double *memory = cbe_alloc(threads, each * sizeof *memory, "matrices of the affine fit", err);
    cbe_error *errors = cbe_alloc_zero(threads, sizeof *errors, "errors", err);
    size_t *failed = cbe_alloc_zero(threads, sizeof *failed, "errors", err);
    cbe_status st = reports && memory && errors && failed ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) st = cbe_affine_sums_create(&all, n_layers, d, err);
    if (st == CBE_OK) st = cbe_tuned_lens_create(&lens, n_layers, d, true, err);
    if (st != CBE_OK) goto done;
    cbe_affine_sums_merge(all, fitted);
    cbe_affine_sums_merge(all, held_out);
#pragma omp parallel for schedule(dynamic) num_threads((int)threads)
    for (size_t i = 0; i < n_layers; i++) {
        const size_t t = (size_t)omp_get_thread_num();
        room w = room_in(memory + t * each, d);
        cbe_error own = {0};
        if (solve_layer(fitted, held_out, all, i, &w, &reports[i], lens->weight[i], lens->bias[i],
                        &own) != CBE_OK &&
            (errors[t].code == CBE_OK || i < failed[t])) {
            errors[t] = own;
            failed[t] = i;
        }
    }
    size_t first = SIZE_MAX;
    for (size_t t = 0; t < threads; t++)
        if (errors[t].code != CBE_OK && failed[t] < first) {
            first = failed[t];
            st = errors[t].code;
            if (err) *err = errors[t];
        }
    if (st != CBE_OK) goto done;
    if (layers) memcpy(layers, reports, n_layers * sizeof *layers);
    *out = lens;
    lens = NULL;
done:
    cbe_tuned_lens_free(lens);
    cbe_affine_sums_free(all);
    cbe_free(failed);
    cbe_free(errors);
    cbe_free(memory);
    cbe_free(reports);
    return st;
}
