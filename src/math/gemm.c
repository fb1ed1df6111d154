/* gemm.c - see gemm.h. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "math/gemm.h"

#include <cblas.h>
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "core/fail.h"
#include "core/pulse.h"
#include "core/memory.h"
#include "core/sizes.h"

/* Each BLAS has its own switch; the switches of libraries that are not linked are NULL. */
extern void openblas_set_num_threads(int) __attribute__((weak));
extern int openblas_get_num_threads(void) __attribute__((weak));
extern void bli_thread_set_num_threads(long) __attribute__((weak));
extern long bli_thread_get_num_threads(void) __attribute__((weak));
extern void MKL_Set_Num_Threads(int) __attribute__((weak));
extern int MKL_Get_Max_Threads(void) __attribute__((weak));

/* Callers between enter and leave, and BLAS's numbers of threads before the first of them. */
static struct {
    pthread_mutex_t lock;
    atomic_size_t n_inside;
    int openblas, mkl;
    long blis;
} blas = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void blas_single_thread(void)
{
    if (openblas_set_num_threads) openblas_set_num_threads(1);
    if (bli_thread_set_num_threads) bli_thread_set_num_threads(1);
    if (MKL_Set_Num_Threads) MKL_Set_Num_Threads(1);
}

/* A BLAS that is built on OpenMP sets the calling thread's number of OpenMP threads too. */
void cbe_gemm_enter(void)
{
    pthread_mutex_lock(&blas.lock);
    if (blas.n_inside++ == 0) {
        const int threads = omp_get_max_threads();
        if (openblas_get_num_threads) blas.openblas = openblas_get_num_threads();
        if (bli_thread_get_num_threads) blas.blis = bli_thread_get_num_threads();
        if (MKL_Get_Max_Threads) blas.mkl = MKL_Get_Max_Threads();
        blas_single_thread();
        omp_set_num_threads(threads);
    }
    pthread_mutex_unlock(&blas.lock);
}

void cbe_gemm_leave(void)
{
    pthread_mutex_lock(&blas.lock);
    if (--blas.n_inside == 0) {
        const int threads = omp_get_max_threads();
        if (openblas_get_num_threads) openblas_set_num_threads(blas.openblas);
        if (bli_thread_get_num_threads) bli_thread_set_num_threads(blas.blis);
        if (MKL_Get_Max_Threads) MKL_Set_Num_Threads(blas.mkl);
        omp_set_num_threads(threads);
    }
    pthread_mutex_unlock(&blas.lock);
}

static void stay_inside(void)
{
    cbe_gemm_enter();
}

/* Outside of parallel regions a product enters by itself. Inside one the caller should have entered
 * before the region; if nobody has, BLAS stays at one thread for good. */
static bool come_in(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const bool outside = omp_get_level() == 0;
    if (outside)
        cbe_gemm_enter();
    else if (atomic_load(&blas.n_inside) == 0)
        pthread_once(&once, stay_inside);
    return outside;
}

static void go_out(bool came_in)
{
    if (came_in) cbe_gemm_leave();
}

/* OpenBLAS keeps a buffer for each concurrent product, mapped when it is first needed. In 0.3.21 a
 * buffer has 128 MB on x86-64 and aarch64, of which little is ever touched; OpenBLAS also tries
 * malloc, which adds a page. */
extern void *blas_memory_alloc(int) __attribute__((weak));
extern void blas_memory_free(void *) __attribute__((weak));
enum { BLAS_BUFFER_MB = 128, BLAS_BUFFER = (BLAS_BUFFER_MB << 20) + (1 << 16) };

/* Makes BLAS map its buffers now, before other allocations take the room. */
static void take_buffers(size_t n, void **buffers)
{
    if (!blas_memory_alloc || !blas_memory_free) return;
    for (size_t i = 0; i < n; i++) buffers[i] = blas_memory_alloc(0);
    for (size_t i = 0; i < n; i++) blas_memory_free(buffers[i]);
}

cbe_status cbe_gemm_reserve(size_t n_threads, cbe_error *err)
{
    size_t n = 0;
    if (!openblas_set_num_threads) return CBE_OK;
    void **buffers = cbe_alloc(n_threads, sizeof *buffers, "buffers of BLAS", err);
    if (!buffers) return CBE_ERR_NOMEM;
    for (; n < n_threads; n++) {
        buffers[n] =
            mmap(NULL, BLAS_BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (buffers[n] == MAP_FAILED) break;
    }
    for (size_t i = 0; i < n; i++) munmap(buffers[i], BLAS_BUFFER);
    cbe_status st = CBE_OK;
    if (n < n_threads)
        st = cbe_fail(
            err, CBE_ERR_NOMEM, -1,
            "memory: the address space has no room for what BLAS needs, %d MB for each of "
            "%zu thread%s; raise the limit (ulimit -v) by %zu MB or more%s",
            BLAS_BUFFER_MB, n_threads, n_threads == 1 ? "" : "s",
            (n_threads - n) * (BLAS_BUFFER_MB + 1),
            n_threads == 1 ? "" : ", or use fewer threads (" CBE_TERM("-t", "threads") ")");
    else
        take_buffers(n, buffers);
    cbe_free(buffers);
    return st;
}

/* Measured on two cores of a Zen 4 with OpenBLAS 0.3.21: 187 GFLOP/s with tiles of 512 x 1024, 5%
 * less with half as many rows, 107 with its own threads. A product of few rows (one short text) is
 * cut into narrower tiles until there are ENOUGH_TILES tiles (48 tokens of SmolLM2: twice as fast);
 * many narrow tiles would pack A too often. */
enum { TILE_ROWS = 512, TILE_COLUMNS = 1024, MIN_TILE_COLUMNS = 64, ENOUGH_TILES = 8 };

static size_t count_tiles(size_t size, size_t tile)
{
    return (size + tile - 1) / tile;
}

/* Depends on the shape and on being inside a parallel region alone, never on the number of threads:
 * omp_get_level counts regions of one thread too, omp_in_parallel does not. */
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
    if (m == 0 || n == 0) return;
    const bool came_in = come_in(), inside = !came_in;
    const size_t row_tiles = count_tiles(m, TILE_ROWS);
    const size_t tile_columns = columns_of_tile(row_tiles, n, inside);
    const size_t tiles = row_tiles * count_tiles(n, tile_columns);
#pragma omp parallel for schedule(dynamic) if (tiles > 1 && !inside)
    for (size_t tile = 0; tile < tiles; tile++) {
        const size_t i = tile % row_tiles * TILE_ROWS, j = tile / row_tiles * tile_columns;
        const size_t rows = cbe_min_size(TILE_ROWS, m - i),
                     columns = cbe_min_size(tile_columns, n - j);
        cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                    trans_b ? CblasTrans : CblasNoTrans, (int)rows, (int)columns, (int)k, alpha,
                    trans_a ? a + i : a + i * lda, (int)lda, trans_b ? b + j * ldb : b + j,
                    (int)ldb, beta, c + i * ldc + j, (int)ldc);
        cbe_pulse();
    }
    go_out(came_in);
}

void cbe_gemm_f64(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, double alpha,
                  const double *a, size_t lda, const double *b, size_t ldb, double beta, double *c,
                  size_t ldc)
{
    if (m == 0 || n == 0) return;
    const bool came_in = come_in();
    cblas_dgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                trans_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, alpha, a, (int)lda, b,
                (int)ldb, beta, c, (int)ldc);
    go_out(came_in);
    cbe_pulse();
}

void cbe_gram_f64(size_t n, size_t k, const double *a, double *c)
{
    if (n == 0) return;
    const bool came_in = come_in();
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)n, (int)k, 1, a, (int)n, 1, c, (int)n);
    go_out(came_in);
    cbe_pulse();
}
