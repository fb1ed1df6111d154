/*
 * ablation_ref.h - effects of taking a subspace out of a layer, in float64, as their definitions
 * read.
 *
 * The plain twin of src/ablate/ablation.c: hidden states are ablated by the normal equations
 * (subspace_ref.h), the twin of the forward pass runs on from there, and both distributions are
 * written out.
 */
#ifndef CBE_TESTS_ABLATION_REF_H
#define CBE_TESTS_ABLATION_REF_H

#include "ablate/ablation.h"

/** What is ablated, and how. */
typedef struct {
    const cbe_model *model;
    size_t n_sequences, context_length, skip; /* B, S; N = B (S - skip) tokens are ablated */
    const int64_t *ids;                       /* (B, S) */
    size_t first;                             /* hidden_states.first */
    const double *hidden;                     /* it, (B S, d) */
    cbe_ablation ablation;
    const int64_t *derangement; /* (N) */
} cbe_ablation_case;

/** @param vectors (m, d), rows  @param out [out] kl, ce, top1: their means */
void cbe_ablation_ref(const cbe_ablation_case *c, size_t m, const double *vectors,
                      double out[CBE_N_EFFECTS]);

#endif
