/*
 * held_out.h - the choice of held-out sequences of a text, from which nothing is learned, and the
 * tokens that are left.
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

/** Returns the number of tokens that are not held out. @param held_out  (n); NULL: none is */
static inline size_t cbe_count_searched(const bool *held_out, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += !held_out || !held_out[i];
    return count;
}

/** Returns the token that `rank` tokens come before that are not held out, and is not held out
 * itself. There must be one. @param held_out  of each token; NULL: none is */
static inline size_t cbe_searched_token(const bool *held_out, size_t rank)
{
    if (!held_out) return rank;
    size_t token = 0;
    while (held_out[token] || rank-- > 0) token++;
    return token;
}

#endif
