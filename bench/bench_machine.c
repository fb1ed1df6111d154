/* bench_machine.c - one line on the machine and on what the benchmarks were built with. */
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "math/kernels.h"
#include "math/gemm.h"

extern char *openblas_get_config(void) __attribute__((weak));

/* The processor's name from /proc/cpuinfo (Linux), without the end of the line. */
static void cpu_name(char *name, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(name, size, "unknown processor");
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (!value || strncmp(line, "model name", 10) != 0) continue;
        value[strcspn(value, "\n")] = 0;
        snprintf(name, size, "%s", value + (value[1] == ' ' ? 2 : 1));
        break;
    }
    if (file) fclose(file);
}

int main(void)
{
    char name[256];
    const float one = 1;
    float product;
    /* or the linker leaves the BLAS out */
    cbe_gemm(false, false, 1, 1, 1, 1, &one, 1, &one, 1, 0, &product, 1);
    cpu_name(name, sizeof name);
    printf("%s, %d processors, %d threads\n", name, omp_get_num_procs(), omp_get_max_threads());
#if defined(__clang__)
    printf("clang %s", __clang_version__);
#else
    printf("gcc %s", __VERSION__);
#endif
    printf(", BLAS: %s\nkernels: %s\n",
           openblas_get_config ? openblas_get_config() : "not OpenBLAS",
           cbe_kernels_choose(NULL)->name);
    return 0;
}
