/*
 * covariance.c - see covariance.h.
 *
 * Two passes over the states: the mean, then products about it. Rows are taken in groups that begin
 * anew with each block, and the products of a group are made in bands of rows of Sigma, one thread
 * a band, so that neither threads nor processes change a bit. Only the upper triangle is added up.
 */
#include "covariance/covariance.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/arrays.h"
#include "core/fail.h"
#include "core/finite.h"
#include "core/pulse.h"
#include "core/sizes.h"
#include "math/eigen.h"
#include "math/gemm.h"
#include "math/long_sum.h"
#include "processes/long_sums.h"

enum {
    ROWS = 256, /* tokens whose products are made at once */
    BAND = 64,  /* rows of Sigma that a thread makes */
    N_ARRAYS = 3
};

/* What is added up over tokens. */
typedef struct {
    size_t hidden_size, n_threads;
    cbe_long_sum *sums; /* (d + d (d + 1) / 2): of states, then of products, row by row */
    double *rows;       /* (ROWS, d): states less the mean, or a block's sum in the first row */
    double *band;       /* (n_threads, BAND, d): products of a band */
} cov_sums;

static size_t triangle(size_t d)
{
    return cbe_times(d, d + 1, 1) == SIZE_MAX ? SIZE_MAX : cbe_times(d, d + 1, 1) / 2;
}

static void list_arrays(cov_sums *s, cbe_array list[N_ARRAYS])
{
    static const char what[] = "sums of the covariance";
    const size_t d = s->hidden_size, products = triangle(d);
    list[0] = (cbe_array){&s->sums, products > SIZE_MAX - d ? SIZE_MAX : products + d,
                          sizeof *s->sums, what};
    list[1] = (cbe_array){&s->rows, cbe_times(ROWS, d, 1), sizeof *s->rows, what};
    list[2] = (cbe_array){&s->band, cbe_times(s->n_threads, BAND, d), sizeof *s->band, what};
}

static void list_result(cbe_covariance *c, cbe_array list[N_ARRAYS])
{
    static const char what[] = "covariance";
    const size_t d = c->hidden_size;
    list[0] = (cbe_array){&c->mean, d, sizeof *c->mean, what};
    list[1] = (cbe_array){&c->values, d, sizeof *c->values, what};
    list[2] = (cbe_array){&c->components, cbe_times(d, d, 1), sizeof *c->components, what};
}

size_t cbe_covariance_bytes(size_t hidden_size)
{
    cov_sums sums = {.hidden_size = hidden_size, .n_threads = (size_t)omp_get_max_threads()};
    cbe_covariance result = {.hidden_size = hidden_size};
    cbe_array of_sums[N_ARRAYS], of_result[N_ARRAYS];
    list_arrays(&sums, of_sums);
    list_result(&result, of_result);
    /* LAPACK's dsyevd takes 2 d^2 + 6 d + 1 doubles and 5 d + 3 integers, once the sums are
     * freed. */
    const size_t lapack = cbe_times(cbe_times(2, hidden_size, 1) + 9, hidden_size + 1, 8),
                 adding = cbe_arrays_bytes(N_ARRAYS, of_sums, 0);
    return cbe_arrays_bytes(N_ARRAYS, of_result, cbe_max_size(lapack, adding));
}

void cbe_covariance_free(cbe_covariance *covariance)
{
    if (!covariance) return;
    cbe_array list[N_ARRAYS];
    list_result(covariance, list);
    cbe_arrays_free(N_ARRAYS, list);
    cbe_free(covariance);
}

static cbe_status check_finite(size_t d, size_t n_blocks, const cbe_covariance_block *blocks,
                               cbe_error *err)
{
    for (size_t b = 0; b < n_blocks; b++) {
        const size_t count = blocks[b].n * d;
        if (cbe_first_not_finite(blocks[b].rows, count) < count)
            return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                            "hidden states hold NaN or infinity: they have no covariance");
    }
    return CBE_OK;
}

static void add_states(cov_sums *s, const cbe_covariance_block *block)
{
    const size_t d = s->hidden_size;
    double *sum = s->rows;
    memset(sum, 0, d * sizeof *sum);
    for (size_t i = 0; i < block->n; i++)
        for (size_t k = 0; k < d; k++) sum[k] += (double)block->rows[i * d + k];
    for (size_t k = 0; k < d; k++) cbe_long_add(&s->sums[k], sum[k]);
}

/* Adds the products of n rows, which lie in s->rows, to rows first .. of the upper triangle. */
static void add_band(cov_sums *s, size_t n, size_t first, double *products)
{
    const size_t d = s->hidden_size, rows = cbe_min_size(BAND, d - first), width = d - first;
    cbe_gemm_f64(true, false, rows, width, n, 1, s->rows + first, d, s->rows + first, d, 0,
                 products, width);
    for (size_t i = 0; i < rows; i++) {
        const size_t row = first + i;
        cbe_long_sum *sums = s->sums + d + row * d - row * (row + 1) / 2;
        for (size_t j = row; j < d; j++) cbe_long_add(&sums[j], products[i * width + j - first]);
    }
}

static void add_products(cov_sums *s, const double *mean, const cbe_covariance_block *block)
{
    const size_t d = s->hidden_size, n_bands = (d + BAND - 1) / BAND;
    for (size_t first = 0; first < block->n; first += ROWS) {
        const size_t n = cbe_min_size(ROWS, block->n - first);
        const float *from = block->rows + first * d;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < d; k++) s->rows[i * d + k] = (double)from[i * d + k] - mean[k];
#pragma omp parallel for schedule(dynamic) num_threads((int)s->n_threads)
        for (size_t b = 0; b < n_bands; b++)
            add_band(s, n, b * BAND, s->band + (size_t)omp_get_thread_num() * BAND * d);
        cbe_pulse();
    }
}

/* Fills in the mean and, in `components`, the whole of Sigma. */
static cbe_status add_up(cbe_covariance *c, cov_sums *s, size_t n_blocks,
                         const cbe_covariance_block *blocks, const cbe_processes *processes,
                         cbe_error *err)
{
    const size_t d = c->hidden_size;
    size_t before, mine = 0;
    for (size_t b = 0; b < n_blocks; b++) mine += blocks[b].n;
    cbe_processes_place(processes, mine, &before, &c->n_tokens);
    if (c->n_tokens == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "there are no tokens to take a covariance of");
    const double n = (double)c->n_tokens;
    memset(s->sums, 0, (d + triangle(d)) * sizeof *s->sums);
    for (size_t b = 0; b < n_blocks; b++) add_states(s, &blocks[b]);
    cbe_processes_add_up(processes, d, s->sums);
    for (size_t k = 0; k < d; k++) c->mean[k] = cbe_long_value(&s->sums[k]) / n;
    for (size_t b = 0; b < n_blocks; b++) add_products(s, c->mean, &blocks[b]);
    cbe_processes_add_up(processes, triangle(d), s->sums + d);
    const cbe_long_sum *next = s->sums + d;
    for (size_t i = 0; i < d; i++)
        for (size_t j = i; j < d; j++, next++)
            c->components[i * d + j] = c->components[j * d + i] = cbe_long_value(next) / n;
    return CBE_OK;
}

/* Sigma, in `components`, makes way for its eigenvectors, whose signs are made those of their
 * largest entries. The first process finds them for all. */
static cbe_status decompose(cbe_covariance *c, const cbe_processes *processes, cbe_error *err)
{
    const size_t d = c->hidden_size;
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < d; i++) c->trace += c->components[i * d + i];
    if (cbe_processes_rank(processes) == 0) {
        cbe_gemm_enter(); /* LAPACK calls BLAS, whose bits may depend on its threads */
        st = cbe_eigen_symmetric(d, c->components, c->values, err);
        cbe_gemm_leave();
    }
    if ((st = cbe_processes_agree(processes, st, err)) != CBE_OK) return st;
    for (size_t i = 0; i < d; i++) {
        double *row = c->components + i * d;
        size_t top = 0;
        for (size_t k = 1; k < d; k++)
            if (fabs(row[k]) > fabs(row[top])) top = k;
        const double sign = row[top] < 0 ? -1 : 1;
        for (size_t k = 0; k < d; k++) row[k] *= sign;
        c->values[i] = fmax(c->values[i], 0);
    }
    cbe_processes_broadcast(processes, d * sizeof *c->values, c->values);
    cbe_processes_broadcast(processes, d * d * sizeof *c->components, c->components);
    return CBE_OK;
}

cbe_status cbe_covariance_create(cbe_covariance **out, size_t hidden_size, size_t n_blocks,
                                 const cbe_covariance_block *blocks, const cbe_processes *processes,
                                 cbe_error *err)
{
    cov_sums sums = {.hidden_size = hidden_size, .n_threads = (size_t)omp_get_max_threads()};
    cbe_array of_sums[N_ARRAYS], of_result[N_ARRAYS];
    list_arrays(&sums, of_sums);
    cbe_covariance *made = cbe_alloc_zero(1, sizeof *made, "covariance", err);
    cbe_status st = made ? CBE_OK : CBE_ERR_NOMEM;
    if (made) {
        made->hidden_size = hidden_size;
        list_result(made, of_result);
        st = cbe_arrays_allocate(N_ARRAYS, of_result, err);
    }
    if (st == CBE_OK) st = cbe_arrays_allocate(N_ARRAYS, of_sums, err);
    if (st == CBE_OK) st = check_finite(hidden_size, n_blocks, blocks, err);
    if ((st = cbe_processes_agree(processes, st, err)) != CBE_OK) goto done;
    cbe_gemm_enter();
    st = add_up(made, &sums, n_blocks, blocks, processes, err);
    cbe_gemm_leave();
    cbe_arrays_free(N_ARRAYS, of_sums);
    memset(&sums, 0, sizeof sums);
    if (st == CBE_OK) st = decompose(made, processes, err);
    if (st != CBE_OK) goto done;
    *out = made;
    made = NULL;
done:
    cbe_arrays_free(N_ARRAYS, of_sums);
    cbe_covariance_free(made);
    return st;
}

size_t cbe_covariance_rank(const cbe_covariance *c)
{
    const double least = (double)c->hidden_size * DBL_EPSILON * c->values[0];
    size_t rank = 0;
    while (rank < c->hidden_size && c->values[rank] > least) rank++;
    return rank;
}

/* What a root or a form multiplies the component of an eigenvector by. */
typedef enum { VALUE, INVERSE, ROOT, INVERSE_ROOT } cov_power;

static double factor(const cbe_covariance *c, double ridge, cov_power power, size_t i)
{
    const double value = c->values[i] + ridge * c->trace / (double)c->hidden_size;
    if (power == VALUE) return value;
    if (power == ROOT) return sqrt(value);
    if (!(value > 0)) return 0;
    return power == INVERSE ? 1 / value : 1 / sqrt(value);
}

static double dot(size_t n, const double *a, const double *b)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t k = 0; k < n; k++) sum += a[k] * b[k];
    return sum;
}

static double form(const cbe_covariance *c, double ridge, cov_power power, const double *v)
{
    const size_t d = c->hidden_size;
    double sum = 0;
    for (size_t i = 0; i < d; i++) {
        const double along = dot(d, c->components + i * d, v);
        sum += along * along * factor(c, ridge, power, i);
    }
    return sum;
}

double cbe_covariance_variance(const cbe_covariance *covariance, const double *v)
{
    return form(covariance, 0, VALUE, v);
}

double cbe_covariance_kappa(const cbe_covariance *covariance, double ridge, const double *v)
{
    return form(covariance, 0, VALUE, v) * form(covariance, ridge, INVERSE, v);
}

static void apply(const cbe_covariance *c, double ridge, cov_power power, const double *x,
                  double *out)
{
    const size_t d = c->hidden_size;
    memset(out, 0, d * sizeof *out);
    for (size_t i = 0; i < d; i++) {
        const double *e = c->components + i * d;
        const double along = dot(d, e, x) * factor(c, ridge, power, i);
        for (size_t k = 0; k < d; k++) out[k] += along * e[k];
    }
}

void cbe_covariance_root(const cbe_covariance *covariance, double ridge, const double *x,
                         double *out)
{
    apply(covariance, ridge, ROOT, x, out);
}

void cbe_covariance_inverse_root(const cbe_covariance *covariance, double ridge, const double *x,
                                 double *out)
{
    apply(covariance, ridge, INVERSE_ROOT, x, out);
}
