/* candidates.c - see candidates.h. */
#include "search/candidates.h"

#include <math.h>
#include <string.h>

#include "math/eigen.h"
#include "math/gemm.h"
#include "core/groups.h"
#include "core/held_out.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "processes/long_sums.h"

enum { GRAM_ROWS = 1024, LEAST_GRAM_ROWS = 64 };

/* Centres each row of (n, d) float rows. */
static void centre_rows(size_t n, size_t d, float *rows)
{
    for (size_t i = 0; i < n; i++) {
        double mean = 0;
        for (size_t k = 0; k < d; k++) mean += (double)rows[i * d + k];
        mean /= (double)d;
        for (size_t k = 0; k < d; k++) rows[i * d + k] -= (float)mean;
    }
}

/* total += rows' rows; product (d, d) is work space. */
static void add_gram(size_t n, size_t d, const float *rows, float *product, double *total)
{
    cbe_gemm(true, false, d, d, n, 1, rows, d, rows, d, 0, product, d);
    for (size_t i = 0; i < d * d; i++) total[i] += (double)product[i];
}

cbe_status cbe_unembedding_gram(const cbe_decoder *decoder, double *gram, cbe_error *err)
{
    const size_t d = decoder->hidden_size;
    float *rows = cbe_alloc(GRAM_ROWS * d, sizeof *rows, "Gram matrix", err);
    float *product = cbe_alloc(d * d, sizeof *product, "Gram matrix", err);
    const cbe_status st = rows && product ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        memset(gram, 0, d * d * sizeof *gram);
        for (size_t t = 0; t < decoder->vocab_size; t += GRAM_ROWS) {
            const size_t n = cbe_min_size(GRAM_ROWS, decoder->vocab_size - t);
            for (size_t i = 0; i < n * d; i++)
                rows[i] = decoder->unembedding[t * d + i] * decoder->gamma[i % d];
            if (decoder->norm == CBE_NORM_LAYER) centre_rows(n, d, rows);
            add_gram(n, d, rows, product, gram);
        }
    }
    cbe_free(rows);
    cbe_free(product);
    return st;
}

/* F (d, d) through the translator: (I + A)' gram (I + A). */
static cbe_status lens_gram(const cbe_candidate_input *in, double *f, cbe_error *err)
{
    const size_t d = in->decoder->hidden_size;
    memcpy(f, in->gram, d * d * sizeof *f);
    if (!in->translator.weight) return CBE_OK;
    float *a = cbe_alloc(3 * d * d, sizeof *a, "Gram matrix", err);
    if (!a) return CBE_ERR_NOMEM;
    float *gram = a + d * d, *product = gram + d * d;
    for (size_t i = 0; i < d * d; i++) {
        a[i] = in->translator.weight[i] + (i % (d + 1) == 0 ? 1.0f : 0.0f);
        gram[i] = (float)in->gram[i];
    }
    cbe_gemm(false, false, d, d, d, 1, gram, d, a, d, 0, product, d);
    cbe_gemm(true, false, d, d, d, 1, a, d, product, d, 0, gram, d);
    for (size_t i = 0; i < d * d; i++) f[i] = (double)gram[i];
    cbe_free(a);
    return CBE_OK;
}

/* Whether a token of this process may be learned from. */
static bool is_searched(const cbe_candidate_input *in, size_t token)
{
    return !in->held_out || !in->held_out[in->first_token + token];
}

/* Computes the mean hidden state of all processes' tokens, (d); zero under zero ablation. */
static void mean_state(const cbe_candidate_input *in, cbe_long_sum *sums, double *mean)
{
    const size_t n = in->n_tokens, d = in->decoder->hidden_size;
    memset(mean, 0, d * sizeof *mean);
    if (in->ablation == CBE_ABLATE_ZERO) return;
    memset(sums, 0, d * sizeof *sums);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < d && is_searched(in, i); k++)
            cbe_long_add(&sums[k], (double)in->hidden[i * d + k]);
    cbe_processes_add_up(in->processes, d, sums);
    const size_t searched = cbe_count_searched(in->held_out, in->all_tokens);
    for (size_t k = 0; k < d; k++) mean[k] = cbe_long_value(&sums[k]) / (double)searched;
}

static size_t group_of(const cbe_candidate_input *in, size_t sequences, size_t each, size_t token)
{
    return cbe_group_of_sequence(sequences, (in->first_token + token) / each,
                                 each >= LEAST_GRAM_ROWS);
}

/* Second moment (d, d) of D_n / |h_n|: every token counts, however long. For resample, D_n is a
 * difference of two tokens: its second moment is twice that about the mean, and the factor does not
 * matter. Rows of tokens held out are 0.
 * @param rows, product, sums  work space of (GRAM_ROWS, d), (d, d) and (d, d) */
static void delta_moment(const cbe_candidate_input *in, const double *mean, float *rows,
                         float *product, cbe_long_sum *sums, double *moment)
{
    const size_t n = in->n_tokens, d = in->decoder->hidden_size;
    /* A product has rows of one group of sequences: in float32, it must not depend on how they are
     * divided. */
    const size_t each = in->sequence_tokens ? in->sequence_tokens : in->all_tokens,
                 sequences = in->all_tokens / each;
    memset(sums, 0, d * d * sizeof *sums);
    for (size_t first = 0, count; first < n; first += count) {
        const size_t group = group_of(in, sequences, each, first);
        count = each - (in->first_token + first) % each;
        while (first + count < n && count < GRAM_ROWS &&
               group_of(in, sequences, each, first + count) == group)
            count += each;
        count = cbe_min_size(cbe_min_size(count, GRAM_ROWS), n - first);
        for (size_t i = 0; i < count; i++) {
            const float *h = in->hidden + (first + i) * d;
            double norm2 = 0;
            for (size_t k = 0; k < d; k++) norm2 += (double)h[k] * (double)h[k];
            const double scale = norm2 > 0 && is_searched(in, first + i) ? 1 / sqrt(norm2) : 0;
            for (size_t k = 0; k < d; k++)
                rows[i * d + k] = (float)(((double)h[k] - mean[k]) * scale);
        }
        cbe_gemm(true, false, d, d, count, 1, rows, d, rows, d, 0, product, d);
        for (size_t i = 0; i < d * d; i++) cbe_long_add(&sums[i], (double)product[i]);
    }
    cbe_processes_add_up(in->processes, d * d, sums);
    for (size_t i = 0; i < d * d; i++) moment[i] = cbe_long_value(&sums[i]);
}

/* D_n of n tokens spread evenly. Under resample, where D_n is a difference of any two tokens, it is
 * taken from the mean instead. */
static void token_directions(const cbe_candidate_input *in, const double *mean, size_t n,
                             double *out)
{
    const size_t d = in->decoder->hidden_size,
                 searched = cbe_count_searched(in->held_out, in->all_tokens);
    memset(out, 0, n * d * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        const size_t rank = (size_t)(((double)i + 0.5) * (double)searched / (double)n),
                     token = cbe_searched_token(in->held_out, rank) - in->first_token;
        if (token >= in->n_tokens) continue; /* of another process: lower indices wrap */
        const float *h = in->hidden + token * d;
        for (size_t k = 0; k < d; k++) out[i * d + k] = (double)h[k] - mean[k];
    }
    cbe_processes_sum(in->processes, n * d, out);
}

/* Computes what is taken from the tokens of all processes: the second moment (d, d), and the
 * directions of n tokens (n, d). */
static cbe_status summarise(const cbe_candidate_input *in, size_t n, double *moment, double *tokens,
                            cbe_error *err)
{
    const size_t d = in->decoder->hidden_size;
    double *mean = cbe_alloc(d, sizeof *mean, "second moment", err);
    float *rows = cbe_alloc(GRAM_ROWS * d, sizeof *rows, "second moment", err);
    float *product = cbe_alloc(d * d, sizeof *product, "second moment", err);
    cbe_long_sum *sums = cbe_alloc(d * d, sizeof *sums, "second moment", err);
    const cbe_status own =
        moment && tokens && mean && rows && product && sums ? CBE_OK : CBE_ERR_NOMEM;
    const cbe_status st = cbe_processes_agree(in->processes, own, err);
    if (st == CBE_OK) {
        mean_state(in, sums, mean);
        delta_moment(in, mean, rows, product, sums, moment);
        token_directions(in, mean, n, tokens);
    }
    cbe_free(mean);
    cbe_free(rows);
    cbe_free(product);
    cbe_free(sums);
    return st;
}

/* Leading eigenvectors of a, which is destroyed. */
static cbe_status leading(size_t d, double *a, size_t n, double *values, double *out,
                          cbe_error *err)
{
    const cbe_status st = cbe_eigen_symmetric(d, a, values, err);
    if (st == CBE_OK) memcpy(out, a, n * d * sizeof *out);
    return st;
}

static double trace(size_t d, const double *a)
{
    double sum = 0;
    for (size_t k = 0; k < d; k++) sum += a[k * d + k];
    return sum > 0 ? sum : 1;
}

cbe_status cbe_candidates_singular(const cbe_candidate_input *input, size_t n, double *out,
                                   cbe_error *err)
{
    const size_t d = input->decoder->hidden_size;
    double *f = cbe_alloc(d * d + d, sizeof *f, "candidates", err);
    if (!f) return CBE_ERR_NOMEM;
    cbe_status st = lens_gram(input, f, err);
    if (st == CBE_OK) st = leading(d, f, n, f + d * d, out, err);
    cbe_free(f);
    return st;
}

/* (I + A)' C W~_t of vocabulary entries spread evenly: what moves their logits most. */
static cbe_status logit_directions(const cbe_candidate_input *in, size_t n, double *out,
                                   cbe_error *err)
{
    const cbe_decoder *decoder = in->decoder;
    const size_t d = decoder->hidden_size;
    for (size_t i = 0; i < n; i++) {
        double *v = out + i * d, centre = 0;
        const size_t t = (size_t)(((double)i + 0.5) * (double)decoder->vocab_size / (double)n);
        for (size_t k = 0; k < d; k++) {
            v[k] = (double)decoder->unembedding[t * d + k] * (double)decoder->gamma[k];
            centre += v[k] / (double)d;
        }
        for (size_t k = 0; k < d && decoder->norm == CBE_NORM_LAYER; k++) v[k] -= centre;
    }
    const float *a = in->translator.weight;
    double *row = a ? cbe_alloc(d, sizeof *row, "candidates", err) : NULL;
    if (a && !row) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n && a; i++) {
        double *v = out + i * d;
        memcpy(row, v, d * sizeof *row);
        for (size_t j = 0; j < d; j++)
            for (size_t k = 0; k < d; k++) v[k] += (double)a[j * d + k] * row[j];
    }
    cbe_free(row);
    return CBE_OK;
}

cbe_status cbe_candidates_all(const cbe_candidate_input *input, size_t n, double *out,
                              cbe_start_kind *kinds, cbe_error *err)
{
    static const cbe_start_kind of_family[CBE_CANDIDATE_FAMILIES] = {
        CBE_FROM_BOTH, CBE_FROM_UNEMBEDDING, CBE_FROM_COMPONENT, CBE_FROM_TOKEN, CBE_FROM_ENTRY};
    const size_t d = input->decoder->hidden_size;
    double *f = cbe_alloc(3 * d * d + d, sizeof *f, "candidates", err);
    double *families =
        cbe_alloc(CBE_CANDIDATE_FAMILIES * n * d, sizeof *families, "candidates", err);
    double *moment = f && families ? f + d * d : NULL,
           *tokens = f && families ? families + 3 * n * d : NULL;
    cbe_status st = summarise(input, n, moment, tokens, err);
    if (st == CBE_OK) {
        double *both = moment + d * d, *values = both + d * d;
        st = lens_gram(input, f, err);
        if (st == CBE_OK) {
            const double f_trace = trace(d, f), moment_trace = trace(d, moment);
            for (size_t i = 0; i < d * d; i++) both[i] = f[i] / f_trace + moment[i] / moment_trace;
            st = leading(d, both, n, values, families, err);
        }
        if (st == CBE_OK) st = leading(d, f, n, values, families + n * d, err);
        if (st == CBE_OK) st = leading(d, moment, n, values, families + 2 * n * d, err);
    }
    if (st == CBE_OK) st = logit_directions(input, n, families + 4 * n * d, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        for (size_t family = 0; family < CBE_CANDIDATE_FAMILIES; family++) {
            memcpy(out + (i * CBE_CANDIDATE_FAMILIES + family) * d, families + (family * n + i) * d,
                   d * sizeof *out);
            kinds[i * CBE_CANDIDATE_FAMILIES + family] = of_family[family];
        }
    cbe_free(f);
    cbe_free(families);
    return st;
}

cbe_status cbe_candidates_assist(const cbe_candidate_input *input, size_t n, cbe_error *err)
{
    const size_t d = input->decoder->hidden_size;
    double *moment = cbe_alloc(d * d, sizeof *moment, "candidates", err),
           *tokens = cbe_alloc(n * d, sizeof *tokens, "candidates", err);
    const cbe_status st = summarise(input, n, moment, tokens, err);
    cbe_free(moment);
    cbe_free(tokens);
    return st;
}
