/* test_bf16.c - products in bfloat16 against sums in double: one part to 8 bits of each factor,
 * three to 16. */
#include "math/bf16.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"
#include "support/random.h"

enum { MOST_ROWS = 300, MOST = 2100, SKIPPED = 77 };

static cbe_test_random random_numbers = {5};
static float a[MOST_ROWS * MOST], c[MOST_ROWS * MOST], again[MOST_ROWS * MOST];

/* C of A and B as the function has it, in double; and the sum of sizes of its products, of which
 * errors are shares. */
static void exact(const float *b, bool transposed, size_t ldb, size_t i, size_t j, size_t k,
                  size_t lda, double *sum, double *size)
{
    *sum = *size = 0;
    for (size_t t = 0; t < k; t++) {
        const double product =
            (double)a[i * lda + t] * (double)(transposed ? b[j * ldb + t] : b[t * ldb + j]);
        *sum += product;
        *size += fabs(product);
    }
}

static void check_shape(size_t m, size_t k, size_t n, bool transposed, float beta, int parts,
                        size_t apart)
{
    const size_t lda = k + 3, ldb = (transposed ? k : n) + 5, ldc = n + apart,
                 rows = transposed ? n : k;
    cbe_error err;
    cbe_bf16 *bf16 = NULL;
    cbe_bf16_matrix *matrix = NULL;
    float *b = malloc(rows * ldb * sizeof *b);
    assert_non_null(b);
    for (size_t i = 0; i < rows * ldb; i++) b[i] = (float)cbe_test_normal(&random_numbers);
    for (size_t i = 0; i < m * lda; i++) a[i] = (float)cbe_test_normal(&random_numbers);
    for (size_t i = 0; i < m * ldc; i++) c[i] = (float)(i % 3);
    cbe_assert_ok(cbe_bf16_create(&bf16, k > n ? k : n, &err), &err);
    cbe_assert_ok(cbe_bf16_matrix_create(&matrix, bf16, k, n, b, ldb, transposed, &err), &err);
    assert_false(cbe_bf16_in_use(matrix));
    cbe_bf16_set_parts(bf16, parts);
    assert_true(cbe_bf16_in_use(matrix));
    cbe_bf16_gemm(matrix, m, a, lda, beta, c, ldc);
    cbe_assert_ok(cbe_bf16_check(bf16, &err), &err);
    double worst = 0;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j<n; j += n> 200 ? 13 : 1) {
            double sum, size;
            exact(b, transposed, ldb, i, j, k, lda, &sum, &size);
            if (beta != 0) sum += (double)((i * ldc + j) % 3);
            worst = fmax(worst, fabs((double)c[i * ldc + j] - sum) / (size + 2));
        }
    /* Factors to 2^-9 each and 2^-17 each; float32's sums. */
    const double limit = parts == 1 ? 0x1p-8 : 0x1p-16 + 4e-7;
    if (!(worst <= limit))
        fail_msg("%zu x %zu x %zu, %d parts: off by %g of the terms' sizes", m, k, n, parts, worst);
    if (parts == 1) assert_true(k < 8 || worst > 1e-5); /* it is bfloat16 indeed */
    for (size_t i = 0; i < m; i++)
        for (size_t j = n; j < ldc; j++) assert_true(c[i * ldc + j] == (float)((i * ldc + j) % 3));
    cbe_bf16_matrix_free(matrix);
    cbe_bf16_free(bf16);
    free(b);
}

static void gemm__is_right_to_the_bits_of_its_parts(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{1, 576, 64},   {128, 64, 100},  {129, 576, 960},
                                       {300, 192, 49}, {37, 2048, 576}, {256, 100, 2048},
                                       {5, 1, 1},      {64, 17, 33}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int with = 0; with < 16; with++)
            check_shape(shapes[s][0], shapes[s][1], shapes[s][2], with & 1, with & 2 ? 1 : 0,
                        with & 4 ? 3 : 1, with & 8 ? 7 : 0);
}

/* Rows in threads of the function's own, and inside of a region's; the same bits. */
static void gemm__has_the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    enum { M = 300, K = 192, N = 160 };
    static float b[N * K];
    cbe_error err;
    cbe_bf16 *bf16 = NULL;
    cbe_bf16_matrix *matrix = NULL;
    const int most = omp_get_max_threads();
    for (size_t i = 0; i < N * K; i++) b[i] = (float)cbe_test_normal(&random_numbers);
    for (size_t i = 0; i < M * K; i++) a[i] = (float)cbe_test_normal(&random_numbers);
    omp_set_num_threads(4);
    cbe_assert_ok(cbe_bf16_create(&bf16, K, &err), &err);
    cbe_assert_ok(cbe_bf16_matrix_create(&matrix, bf16, K, N, b, K, true, &err), &err);
    cbe_bf16_set_parts(bf16, 3);
    omp_set_num_threads(1);
    cbe_bf16_gemm(matrix, M, a, K, 0, c, N);
    for (int threads = 2; threads <= 4; threads++) {
        memset(again, 0, sizeof again);
        omp_set_num_threads(threads);
        cbe_bf16_gemm(matrix, M, a, K, 0, again, N);
        assert_memory_equal(again, c, M * N * sizeof *c);
    }
    /* Each thread has rows of its own, as panels have. */
    memset(again, 0, sizeof again);
#pragma omp parallel for schedule(static, 1)
    for (int i = 0; i < 3; i++)
        cbe_bf16_gemm(matrix, 100, a + (size_t)i * 100 * K, K, 0, again + (size_t)i * 100 * N, N);
    cbe_assert_close_f32(again, c, M * N, 1e-5, 1e-5, "in a region");
    cbe_assert_ok(cbe_bf16_check(bf16, &err), &err);
    cbe_bf16_matrix_free(matrix);
    cbe_bf16_free(bf16);
    omp_set_num_threads(most);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm__is_right_to_the_bits_of_its_parts),
        cmocka_unit_test(gemm__has_the_same_bits_for_any_number_of_threads),
    };
    if (cbe_bf16_missing()) return SKIPPED;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
