/*
 * bf16.h - products with fixed matrices in bfloat16, on CPUs that multiply it, by oneDNN.
 *
 * A number is split into a high part, the number rounded to bfloat16 (8 bits), and a low part, the
 * remainder rounded to bfloat16. One part: a product is high x high, with relative errors of 2^-9
 * in each factor. Three parts: low x high and high x low are added, which keeps 16 bits of each
 * factor and takes three times as many products. Sums are float32. A build without oneDNN (CMake
 * option CBE_ONEDNN) has the same functions, and cbe_bf16_missing says why nothing can be created.
 * Source of the three parts: Henry, Tang and Heinecke 2019, arXiv:1904.06376.
 */
#ifndef CBE_MATH_BF16_H
#define CBE_MATH_BF16_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

/** State that matrices share: oneDNN's prepared products, and buffers for rows. */
typedef struct cbe_bf16 cbe_bf16;
/** A fixed matrix B (k, n), the right factor of products. */
typedef struct cbe_bf16_matrix cbe_bf16_matrix;

/** The reason why this machine or build has no bfloat16 products, a sentence without its full stop;
 * NULL: it has them. */
const char *cbe_bf16_missing(void);

/** Whether three products in bfloat16 take less time than one in float32: with units that multiply
 * tiles (AMX). Without them they take more than three times as long (docs/performance.md). */
bool cbe_bf16_is_fast(void);

/** Creates the state for matrices of at most max_size rows and columns.
 * @return CBE_OK; CBE_ERR_UNSUPPORTED (cbe_bf16_missing has a reason); CBE_ERR_NOMEM */
cbe_status cbe_bf16_create(cbe_bf16 **out, size_t max_size, cbe_error *err);
/** Approximate bytes of the state. */
size_t cbe_bf16_bytes(size_t max_size);
void cbe_bf16_free(cbe_bf16 *bf16); /* after all its matrices; NULL is allowed */

/** Copies b: row i of B begins at b + i ldb; if transposed, column i begins there.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_bf16_matrix_create(cbe_bf16_matrix **out, cbe_bf16 *bf16, size_t k, size_t n,
                                  const float *b, size_t ldb, bool transposed, cbe_error *err);
/** Bytes of a matrix, at most. */
size_t cbe_bf16_matrix_bytes(size_t k, size_t n);
void cbe_bf16_matrix_free(cbe_bf16_matrix *matrix); /* NULL is allowed */

/** Sets how many bfloat16 products make one product: 1 or 3. 0, the initial value: use float32. */
void cbe_bf16_set_parts(cbe_bf16 *bf16, int parts);
/** Whether products with B are to be made in bfloat16: B is not NULL and the number of parts is not
 * 0. */
bool cbe_bf16_in_use(const cbe_bf16_matrix *b);
/** C (m, n) = A (m, k) B + beta C, for a B in use. Threads share the rows; inside a parallel region
 * the caller works alone.
 * @param beta 0 or 1  @param ldc  n or more */
void cbe_bf16_gemm(const cbe_bf16_matrix *b, size_t m, const float *a, size_t lda, float beta,
                   float *c, size_t ldc);
/** Checks that all products since the last call were made: oneDNN may lack memory for a product of
 * a new shape, and then C is not set.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_bf16_check(cbe_bf16 *bf16, cbe_error *err);

#endif
