/* subspace.c - see ablate/subspace.h: spans in orthonormal form, and their removal from hidden
 * states. */
#include "ablate/subspace.h"

#include <math.h>
#include <string.h>

#include "math/eigen.h"
#include "core/fail.h"
#include "math/gemm.h"
#include "core/memory.h"
#include "math/random.h"
#include "core/sizes.h"

enum { GRAM_ROWS = 256 };

/* Least share of a vector's length that the vectors before it must leave; a smaller one may be
 * rounding of float32 vectors. */
static const double least_remainder = 1e-6;

struct cbe_subspace {
    size_t m, d;
    double *read, *write; /* (m, d); one array where the projector is orthogonal */
};

void cbe_subspace_free(cbe_subspace *subspace)
{
    if (!subspace) return;
    if (subspace->write != subspace->read) cbe_free(subspace->write);
    cbe_free(subspace->read);
    cbe_free(subspace);
}

size_t cbe_subspace_rank(const cbe_subspace *subspace)
{
    return subspace->m;
}

const double *cbe_subspace_basis(const cbe_subspace *subspace)
{
    return subspace->write;
}

static double dot(size_t d, const double *a, const double *b)
{
    double sum = 0;
    for (size_t k = 0; k < d; k++) sum += a[k] * b[k];
    return sum;
}

/* Makes row j orthogonal to the rows before it and scales it to length 1, by Gram-Schmidt, run
 * twice, which is enough (Giraud et al. 2005, doi:10.1007/s00211-005-0615-4). */
static cbe_status orthogonalise(cbe_subspace *s, size_t j, cbe_error *err)
{
    const size_t d = s->d;
    double *row = s->read + j * d, largest = 0;
    for (size_t k = 0; k < d; k++) {
        if (!isfinite(row[k]))
            return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                            "vector %zu of the subspace has NaN or infinity in it", j);
        largest = fmax(largest, fabs(row[k]));
    }
    if (largest == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "vector %zu of the subspace is 0: it spans nothing",
                        j);
    /* After the division squares of any entries can be summed. */
    for (size_t k = 0; k < d; k++) row[k] /= largest;
    double length = sqrt(dot(d, row, row));
    for (size_t k = 0; k < d; k++) row[k] /= length;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < j; i++) {
            const double along = dot(d, row, s->read + i * d);
            for (size_t k = 0; k < d; k++) row[k] -= along * s->read[i * d + k];
        }
        length = sqrt(dot(d, row, row));
        if (!(length > least_remainder))
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "vector %zu of the subspace is a combination of those before it: the "
                            "vectors span fewer than %zu "
                            "dimensions",
                            j, s->m);
        for (size_t k = 0; k < d; k++) row[k] /= length;
    }
    return CBE_OK;
}

/* Allocates a subspace of m vectors. */
static cbe_status create(cbe_subspace **out, size_t m, size_t d, cbe_error *err)
{
    if (m == 0 || m > d)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu vectors cannot be independent in %zu dimensions; give 1 to %zu", m, d,
                        d);
    cbe_subspace *s = cbe_alloc_zero(1, sizeof *s, "subspace", err);
    if (!s) return CBE_ERR_NOMEM;
    s->m = m;
    s->d = d;
    if (!(s->read = cbe_alloc(m, cbe_times(d, sizeof *s->read, 1), "subspace", err))) {
        cbe_subspace_free(s);
        return CBE_ERR_NOMEM;
    }
    s->write = s->read;
    *out = s;
    return CBE_OK;
}

/* Gives what is written an array of its own. */
static cbe_status part(cbe_subspace *s, cbe_error *err)
{
    s->write = cbe_alloc(s->m, cbe_times(s->d, sizeof *s->write, 1), "subspace", err);
    return s->write ? CBE_OK : CBE_ERR_NOMEM;
}

/* Orthogonalises the vectors of a subspace and hands it to *out, or frees it. */
static cbe_status finish(cbe_subspace **out, cbe_subspace *s, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t j = 0; j < s->m && st == CBE_OK; j++) st = orthogonalise(s, j, err);
    if (st == CBE_OK)
        *out = s;
    else
        cbe_subspace_free(s);
    return st;
}

cbe_status cbe_subspace_create(cbe_subspace **out, size_t m, size_t d, const double *vectors,
                               cbe_error *err)
{
    cbe_subspace *s = NULL;
    const cbe_status st = create(&s, m, d, err);
    if (st != CBE_OK) return st;
    memcpy(s->read, vectors, m * d * sizeof *s->read);
    return finish(out, s, err);
}

cbe_status cbe_subspace_whitened(cbe_subspace **out, size_t m, size_t d, const double *vectors,
                                 const cbe_metric *metric, cbe_error *err)
{
    cbe_subspace *whitened = NULL, *s = NULL;
    double *u = cbe_alloc(m, cbe_times(d, sizeof *u, 1), "subspace", err);
    cbe_status st = u ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        cbe_metric_read(metric, d, m, vectors, u);
        st = cbe_subspace_create(&whitened, m, d, u, err);
    }
    cbe_free(u);
    if (st == CBE_OK) st = create(&s, m, d, err);
    if (st == CBE_OK) st = part(s, err);
    if (st == CBE_OK) {
        cbe_metric_read(metric, d, m, whitened->read, s->read);
        cbe_metric_write(metric, d, m, whitened->read, s->write);
        *out = s;
    } else {
        cbe_subspace_free(s);
    }
    cbe_subspace_free(whitened);
    return st;
}

/* Makes pair j dual to the pairs before it: r_i . w_j = w_i . r_j = 0, r_j . w_j = 1. */
static cbe_status make_dual(cbe_subspace *s, size_t j, cbe_error *err)
{
    const size_t d = s->d;
    double *r = s->read + j * d, *w = s->write + j * d;
    for (size_t k = 0; k < d; k++)
        if (!isfinite(r[k]) || !isfinite(w[k]))
            return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                            "pair %zu of the subspace has NaN or infinity in it", j);
    const double lengths = sqrt(dot(d, r, r)) * sqrt(dot(d, w, w));
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < j; i++) {
            const double of_r = dot(d, r, s->write + i * d), of_w = dot(d, w, s->read + i * d);
            for (size_t k = 0; k < d; k++) {
                r[k] -= of_r * s->read[i * d + k];
                w[k] -= of_w * s->write[i * d + k];
            }
        }
    const double product = dot(d, r, w);
    if (!(fabs(product) > least_remainder * lengths))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "pair %zu of the subspace: what is read has no part along what is written, "
                        "beside the pairs before it",
                        j);
    for (size_t k = 0; k < d; k++) r[k] /= product;
    return CBE_OK;
}

cbe_status cbe_subspace_oblique(cbe_subspace **out, size_t m, size_t d, const double *read,
                                const double *write, cbe_error *err)
{
    cbe_subspace *s = NULL;
    cbe_status st = create(&s, m, d, err);
    if (st == CBE_OK) st = part(s, err);
    if (st == CBE_OK) {
        memcpy(s->read, read, m * d * sizeof *read);
        memcpy(s->write, write, m * d * sizeof *write);
    }
    for (size_t j = 0; j < m && st == CBE_OK; j++) st = make_dual(s, j, err);
    if (st == CBE_OK)
        *out = s;
    else
        cbe_subspace_free(s);
    return st;
}

cbe_status cbe_subspace_random(cbe_subspace **out, size_t m, size_t d, uint64_t seed,
                               cbe_error *err)
{
    cbe_subspace *s = NULL;
    const cbe_status st = create(&s, m, d, err);
    if (st != CBE_OK) return st;
    cbe_rng rng;
    cbe_rng_seed(&rng, seed);
    for (size_t i = 0; i < m * d; i++) s->read[i] = cbe_rng_normal(&rng);
    return finish(out, s, err);
}

/* Checks that the ablation defines D of n tokens. */
static cbe_status check(cbe_ablation ablation, size_t n, const int64_t *derangement, cbe_error *err)
{
    if (ablation != CBE_ABLATE_MEAN && ablation != CBE_ABLATE_RESAMPLE &&
        ablation != CBE_ABLATE_ZERO)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s ablation is not known for subspaces: use mean, resample or zero",
                        cbe_ablation_name(ablation));
    if (ablation != CBE_ABLATE_ZERO && n < 2)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s ablation needs at least 2 tokens, there %s %zu",
                        cbe_ablation_name(ablation), n == 1 ? "is" : "are", n);
    for (size_t i = 0; i < n && ablation == CBE_ABLATE_RESAMPLE; i++)
        if (derangement[i] < 0 || (uint64_t)derangement[i] >= n || (size_t)derangement[i] == i)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "derangement[%zu] = %lld: must be another of the %zu tokens", i,
                            (long long)derangement[i], n);
    return CBE_OK;
}

/* Computes the mean (d) of n tokens; zeros if the ablation has no mean. */
static void mean_of(cbe_ablation ablation, size_t n, size_t d, const float *hidden, double *mean)
{
    memset(mean, 0, d * sizeof *mean);
    if (ablation != CBE_ABLATE_MEAN) return;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < d; k++) mean[k] += (double)hidden[i * d + k];
    for (size_t k = 0; k < d; k++) mean[k] /= (double)n;
}

/* Computes D (d) of a token. */
static void delta_of(cbe_ablation ablation, size_t token, size_t d, const float *hidden,
                     const double *mean, const int64_t *derangement, double *delta)
{
    const float *h = hidden + token * d;
    for (size_t k = 0; k < d; k++) delta[k] = (double)h[k] - mean[k];
    if (ablation != CBE_ABLATE_RESAMPLE) return;
    const float *other = hidden + (size_t)derangement[token] * d;
    for (size_t k = 0; k < d; k++) delta[k] -= (double)other[k];
}

cbe_status cbe_subspace_principal(cbe_subspace **out, size_t m, size_t d, cbe_ablation ablation,
                                  size_t n_tokens, const float *hidden, const int64_t *derangement,
                                  cbe_error *err)
{
    cbe_subspace *s = NULL;
    cbe_status st = check(ablation, n_tokens, derangement, err);
    if (st == CBE_OK) st = create(&s, m, d, err);
    if (st != CBE_OK) return st;
    double *gram = cbe_alloc_zero(d, cbe_times(d, sizeof *gram, 1), "principal components", err);
    double *rows = cbe_alloc(GRAM_ROWS, cbe_times(d, sizeof *rows, 1), "principal components", err);
    double *mean = cbe_alloc(2 * d, sizeof *mean, "principal components", err);
    if (!gram || !rows || !mean) st = CBE_ERR_NOMEM;
    if (st == CBE_OK) {
        mean_of(ablation, n_tokens, d, hidden, mean);
        for (size_t first = 0; first < n_tokens; first += GRAM_ROWS) {
            const size_t n = cbe_min_size(GRAM_ROWS, n_tokens - first);
            for (size_t i = 0; i < n; i++)
                delta_of(ablation, first + i, d, hidden, mean, derangement, rows + i * d);
            cbe_gram_f64(d, n, rows, gram);
        }
        for (size_t i = 0; i < d && st == CBE_OK; i++) {
            if (!isfinite(gram[i * d + i]))
                st = cbe_fail(err, CBE_ERR_NUMERIC, -1,
                              "hidden states are not finite, or too large, at number %zu", i);
            for (size_t k = 0; k < i; k++) gram[i * d + k] = gram[k * d + i];
        }
        if (st == CBE_OK) st = cbe_eigen_symmetric(d, gram, mean + d, err);
    }
    if (st == CBE_OK) memcpy(s->read, gram, m * d * sizeof *gram);
    cbe_free(gram);
    cbe_free(rows);
    cbe_free(mean);
    if (st == CBE_OK) return finish(out, s, err);
    cbe_subspace_free(s);
    return st;
}

cbe_status cbe_subspace_coefficients(const cbe_subspace *s, cbe_ablation ablation, size_t n_tokens,
                                     const float *hidden, const int64_t *derangement, double *coeff,
                                     cbe_error *err)
{
    const size_t d = s->d, m = s->m;
    cbe_status st = check(ablation, n_tokens, derangement, err);
    if (st != CBE_OK) return st;
    double *mean = cbe_alloc(d, sizeof *mean, "mean hidden state", err);
    if (!mean) return CBE_ERR_NOMEM;
    mean_of(ablation, n_tokens, d, hidden, mean);
#pragma omp parallel for schedule(static)
    for (size_t n = 0; n < n_tokens; n++) {
        const float *h = hidden + n * d;
        const float *other =
            ablation == CBE_ABLATE_RESAMPLE ? hidden + (size_t)derangement[n] * d : NULL;
        for (size_t j = 0; j < m; j++) {
            const double *q = s->read + j * d;
            double sum = 0;
            for (size_t k = 0; k < d; k++)
                sum += ((double)h[k] - mean[k] - (other ? (double)other[k] : 0)) * q[k];
            coeff[n * m + j] = sum;
        }
    }
    cbe_free(mean);
    for (size_t i = 0; i < n_tokens * m; i++)
        if (!isfinite(coeff[i]))
            return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                            "the hidden state of token %zu, or the mean, is not finite", i / m);
    return CBE_OK;
}

void cbe_subspace_subtract(const cbe_subspace *s, size_t rank, size_t n_tokens, const double *coeff,
                           const float *hidden, float *out)
{
    enum { AT_ONCE = 64 }; /* numbers of a state whose sums are kept in double */
    const size_t d = s->d;
    for (size_t n = 0; n < n_tokens; n++)
        for (size_t first = 0; first < d; first += AT_ONCE) {
            const size_t width = cbe_min_size(AT_ONCE, d - first);
            double sum[AT_ONCE];
            for (size_t k = 0; k < width; k++) sum[k] = (double)hidden[n * d + first + k];
            for (size_t j = 0; j < rank; j++)
                for (size_t k = 0; k < width; k++)
                    sum[k] -= coeff[n * s->m + j] * s->write[j * d + first + k];
            for (size_t k = 0; k < width; k++) out[n * d + first + k] = (float)sum[k];
        }
}

cbe_status cbe_subspace_remove(const cbe_subspace *s, size_t rank, cbe_ablation ablation,
                               size_t n_tokens, const float *hidden, const int64_t *derangement,
                               float *out, cbe_error *err)
{
    const size_t d = s->d, m = s->m;
    if (rank > m)
        return cbe_fail(err, CBE_ERR_ARG, -1, "a subspace of %zu vectors has not the rank %zu", m,
                        rank);
    double *coeff =
        cbe_alloc(n_tokens, cbe_times(m, sizeof *coeff, 1), "coefficients of a subspace", err);
    if (!coeff) return CBE_ERR_NOMEM;
    const cbe_status st =
        cbe_subspace_coefficients(s, ablation, n_tokens, hidden, derangement, coeff, err);
    if (st == CBE_OK) {
#pragma omp parallel for schedule(static)
        for (size_t n = 0; n < n_tokens; n++)
            cbe_subspace_subtract(s, rank, 1, coeff + n * m, hidden + n * d, out + n * d);
    }
    cbe_free(coeff);
    return st;
}
