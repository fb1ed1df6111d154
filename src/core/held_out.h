/*
 * held_out.h - which sequences of a text nothing is learned from.
 */
#ifndef CBE_CORE_HELD_OUT_H
#define CBE_CORE_HELD_OUT_H

#include <stdbool.h>
#include <stddef.h>

/** Whether a sequence is one of n_held_out of n_sequences, evenly spread: those where the count of
 * those up to it steps. */
static inline bool cbe_is_held_out(size_t sequence, size_t n_held_out, size_t n_sequences)
{
    return (sequence + 1) * n_held_out / n_sequences > sequence * n_held_out / n_sequences;
}

#endif
