/* decoder_check.c - see decoder_check.h. */
#include "run/decoder_check.h"

#include <math.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

/* Tokens that are looked at, evenly spread. */
enum { TOKENS = 8 };

/* Logits of bfloat16 models are 0.004 of their spread from those of float32; another norm or other
 * weights give 0.1 and more. */
static const double most_difference = 0.05;
/* Each token that a norm put out has a mean square of 1 to within float16's rounding; hidden states
 * differ by tenths from token to token. */
static const double most_off_one = 0.005;

/* Squared distance of two rows over the squared spread of the second. */
static double difference(size_t n, const float *a, const float *b)
{
    double mean = 0, distance = 0, spread = 0;
    for (size_t i = 0; i < n; i++) mean += b[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) {
        distance += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        spread += (b[i] - mean) * (b[i] - mean);
    }
    return distance / spread;
}

/* Of the decoder's logits from those given, over the tokens. */
static cbe_status measure(const cbe_decoder *decoder, size_t n, const float *hidden,
                          const float *given, float *scratch, double *out, cbe_error *err)
{
    const size_t v = decoder->vocab_size;
    double sum = 0;
    const cbe_status st = cbe_decoder_logits(decoder, n, hidden, scratch, err);
    for (size_t t = 0; st == CBE_OK && t < n; t++)
        sum += difference(v, scratch + t * v, given + t * v);
    *out = sqrt(sum / (double)n);
    return st;
}

/* W h + bias: the decoder without its norm. */
static double without_norm(const cbe_decoder *decoder, size_t n, const float *hidden,
                           const float *given, float *scratch)
{
    const size_t d = decoder->hidden_size, v = decoder->vocab_size;
    const double cap = decoder->logit_softcap;
    double sum = 0;
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < v; i++) {
            double z = decoder->bias ? decoder->bias[i] : 0;
            for (size_t j = 0; j < d; j++)
                z += (double)decoder->unembedding[i * d + j] * hidden[t * d + j];
            scratch[i] = (float)(cap > 0 ? cap * tanh(z / cap) : z);
        }
        sum += difference(v, scratch, given + t * v);
    }
    return sqrt(sum / (double)n);
}

static cbe_status compare_logits(const char *path, size_t state, const cbe_decoder *decoder,
                                 size_t n, const float *hidden, const float *given, float *scratch,
                                 cbe_error *err)
{
    static const char *const names[] = {[CBE_NORM_RMS] = "RMSNorm", [CBE_NORM_LAYER] = "LayerNorm"};
    double own, other;
    cbe_decoder swapped = *decoder;
    cbe_status st = measure(decoder, n, hidden, given, scratch, &own, err);
    if (st != CBE_OK || own <= most_difference) return st;
    swapped.norm = decoder->norm == CBE_NORM_RMS ? CBE_NORM_LAYER : CBE_NORM_RMS;
    if ((st = measure(&swapped, n, hidden, given, scratch, &other, err)) != CBE_OK) return st;
    if (other <= most_difference)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: the logits are those of %s, but the decoder's norm is %s; give a "
                        "decoder with the model's own norm",
                        path, names[swapped.norm], names[decoder->norm]);
    if (without_norm(decoder, n, hidden, given, scratch) <= most_difference)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: hidden_states.%zu is the output of the final norm; give the hidden "
                        "states before it",
                        path, state);
    return cbe_fail(err, CBE_ERR_ARG, -1,
                    "%s: the decoder's logits of hidden_states.%zu are not the logits given: they "
                    "differ by %.2g of their spread; give the model's own decoder, and its last "
                    "hidden state before the final norm",
                    path, state, own);
}

/* Whether all tokens are what the decoder's norm would put out. */
static bool is_normed(const cbe_decoder *decoder, size_t n, const float *hidden)
{
    const size_t d = decoder->hidden_size;
    for (size_t i = 0; i < d; i++)
        if (decoder->gamma[i] == 0) return false; /* it cannot be told */
    for (size_t t = 0; t < n; t++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < d; i++) {
            const double x = ((double)hidden[t * d + i] - (decoder->beta ? decoder->beta[i] : 0)) /
                             decoder->gamma[i];
            sum += x;
            squares += x * x;
        }
        if (fabs(squares / (double)d - 1) > most_off_one) return false;
        if (decoder->norm == CBE_NORM_LAYER && fabs(sum / (double)d) > most_off_one) return false;
    }
    return true;
}

/* Some of the tokens of a state. */
static cbe_status pick(const cbe_hidden_states *states, size_t state, size_t n, float *out,
                       size_t *rows, cbe_error *err)
{
    const size_t d = cbe_hidden_states_hidden_size(states),
                 all = cbe_hidden_states_n_tokens(states, 0);
    float *hidden = cbe_alloc(all, cbe_times(d, sizeof *hidden, 1), "hidden states", err);
    if (!hidden) return CBE_ERR_NOMEM;
    const cbe_status st = cbe_hidden_states_read(states, state, 0, hidden, err);
    for (size_t t = 0; st == CBE_OK && t < n; t++) {
        rows[t] = t * all / n;
        for (size_t i = 0; i < d; i++) out[t * d + i] = hidden[rows[t] * d + i];
    }
    cbe_free(hidden);
    return st;
}

cbe_status cbe_check_decoder(const cbe_hidden_states *states, const char *path, size_t state,
                             const cbe_decoder *decoder, cbe_error *err)
{
    const size_t d = decoder->hidden_size, v = decoder->vocab_size,
                 n = cbe_min_size(TOKENS, cbe_hidden_states_n_tokens(states, 0));
    size_t rows[TOKENS], logits_state, width;
    if (n == 0 || cbe_hidden_states_hidden_size(states) != d) return CBE_OK; /* refused later */
    const bool has_logits = cbe_hidden_states_logits(states, &logits_state, &width);
    if (has_logits && !cbe_hidden_states_has(states, logits_state))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: there are logits of hidden_states.%zu, but not that state; give it "
                        "too, or no logits",
                        path, logits_state);
    if (has_logits && width != v)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: the logits have %zu entries, the decoder's vocabulary %zu", path,
                        width, v);
    float *hidden = cbe_alloc(n, cbe_times(d, sizeof *hidden, 1), "hidden states", err);
    float *given = has_logits ? cbe_alloc(n, cbe_times(v, sizeof *given, 1), "logits", err) : NULL;
    float *made = has_logits ? cbe_alloc(n, cbe_times(v, sizeof *made, 1), "logits", err) : NULL;
    cbe_status st = hidden && (!has_logits || (given && made)) ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) st = pick(states, has_logits ? logits_state : state, n, hidden, rows, err);
    if (st == CBE_OK && has_logits) {
        st = cbe_hidden_states_read_logits(states, n, rows, given, err);
        for (size_t i = 0; i < n * v && st == CBE_OK; i++)
            if (!isfinite(given[i]))
                st = cbe_fail(err, CBE_ERR_NUMERIC, -1,
                              "%s: the logits of token %zu hold %g at entry %zu; logits must be "
                              "finite",
                              path, rows[i / v], (double)given[i], i % v);
        if (st == CBE_OK)
            st = compare_logits(path, logits_state, decoder, n, hidden, given, made, err);
    } else if (st == CBE_OK && n == TOKENS && is_normed(decoder, n, hidden)) {
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "%s: hidden_states.%zu is the output of the final norm; give the hidden "
                      "states before it",
                      path, state);
    }
    cbe_free(hidden);
    cbe_free(given);
    cbe_free(made);
    return st;
}
