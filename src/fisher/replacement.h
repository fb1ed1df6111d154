/*
 * replacement.h - what ablation puts in the place of hidden states: D_n = h_n less its replacement.
 */
#ifndef CBE_FISHER_REPLACEMENT_H
#define CBE_FISHER_REPLACEMENT_H

#include <stddef.h>

/** Arrays are borrowed. With neither, states are replaced by 0. */
typedef struct {
    const double *mean; /* (d); NULL: none */
    /* (own sequences, S - skip, d): the hidden state that each token is ablated with, for resample;
     * NULL: none */
    const float *other;
} cbe_replacement;

/** out = D of n tokens in float32, each difference rounded once.
 * @param first  index of the first token among those of the process that are not skipped
 * @param hidden (n, d)   @param out [out] (n, d) */
void cbe_replacement_differences(const cbe_replacement *replacement, size_t d, size_t first,
                                 size_t n, const float *hidden, float *out);

#endif
