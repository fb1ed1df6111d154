/* bf16_none.c - bf16.h without oneDNN. */
#include "math/bf16.h"

#include "core/fail.h"

const char *cbe_bf16_missing(void)
{
    return "this program was built without oneDNN (CMake option CBE_ONEDNN)";
}

bool cbe_bf16_is_fast(void)
{
    return false;
}

cbe_status cbe_bf16_create(cbe_bf16 **out, size_t max_size, cbe_error *err)
{
    (void)out, (void)max_size;
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s", cbe_bf16_missing());
}

size_t cbe_bf16_bytes(size_t max_size)
{
    (void)max_size;
    return 0;
}

void cbe_bf16_free(cbe_bf16 *bf16)
{
    (void)bf16;
}

cbe_status cbe_bf16_matrix_create(cbe_bf16_matrix **out, cbe_bf16 *bf16, size_t k, size_t n,
                                  const float *b, size_t ldb, bool transposed, cbe_error *err)
{
    (void)out, (void)bf16, (void)k, (void)n, (void)b, (void)ldb, (void)transposed;
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s", cbe_bf16_missing());
}

size_t cbe_bf16_matrix_bytes(size_t k, size_t n)
{
    (void)k, (void)n;
    return 0;
}

void cbe_bf16_matrix_free(cbe_bf16_matrix *matrix)
{
    (void)matrix;
}

void cbe_bf16_set_parts(cbe_bf16 *bf16, int parts)
{
    (void)bf16, (void)parts;
}

bool cbe_bf16_in_use(const cbe_bf16_matrix *b)
{
    (void)b;
    return false;
}

void cbe_bf16_gemm(const cbe_bf16_matrix *b, size_t m, const float *a, size_t lda, float beta,
                   float *c, size_t ldc)
{
    (void)b, (void)m, (void)a, (void)lda, (void)beta, (void)c, (void)ldc;
}

cbe_status cbe_bf16_check(cbe_bf16 *bf16, cbe_error *err)
{
    (void)bf16, (void)err;
    return CBE_OK;
}
