/* launcher.c - see launcher.h. */
#include "dist/launcher.h"

#include <stdlib.h>

size_t cbe_launcher_size(void)
{
    /* Open MPI's mpirun; Hydra of MPICH and Intel MPI, and srun with PMI; srun. */
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
    size_t most = 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = getenv(names[i]);
        const unsigned long long n = text && *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : 0;
        if (n > most) most = (size_t)n;
    }
    return most;
}
