/* launcher.h - size and rank of this process, from the environment variables of launchers (mpirun,
 * srun). */
#ifndef CBE_PROCESSES_LAUNCHER_H
#define CBE_PROCESSES_LAUNCHER_H

#include <stdbool.h>
#include <stddef.h>

/** Number of processes started together, this one included, as far as the environment tells; 1:
 * alone. */
size_t cbe_launcher_size(void);
/** Rank of this process among them. */
size_t cbe_launcher_rank(void);

#endif
