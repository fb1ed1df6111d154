/* Every instruction set's kernels against the plain twin, at every tail length. */
#include "math/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"

enum { LONGEST = 2 * CBE_SUM_BLOCK + 70 };

static float z[LONGEST], u[LONGEST], offset[LONGEST], got[LONGEST], want[LONGEST], got2[LONGEST],
    want2[LONGEST];

/* Numbers in [-scale, scale] from a fixed sequence. */
static unsigned long long sequence = 1;
static float next(float scale)
{
    sequence = sequence * 6364136223846793005ull + 1442695040888963407ull;
    return scale * ((float)(sequence >> 40) / 8388608.0f - 1.0f);
}

static void fill(float logit_scale)
{
    sequence = 1;
    for (size_t i = 0; i < LONGEST; i++) {
        z[i] = next(logit_scale);
        u[i] = next(1);
        offset[i] = next(2);
    }
}

static const cbe_kernels *reference(void)
{
    return cbe_kernels_choose("ref");
}

/* Lengths: all short ones, and some around the summation block. */
static size_t next_length(size_t n)
{
    if (n < 70) return n + 1;
    return n < LONGEST ? n + 997 < LONGEST ? n + 997 : LONGEST : 0;
}

static void row_sum__every_impl_matches_ref_at_every_tail(void **state)
{
    (void)state;
    fill(20);
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t n = 1; n; n = next_length(n))
            for (int with = 0; with < 8; with++) { /* offset, level, clamping */
                const float *o = with & 1 ? offset : NULL, level = !(with & 2) ? 0
                                                                   : with & 4  ? 31
                                                                               : 0.25f;
                const double r = reference()->row_sum(n, z, u, o, 1.3f, 0.54f, level, with & 4);
                const double s = impl->row_sum(n, z, u, o, 1.3f, 0.54f, level, with & 4);
                /* t up to 30: its rounding, 2^-20, and the polynomial's, in each term */
                cbe_assert_close(&s, &r, 1, 0, 3e-6, "%s, %zu entries", impl->name, n);
            }
    }
}

static void row_exp__every_impl_matches_ref_at_every_tail(void **state)
{
    (void)state;
    fill(20);
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t n = 1; n; n = next_length(n))
            for (int with = 0; with < 8; with++) {
                const float *o = with & 1 ? offset : NULL, level = !(with & 2) ? 0
                                                                   : with & 4  ? 31
                                                                               : 0.25f;
                const cbe_row_sums r =
                    reference()->row_exp(n, z, u, o, 1.3f, 0.54f, level, with & 4, want);
                const cbe_row_sums s = impl->row_exp(n, z, u, o, 1.3f, 0.54f, level, with & 4, got);
                cbe_assert_close(&s.e, &r.e, 1, 0, 3e-6, "%s, %zu entries", impl->name, n);
                cbe_assert_close(&s.ey, &r.ey, 1, 6e-5 * r.e, 0, "%s, %zu entries", impl->name, n);
                cbe_assert_close(&s.eu, &r.eu, 1, 3e-6 * r.e, 0, "%s, %zu entries", impl->name, n);
                cbe_assert_close_f32(got, want, n, 0, 4e-6, "%s, %zu entries", impl->name, n);
            }
    }
}

/* Sums and exponentials of each row are those of row_exp to the bit; what e held has gone to g, as
 * accumulate does it. */
static void rows_exp__is_row_exp_and_adds_up_what_was_there(void **state)
{
    (void)state;
    static float e0[LONGEST], e1[LONGEST], g[LONGEST], single[LONGEST];
    const float w[] = {0.5f, -1.25f};
    const float *const e[] = {e0, e1};
    fill(20);
    for (size_t i = 0; i < LONGEST; i++) want2[i] = next(20);
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t n = 1; n; n = next_length(n))
            /* offset, no clamping, something to add up, levels, one row only */
            for (int with = 0; with < 32; with++) {
                const float *o = with & 1 ? offset : NULL;
                const size_t rows = with & 16 ? 1 : 2;
                const bool bounded = with & 2;
                const cbe_exp_row row[] = {{z, 1.3f, 0.54f, with & 8 ? 31 : 0, bounded, e0},
                                           {want2, 0.8f, -0.2f, with & 8 ? 7 : 0, true, e1}};
                for (size_t i = 0; i < LONGEST; i++) {
                    e0[i] = with & 4 ? next(1) : NAN, e1[i] = with & 4 ? next(1) : NAN;
                    g[i] = want[i] = got[i] = next(1);
                }
                if (with & 4) reference()->accumulate(n, rows, e, w, 0, want);
                if (with & 4) impl->accumulate(n, rows, e, w, 0, got);
                cbe_row_sums sums[2];
                impl->rows_exp(rows, n, row, u, o, with & 4 ? w : NULL, g, sums);
                cbe_assert_close_f32(g, want, LONGEST, 1e-6, 2e-7, "%s g, %zu entries", impl->name,
                                     n);
                assert_memory_equal(g, got, LONGEST * sizeof *g);
                for (size_t r = 0; r < rows; r++) {
                    const cbe_row_sums s = impl->row_exp(n, row[r].z, u, o, row[r].a, row[r].c,
                                                         row[r].level, row[r].bounded, single);
                    assert_true(s.e == sums[r].e && s.ey == sums[r].ey && s.eu == sums[r].eu);
                    assert_memory_equal(e[r], single, n * sizeof *single);
                }
            }
    }
}

static void row_sum__is_accurate_to_the_polynomial_for_small_exponents(void **state)
{
    (void)state;
    for (size_t i = 0; i < LONGEST; i++) z[i] = -(float)i / LONGEST, u[i] = 0;
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t i = 0; i < LONGEST; i++) {
            const double r = exp2((double)z[i]),
                         s = impl->row_sum(1, z + i, u, NULL, 1, 0, 0, true);
            /* minimax error 2e-8, two roundings of 6e-8 */
            cbe_assert_close(&s, &r, 1, 0, 1.5e-7, "%s, 2^%g", impl->name, (double)z[i]);
        }
    }
}

static void row_max__every_impl_finds_the_largest_exponent(void **state)
{
    (void)state;
    fill(20);
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t n = 1; n; n = next_length(n))
            for (int with = 0; with < 2; with++) {
                const float *o = with ? offset : NULL;
                const double r = reference()->row_max(n, z, u, o, 1.3f, 0.54f);
                const double s = impl->row_max(n, z, u, o, 1.3f, 0.54f);
                cbe_assert_close(&s, &r, 1, 4e-6, 0, "%s, %zu entries", impl->name, n);
            }
    }
}

static void row_sum__lets_out_of_range_rows_be_seen(void **state)
{
    (void)state;
    const float zero = 0, large = 500, small = -500, not_a_number = NAN;
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        assert_true(impl->row_sum(1, &large, &zero, NULL, 1, 0, 0, false) > 1e38);
        assert_true(impl->row_sum(1, &small, &zero, NULL, 1, 0, 0, false) < 1e-30);
        assert_true(isnan(impl->row_sum(1, &not_a_number, &zero, NULL, 1, 0, 0, false)));
    }
}

static void range__is_the_smallest_and_the_largest(void **state)
{
    (void)state;
    fill(20);
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t n = 1; n; n = next_length(n)) {
            float low, high, want_low, want_high;
            impl->range(n, z, &low, &high);
            reference()->range(n, z, &want_low, &want_high);
            assert_true(low == want_low && high == want_high);
        }
    }
}

static void half__every_impl_rounds_alike(void **state)
{
    (void)state;
    static uint16_t half[LONGEST], want_half[LONGEST];
    fill(1);
    /* below half precision to above it */
    for (size_t i = 0; i < LONGEST; i++) z[i] = ldexpf(z[i], (int)(i % 50) - 30);
    z[3] = 0, z[5] = 65519, z[6] = -1e9f, z[7] = 0x1.002p0f, z[8] = 0x1.006p0f, z[9] = 0x1p-25f;
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t n = 1; n; n = next_length(n)) {
            impl->to_half(n, z, 0.75f, half);
            reference()->to_half(n, z, 0.75f, want_half);
            for (size_t i = 0; i < n; i++)
                if ((half[i] & 0x7fff) | (want_half[i] & 0x7fff))
                    assert_int_equal(half[i], want_half[i]);
            impl->from_half(n, want_half, 3, got);
            reference()->from_half(n, want_half, 3, want);
            for (size_t i = 0; i < n; i++) {
                const double x = (double)(z[i] * 0.75f), limit = fmax(fabs(x) / 2048, 0x1p-25);
                assert_true(got[i] == want[i]);
                if (fabs(x) < 65504) assert_true(fabs((double)got[i] / 3 - x) <= limit * 1.000001);
            }
            impl->subtract(n, got, 0.3);
            reference()->subtract(n, want, 0.3);
            assert_memory_equal(got, want, n * sizeof *got);
        }
    }
}

static void accumulate__every_impl_matches_ref_for_every_row_count(void **state)
{
    (void)state;
    fill(1);
    const float w[] = {0.5f, -1.25f, 2, 0.75f};
    const float *rows[] = {z, u, offset, want2};
    for (size_t i = 0; i < LONGEST; i++) want2[i] = next(1);
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t n = 1; n < 70; n++)
            for (size_t r = 1; r <= CBE_ROW_GROUP; r++)
                for (int first = 0; first < 2; first++) {
                    for (size_t i = 0; i < n; i++) got[i] = want[i] = (float)i;
                    impl->accumulate(n, r, rows, w, first, got);
                    reference()->accumulate(n, r, rows, w, first, want);
                    cbe_assert_close_f32(got, want, n, 1e-6, 2e-7, "%s, %zu of %zu", impl->name, r,
                                         n);
                }
    }
}

static void row_cap__every_impl_matches_ref(void **state)
{
    (void)state;
    fill(30);
    const cbe_cap_row row = {0.5, 7, 0.6, 1.3, 6.5, 6};
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t n = 1; n; n = next_length(n)) {
            const cbe_cap_sums r = reference()->row_cap(n, z, z, u, offset, &row, want, want2);
            const cbe_cap_sums s = impl->row_cap(n, z, z, u, offset, &row, got, got2);
            const double tolerance = 3e-6 * (r.e + 1);
            cbe_assert_close(&s.e, &r.e, 1, 0, 2e-6, "%s, %zu", impl->name, n);
            cbe_assert_close(&s.efy, &r.efy, 1, 30 * tolerance, 0, "%s, %zu", impl->name, n);
            cbe_assert_close(&s.efu, &r.efu, 1, tolerance, 0, "%s, %zu", impl->name, n);
            cbe_assert_close(&s.pfy, &r.pfy, 1, 30 * tolerance, 0, "%s, %zu", impl->name, n);
            cbe_assert_close(&s.pfu, &r.pfu, 1, tolerance, 0, "%s, %zu", impl->name, n);
            cbe_assert_close(&s.p_change, &r.p_change, 1, tolerance, 0, "%s, %zu", impl->name, n);
            cbe_assert_close_f32(got, want, n, 1e-6, 3e-6, "%s ef, %zu", impl->name, n);
            cbe_assert_close_f32(got2, want2, n, 1e-6, 3e-6, "%s pf, %zu", impl->name, n);
        }
    }
}

/* Small integers: every order of summation gives the same bits. */
static void rows_products__are_exact_on_small_integers(void **state)
{
    (void)state;
    enum { N = 71, D = 149, M = 9, LD = 151 };
    static float w[N * LD], a[M * D], coeff[M * N], dot[M * N], dot_want[M * N];
    static double a64[M * D], coeff64[M * N], sum[M * D], sum_want[M * D], dot64[M * N];
    sequence = 5;
    for (size_t i = 0; i < N * LD; i++) w[i] = roundf(next(8));
    for (size_t i = 0; i < M * D; i++) a64[i] = (double)(a[i] = roundf(next(8)));
    for (size_t i = 0; i < M * N; i++) coeff64[i] = (double)(coeff[i] = roundf(next(8)));
    const float *rows[N];
    for (size_t i = 0; i < N; i++) rows[i] = w + i * LD;
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t m = 1; m <= M; m++)
            for (size_t n = 1; n <= N; n++) {
                reference()->rows_dot(n, D, w, LD, m, a, dot_want, N);
                impl->rows_dot(n, D, w, LD, m, a, dot, N);
                impl->rows_dot_f64(n, D, rows, m, a64, dot64, N);
                for (size_t j = 0; j < m; j++)
                    for (size_t i = 0; i < n; i++) {
                        assert_true(dot[j * N + i] == dot_want[j * N + i]);
                        assert_true(dot64[j * N + i] == (double)dot_want[j * N + i]);
                    }
                for (size_t i = 0; i < M * D; i++) sum[i] = sum_want[i] = (double)i;
                reference()->rows_sum(n, D, w, LD, m, coeff, N, sum_want);
                impl->rows_sum(n, D, w, LD, m, coeff, N, sum);
                cbe_assert_close(sum, sum_want, M * D, 0, 0, "%s rows_sum %zu", impl->name, n);
                for (size_t i = 0; i < M * D; i++) sum[i] = (double)i;
                impl->rows_sum_f64(n, D, rows, m, coeff64, N, sum);
                cbe_assert_close(sum, sum_want, M * D, 0, 0, "%s rows_sum_f64 %zu", impl->name, n);
            }
    }
}

/* What is made with a row or a vector does not depend on those beside it: batches have the bits of
 * their directions alone. */
static void rows_products__of_many_vectors_are_those_of_each(void **state)
{
    (void)state;
    enum { N = 70, D = 149, M = 11, ROW = 37 };
    static float w[N * D], a[M * D], coeff[M * N], dot[M * N], one[N];
    static double a64[M * D], coeff64[M * N], sum[M * D], one64[D], dot64[M * N];
    sequence = 6;
    for (size_t i = 0; i < N * D; i++) w[i] = next(1);
    for (size_t i = 0; i < M * D; i++) a64[i] = (double)(a[i] = next(1));
    for (size_t i = 0; i < M * N; i++) coeff64[i] = (double)(coeff[i] = next(1));
    const float *rows[N];
    for (size_t i = 0; i < N; i++) rows[i] = w + i * D;
    for (size_t k = 0; cbe_kernels_table[k]; k++) {
        const cbe_kernels *impl = cbe_kernels_table[k];
        if (!impl->usable()) continue;
        for (size_t m = 1; m <= M; m++) {
            impl->rows_dot(N, D, w, D, m, a, dot, N);
            for (size_t j = 0; j < m; j++) {
                impl->rows_dot(N, D, w, D, 1, a + j * D, one, N);
                assert_memory_equal(dot + j * N, one, sizeof one);
                impl->rows_dot(1, D, w + ROW * D, D, 1, a + j * D, one, N);
                assert_true(dot[j * N + ROW] == one[0]);
            }
            memset(sum, 0, sizeof sum);
            impl->rows_sum(N, D, w, D, m, coeff, N, sum);
            for (size_t j = 0; j < m; j++) {
                memset(one64, 0, sizeof one64);
                impl->rows_sum(N, D, w, D, 1, coeff + j * N, N, one64);
                assert_memory_equal(sum + j * D, one64, sizeof one64);
            }
            impl->rows_dot_f64(N, D, rows, m, a64, dot64, N);
            for (size_t j = 0; j < m; j++) {
                impl->rows_dot_f64(1, D, rows + ROW, 1, a64 + j * D, one64, 1);
                assert_true(dot64[j * N + ROW] == one64[0]);
            }
            memset(sum, 0, sizeof sum);
            impl->rows_sum_f64(N, D, rows, m, coeff64, N, sum);
            for (size_t j = 0; j < m; j++) {
                memset(one64, 0, sizeof one64);
                for (size_t i = 0; i < N; i++)
                    impl->rows_sum_f64(1, D, rows + i, 1, coeff64 + j * N + i, N, one64);
                assert_memory_equal(sum + j * D, one64, sizeof one64);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_sum__every_impl_matches_ref_at_every_tail),
        cmocka_unit_test(row_exp__every_impl_matches_ref_at_every_tail),
        cmocka_unit_test(rows_exp__is_row_exp_and_adds_up_what_was_there),
        cmocka_unit_test(row_sum__is_accurate_to_the_polynomial_for_small_exponents),
        cmocka_unit_test(row_max__every_impl_finds_the_largest_exponent),
        cmocka_unit_test(row_sum__lets_out_of_range_rows_be_seen),
        cmocka_unit_test(range__is_the_smallest_and_the_largest),
        cmocka_unit_test(half__every_impl_rounds_alike),
        cmocka_unit_test(accumulate__every_impl_matches_ref_for_every_row_count),
        cmocka_unit_test(row_cap__every_impl_matches_ref),
        cmocka_unit_test(rows_products__are_exact_on_small_integers),
        cmocka_unit_test(rows_products__of_many_vectors_are_those_of_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
