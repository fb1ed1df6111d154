/* Taking subspaces out of hidden states: PyTorch's values, the normal equations in float64, and
 * vectors that span too little. */
#include "ablate/subspace.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "ref/subspace_ref.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/random.h"

enum { N = 40, D = 24, M = 5 };

static cbe_error err;

static const cbe_ablation modes[] = {CBE_ABLATE_MEAN, CBE_ABLATE_RESAMPLE, CBE_ABLATE_ZERO};

/* Columns (d, m) as vectors (m, d). */
static double *transposed(const float *columns, size_t d, size_t m)
{
    double *v = malloc(m * d * sizeof *v);
    assert_non_null(v);
    for (size_t j = 0; j < m; j++)
        for (size_t k = 0; k < d; k++) v[j * d + k] = (double)columns[k * m + j];
    return v;
}

static void remove__matches_golden(void **state)
{
    (void)state;
    static const char *const names[] = {"Q", "A", "v"};
    char *path = cbe_golden_path("lens/remove_subspace.safetensors");
    cbe_safetensors *file = open_golden(path);
    size_t count, n;
    float *h = cbe_golden_floats(file, "h", &count);
    cbe_tensor perm;
    cbe_assert_ok(cbe_safetensors_get(file, "perm", &perm, &err), &err);
    int64_t *derangement = malloc(perm.n_bytes);
    assert_non_null(derangement);
    memcpy(derangement, perm.data, perm.n_bytes);
    n = perm.n_elements;
    const size_t d = count / n;
    assert_int_equal(d, D);
    float *got = malloc(count * sizeof *got);
    assert_non_null(got);
    for (size_t i = 0; i < 3; i++) {
        size_t size;
        float *columns = cbe_golden_floats(file, names[i], &size);
        const size_t m = size / d;
        double *v = transposed(columns, d, m);
        cbe_subspace *s = NULL;
        cbe_assert_ok(cbe_subspace_create(&s, m, d, v, &err), &err);
        assert_int_equal(cbe_subspace_rank(s), m);
        for (size_t mode = 0; mode < 3; mode++) {
            char name[32];
            snprintf(name, sizeof name, "%s.%s", names[i], cbe_ablation_name(modes[mode]));
            float *want = cbe_golden_floats(file, name, NULL);
            cbe_assert_ok(cbe_subspace_remove(s, m, modes[mode], n, h, derangement, got, &err),
                          &err);
            /* Both are float64 rounded to float32. */
            cbe_assert_close_f32(got, want, count, 1e-7, 2e-7, "%s", name);
            memcpy(got, h, count * sizeof *got);
            cbe_assert_ok(cbe_subspace_remove(s, m, modes[mode], n, got, derangement, got, &err),
                          &err); /* in place */
            cbe_assert_close_f32(got, want, count, 1e-7, 2e-7, "%s in place", name);
            free(want);
        }
        cbe_subspace_free(s);
        free(v);
        free(columns);
    }
    free(got);
    free(h);
    free(derangement);
    cbe_safetensors_close(file);
    free(path);
}

typedef struct {
    double vectors[M * D], hidden[N * D];
    float hidden32[N * D];
    int64_t derangement[N];
} problem;

/* Vectors of very different lengths, the last two of them nearly parallel. */
static void make(problem *p)
{
    cbe_test_random r = {7};
    for (size_t i = 0; i < M * D; i++)
        p->vectors[i] = cbe_test_normal(&r) * pow(10, (double)(i / D) - 2);
    for (size_t k = 0; k < D; k++)
        p->vectors[4 * D + k] = p->vectors[3 * D + k] + 1e-3 * p->vectors[4 * D + k];
    for (size_t i = 0; i < N * D; i++) {
        p->hidden32[i] = (float)(3 * cbe_test_normal(&r) + 2);
        p->hidden[i] = (double)p->hidden32[i];
    }
    for (size_t i = 0; i < N; i++) p->derangement[i] = (int64_t)((i * 7 + 9) % N);
    for (size_t i = 0; i < N; i++) assert_true((size_t)p->derangement[i] != i);
}

static void remove__matches_the_normal_equations_at_every_rank(void **state)
{
    (void)state;
    problem p;
    make(&p);
    cbe_subspace *s = NULL;
    double want[N * D];
    float got[N * D], one[N * D];
    cbe_assert_ok(cbe_subspace_create(&s, M, D, p.vectors, &err), &err);
    const double *q = cbe_subspace_basis(s);
    for (size_t i = 0; i < M * M; i++) {
        double dot = 0;
        const double unit = i / M == i % M;
        for (size_t k = 0; k < D; k++) dot += q[i / M * D + k] * q[i % M * D + k];
        cbe_assert_close(&dot, &unit, 1, 1e-14, 0, "product %zu", i);
    }
    const int threads = omp_get_max_threads();
    for (size_t mode = 0; mode < 3; mode++)
        for (size_t rank = 1; rank <= M; rank++) {
            cbe_subspace_ref(rank, D, p.vectors, p.vectors, modes[mode], N, p.hidden, p.derangement,
                             want);
            cbe_assert_ok(
                cbe_subspace_remove(s, rank, modes[mode], N, p.hidden32, p.derangement, got, &err),
                &err);
            for (size_t i = 0; i < N * D; i++) {
                const double x = (double)got[i];
                /* float32's rounding, and what the nearly parallel pair's normal equations lose */
                cbe_assert_close(&x, &want[i], 1, 2e-7, 1e-6, "mode %zu, rank %zu, number %zu",
                                 mode, rank, i);
            }
            omp_set_num_threads(1);
            cbe_assert_ok(
                cbe_subspace_remove(s, rank, modes[mode], N, p.hidden32, p.derangement, one, &err),
                &err);
            omp_set_num_threads(threads);
            assert_memory_equal(one, got, sizeof got);
        }
    cbe_assert_ok(cbe_subspace_remove(s, 0, CBE_ABLATE_ZERO, N, p.hidden32, NULL, got, &err), &err);
    assert_memory_equal(got, p.hidden32, sizeof got); /* rank 0: nothing */
    cbe_subspace_free(s);
}

/* What is read and written at angles of their own, at every rank; pairs that are dual stay. */
static void oblique__matches_the_normal_equations_at_every_rank(void **state)
{
    (void)state;
    problem p;
    make(&p);
    cbe_subspace *s = NULL;
    double write[M * D], want[N * D];
    float got[N * D];
    cbe_test_random r = {9};
    for (size_t i = 0; i < M * D; i++)
        write[i] = p.vectors[i] + pow(10, (double)(i / D) - 2) * cbe_test_normal(&r);
    cbe_assert_ok(cbe_subspace_oblique(&s, M, D, p.vectors, write, &err), &err);
    for (size_t mode = 0; mode < 3; mode++)
        for (size_t rank = 1; rank <= M; rank++) {
            cbe_subspace_ref(rank, D, p.vectors, write, modes[mode], N, p.hidden, p.derangement,
                             want);
            cbe_assert_ok(
                cbe_subspace_remove(s, rank, modes[mode], N, p.hidden32, p.derangement, got, &err),
                &err);
            for (size_t i = 0; i < N * D; i++) {
                const double x = (double)got[i];
                cbe_assert_close(&x, &want[i], 1, 1e-6, 1e-6, "mode %zu, rank %zu, number %zu",
                                 mode, rank, i);
            }
        }
    cbe_subspace_free(s);
}

static cbe_covariance *covariance_of(const problem *p)
{
    cbe_covariance *c = NULL;
    const cbe_covariance_block block = {N, p->hidden32};
    cbe_assert_ok(cbe_covariance_create(&c, D, 1, &block, NULL, &err), &err);
    return c;
}

/* S^-1 V is read, V is written. */
static void whitened__reads_the_inverse_of_the_covariance(void **state)
{
    (void)state;
    problem p;
    make(&p);
    const double ridge = 0.01;
    cbe_covariance *c = covariance_of(&p);
    const cbe_metric metric = {c, ridge, 1};
    double read[M * D], half[D], want[N * D];
    float got[N * D];
    for (size_t j = 0; j < M; j++) {
        cbe_covariance_inverse_root(c, ridge, p.vectors + j * D, half);
        cbe_covariance_inverse_root(c, ridge, half, read + j * D);
    }
    cbe_subspace *s = NULL;
    cbe_assert_ok(cbe_subspace_whitened(&s, M, D, p.vectors, &metric, &err), &err);
    for (size_t rank = 1; rank <= M; rank++) {
        cbe_subspace_ref(rank, D, read, p.vectors, CBE_ABLATE_MEAN, N, p.hidden, NULL, want);
        cbe_assert_ok(cbe_subspace_remove(s, rank, CBE_ABLATE_MEAN, N, p.hidden32, NULL, got, &err),
                      &err);
        for (size_t i = 0; i < N * D; i++) {
            const double x = (double)got[i];
            cbe_assert_close(&x, &want[i], 1, 1e-6, 1e-6, "rank %zu, number %zu", rank, i);
        }
    }
    cbe_subspace_free(s);
    cbe_covariance_free(c);
}

/* Mean square of P D for mean ablation. */
static double removed(const cbe_subspace *s, size_t rank, const problem *p)
{
    float got[N * D];
    double sum = 0;
    cbe_assert_ok(cbe_subspace_remove(s, rank, CBE_ABLATE_MEAN, N, p->hidden32, NULL, got, &err),
                  &err);
    for (size_t i = 0; i < N * D; i++) sum += pow((double)got[i] - p->hidden[i], 2) / N;
    return sum;
}

static void principal__components_remove_most(void **state)
{
    (void)state;
    problem p;
    make(&p);
    cbe_subspace *principal = NULL, *whole = NULL, *random = NULL;
    for (size_t i = 0; i < N; i++) /* along one direction there is more than anywhere else */
        for (size_t k = 0; k < D; k++) {
            p.hidden32[i * D + k] += 30 * (float)(sin(5.0 * (double)i) * p.vectors[2 * D + k]);
            p.hidden[i * D + k] = (double)p.hidden32[i * D + k];
        }
    cbe_assert_ok(
        cbe_subspace_principal(&principal, M, D, CBE_ABLATE_MEAN, N, p.hidden32, NULL, &err), &err);
    double along = 0, length = 0;
    for (size_t k = 0; k < D; k++) {
        along += p.vectors[2 * D + k] * cbe_subspace_basis(principal)[k];
        length += p.vectors[2 * D + k] * p.vectors[2 * D + k];
    }
    assert_true(along * along > 0.999 * length);
    for (uint64_t seed = 0; seed < 5; seed++) {
        cbe_assert_ok(cbe_subspace_random(&random, M, D, seed, &err), &err);
        for (size_t rank = 1; rank <= M; rank++)
            assert_true(removed(random, rank, &p) < removed(principal, rank, &p));
        cbe_subspace_free(random);
    }
    /* All of them take away everything. */
    cbe_assert_ok(cbe_subspace_principal(&whole, D, D, CBE_ABLATE_ZERO, N, p.hidden32, NULL, &err),
                  &err);
    float got[N * D];
    cbe_assert_ok(cbe_subspace_remove(whole, D, CBE_ABLATE_ZERO, N, p.hidden32, NULL, got, &err),
                  &err);
    for (size_t i = 0; i < N * D; i++) assert_true(fabs((double)got[i]) < 1e-11);
    cbe_subspace_free(whole);
    cbe_subspace_free(principal);
    cbe_assert_ok(cbe_subspace_principal(&principal, 1, D, CBE_ABLATE_RESAMPLE, N, p.hidden32,
                                         p.derangement, &err),
                  &err);
    cbe_subspace_free(principal);
}

static void random__follows_the_seed(void **state)
{
    (void)state;
    cbe_subspace *s[3];
    for (uint64_t i = 0; i < 3; i++)
        cbe_assert_ok(cbe_subspace_random(&s[i], M, D, i / 2, &err), &err);
    assert_memory_equal(cbe_subspace_basis(s[0]), cbe_subspace_basis(s[1]), M * D * sizeof(double));
    assert_memory_not_equal(cbe_subspace_basis(s[0]), cbe_subspace_basis(s[2]),
                            M * D * sizeof(double));
    for (int i = 0; i < 3; i++) cbe_subspace_free(s[i]);
}

static void expect(cbe_status got, cbe_status want, const char *words)
{
    if (got != want || !strstr(err.message, words))
        fail_msg("status %d, '%s' lacks '%s'", got, err.message, words);
}

static void bad_vectors__are_named(void **state)
{
    (void)state;
    problem p;
    make(&p);
    cbe_subspace *s = NULL;
    expect(cbe_subspace_create(&s, 0, D, p.vectors, &err), CBE_ERR_ARG, "0 vectors");
    expect(cbe_subspace_create(&s, D + 1, D, p.vectors, &err), CBE_ERR_ARG,
           "25 vectors cannot be independent in 24");
    memset(p.vectors + D, 0, D * sizeof *p.vectors);
    expect(cbe_subspace_create(&s, M, D, p.vectors, &err), CBE_ERR_ARG,
           "vector 1 of the subspace is 0");
    make(&p);
    for (size_t k = 0; k < D; k++) /* as near as float32 comes */
        p.vectors[3 * D + k] = (double)(float)(2 * p.vectors[k] - 0.5 * p.vectors[2 * D + k]);
    expect(cbe_subspace_create(&s, M, D, p.vectors, &err), CBE_ERR_ARG,
           "vector 3 of the subspace is a combination");
    make(&p);
    p.vectors[2 * D + 5] = INFINITY;
    expect(cbe_subspace_create(&s, M, D, p.vectors, &err), CBE_ERR_NUMERIC,
           "vector 2 of the subspace has NaN");
    p.vectors[2 * D + 5] = NAN;
    expect(cbe_subspace_create(&s, M, D, p.vectors, &err), CBE_ERR_NUMERIC,
           "vector 2 of the subspace has NaN");
    double write[M * D];
    make(&p);
    memcpy(write, p.vectors, sizeof write);
    memcpy(write + 2 * D, write + D, D * sizeof *write);
    expect(cbe_subspace_oblique(&s, M, D, p.vectors, write, &err), CBE_ERR_ARG,
           "pair 2 of the subspace: what is read has no part along what is written");
    write[3] = NAN;
    expect(cbe_subspace_oblique(&s, M, D, p.vectors, write, &err), CBE_ERR_NUMERIC,
           "pair 0 of the subspace has NaN");
    expect(cbe_subspace_oblique(&s, D + 1, D, p.vectors, write, &err), CBE_ERR_ARG, "25 vectors");
    assert_null(s);
    for (int sign = 0; sign < 2; sign++) { /* but length is none of its business */
        make(&p);
        for (size_t k = 0; k < M * D; k++) p.vectors[k] *= sign ? 1e250 : 1e-250;
        cbe_assert_ok(cbe_subspace_create(&s, M, D, p.vectors, &err), &err);
        cbe_subspace_free(s);
        s = NULL;
    }
}

static void bad_tokens__are_named(void **state)
{
    (void)state;
    problem p;
    make(&p);
    cbe_subspace *s = NULL;
    float out[N * D] = {0};
    const float untouched[N * D] = {0};
    cbe_assert_ok(cbe_subspace_create(&s, M, D, p.vectors, &err), &err);
    expect(cbe_subspace_remove(s, M + 1, CBE_ABLATE_ZERO, N, p.hidden32, NULL, out, &err),
           CBE_ERR_ARG, "not the rank 6");
    expect(cbe_subspace_remove(s, M, CBE_ABLATE_OPTIMAL, N, p.hidden32, NULL, out, &err),
           CBE_ERR_UNSUPPORTED, "optimal");
    expect(cbe_subspace_remove(s, M, CBE_ABLATE_MEAN, 1, p.hidden32, NULL, out, &err), CBE_ERR_ARG,
           "at least 2 tokens");
    p.derangement[3] = 3;
    expect(cbe_subspace_remove(s, M, CBE_ABLATE_RESAMPLE, N, p.hidden32, p.derangement, out, &err),
           CBE_ERR_ARG, "derangement[3] = 3");
    p.derangement[3] = N;
    expect(cbe_subspace_remove(s, M, CBE_ABLATE_RESAMPLE, N, p.hidden32, p.derangement, out, &err),
           CBE_ERR_ARG, "derangement[3] = 40");
    p.hidden32[11 * D + 1] = NAN;
    expect(cbe_subspace_remove(s, M, CBE_ABLATE_ZERO, N, p.hidden32, NULL, out, &err),
           CBE_ERR_NUMERIC, "token 11");
    expect(cbe_subspace_principal(&s, M, D, CBE_ABLATE_ZERO, N, p.hidden32, NULL, &err),
           CBE_ERR_NUMERIC, "not finite");
    assert_memory_equal(out, untouched, sizeof out);
    cbe_subspace_free(s);
}

static void subspace__survives_every_failed_allocation(void **state)
{
    (void)state;
    problem p;
    make(&p);
    size_t failures = 0;
    float out[N * D];
    cbe_covariance *c = covariance_of(&p);
    const cbe_metric metric = {c, 0.01, 1};
    for (cbe_status st = CBE_ERR_NOMEM; st != CBE_OK; failures++) {
        cbe_subspace *s = NULL, *principal = NULL, *pairs = NULL, *whitened = NULL;
        cbe_memory_fail_after((long)failures);
        st = cbe_subspace_create(&s, M, D, p.vectors, &err);
        if (st == CBE_OK)
            st = cbe_subspace_principal(&principal, M, D, CBE_ABLATE_MEAN, N, p.hidden32, NULL,
                                        &err);
        if (st == CBE_OK)
            st = cbe_subspace_remove(s, M, CBE_ABLATE_MEAN, N, p.hidden32, NULL, out, &err);
        if (st == CBE_OK) st = cbe_subspace_oblique(&pairs, M, D, p.vectors, p.vectors, &err);
        if (st == CBE_OK) st = cbe_subspace_whitened(&whitened, M, D, p.vectors, &metric, &err);
        cbe_memory_fail_after(-1);
        cbe_subspace_free(s);
        cbe_subspace_free(principal);
        cbe_subspace_free(pairs);
        cbe_subspace_free(whitened);
        assert_true(failures < 50 && (st == CBE_OK || st == CBE_ERR_NOMEM));
    }
    assert_true(failures > 15);
    cbe_covariance_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remove__matches_golden),
        cmocka_unit_test(remove__matches_the_normal_equations_at_every_rank),
        cmocka_unit_test(oblique__matches_the_normal_equations_at_every_rank),
        cmocka_unit_test(whitened__reads_the_inverse_of_the_covariance),
        cmocka_unit_test(principal__components_remove_most),
        cmocka_unit_test(random__follows_the_seed),
        cmocka_unit_test(bad_vectors__are_named),
        cmocka_unit_test(bad_tokens__are_named),
        cmocka_unit_test(subspace__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
