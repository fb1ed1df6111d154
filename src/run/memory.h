/* memory.h - how much memory there is, and how much of it this process has taken. */
#ifndef CBE_RUN_MEMORY_H
#define CBE_RUN_MEMORY_H

#include <stddef.h>

/** Bytes that can be had without swapping: of the machine and of the process's control group. 0:
 * not known. */
size_t cbe_memory_available(void);
/** Bytes of this process that are in memory, mapped files included. 0: not known. */
size_t cbe_memory_in_use(void);

#endif
