/* The search on an objective whose basis is known: E(v) = v'Mv, by the eigenvectors of M. */
#include "cbe/search.h"

#include <math.h>
#include <string.h>

#include "causal/objective.h"
#include "support/assert_close.h"
#include "support/random.h"

enum { D = 9 };

typedef struct {
    cbe_objective head;
    double values[D], axes[D * D]; /* rows orthonormal */
    bool nan_side;                 /* energies are NaN where the first coordinate is negative */
} quadratic;

static size_t n_tokens(const cbe_objective *self)
{
    (void)self;
    return 10;
}

static void set_sample(cbe_objective *self, size_t n)
{
    (void)self;
    (void)n;
}

static cbe_status eval(cbe_objective *self, size_t m, const double *v, double *energy, double *grad,
                       double *per_token, cbe_error *err)
{
    const quadratic *q = (const quadratic *)self;
    (void)per_token;
    (void)err;
    for (size_t j = 0; j < m; j++) {
        energy[j] = 0;
        if (grad) memset(grad + j * D, 0, D * sizeof *grad);
        for (size_t i = 0; i < D; i++) {
            double along = 0;
            for (size_t k = 0; k < D; k++) along += q->axes[i * D + k] * v[j * D + k];
            energy[j] += q->values[i] * along * along;
            for (size_t k = 0; k < D && grad; k++)
                grad[j * D + k] += 2 * q->values[i] * along * q->axes[i * D + k];
        }
        if (q->nan_side && v[j * D] < 0) energy[j] = NAN;
    }
    return CBE_OK;
}

static quadratic make(void)
{
    quadratic q = {{D, 4, eval, n_tokens, set_sample, NULL}, {0}, {0}, false};
    cbe_test_random r = {3};
    for (size_t i = 0; i < D; i++) {
        q.values[i] = (double)(D - i) * (double)(D - i);
        double *a = q.axes + i * D, norm = 0;
        for (size_t k = 0; k < D; k++) a[k] = cbe_test_normal(&r);
        for (int pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < i; j++) {
                double along = 0;
                for (size_t k = 0; k < D; k++) along += a[k] * q.axes[j * D + k];
                for (size_t k = 0; k < D; k++) a[k] -= along * q.axes[j * D + k];
            }
        for (size_t k = 0; k < D; k++) norm += a[k] * a[k];
        for (size_t k = 0; k < D; k++) a[k] /= sqrt(norm);
    }
    return q;
}

static cbe_error err;

static void assert_orthonormal(const cbe_basis *b)
{
    for (size_t i = 0; i < b->n_vectors; i++)
        for (size_t j = 0; j <= i; j++) {
            double dot = 0;
            const double want = i == j ? 1 : 0;
            for (size_t k = 0; k < D; k++) dot += b->vectors[i * D + k] * b->vectors[j * D + k];
            cbe_assert_close(&dot, &want, 1, 1e-12, 0, "vectors %zu and %zu", i, j);
        }
}

static void search__finds_the_eigenvectors_of_a_quadratic_form(void **state)
{
    (void)state;
    quadratic q = make();
    for (int preset = 0; preset < CBE_N_PRESETS; preset++) {
        cbe_search_options options;
        cbe_search_options_init(&options);
        options.preset = (cbe_preset)preset;
        cbe_basis b = {0};
        cbe_assert_ok(cbe_search_layer(&b, &q.head, &options, 0, NULL, NULL, NULL, &err), &err);
        assert_int_equal(b.n_vectors, D); /* 0 vectors asked for: all */
        assert_orthonormal(&b);
        for (size_t j = 0; j < D; j++)
            cbe_assert_close(&b.records[j].energy, &q.values[j], 1, 0, 1e-5, "%s, vector %zu",
                             cbe_preset_name((cbe_preset)preset), j);
        cbe_basis_free(&b);
    }
}

static void search__is_the_same_in_two_runs(void **state)
{
    (void)state;
    quadratic q = make();
    cbe_search_options options;
    cbe_search_options_init(&options);
    options.n_vectors = 3;
    cbe_basis a = {0}, b = {0};
    cbe_assert_ok(cbe_search_layer(&a, &q.head, &options, 0, NULL, NULL, NULL, &err), &err);
    cbe_assert_ok(cbe_search_layer(&b, &q.head, &options, 0, NULL, NULL, NULL, &err), &err);
    assert_memory_equal(a.vectors, b.vectors, 3 * D * sizeof(double));
    cbe_basis_free(&a);
    cbe_basis_free(&b);
}

static void search__survives_flat_and_broken_energies(void **state)
{
    (void)state;
    for (int broken = 0; broken < 2; broken++) {
        quadratic q = make();
        q.nan_side = broken;
        if (!broken) memset(q.values, 0, sizeof q.values);
        cbe_search_options options;
        cbe_search_options_init(&options);
        cbe_basis b = {0};
        cbe_assert_ok(cbe_search_layer(&b, &q.head, &options, 0, NULL, NULL, NULL, &err), &err);
        assert_int_equal(b.n_vectors, D);
        assert_orthonormal(&b);
        for (size_t j = 0; j < D; j++) assert_true(isfinite(b.records[j].energy));
        if (!broken)
            for (size_t j = 0; j < D; j++) assert_true(b.records[j].energy == 0);
        cbe_basis_free(&b);
    }
}

static bool cancel(void *context, size_t vector, size_t n_vectors, double energy, size_t evaluations)
{
    (void)context;
    (void)n_vectors;
    (void)energy;
    (void)evaluations;
    return vector < 2;
}

static void search__stops_at_the_limits_it_is_given(void **state)
{
    (void)state;
    quadratic q = make();
    cbe_search_options options;
    cbe_search_options_init(&options);
    cbe_basis b = {0};
    options.n_vectors = D + 1;
    assert_int_equal(cbe_search_layer(&b, &q.head, &options, 0, NULL, NULL, NULL, &err), CBE_ERR_ARG);
    options.n_vectors = D;
    options.min_energy = 40; /* 81, 64, 49, 36: the fourth is kept and ends the layer */
    cbe_assert_ok(cbe_search_layer(&b, &q.head, &options, 0, NULL, NULL, NULL, &err), &err);
    assert_int_equal(b.n_vectors, 4);
    assert_true(b.below_min_energy);
    cbe_basis_free(&b);
    assert_int_equal(cbe_search_layer(&b, &q.head, &options, 0, NULL, cancel, NULL, &err), CBE_ERR_CANCELLED);
    options.n_starts = 0;
    assert_int_equal(cbe_search_layer(&b, &q.head, &options, 0, NULL, NULL, NULL, &err), CBE_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search__finds_the_eigenvectors_of_a_quadratic_form),
        cmocka_unit_test(search__is_the_same_in_two_runs),
        cmocka_unit_test(search__survives_flat_and_broken_energies),
        cmocka_unit_test(search__stops_at_the_limits_it_is_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
