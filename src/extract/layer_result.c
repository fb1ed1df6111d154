/* layer_result.c - see layer_result.h. */
#include "extract/layer_result.h"

#include "core/memory.h"

const char *cbe_control_name(cbe_control control)
{
    static const char *const names[] = {"principal", "random"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_CONTROLS, "in the order of the enum");
    return names[control];
}

void cbe_layer_results_free(size_t n, cbe_layer_result *results)
{
    for (size_t i = 0; i < n; i++) {
        cbe_basis_free(&results[i].basis);
        cbe_free(results[i].reports);
    }
}
