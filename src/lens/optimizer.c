/* optimizer.c - see optimizer.h. */
#include "lens/optimizer.h"

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "math/cholesky.h"
#include "core/fail.h"
#include "math/gemm.h"
#include "core/memory.h"

static const char what[] = "optimizer of a lens";

/* Decay of the curvature's running mean at each step: the mean spans some 50 steps, as the lens
 * changes. */
static const double curvature_decay = 0.98;

cbe_status cbe_lens_optimizer_create(cbe_lens_optimizer *o, const cbe_lens_train_options *options,
                                     size_t hidden_size, cbe_error *err)
{
    const size_t d = hidden_size;
    *o = (cbe_lens_optimizer){.hidden_size = d};
    if (!(o->momentum = cbe_alloc_zero(d + 1, d * sizeof(float), what, err))) return CBE_ERR_NOMEM;
    if (options->optimizer == CBE_OPTIMIZER_ADAM &&
        !(o->second = cbe_alloc_zero(d + 1, d * sizeof(float), what, err)))
        return CBE_ERR_NOMEM;
    if (options->optimizer != CBE_OPTIMIZER_NATURAL) return CBE_OK;
    o->inverse = cbe_alloc_zero(d, d * sizeof(float), what, err);
    o->mean = cbe_alloc_zero(d, sizeof(float), what, err);
    o->curvature = cbe_alloc_zero(d, d * sizeof(double), what, err);
    return o->inverse && o->mean && o->curvature ? CBE_OK : CBE_ERR_NOMEM;
}

/* Computes (S + ridge diag S)^-1 and the mean; s and inverse are scratch (d, d). Rows of constant
 * components are 0, so that A never moves along them. */
static bool invert_inputs(cbe_lens_optimizer *o, const cbe_affine_sums *sums, size_t layer,
                          double ridge, double *s, double *inverse)
{
    const size_t d = o->hidden_size;
    const double n = (double)sums->n_tokens;
    cbe_affine_covariance(sums, layer, s);
    o->bias_scale = sums->weight / n;
    memset(inverse, 0, d * d * sizeof *inverse);
    for (size_t i = 0; i < d; i++) {
        o->mean[i] = (float)(sums->layers[layer].x[i] / sums->weight);
        const bool varies = s[i * d + i] > 0;
        for (size_t j = 0; j < d; j++) s[i * d + j] /= n;
        s[i * d + i] = varies ? s[i * d + i] * (1 + ridge) : 1;
        inverse[i * d + i] = varies ? 1 : 0;
    }
    if (!cbe_cholesky(d, s)) return false;
    cbe_cholesky_solve(d, s, d, inverse);
    for (size_t i = 0; i < d * d; i++) o->inverse[i] = (float)inverse[i];
    return true;
}

cbe_status cbe_lens_optimizers_prepare(size_t n_layers, cbe_lens_optimizer *optimizers,
                                       const cbe_affine_sums *sums, double ridge, cbe_error *err)
{
    const size_t d = sums->hidden_size;
    const size_t threads =
        (size_t)omp_get_max_threads() < n_layers ? (size_t)omp_get_max_threads() : n_layers;
    double *room = cbe_alloc(2 * threads, d * d * sizeof *room, what, err);
    if (!room) return CBE_ERR_NOMEM;
    size_t failed = SIZE_MAX;
#pragma omp parallel for schedule(dynamic) num_threads((int)threads) reduction(min : failed)
    for (size_t i = 0; i < n_layers; i++) {
        double *own = room + 2 * (size_t)omp_get_thread_num() * d * d;
        if (!invert_inputs(&optimizers[i], sums, i, ridge, own, own + d * d) && i < failed)
            failed = i;
    }
    cbe_free(room);
    if (failed == SIZE_MAX) return CBE_OK;
    return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                    "layer %zu: the covariance of its hidden states cannot be inverted; give a "
                    "larger " CBE_OPTION("ridge"),
                    failed);
}

void cbe_lens_optimizer_free(cbe_lens_optimizer *o)
{
    cbe_free(o->momentum);
    cbe_free(o->second);
    cbe_free(o->inverse);
    cbe_free(o->mean);
    cbe_free(o->curvature);
    *o = (cbe_lens_optimizer){0};
}

cbe_status cbe_optimizer_room_create(cbe_optimizer_room *room, size_t d, size_t max_tokens,
                                     cbe_error *err)
{
    *room = (cbe_optimizer_room){cbe_alloc(d + 1, d * sizeof(float), what, err),
                                 cbe_alloc(d + 1, d * sizeof(float), what, err),
                                 cbe_alloc(d, d * sizeof(double), what, err),
                                 cbe_alloc(d + 1, d * sizeof(double), what, err),
                                 cbe_alloc(max_tokens, d * sizeof(double), what, err)};
    return room->gradient && room->direction && room->factor && room->rows && room->samples
               ? CBE_OK
               : CBE_ERR_NOMEM;
}

void cbe_optimizer_room_free(cbe_optimizer_room *room)
{
    cbe_free(room->gradient);
    cbe_free(room->direction);
    cbe_free(room->factor);
    cbe_free(room->rows);
    cbe_free(room->samples);
    *room = (cbe_optimizer_room){0};
}

/* Computes the means of g h' and of g over the step's tokens. */
static void mean_gradient(size_t n, size_t d, const float *hidden, const float *gradient,
                          const float *mean, float *out)
{
    float *bias = out + d * d;
    for (size_t k = 0; k < d; k++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += (double)gradient[i * d + k];
        bias[k] = (float)(sum / (double)n);
    }
    cbe_gemm(true, false, d, d, n, 1.0f / (float)n, gradient, d, hidden, d, 0, out, d);
    for (size_t k = 0; mean && k < d; k++)
        for (size_t i = 0; i < d; i++) out[k * d + i] -= bias[k] * mean[i];
}

/* Adds a step's tokens to the curvature, and writes the damped curvature's Cholesky factor to
 * room->factor. */
static bool update_curvature(cbe_lens_optimizer *o, const cbe_lens_train_options *options, size_t n,
                             const float *sampled, const double *weights, cbe_optimizer_room *room)
{
    const size_t d = o->hidden_size;
    for (size_t i = 0; i < n; i++) {
        const double scale = weights[i] > 0 ? 1 / weights[i] : 0;
        for (size_t k = 0; k < d; k++)
            room->samples[i * d + k] = scale * (double)sampled[i * d + k];
    }
    for (size_t i = 0; i < d * d; i++) o->curvature[i] *= curvature_decay;
    cbe_gram_f64(d, n, room->samples, o->curvature);
    o->curvature_weight = curvature_decay * o->curvature_weight + (double)n;
    double trace = 0;
    for (size_t i = 0; i < d; i++) trace += o->curvature[i * d + i] / o->curvature_weight;
    for (size_t i = 0; i < d; i++)
        for (size_t j = i; j < d; j++)
            room->factor[i * d + j] = room->factor[j * d + i] =
                o->curvature[i * d + j] / o->curvature_weight;
    for (size_t i = 0; i < d; i++) room->factor[i * d + i] += options->damping * trace / (double)d;
    return trace > 0 && cbe_cholesky(d, room->factor);
}

static bool preconditioned_step(cbe_lens_optimizer *o, const cbe_lens_train_options *options,
                                double rate, size_t n, const double *weights, const float *sampled,
                                cbe_optimizer_room *room, float *weight, float *bias)
{
    const size_t d = o->hidden_size;
    if (!update_curvature(o, options, n, sampled, weights, room)) return false;
    /* Columns of D (S + ..)^-1 become rows, since the factor solves for rows; the bias's row comes
     * last. */
    cbe_gemm(false, true, d, d, d, 1, o->inverse, d, room->direction, d, 0, room->gradient, d);
    for (size_t i = 0; i < d * d; i++) room->rows[i] = (double)room->gradient[i];
    for (size_t k = 0; k < d; k++)
        room->rows[d * d + k] = (double)room->direction[d * d + k] / o->bias_scale;
    cbe_cholesky_solve(d, room->factor, d + 1, room->rows);
    bool finite = true;
    for (size_t k = 0; k < d; k++) {
        double change = room->rows[d * d + k];
        for (size_t i = 0; i < d; i++) {
            const double step = room->rows[i * d + k];
            weight[k * d + i] -= (float)(rate * step);
            change -= step * (double)o->mean[i];
        }
        bias[k] -= (float)(rate * change);
        finite = finite && isfinite(bias[k]);
    }
    return finite;
}

static bool adam_step(cbe_lens_optimizer *o, const cbe_lens_train_options *options, size_t step,
                      double rate, const float *gradient, float *weight, float *bias)
{
    const double beta1 = options->momentum, beta2 = 0.999, epsilon = 1e-8;
    const double first = 1 - pow(beta1, (double)step + 1),
                 second = 1 - pow(beta2, (double)step + 1);
    const size_t d = o->hidden_size;
    bool finite = true;
    for (size_t i = 0; i < (d + 1) * d; i++) {
        const double g = (double)gradient[i];
        const double m = beta1 * (double)o->momentum[i] + (1 - beta1) * g;
        const double v = beta2 * (double)o->second[i] + (1 - beta2) * g * g;
        o->momentum[i] = (float)m;
        o->second[i] = (float)v;
        float *to = i < d * d ? weight + i : bias + (i - d * d);
        *to -= (float)(rate * (m / first) / (sqrt(v / second) + epsilon));
        finite = finite && isfinite(*to);
    }
    return finite;
}

bool cbe_lens_optimizer_step(cbe_lens_optimizer *o, const cbe_lens_train_options *options,
                             size_t step, double rate, size_t n, const float *hidden,
                             const double *weights, const float *gradient, const float *sampled,
                             cbe_optimizer_room *room, float *weight, float *bias)
{
    const size_t d = o->hidden_size;
    const float m = (float)options->momentum;
    mean_gradient(n, d, hidden, gradient, o->mean, room->gradient);
    if (options->optimizer == CBE_OPTIMIZER_ADAM)
        return adam_step(o, options, step, rate, room->gradient, weight, bias);
    for (size_t i = 0; i < (d + 1) * d; i++) {
        const float g = room->gradient[i];
        o->momentum[i] = m * o->momentum[i] + g;
        room->direction[i] = g + m * o->momentum[i];
    }
    const double scaled = rate * (1 - options->momentum);
    if (options->optimizer == CBE_OPTIMIZER_NATURAL)
        return preconditioned_step(o, options, scaled, n, weights, sampled, room, weight, bias);
    bool finite = true;
    for (size_t i = 0; i < (d + 1) * d; i++) {
        float *to = i < d * d ? weight + i : bias + (i - d * d);
        *to -= (float)(scaled * (double)room->direction[i]);
        finite = finite && isfinite(*to);
    }
    return finite;
}
