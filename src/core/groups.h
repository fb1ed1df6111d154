/*
 * groups.h - what of a list of sequences may be rounded together, so that it comes out the same
 * when they are divided.
 *
 * Processes have sequences floor(r n / P) up to floor((r + 1) n / P). Sequences that are long
 * enough are groups by themselves. Shorter ones are put into 24 groups in the same way: 2, 3, 4, 6,
 * 8, 12 or 24 processes have whole groups.
 */
#ifndef CBE_CORE_GROUPS_H
#define CBE_CORE_GROUPS_H

#include <stdbool.h>
#include <stddef.h>

enum { CBE_GROUPS = 24 };

/** Number of the group of sequence s of n. long_enough: for a group of its own. */
static inline size_t cbe_group_of_sequence(size_t n, size_t s, bool long_enough)
{
    return long_enough || n < CBE_GROUPS ? s : (CBE_GROUPS * (s + 1) - 1) / n;
}

#endif
