/* layer_result.c - see layer_result.h. */
#include "extract/layer_result.h"

#include "core/memory.h"

void cbe_layer_results_free(size_t n, cbe_layer_result *results)
{
    for (size_t i = 0; i < n; i++) {
        cbe_basis_free(&results[i].basis);
        cbe_free(results[i].reports);
    }
}
