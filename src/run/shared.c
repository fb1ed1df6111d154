/* shared.c - what the runs of all commands do alike (run.h). */
#include <stdio.h>

#include "core/fail.h"
#include "core/memory.h"
#include "run/run.h"

double *cbe_run_scratch(cbe_run *run, size_t n)
{
    cbe_free(run->values);
    return run->values = cbe_alloc(n, sizeof *run->values, "values", NULL);
}

void cbe_warn_of_derangement(cbe_run *run)
{
    cbe_warn(&run->watch, "the derangement given is one of all tokens; with some left out one "
                          "from " CBE_OPTION("seed") " is used");
}

cbe_status cbe_run_cancelled(cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_CANCELLED, -1, "the run was cancelled");
}

cbe_status cbe_tell_layer(cbe_run *run, size_t place, cbe_error *err)
{
    char line[64];
    const size_t n = run->in.n_layers;
    snprintf(line, sizeof line, "layer %zu done (%zu of %zu)", run->in.layers[place], place + 1, n);
    return cbe_tell(&run->watch, CBE_EVENT_LAYER, line, place + 1, n) ? CBE_OK
                                                                      : cbe_run_cancelled(err);
}
