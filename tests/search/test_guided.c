/* The guided search on a problem whose best vectors are known, with a guide that sees it through
 * noise. */
#include "support/assert_close.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "objective/calls.h"
#include "search/guide.h"
#include "search/search.h"
#include "support/random.h"

enum { D = 24, M = 12, SEQUENCES = 8, ROWS = 16, DRAWS = 4, K = 5 };

static cbe_error err;

/* Removing orthonormal V costs sum_i value_i |V a_i|^4 nats, a_i the first axes of the space: the
 * best r vectors together are the first r axes. */
typedef struct {
    cbe_objective head;
    double values[D];
    size_t evaluations, parts;
    bool parts_seen[64];
    bool broken; /* energies are not finite */
} known;

static cbe_status eval_together(cbe_objective *self, size_t n, const double *v, double *energy,
                                double *grad, cbe_error *error)
{
    (void)error;
    known *q = (known *)self;
    q->evaluations++;
    *energy = q->broken ? NAN : 0;
    for (size_t i = 0; i < D; i++) {
        double square = 0;
        for (size_t j = 0; j < n; j++) square += v[j * D + i] * v[j * D + i];
        *energy += q->values[i] * square * square;
        for (size_t j = 0; j < n && grad; j++)
            grad[j * D + i] = q->broken ? NAN : 4 * q->values[i] * square * v[j * D + i];
    }
    return CBE_OK;
}

static cbe_status eval(cbe_objective *self, size_t m, const double *v, double *energy, double *grad,
                       double *per_token, cbe_error *error)
{
    (void)per_token;
    for (size_t j = 0; j < m; j++)
        eval_together(self, 1, v + j * D, energy + j, grad ? grad + j * D : NULL, error);
    return CBE_OK;
}

static size_t n_tokens(const cbe_objective *self)
{
    (void)self;
    return 4096;
}

static size_t n_parts(const cbe_objective *self, size_t n)
{
    (void)self;
    return n ? 4096 / n : 1;
}

static void set_sample(cbe_objective *self, size_t n, size_t part)
{
    if (n) ((known *)self)->parts_seen[part % n_parts(self, n)] = true;
}

static known make(void)
{
    known q = {.head = {.hidden_size = D,
                        .max_batch = 4,
                        .divergence = true,
                        .eval = eval,
                        .n_tokens = n_tokens,
                        .set_sample = set_sample,
                        .n_parts = n_parts,
                        .eval_together = eval_together}};
    for (size_t i = 0; i < D; i++) q.values[i] = 2.0 / (double)(1 + i);
    return q;
}

/* Tokens move along one axis each, and their gradients point along it, with noise in all. */
static cbe_search_guide make_guide(const known *q, double *rows)
{
    static float hidden[SEQUENCES * ROWS * D], grad[SEQUENCES * ROWS * D];
    cbe_test_random r = {11};
    cbe_search_guide guide = {.m = M, .rows = rows};
    memset(rows, 0, M * D * sizeof *rows);
    for (size_t i = 0; i < M; i++) rows[i * D + i] = 1;
    const cbe_apart_options options = {.hidden_size = D,
                                       .m = M,
                                       .context_length = ROWS,
                                       .n_sequences = SEQUENCES,
                                       .all_sequences = SEQUENCES,
                                       .n_draws = DRAWS,
                                       .max_batch = CBE_GUIDE_BATCH};
    cbe_assert_ok(cbe_apart_create(&guide.apart, &options, rows, rows, &err), &err);
    for (size_t draw = 0; draw < DRAWS; draw++) {
        for (size_t n = 0; n < SEQUENCES * ROWS; n++)
            for (size_t k = 0; k < D; k++) {
                const double size = k == n % M ? pow(q->values[k], 0.25) : 0;
                if (draw == 0) hidden[n * D + k] = (float)(3 * size + 0.1 * cbe_test_normal(&r));
                grad[n * D + k] = (float)(3 * size + 0.1 * cbe_test_normal(&r));
            }
        const cbe_sampled_gradients g = {draw, 0, 0, SEQUENCES, hidden, grad};
        cbe_apart_add(guide.apart, &g);
    }
    return guide;
}

static cbe_status search(cbe_basis *out, known *q, const cbe_search_guide *guide, size_t k,
                         const cbe_start_list *given)
{
    cbe_search_options options;
    cbe_search_options_init(&options);
    options.n_vectors = k;
    options.guide = guide;
    options.sample = 256;
    options.evaluation_cost = 1;
    return cbe_search_layer(out, &q->head, &options, given, NULL, NULL, &err);
}

static void assert_orthonormal(const cbe_basis *b)
{
    for (size_t i = 0; i < b->n_vectors; i++)
        for (size_t j = 0; j <= i; j++) {
            double dot = 0;
            const double want = i == j;
            for (size_t k = 0; k < D; k++) dot += b->vectors[i * D + k] * b->vectors[j * D + k];
            cbe_assert_close(&dot, &want, 1, 1e-12, 0, "vectors %zu and %zu", i, j);
        }
}

static void guided__finds_what_matters_together(void **state)
{
    (void)state;
    known q = make();
    double rows[M * D];
    cbe_search_guide guide = make_guide(&q, rows);
    cbe_basis b;
    cbe_assert_ok(search(&b, &q, &guide, K, NULL), &err);
    assert_int_equal(b.n_vectors, K);
    assert_true(b.estimated);
    assert_orthonormal(&b);
    for (size_t j = 0; j < K; j++) {
        const double cosine = fabs(b.vectors[j * D + j]), one = 1;
        cbe_assert_close(&cosine, &one, 1, 1e-3, 0, "vector %zu", j);
        assert_true(isnan(b.records[j].energy));
    }
    assert_int_equal(q.evaluations, 16 * 4); /* rounds; 2, 4, 5 and 5 vectors */
    size_t evaluations = 0, parts = 0;
    for (size_t j = 0; j < K; j++) evaluations += b.records[j].sample_evaluations;
    for (size_t i = 0; i < 64; i++) parts += q.parts_seen[i];
    assert_int_equal(evaluations, q.evaluations);
    assert_int_equal(parts, 16); /* of 4,096 tokens, 256 each */
    cbe_basis_free(&b);
    cbe_apart_free(guide.apart);
}

/* More vectors than the guide has dimensions; a direction of the caller; a broken objective; too
 * little memory anywhere. */
static void guided__goes_on_where_the_guide_ends(void **state)
{
    (void)state;
    known q = make();
    double rows[M * D], own[D] = {0};
    cbe_search_guide guide = make_guide(&q, rows);
    cbe_basis b;
    cbe_assert_ok(search(&b, &q, &guide, D, NULL), &err);
    assert_int_equal(b.n_vectors, D);
    assert_orthonormal(&b);
    cbe_basis_free(&b);
    own[D - 1] = 2;
    const cbe_start_kind kind = CBE_FROM_GIVEN;
    const cbe_start_list given = {1, own, &kind};
    cbe_assert_ok(search(&b, &q, &guide, 2, &given), &err);
    assert_int_equal(b.records[0].start, CBE_FROM_GIVEN);
    cbe_basis_free(&b);
    q.broken = true;
    cbe_assert_ok(search(&b, &q, &guide, K, NULL), &err);
    assert_orthonormal(&b);
    cbe_basis_free(&b);
    q.broken = false;
    for (long i = 0;; i++) {
        cbe_memory_fail_after(i);
        const cbe_status st = search(&b, &q, &guide, K, NULL);
        cbe_memory_fail_after(-1);
        if (st == CBE_OK) break;
        assert_int_equal(st, CBE_ERR_NOMEM);
    }
    cbe_basis_free(&b);
    cbe_apart_free(guide.apart);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guided__finds_what_matters_together),
        cmocka_unit_test(guided__goes_on_where_the_guide_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
