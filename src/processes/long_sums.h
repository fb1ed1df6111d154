/* long_sums.h - sums over processes that come out the same however many there are. */
#ifndef CBE_PROCESSES_LONG_SUMS_H
#define CBE_PROCESSES_LONG_SUMS_H

#include "processes/processes.h"
#include "math/long_sum.h"

/** Replaces sums (n) by those over processes, added up with all their digits and then, in several
 * processes, rounded to double. The same bits in all of them. */
void cbe_processes_add_up(const cbe_processes *processes, size_t n, cbe_long_sum *sums);

#endif
