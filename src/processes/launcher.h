/* launcher.h - what launchers of several processes (mpirun, srun) leave in the environment. */
#ifndef CBE_PROCESSES_LAUNCHER_H
#define CBE_PROCESSES_LAUNCHER_H

#include <stdbool.h>
#include <stddef.h>

/** Number of processes that were started together with this one, as far as the environment tells;
 * 1: alone. */
size_t cbe_launcher_size(void);
/** Its rank among them. */
size_t cbe_launcher_rank(void);

#endif
