/* llama_ref.c - see llama_ref.h. One token after another; memory for keys and values of one
 * block. */
#include "ref/llama_ref.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/private.h"

static double *doubles(size_t count)
{
    double *memory = calloc(count ? count : 1, sizeof(double));
    assert(memory);
    return memory;
}

static void rms_norm(size_t d, const double *x, const float *gamma, double eps, double *out)
{
    double sum = 0;
    for (size_t i = 0; i < d; i++) sum += x[i] * x[i];
    const double scale = 1 / sqrt(sum / (double)d + eps);
    for (size_t i = 0; i < d; i++) out[i] = x[i] * scale * (double)gamma[i];
}

/* out = W x, W (rows, columns) */
static void product(size_t rows, size_t columns, const float *w, const double *x, double *out)
{
    for (size_t r = 0; r < rows; r++) {
        out[r] = 0;
        for (size_t c = 0; c < columns; c++) out[r] += (double)w[r * columns + c] * x[c];
    }
}

static void rotate(size_t n_heads, size_t half, size_t position, const double *frequency, double *x)
{
    for (size_t h = 0; h < n_heads; h++, x += 2 * half)
        for (size_t i = 0; i < half; i++) {
            const double angle = (double)position * frequency[i], a = x[i], b = x[i + half];
            x[i] = a * cos(angle) - b * sin(angle);
            x[i + half] = b * cos(angle) + a * sin(angle);
        }
}

/* One head's query against positions 0..t; keys and values are `stride` numbers apart. */
static void attend(size_t head_size, size_t t, const double *q, const double *keys,
                   const double *values, size_t stride, double *scores, double *out)
{
    double top = -INFINITY, sum = 0;
    for (size_t s = 0; s <= t; s++) {
        scores[s] = 0;
        for (size_t i = 0; i < head_size; i++) scores[s] += q[i] * keys[s * stride + i];
        scores[s] /= sqrt((double)head_size);
        top = fmax(top, scores[s]);
    }
    for (size_t s = 0; s <= t; s++) sum += scores[s] = exp(scores[s] - top);
    memset(out, 0, head_size * sizeof(double));
    for (size_t s = 0; s <= t; s++)
        for (size_t i = 0; i < head_size; i++) out[i] += scores[s] / sum * values[s * stride + i];
}

static void run_sequence(const cbe_model *model, size_t length, const int64_t *ids,
                         size_t layer_gap, double *hidden)
{
    const cbe_model_config *c = &model->config.sizes;
    const size_t d = c->hidden_size, m = c->mlp_size, half = c->head_size / 2;
    const size_t q = c->n_heads * c->head_size, kv = c->n_kv_heads * c->head_size;
    const size_t stride = q + 2 * kv, group = c->n_heads / c->n_kv_heads;
    double *qkv = doubles(length * stride), *normed = doubles(d), *mixed = doubles(q);
    double *scores = doubles(length), *update = doubles(d), *mlp = doubles(2 * m);
    for (size_t t = 0; t < length; t++)
        for (size_t i = 0; i < d; i++)
            hidden[t * d + i] = (double)model->embedding[(size_t)ids[t] * d + i];
    for (size_t layer = 0; layer < c->n_layers; layer++, hidden += layer_gap) {
        const cbe_block *block = &model->blocks[layer];
        for (size_t t = 0; t < length; t++) {
            const double *in = hidden + t * d;
            double *row = qkv + t * stride, *out = hidden + layer_gap + t * d;
            rms_norm(d, in, block->attention_norm, c->norm_eps, normed);
            product(stride, d, block->qkv, normed, row);
            rotate(c->n_heads + c->n_kv_heads, half, t, model->rope_frequencies, row);
            for (size_t h = 0; h < c->n_heads; h++) {
                const double *key = qkv + q + h / group * c->head_size;
                attend(c->head_size, t, row + h * c->head_size, key, key + kv, stride, scores,
                       mixed + h * c->head_size);
            }
            product(d, q, block->attention_out, mixed, update);
            for (size_t i = 0; i < d; i++) out[i] = in[i] + update[i];
            rms_norm(d, out, block->mlp_norm, c->norm_eps, normed);
            product(2 * m, d, block->gate_up, normed, mlp);
            for (size_t i = 0; i < m; i++) mlp[i] = mlp[i] / (1 + exp(-mlp[i])) * mlp[m + i];
            product(d, m, block->down, mlp, update);
            for (size_t i = 0; i < d; i++) out[i] += update[i];
        }
    }
    free(qkv);
    free(normed);
    free(mixed);
    free(scores);
    free(update);
    free(mlp);
}

void cbe_llama_ref(const cbe_model *model, size_t n_sequences, size_t context_length,
                   const int64_t *ids, double *hidden, double *logits)
{
    const cbe_model_config *c = &model->config.sizes;
    const cbe_decoder *decoder = model->decoder;
    const size_t d = c->hidden_size, n_tokens = n_sequences * context_length;
    for (size_t b = 0; b < n_sequences; b++)
        run_sequence(model, context_length, ids + b * context_length, n_tokens * d,
                     hidden + b * context_length * d);
    if (!logits) return;
    double *normed = doubles(d);
    for (size_t n = 0; n < n_tokens; n++) {
        rms_norm(d, hidden + (c->n_layers * n_tokens + n) * d, decoder->gamma, decoder->norm_eps,
                 normed);
        product(c->vocab_size, d, decoder->unembedding, normed, logits + n * c->vocab_size);
    }
    free(normed);
}
