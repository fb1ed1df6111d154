/*
 * ablation_ref.h - effects of removing a subspace from a layer, in float64, by their definitions.
 *
 * The plain twin of src/ablate/ablation.c: hidden states are ablated by the normal equations
 * (subspace_ref.h), the twin of the forward pass runs the blocks behind, and both distributions are
 * computed in full.
 */
#ifndef CBE_TESTS_ABLATION_REF_H
#define CBE_TESTS_ABLATION_REF_H

#include "ablate/ablation.h"

/** The hidden states and their ablation. */
typedef struct {
    const cbe_model *model;
    size_t n_sequences, context_length, skip; /* B, S; N = B (S - skip) tokens are ablated */
    const int64_t *ids;                       /* (B, S) */
    size_t first;                             /* hidden_states.first */
    const double *hidden;                     /* hidden_states.first (B S, d) */
    cbe_ablation ablation;
    const int64_t *derangement; /* (N) */
    double strength;
    cbe_scope scope;
} cbe_ablation_case;

/** Computes the means of kl, ce and top1.
 * @param read, write (m, d), rows
 * @param out [out] by cbe_effect */
void cbe_ablation_ref(const cbe_ablation_case *c, size_t m, const double *read, const double *write,
                      double out[CBE_N_EFFECTS]);

#endif
