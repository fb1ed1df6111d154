/*
 * groups.h - groups of sequences whose sums may be rounded together, so that results are the same
 * when processes divide the sequences.
 *
 * Process r of P has sequences floor(r n / P) up to floor((r + 1) n / P) of n. Sequences that are
 * long enough are groups by themselves. Shorter sequences are put into 24 groups by the same
 * formula, so 2, 3, 4, 6, 8, 12 or 24 processes have whole groups.
 */
#ifndef CBE_CORE_GROUPS_H
#define CBE_CORE_GROUPS_H

#include <stdbool.h>
#include <stddef.h>

enum { CBE_GROUPS = 24 };

/** Number of the group of sequence s of n. long_enough: each sequence is a group by itself. */
static inline size_t cbe_group_of_sequence(size_t n, size_t s, bool long_enough)
{
    return long_enough || n < CBE_GROUPS ? s : (CBE_GROUPS * (s + 1) - 1) / n;
}

#endif
