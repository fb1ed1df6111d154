/* lens_ref.c - see lens_ref.h. Plain code that shares nothing with the library. */
#include "ref/lens_ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    /* lens state (d), normalised (d), logits (V), d cap / d raw (V) */
    double *x, *y, *logits, *slope;
    double s; /* sqrt(mean square + eps) */
} forward_state;

static void forward(const cbe_decoder *decoder, cbe_translator t, const double *hidden,
                    forward_state *f)
{
    const size_t d = decoder->hidden_size, v = decoder->vocab_size;
    for (size_t i = 0; i < d; i++) {
        f->x[i] = hidden[i];
        if (t.weight)
            for (size_t k = 0; k < d; k++) f->x[i] += (double)t.weight[i * d + k] * hidden[k];
        if (t.weight && t.bias) f->x[i] += (double)t.bias[i];
    }
    double mean = 0, square = 0;
    if (decoder->norm == CBE_NORM_LAYER) {
        for (size_t i = 0; i < d; i++) mean += f->x[i];
        mean /= (double)d;
    }
    for (size_t i = 0; i < d; i++) square += (f->x[i] - mean) * (f->x[i] - mean);
    f->s = sqrt(square / (double)d + decoder->norm_eps);
    for (size_t i = 0; i < d; i++) f->y[i] = (f->x[i] - mean) / f->s;
    for (size_t j = 0; j < v; j++) {
        double z = decoder->bias ? (double)decoder->bias[j] : 0;
        for (size_t i = 0; i < d; i++) {
            const double gain = (double)decoder->gamma[i];
            const double shift = decoder->beta ? (double)decoder->beta[i] : 0;
            z += (double)decoder->unembedding[j * d + i] * (f->y[i] * gain + shift);
        }
        f->logits[j] = z;
        f->slope[j] = 1;
        if (decoder->logit_softcap > 0) {
            const double th = tanh(z / decoder->logit_softcap);
            f->logits[j] = decoder->logit_softcap * th;
            f->slope[j] = 1 - th * th;
        }
    }
}

/* From the gradient in the logits to the gradient in the hidden state. */
static void backward(const cbe_decoder *decoder, cbe_translator t, const forward_state *f,
                     const double *grad_logits, double *grad_hidden)
{
    const size_t d = decoder->hidden_size, v = decoder->vocab_size;
    double *grad_y = calloc(d, sizeof *grad_y), *grad_x = calloc(d, sizeof *grad_x);
    for (size_t j = 0; j < v; j++)
        for (size_t i = 0; i < d; i++)
            grad_y[i] += grad_logits[j] * f->slope[j] * (double)decoder->unembedding[j * d + i] *
                         (double)decoder->gamma[i];
    double dot = 0, mean = 0;
    for (size_t i = 0; i < d; i++) dot += grad_y[i] * f->y[i];
    if (decoder->norm == CBE_NORM_LAYER)
        for (size_t i = 0; i < d; i++) mean += grad_y[i] / (double)d;
    for (size_t i = 0; i < d; i++)
        grad_x[i] = (grad_y[i] - mean - f->y[i] * dot / (double)d) / f->s;
    for (size_t i = 0; i < d; i++) grad_hidden[i] = grad_x[i];
    if (t.weight)
        for (size_t i = 0; i < d; i++)
            for (size_t k = 0; k < d; k++)
                grad_hidden[k] += (double)t.weight[i * d + k] * grad_x[i];
    free(grad_y);
    free(grad_x);
}

static void log_softmax(size_t n, const double *logits, double *out)
{
    double top = logits[0], sum = 0;
    for (size_t i = 1; i < n; i++) top = fmax(top, logits[i]);
    for (size_t i = 0; i < n; i++) sum += exp(logits[i] - top);
    for (size_t i = 0; i < n; i++) out[i] = logits[i] - top - log(sum);
}

static forward_state make_state(size_t d, size_t v)
{
    return (forward_state){calloc(d, sizeof(double)), calloc(d, sizeof(double)),
                           calloc(v, sizeof(double)), calloc(v, sizeof(double)), 0};
}

static void free_state(forward_state *f)
{
    free(f->x);
    free(f->y);
    free(f->logits);
    free(f->slope);
}

void cbe_lens_logits_ref(const cbe_decoder *decoder, cbe_translator translator,
                         const double *hidden, double *logits)
{
    forward_state f = make_state(decoder->hidden_size, decoder->vocab_size);
    forward(decoder, translator, hidden, &f);
    memcpy(logits, f.logits, decoder->vocab_size * sizeof *logits);
    free_state(&f);
}

/* S^power (d, d), its entries from the eigenvectors one by one; times `scale`. */
static double *root_of(const cbe_metric *metric, size_t d, double power, double scale)
{
    const cbe_covariance *c = metric ? metric->covariance : NULL;
    double *root = calloc(d * d, sizeof *root);
    for (size_t i = 0; i < d; i++)
        for (size_t k = 0; k < d; k++) {
            if (!c) root[i * d + k] = scale * (double)(i == k);
            for (size_t e = 0; e < d && c; e++)
                root[i * d + k] += scale *
                                   pow(c->values[e] + metric->ridge * c->trace / (double)d, power) *
                                   c->components[e * d + i] * c->components[e * d + k];
        }
    return root;
}

/* out = M x, M (d, d) symmetric. */
static void multiply(size_t d, const double *matrix, const double *x, double *out)
{
    for (size_t i = 0; i < d; i++) {
        out[i] = 0;
        for (size_t k = 0; k < d; k++) out[i] += matrix[i * d + k] * x[k];
    }
}

double cbe_lens_energy_ref(const cbe_decoder *decoder, const cbe_lens_options *options,
                           const float *hidden, cbe_translator translator, const cbe_metric *metric,
                           const double *v, double constant, double *energy_per_token, double *grad)
{
    const size_t n = options->n_tokens, d = decoder->hidden_size, vocab = decoder->vocab_size;
    forward_state f = make_state(d, vocab);
    double *mean = calloc(d, sizeof *mean), *h = calloc(d, sizeof *h),
           *delta = calloc(d, sizeof *delta), *log_p = calloc(vocab, sizeof *log_p),
           *log_q = calloc(vocab, sizeof *log_q), *grad_logits = calloc(vocab, sizeof *grad_logits),
           *grad_h = calloc(d, sizeof *grad_h), *read = calloc(d, sizeof *read),
           *write = calloc(d, sizeof *write), *by_read = calloc(d, sizeof *by_read),
           *by_write = calloc(d, sizeof *by_write), *part = calloc(d, sizeof *part);
    double *to_read = root_of(metric, d, -0.5, 1),
           *to_write = root_of(metric, d, 0.5, metric ? metric->strength : 1);
    multiply(d, to_read, v, read);
    multiply(d, to_write, v, write);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < d; k++) mean[k] += (double)hidden[i * d + k] / (double)n;
    double total = 0;
    size_t counted = 0;
    for (size_t i = 0; i < n; i++) {
        const int64_t label = options->kind == CBE_LOSS_CE ? options->labels[i] : 0;
        if (label < 0) continue;
        double c = -constant;
        for (size_t k = 0; k < d; k++) {
            h[k] = (double)hidden[i * d + k];
            delta[k] = h[k];
            if (options->ablation == CBE_ABLATE_MEAN) delta[k] -= mean[k];
            if (options->ablation == CBE_ABLATE_RESAMPLE)
                delta[k] -= (double)hidden[(size_t)options->derangement[i] * d + k];
            c += delta[k] * read[k];
        }
        forward(decoder, translator, h, &f);
        log_softmax(vocab, f.logits, log_p);
        for (size_t k = 0; k < d; k++) h[k] -= c * write[k];
        forward(decoder, translator, h, &f);
        log_softmax(vocab, f.logits, log_q);
        double energy = 0;
        if (options->kind == CBE_LOSS_CE)
            energy = log_p[label] - log_q[label];
        else
            for (size_t j = 0; j < vocab; j++) energy += exp(log_p[j]) * (log_p[j] - log_q[j]);
        if (energy_per_token) energy_per_token[counted] = energy;
        total += energy;
        counted++;
        if (!grad) continue;
        for (size_t j = 0; j < vocab; j++)
            grad_logits[j] =
                exp(log_q[j]) -
                (options->kind == CBE_LOSS_CE ? (double)(j == (size_t)label) : exp(log_p[j]));
        backward(decoder, translator, &f, grad_logits, grad_h);
        /* The gradients in r and w of h' = h - (delta . r) w. */
        double along = 0;
        for (size_t k = 0; k < d; k++) along += grad_h[k] * write[k];
        for (size_t k = 0; k < d; k++) by_write[k] -= c * grad_h[k] / (double)n;
        for (size_t k = 0; k < d; k++) by_read[k] -= along * delta[k] / (double)n;
    }
    if (grad) {
        multiply(d, to_read, by_read, grad);
        multiply(d, to_write, by_write, part);
        for (size_t k = 0; k < d; k++) grad[k] = (grad[k] + part[k]) * (double)n / (double)counted;
    }
    free(mean);
    free(h);
    free(delta);
    free(log_p);
    free(log_q);
    free(grad_logits);
    free(grad_h);
    free(read);
    free(write);
    free(by_read);
    free(by_write);
    free(part);
    free(to_read);
    free(to_write);
    free_state(&f);
    return total / (double)counted;
}
