/* translate.c - see translate.h. */
#include "lens/translate.h"

#include <string.h>

#include "math/gemm.h"

void cbe_translate(cbe_translator translator, size_t n, size_t d, const float *hidden, float *x)
{
    memcpy(x, hidden, n * d * sizeof *x);
    if (translator.weight)
        cbe_gemm(false, true, n, d, d, 1, hidden, d, translator.weight, d, 1, x, d);
    for (size_t i = 0; i < n && translator.bias; i++)
        for (size_t k = 0; k < d; k++) x[i * d + k] += translator.bias[k];
}
