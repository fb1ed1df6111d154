/* scratch.c - the numbers that cbe_run_values makes (run.h). */
#include "core/memory.h"
#include "run/run.h"

double *cbe_run_scratch(cbe_run *run, size_t n)
{
    cbe_free(run->values);
    return run->values = cbe_alloc(n, sizeof *run->values, "values", NULL);
}
