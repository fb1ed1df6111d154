/*
 * gemm.h - matrix products on any CBLAS, in threads of our own.
 *
 * BLAS runs single-threaded inside fixed tiles of the output, so that a result has the same bits
 * for any number of threads, and no two thread pools fight over the cores.
 */
#ifndef CBE_MATH_GEMM_H
#define CBE_MATH_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

/** BLAS takes one thread for each product from here on, for the whole process, until as many calls
 * of cbe_gemm_leave give it back the threads that it had. The products below do both by themselves,
 * but in parallel regions: whoever calls them there comes in before the region. */
void cbe_gemm_enter(void);
void cbe_gemm_leave(void);

/** Makes sure that BLAS has what it needs for products on so many threads at once: without room in
 * the address space OpenBLAS would try for ever. To be called before the first product where memory
 * may be short.
 * @return CBE_OK; CBE_ERR_NOMEM, saying how much is missing */
cbe_status cbe_gemm_reserve(size_t n_threads, cbe_error *err);

/** C = alpha op(A) op(B) + beta C, float32, row-major; op(A) is (m, k), op(B) (k, n), C (m, n).
 * trans_a: A is stored (k, m); trans_b: B is stored (n, k). lda, ldb, ldc: elements between
 * rows. Tiles of C are divided over OpenMP threads; inside a parallel region it runs on the
 * caller alone (and tiles may differ, so the last bits may differ from those of the same call
 * outside). */
void cbe_gemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a,
              size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);

/** The same in float64, on the calling thread alone and in one piece: for threads that have a
 * problem each. */
void cbe_gemm_f64(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, double alpha,
                  const double *a, size_t lda, const double *b, size_t ldb, double beta, double *c,
                  size_t ldc);
/** C += A'A of A (k, n), float64, on the calling thread alone: the upper triangle of C (n, n). */
void cbe_gram_f64(size_t n, size_t k, const double *a, double *c);

#endif
