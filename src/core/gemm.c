/* gemm.c - see gemm.h. */
#include "core/gemm.h"

#include <cblas.h>
#include <omp.h>
#include <pthread.h>

#include "core/sizes.h"

/* Each BLAS has its own switch; those that are not linked are NULL. */
extern void openblas_set_num_threads(int) __attribute__((weak));
extern void bli_thread_set_num_threads(long) __attribute__((weak));
extern void MKL_Set_Num_Threads(int) __attribute__((weak));

static void blas_single_thread(void)
{
    if (openblas_set_num_threads) openblas_set_num_threads(1);
    if (bli_thread_set_num_threads) bli_thread_set_num_threads(1);
    if (MKL_Set_Num_Threads) MKL_Set_Num_Threads(1);
}

static void blas_prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, blas_single_thread);
}

/* Measured on two cores of a Zen 4 with OpenBLAS 0.3.21: 187 GFLOP/s with these tiles, 5% less with half
 * as many rows, 107 with its own threads. A product of few rows, as of one short text, is cut into narrower tiles until
 * there are some for each thread (48 tokens of SmolLM2: twice as fast); many narrow tiles would
 * pack A too often. */
enum { TILE_ROWS = 512, TILE_COLUMNS = 1024, MIN_TILE_COLUMNS = 64, ENOUGH_TILES = 8 };

static size_t count_tiles(size_t size, size_t tile)
{
    return (size + tile - 1) / tile;
}

/* A function of the shape and of being inside a parallel region alone, never of how many threads
 * there are: omp_get_level counts regions of one thread too, omp_in_parallel does not. */
static size_t columns_of_tile(size_t row_tiles, size_t n, bool inside)
{
    size_t columns = TILE_COLUMNS;
    while (!inside && columns > MIN_TILE_COLUMNS &&
           row_tiles * count_tiles(n, columns) < ENOUGH_TILES)
        columns /= 2;
    return columns;
}

void cbe_gemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a,
              size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    blas_prepare();
    if (m == 0 || n == 0) return;
    const bool inside = omp_get_level() > 0;
    const size_t row_tiles = count_tiles(m, TILE_ROWS);
    const size_t tile_columns = columns_of_tile(row_tiles, n, inside);
    const size_t tiles = row_tiles * count_tiles(n, tile_columns);
#pragma omp parallel for schedule(dynamic) if (tiles > 1 && !inside)
    for (size_t tile = 0; tile < tiles; tile++) {
        const size_t i = tile % row_tiles * TILE_ROWS, j = tile / row_tiles * tile_columns;
        const size_t rows = cbe_min_size(TILE_ROWS, m - i), columns = cbe_min_size(tile_columns, n - j);
        cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                    trans_b ? CblasTrans : CblasNoTrans, (int)rows, (int)columns, (int)k, alpha,
                    trans_a ? a + i : a + i * lda, (int)lda, trans_b ? b + j * ldb : b + j,
                    (int)ldb, beta, c + i * ldc + j, (int)ldc);
    }
}

void cbe_gemm_f64(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, double alpha, const double *a, size_t lda,
                  const double *b, size_t ldb, double beta, double *c, size_t ldc)
{
    blas_prepare();
    if (m == 0 || n == 0) return;
    cblas_dgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, (int)m, (int)n,
                (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

void cbe_gram_f64(size_t n, size_t k, const double *a, double *c)
{
    blas_prepare();
    if (n == 0) return;
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)n, (int)k, 1, a, (int)n, 1, c, (int)n);
}
