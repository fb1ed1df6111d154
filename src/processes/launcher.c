/* launcher.c - see launcher.h. */
#include "processes/launcher.h"

#include <stdlib.h>

/* Variables of Open MPI's mpirun; of Hydra (MPICH, Intel MPI) and of srun with PMI; of srun. */
static const char *const names[][2] = {{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                                       {"PMI_SIZE", "PMI_RANK"},
                                       {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};
enum { N_NAMES = sizeof names / sizeof *names };

/* A number in the environment; 0: there is none. */
static size_t read_count(const char *name)
{
    const char *text = getenv(name);
    return text && *text >= '0' && *text <= '9' ? (size_t)strtoull(text, NULL, 10) : 0;
}

size_t cbe_launcher_size(void)
{
    size_t most = 1;
    for (size_t i = 0; i < N_NAMES; i++) {
        const size_t n = read_count(names[i][0]);
        if (n > most) most = n;
    }
    return most;
}

size_t cbe_launcher_rank(void)
{
    for (size_t i = 0; i < N_NAMES; i++)
        if (read_count(names[i][0]) > 1) return read_count(names[i][1]);
    return 0;
}
