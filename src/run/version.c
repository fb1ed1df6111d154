/* version.c - what library this is; see cbe/cbe.h. */
#include <pthread.h>
#include <stdio.h>

#include "cbe/cbe.h"
#include "math/bf16.h"
#include "math/kernels.h"
#include "processes/processes.h"

const char *cbe_version(void)
{
    return CBE_VERSION;
}

int cbe_abi(void)
{
    return CBE_ABI;
}

static char build[128];

static void describe(void)
{
    const cbe_kernels *kernels = cbe_kernels_choose(NULL);
    const char *processes = cbe_processes_library();
    snprintf(build, sizeof build, "kernels %s%s%s%s", kernels ? kernels->name : "none",
             processes ? "; several processes: " : "", processes ? processes : "",
             cbe_bf16_missing() ? "" : "; bfloat16");
}

const char *cbe_build(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, describe);
    return build;
}
