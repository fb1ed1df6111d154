/* start.c - see processes/processes.h: starts the transport of this build if a launcher started
 * several processes. */
#include "core/fail.h"
#include "processes/launcher.h"
#include "processes/transport.h"

cbe_status cbe_processes_start(cbe_processes **out, cbe_error *err)
{
    *out = NULL;
    const size_t n = cbe_launcher_size();
    if (n < 2) return CBE_OK;
#ifdef CBE_MPI
    return cbe_mpi_start(out, err);
#else
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "started as one of %zu processes, but built without MPI: each would do the "
                    "whole run; build with "
                    "-DCBE_MPI=ON, or start one",
                    n);
#endif
}

const char *cbe_processes_library(void)
{
#ifdef CBE_MPI
    return cbe_mpi_library();
#else
    return NULL;
#endif
}
