/* loss.c - see loss.h. */
#include "lens/loss.h"

#include <math.h>
#include <string.h>

#include "math/exp.h"
#include "core/fail.h"
#include "math/gemm.h"
#include "math/loss.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "model/decode.h"
#include "lens/translate.h"
#include "core/clones.h"
#include "math/norm.h"
#include "math/rows.h"

enum { SUM_BLOCK = 1024 }; /* entries summed in float lanes before the sum is added to a double */

/* sum exp(z - shift). */
CBE_CLONES static double exp_sum(size_t n, const float *z, float shift)
{
    double sum = 0;
    for (size_t first = 0; first < n; first += SUM_BLOCK) {
        const size_t end = cbe_min_size(first + SUM_BLOCK, n);
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (size_t i = first; i < end; i++) part += cbe_expf(z[i] - shift);
        sum += (double)part;
    }
    return sum;
}

/* sum p (z - shift): entries near the largest logit weigh most, and there z - shift is small. */
CBE_CLONES static double expectation(size_t n, const float *p, const float *z, float shift)
{
    double sum = 0;
    for (size_t first = 0; first < n; first += SUM_BLOCK) {
        const size_t end = cbe_min_size(first + SUM_BLOCK, n);
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (size_t i = first; i < end; i++) part += p[i] * (z[i] - shift);
        sum += (double)part;
    }
    return sum;
}

/* z becomes q = exp(z - shift) times scale. */
CBE_CLONES static void to_probs(size_t n, float *z, float shift, float scale)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) z[i] = cbe_expf(z[i] - shift) * scale;
}

CBE_CLONES static void subtract(size_t n, float *q, const float *p)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) q[i] -= p[i];
}

cbe_status cbe_lens_target_create(cbe_lens_target *target, const cbe_decoder *decoder,
                                  cbe_loss kind, size_t max_tokens, cbe_error *err)
{
    const size_t d = decoder->hidden_size, vocab = decoder->vocab_size;
    static const char what[] = "what lenses are to predict";
    *target = (cbe_lens_target){.kind = kind, .max_tokens = max_tokens};
    if (kind == CBE_LOSS_CE) {
        target->labels = cbe_alloc(max_tokens, sizeof *target->labels, what, err);
        return target->labels ? CBE_OK : CBE_ERR_NOMEM;
    }
    target->probs = cbe_alloc(max_tokens, vocab * sizeof *target->probs, what, err);
    target->entropy = cbe_alloc(max_tokens, sizeof *target->entropy, what, err);
    target->expected = cbe_alloc(max_tokens, d * sizeof *target->expected, what, err);
    target->room = cbe_alloc(max_tokens, d * sizeof *target->room, what, err);
    return target->probs && target->entropy && target->expected && target->room ? CBE_OK
                                                                                : CBE_ERR_NOMEM;
}

void cbe_lens_target_free(cbe_lens_target *target)
{
    cbe_free(target->probs);
    cbe_free(target->entropy);
    cbe_free(target->expected);
    cbe_free(target->labels);
    cbe_free(target->room);
    *target = (cbe_lens_target){0};
}

void cbe_lens_target_set(cbe_lens_target *target, const cbe_decoder *decoder, size_t n,
                         const float *last, const int64_t *labels)
{
    const size_t d = decoder->hidden_size, vocab = decoder->vocab_size;
    if (target->kind == CBE_LOSS_CE) {
        memcpy(target->labels, labels, n * sizeof *labels);
        return;
    }
    cbe_decode(decoder, cbe_decoder_common(decoder), n, last, target->room, target->probs);
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) {
        float *row = target->probs + i * vocab;
        const float shift = cbe_max_row(vocab, row);
        const double sum = exp_sum(vocab, row, shift);
        const float *logits = row;
        double mean = 0; /* sum exp(l - shift) (l - shift) */
        for (size_t t = 0; t < vocab; t++)
            mean += (double)(cbe_expf(logits[t] - shift) * (logits[t] - shift));
        target->entropy[i] = log(sum) - mean / sum;
        to_probs(vocab, row, shift, (float)(1 / sum));
    }
    cbe_gemm(false, false, n, d, vocab, 1, target->probs, vocab, decoder->unembedding, d, 0,
             target->expected, d);
}

cbe_status cbe_loss_room_create(cbe_loss_room *room, const cbe_decoder *decoder, size_t max_tokens,
                                cbe_error *err)
{
    const size_t d = decoder->hidden_size;
    static const char what[] = "room of a lens's loss";
    *room = (cbe_loss_room){cbe_alloc(max_tokens, decoder->vocab_size * sizeof(float), what, err),
                            cbe_alloc(max_tokens, d * sizeof(float), what, err),
                            cbe_alloc(max_tokens, d * sizeof(float), what, err)};
    return room->logits && room->translated && room->normalised ? CBE_OK : CBE_ERR_NOMEM;
}

void cbe_loss_room_free(cbe_loss_room *room)
{
    cbe_free(room->logits);
    cbe_free(room->translated);
    cbe_free(room->normalised);
    *room = (cbe_loss_room){0};
}

/* Draws a token from exp(z - shift) / sum by u in [0, 1). */
static size_t draw(size_t n, const float *z, float shift, double sum, double u)
{
    double left = u * sum;
    size_t first = 0;
    for (; first + SUM_BLOCK < n; first += SUM_BLOCK) {
        const double part = exp_sum(SUM_BLOCK, z + first, shift);
        if (left < part) break;
        left -= part;
    }
    const size_t end = cbe_min_size(first + SUM_BLOCK, n);
    for (size_t i = first; i < end; i++)
        if ((left -= (double)cbe_expf(z[i] - shift)) < 0) return i;
    return end - 1; /* reached by rounding only */
}

/* The loss of a row of logits. If gradient, the row becomes the gradient in the logits before the
 * cap. */
static double row_loss(const cbe_decoder *decoder, const cbe_lens_target *target, size_t token,
                       float *row, bool gradient, size_t *drawn, cbe_rng *rng)
{
    const size_t vocab = decoder->vocab_size;
    const bool kl = target->kind == CBE_LOSS_KL;
    const float *p = kl ? target->probs + token * vocab : NULL;
    const float shift = cbe_max_row(vocab, row);
    const double sum = exp_sum(vocab, row, shift);
    const double at_target =
        kl ? expectation(vocab, p, row, shift) : (double)row[target->labels[token]] - (double)shift;
    const double loss = log(sum) - at_target - (kl ? target->entropy[token] : 0);
    if (!gradient) return loss;
    if (drawn)
        *drawn =
            draw(vocab, row, shift, sum, (double)cbe_rng_below(rng, (size_t)1 << 53) * 0x1p-53);
    const float cap = (float)decoder->logit_softcap;
    const float inverse = (float)(1 / sum);
    if (cap > 0) {
        for (size_t i = 0; i < vocab; i++) {
            const float z = row[i] / cap, q = cbe_expf(row[i] - shift) * inverse;
            row[i] = (q - (kl                                   ? p[i]
                           : i == (size_t)target->labels[token] ? 1.0f
                                                                : 0.0f)) *
                     (1 - z * z);
        }
        return loss;
    }
    to_probs(vocab, row, shift, inverse);
    if (kl)
        subtract(vocab, row, p);
    else
        row[target->labels[token]] -= 1;
    return loss;
}

double cbe_lens_loss(const cbe_decoder *decoder, const cbe_lens_target *target,
                     cbe_translator translator, size_t n, const float *hidden, cbe_loss_room *room,
                     float *gradient, float *sampled, cbe_rng *rng)
{
    const size_t d = decoder->hidden_size, vocab = decoder->vocab_size;
    double loss = 0;
    cbe_translate(translator, n, d, hidden, room->translated);
    cbe_decode(decoder, cbe_decoder_common(decoder), n, room->translated, room->normalised,
               room->logits);
    for (size_t i = 0; i < n; i++) {
        size_t drawn = 0;
        loss += row_loss(decoder, target, i, room->logits + i * vocab, gradient != NULL,
                         sampled ? &drawn : NULL, rng);
        if (!sampled) continue;
        /* W'(q - e_drawn) = W'(q - p) + W'p - W_drawn; the first term comes below. */
        const float *w = decoder->unembedding + drawn * d;
        const float *expected = target->kind == CBE_LOSS_KL
                                    ? target->expected + i * d
                                    : decoder->unembedding + (size_t)target->labels[i] * d;
        for (size_t k = 0; k < d; k++) sampled[i * d + k] = expected[k] - w[k];
    }
    if (target->kind == CBE_LOSS_KL) loss = cbe_not_below_zero(loss);
    if (!gradient) return loss;
    cbe_gemm(false, false, n, d, vocab, 1, room->logits, vocab, decoder->unembedding, d, 0,
             gradient, d);
    if (sampled) {
        for (size_t i = 0; i < n * d; i++) sampled[i] += gradient[i];
        cbe_norm_rows_back(decoder->norm, decoder->norm_eps, n, d, room->translated, decoder->gamma,
                           sampled, false, sampled);
    }
    cbe_norm_rows_back(decoder->norm, decoder->norm_eps, n, d, room->translated, decoder->gamma,
                       gradient, false, gradient);
    return loss;
}
