/* long_sums.h - sums over processes, the same for any number of processes. */
#ifndef CBE_PROCESSES_LONG_SUMS_H
#define CBE_PROCESSES_LONG_SUMS_H

#include "processes/processes.h"
#include "math/long_sum.h"

/** Replaces sums (n) by their sums over processes, added with all digits and, if there are several
 * processes, rounded to double. Every process has the same bits. */
void cbe_processes_add_up(const cbe_processes *processes, size_t n, cbe_long_sum *sums);

#endif
