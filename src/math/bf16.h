/*
 * bf16.h - products with fixed matrices in bfloat16, on CPUs that multiply it, by oneDNN.
 *
 * A number is the sum of a high part, itself rounded to bfloat16 (8 bits), and a low part, what
 * that left rounded likewise. With one part a product is high x high: relative errors of 2^-9 in
 * each factor. With three, low x high and high x low are added: 16 bits of each factor, at three
 * times the products. Sums are float32. Without oneDNN (CMake option CBE_ONEDNN) there are the same
 * functions, and cbe_bf16_missing says why nothing can be created. Source of the three parts:
 * Henry, Tang and Heinecke 2019, arXiv:1904.06376.
 */
#ifndef CBE_MATH_BF16_H
#define CBE_MATH_BF16_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

/** What matrices share: products that were made ready, and room for the rows in work. */
typedef struct cbe_bf16 cbe_bf16;
/** A matrix B (k, n) that rows are multiplied with. */
typedef struct cbe_bf16_matrix cbe_bf16_matrix;

/** Why there are no such products here, a sentence without its end; NULL: there are. */
const char *cbe_bf16_missing(void);

/** For matrices of at most max_size rows and columns. @return CBE_OK; CBE_ERR_UNSUPPORTED (they are
 * missing), CBE_ERR_NOMEM */
cbe_status cbe_bf16_create(cbe_bf16 **out, size_t max_size, cbe_error *err);
/** Bytes of that, about. */
size_t cbe_bf16_bytes(size_t max_size);
void cbe_bf16_free(cbe_bf16 *bf16); /* after its matrices; NULL is allowed */

/** Copies b: row i of B begins at b + i ldb, or with `transposed` column i.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_bf16_matrix_create(cbe_bf16_matrix **out, cbe_bf16 *bf16, size_t k, size_t n,
                                  const float *b, size_t ldb, bool transposed, cbe_error *err);
/** Bytes of that, at most. */
size_t cbe_bf16_matrix_bytes(size_t k, size_t n);
void cbe_bf16_matrix_free(cbe_bf16_matrix *matrix); /* NULL is allowed */

/** How many parts products have from here on: 1 or 3; 0, as at first: who multiplies should do so
 * in float32. */
void cbe_bf16_set_parts(cbe_bf16 *bf16, int parts);
/** Whether B is there (not NULL) and has parts. */
bool cbe_bf16_in_use(const cbe_bf16_matrix *b);
/** C (m, n) = A (m, k) B + beta C, for a B in use. Threads share the rows; inside a parallel region
 * the caller works alone.
 * @param beta 0 or 1  @param ldc  n or more */
void cbe_bf16_gemm(const cbe_bf16_matrix *b, size_t m, const float *a, size_t lda, float beta,
                   float *c, size_t ldc);
/** Whether all products since the last call could be made: oneDNN may lack memory for one of a new
 * shape, and then C is not set.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_bf16_check(cbe_bf16 *bf16, cbe_error *err);

#endif
