/* layer_result.c - see layer_result.h. */
#include "extract/layer_result.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"

const char *cbe_control_name(cbe_control control)
{
    static const char *const names[] = {"principal", "random"};
    _Static_assert(sizeof names / sizeof *names == CBE_N_CONTROLS, "in the order of the enum");
    return names[control];
}

cbe_status cbe_layer_result_tell(cbe_layer_result *r, const cbe_metric *metric,
                                 const cbe_covariance *covariance, cbe_error *err)
{
    static const char what[] = "result of a layer";
    const size_t d = r->basis.hidden_size, n = r->basis.n_vectors;
    double *v = r->basis.vectors;
    if (covariance) {
        if (!(r->mean = cbe_alloc(d, sizeof *r->mean, what, err))) return CBE_ERR_NOMEM;
        memcpy(r->mean, covariance->mean, d * sizeof *r->mean);
    }
    if (!metric->covariance) return CBE_OK;
    if (!(r->read = cbe_alloc(n, d * sizeof *r->read, what, err)) ||
        !(r->write = cbe_alloc(n, d * sizeof *r->write, what, err)))
        return CBE_ERR_NOMEM;
    const cbe_metric whole = {metric->covariance, metric->ridge, 1};
    cbe_metric_read(&whole, d, n, v, r->read);
    cbe_metric_write(&whole, d, n, v, r->write);
    for (size_t j = 0; j < n; j++) {
        double length = 0;
        for (size_t k = 0; k < d; k++) length += r->write[j * d + k] * r->write[j * d + k];
        length = sqrt(length);
        for (size_t k = 0; k < d; k++) v[j * d + k] = r->write[j * d + k] / length;
    }
    return CBE_OK;
}

void cbe_layer_results_free(size_t n, cbe_layer_result *results)
{
    for (size_t i = 0; i < n; i++) {
        cbe_basis_free(&results[i].basis);
        cbe_free(results[i].reports);
        cbe_free(results[i].mean);
        cbe_free(results[i].read);
        cbe_free(results[i].write);
    }
}
