/* model_ref.c - see model_ref.h. It runs one token after another, with keys and values of one block
 * in memory. Only the configuration and the weights are shared with the library. */
#include "ref/model_ref.h"

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

static void norm(const cbe_config *c, size_t d, const double *x, const float *gamma,
                 const float *beta, double *out)
{
    double mean = 0, square = 0;
    for (size_t i = 0; i < d && c->traits.norm == CBE_NORM_LAYER; i++) mean += x[i] / (double)d;
    for (size_t i = 0; i < d; i++) square += (x[i] - mean) * (x[i] - mean);
    const double scale = 1 / sqrt(square / (double)d + c->sizes.norm_eps);
    for (size_t i = 0; i < d; i++)
        out[i] = (x[i] - mean) * scale * (double)gamma[i] + (beta ? (double)beta[i] : 0);
}

/* out = norm(x) if there is such a norm, else x. */
static void maybe_norm(const cbe_config *c, const cbe_norm_weights *w, size_t d, const double *x,
                       double *out)
{
    if (w->gamma)
        norm(c, d, x, w->gamma, w->beta, out);
    else if (out != x)
        memcpy(out, x, d * sizeof *out);
}

/* out = W x + b, W (rows, columns). */
static void product(size_t rows, size_t columns, const cbe_linear *w, const double *x, double *out)
{
    for (size_t r = 0; r < rows; r++) {
        out[r] = w->bias ? (double)w->bias[r] : 0;
        for (size_t c = 0; c < columns; c++) out[r] += (double)w->weight[r * columns + c] * x[c];
    }
}

double cbe_model_ref_activation(cbe_activation kind, double z)
{
    switch (kind) {
    case CBE_SILU: return z / (1 + exp(-z));
    case CBE_GELU: return z * erfc(-z / sqrt(2)) / 2;
    case CBE_GELU_TANH: return z / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (z + 0.044715 * z * z * z)));
    case CBE_QUICK_GELU: return z / (1 + exp(-1.702 * z));
    case CBE_RELU: return z > 0 ? z : 0;
    default: return NAN;
    }
}

/* Norms and rotations of n_heads queries or keys of one position. */
static void prepare_heads(const cbe_config *c, size_t n_heads, const cbe_norm_weights *w,
                          size_t position, const double *frequency, double scale, double *x)
{
    const size_t head = c->sizes.head_size, half = c->rotary_size / 2;
    if (c->traits.qk_norm == CBE_QK_NORM_WHOLE) norm(c, n_heads * head, x, w->gamma, w->beta, x);
    for (size_t h = 0; h < n_heads; h++, x += head) {
        if (c->traits.qk_norm == CBE_QK_NORM_HEAD) norm(c, head, x, w->gamma, w->beta, x);
        for (size_t i = 0; i < half && c->traits.positions == CBE_POSITIONS_ROTARY; i++) {
            const double angle = (double)position * frequency[i], a = x[i], b = x[i + half];
            x[i] = scale * (a * cos(angle) - b * sin(angle));
            x[i + half] = scale * (b * cos(angle) + a * sin(angle));
        }
    }
}

/* ALiBi's slope of one head, as in the paper's code. */
static double slope(size_t n_heads, size_t head)
{
    const double power = exp2(floor(log2((double)n_heads)));
    if ((double)head < power) return pow(exp2(-8 / power), (double)head + 1);
    return pow(exp2(-4 / power), 2 * ((double)head - power) + 1);
}

/* Attention of one head's query over the positions that it sees; keys and values are `stride`
 * apart. */
static void attend(const cbe_config *c, size_t block, size_t head, size_t t, const double *q,
                   const double *keys, const double *values, size_t stride, double *scores,
                   double *out)
{
    const size_t size = c->sizes.head_size;
    const bool local = cbe_config_reach(c, block) == CBE_REACH_LOCAL;
    const size_t first = local && t + 1 > c->window ? t + 1 - c->window : 0;
    double top = -INFINITY, sum = 0;
    for (size_t s = first; s <= t; s++) {
        double score = 0;
        for (size_t i = 0; i < size; i++) score += q[i] * keys[s * stride + i];
        score *= c->scale_by_block ? c->query_scale / (double)(block + 1) : c->query_scale;
        if (c->attention_softcap > 0)
            score = c->attention_softcap * tanh(score / c->attention_softcap);
        if (c->traits.positions == CBE_POSITIONS_ALIBI)
            score -= slope(c->sizes.n_heads, head) * (double)(t - s);
        scores[s] = score;
        top = fmax(top, score);
    }
    for (size_t s = first; s <= t; s++) sum += scores[s] = exp(scores[s] - top);
    memset(out, 0, size * sizeof(double));
    for (size_t s = first; s <= t; s++)
        for (size_t i = 0; i < size; i++) out[i] += scores[s] / sum * values[s * stride + i];
}

typedef struct {
    double *qkv, *normed, *mixed, *scores, *attention, *mlp, *update;
} room;

/* Adds the output of a block's attention to token t, whose q, k and v are ready. */
static void attention_branch(const cbe_config *c, const cbe_block *block, size_t index, size_t t,
                             const room *r)
{
    const cbe_model_config *s = &c->sizes;
    const size_t q = s->n_heads * s->head_size, kv = s->n_kv_heads * s->head_size;
    const size_t stride = q + 2 * kv, group = s->n_heads / s->n_kv_heads;
    for (size_t h = 0; h < s->n_heads; h++) {
        const double *key = r->qkv + q + h / group * s->head_size;
        attend(c, index, h, t, r->qkv + t * stride + h * s->head_size, key, key + kv, stride,
               r->scores, r->mixed + h * s->head_size);
    }
    product(s->hidden_size, q, &block->attention_out, r->mixed, r->attention);
    maybe_norm(c, &block->after_attention_norm, s->hidden_size, r->attention, r->attention);
}

static void mlp_branch(const cbe_config *c, const cbe_block *block, const double *x, const room *r)
{
    const size_t d = c->sizes.hidden_size, m = c->sizes.mlp_size;
    const cbe_norm_weights none = {NULL, NULL};
    const cbe_norm_weights *before = &block->mlp_norm;
    if (c->traits.parallel && !before->gamma) before = &block->attention_norm;
    maybe_norm(c, c->traits.norms_of_sums ? &none : before, d, x, r->normed);
    product(c->traits.gated ? 2 * m : m, d, &block->up, r->normed, r->mlp);
    for (size_t i = 0; i < m; i++) {
        r->mlp[i] = cbe_model_ref_activation(c->traits.activation, r->mlp[i]);
        if (c->traits.gated) r->mlp[i] *= r->mlp[m + i];
    }
    product(d, m, &block->down, r->mlp, r->update);
    maybe_norm(c, &block->after_mlp_norm, d, r->update, r->update);
}

static void run_block(const cbe_config *c, const cbe_block *block, size_t index, size_t length,
                      const double *frequency, const double *in, double *out, const room *r)
{
    const cbe_model_config *s = &c->sizes;
    const size_t d = s->hidden_size, q = s->n_heads * s->head_size;
    const size_t stride = q + 2 * s->n_kv_heads * s->head_size;
    const double scale = c->rope[cbe_config_reach(c, index)].attention_factor;
    const cbe_norm_weights none = {NULL, NULL};
    const bool sums = c->traits.norms_of_sums;
    for (size_t t = 0; t < length; t++, in += d, out += d) {
        double *row = r->qkv + t * stride;
        maybe_norm(c, sums ? &none : &block->attention_norm, d, in, r->normed);
        product(stride, d, &block->qkv, r->normed, row);
        prepare_heads(c, s->n_heads, &block->query_norm, t, frequency, scale, row);
        prepare_heads(c, s->n_kv_heads, &block->key_norm, t, frequency, scale, row + q);
        attention_branch(c, block, index, t, r);
        for (size_t i = 0; i < d; i++) out[i] = in[i] + r->attention[i];
        if (sums) maybe_norm(c, &block->attention_norm, d, out, out);
        mlp_branch(c, block, c->traits.parallel ? in : out, r);
        for (size_t i = 0; i < d; i++) out[i] += r->update[i];
        if (sums) maybe_norm(c, &block->mlp_norm, d, out, out);
    }
}

static void embed(const cbe_model *model, size_t length, const int64_t *ids, double *hidden)
{
    const cbe_config *c = &model->config;
    const size_t d = c->sizes.hidden_size;
    for (size_t t = 0; t < length; t++, hidden += d) {
        for (size_t i = 0; i < d; i++) {
            hidden[i] = (double)model->embedding[(size_t)ids[t] * d + i];
            if (c->traits.scaled_embedding) hidden[i] *= sqrt((double)d);
            if (model->positions) hidden[i] += (double)model->positions[t * d + i];
        }
        if (model->embedding_gamma)
            norm(c, d, hidden, model->embedding_gamma, model->embedding_beta, hidden);
    }
}

/* Runs blocks from `first` on. hidden: a sequence's stream before block `first`; streams of
 * successive blocks are layer_gap apart. */
static void run_sequence(const cbe_model *model, size_t first, size_t length, size_t layer_gap,
                         double *hidden)
{
    const cbe_config *c = &model->config;
    const cbe_model_config *s = &c->sizes;
    const size_t q = s->n_heads * s->head_size, stride = q + 2 * s->n_kv_heads * s->head_size;
    const room r = {doubles(length * stride), doubles(s->hidden_size), doubles(q),
                    doubles(length),          doubles(s->hidden_size), doubles(2 * s->mlp_size),
                    doubles(s->hidden_size)};
    double frequency[CBE_MAX_ROTARY_PAIRS];
    for (size_t layer = first; layer < s->n_layers; layer++, hidden += layer_gap) {
        if (c->traits.positions == CBE_POSITIONS_ROTARY)
            cbe_rope_frequencies(&c->rope[cbe_config_reach(c, layer)], c->rotary_size, length,
                                 frequency);
        run_block(c, &model->blocks[layer], layer, length, frequency, hidden, hidden + layer_gap,
                  &r);
    }
    free(r.qkv);
    free(r.normed);
    free(r.mixed);
    free(r.scores);
    free(r.attention);
    free(r.mlp);
    free(r.update);
}

void cbe_model_ref_suffix(const cbe_model *model, size_t first, size_t n_sequences,
                          size_t context_length, double *hidden, double *logits)
{
    const cbe_model_config *s = &model->config.sizes;
    const cbe_decoder *decoder = model->decoder;
    const size_t d = s->hidden_size, n_tokens = n_sequences * context_length;
    for (size_t b = 0; b < n_sequences; b++)
        run_sequence(model, first, context_length, n_tokens * d, hidden + b * context_length * d);
    if (!logits) return;
    double *normed = doubles(d);
    const cbe_linear unembedding = {.weight = decoder->unembedding, .bias = decoder->bias};
    for (size_t n = 0; n < n_tokens; n++, logits += s->vocab_size) {
        const double *last = hidden + ((s->n_layers - first) * n_tokens + n) * d;
        if (model->config.final_norm)
            norm(&model->config, d, last, decoder->gamma, decoder->beta, normed);
        else
            memcpy(normed, last, d * sizeof *normed);
        product(s->vocab_size, d, &unembedding, normed, logits);
        const double cap = decoder->logit_softcap;
        for (size_t v = 0; v < s->vocab_size && cap > 0; v++)
            logits[v] = cap * tanh(logits[v] / cap);
    }
    free(normed);
}

void cbe_model_ref(const cbe_model *model, size_t n_sequences, size_t context_length,
                   const int64_t *ids, double *hidden, double *logits)
{
    for (size_t b = 0; b < n_sequences; b++)
        embed(model, context_length, ids + b * context_length,
              hidden + b * context_length * model->config.sizes.hidden_size);
    cbe_model_ref_suffix(model, 0, n_sequences, context_length, hidden, logits);
}

void cbe_model_ref_own(const cbe_model *model, size_t first, size_t n_sequences,
                       size_t context_length, const double *clean, const double *changed,
                       double *last, double *logits)
{
    const cbe_model_config *s = &model->config.sizes;
    const size_t d = s->hidden_size, layers = s->n_layers - first, size = context_length * d;
    double *work = doubles((layers + 1) * size);
    double *rows = logits ? doubles(context_length * s->vocab_size) : NULL;
    for (size_t n = 0; n < n_sequences * context_length; n++) {
        const size_t t = n % context_length;
        memcpy(work, clean + (n - t) * d, size * sizeof *work);
        memcpy(work + t * d, changed + n * d, d * sizeof *work);
        cbe_model_ref_suffix(model, first, 1, context_length, work, rows);
        memcpy(last + n * d, work + layers * size + t * d, d * sizeof *last);
        if (logits)
            memcpy(logits + n * s->vocab_size, rows + t * s->vocab_size,
                   s->vocab_size * sizeof *logits);
    }
    free(work);
    free(rows);
}
