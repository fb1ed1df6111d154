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

/** Sets BLAS to one thread in the whole process, until as many calls of cbe_gemm_leave give it back
 * its number of threads. Products outside parallel regions call both by themselves; before a
 * parallel region with products the caller calls cbe_gemm_enter. */
void cbe_gemm_enter(void);
void cbe_gemm_leave(void);

/** Makes BLAS allocate its buffers for products on n_threads threads at once: without room in the
 * address space OpenBLAS would try for ever. Call it before the first product if memory may be
 * short.
 * @return CBE_OK; CBE_ERR_NOMEM, the message says how much is missing */
cbe_status cbe_gemm_reserve(size_t n_threads, cbe_error *err);

/** C = alpha op(A) op(B) + beta C, float32, row-major; op(A) is (m, k), op(B) (k, n), C (m, n).
 * trans_a: A is stored (k, m); trans_b: B is stored (n, k). lda, ldb, ldc: elements between rows.
 * Tiles of C are divided over OpenMP threads; inside a parallel region the calling thread works
 * alone, and tiles may differ, so the last bits may differ from those of the same call outside. */
void cbe_gemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a,
              size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);

/** As cbe_gemm in float64, on the calling thread alone and in one tile: for threads that have a
 * problem each. */
void cbe_gemm_f64(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, double alpha,
                  const double *a, size_t lda, const double *b, size_t ldb, double beta, double *c,
                  size_t ldc);
/** Adds A'A, A (k, n), to the upper triangle of C (n, n), float64, on the calling thread alone. */
void cbe_gram_f64(size_t n, size_t k, const double *a, double *c);

#endif
