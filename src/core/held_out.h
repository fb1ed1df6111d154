/*
 * held_out.h - the choice of held-out sequences of a text, from which nothing is learned.
 */
#ifndef CBE_CORE_HELD_OUT_H
#define CBE_CORE_HELD_OUT_H

#include <stdbool.h>
#include <stddef.h>

/** True for n_held_out of the n_sequences, evenly spread. */
static inline bool cbe_is_held_out(size_t sequence, size_t n_held_out, size_t n_sequences)
{
    return (sequence + 1) * n_held_out / n_sequences > sequence * n_held_out / n_sequences;
}

#endif
