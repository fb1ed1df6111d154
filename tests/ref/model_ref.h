/*
 * model_ref.h - the forward pass in float64 by plain loops: the twin of src/model/forward.c.
 *
 * It takes the configuration and the expanded weights of an open model, so it does not test how
 * they were read; golden files do.
 */
#ifndef CBE_TESTS_MODEL_REF_H
#define CBE_TESTS_MODEL_REF_H

#include <stddef.h>
#include <stdint.h>

#include "model/model.h"
#include "model/activation.h"

double cbe_model_ref_activation(cbe_activation kind, double z);

/** Runs a model.
 * @param hidden [out] (n_layers + 1, N, d), N = n_sequences context_length @param logits [out] (N,
 *  V); NULL skips them */
void cbe_model_ref(const cbe_model *model, size_t n_sequences, size_t context_length,
                   const int64_t *ids, double *hidden, double *logits);

/** Runs the blocks from `first` on, and the decoder.
 * @param hidden [in, out] (n_layers + 1 - first, N, d): hidden_states.first in, the later layers
 * out */
void cbe_model_ref_suffix(const cbe_model *model, size_t first, size_t n_sequences,
                          size_t context_length, double *hidden, double *logits);

/** Runs the blocks from `first` on with one token changed at a time, each read where it was
 * changed: own scope, by its definition.
 * @param clean   (N, d) hidden_states.first
 * @param changed (N, d) what each token is changed to
 * @param last    [out] (N, d) hidden_states.L  @param logits [out] (N, V); NULL skips them */
void cbe_model_ref_own(const cbe_model *model, size_t first, size_t n_sequences,
                       size_t context_length, const double *clean, const double *changed,
                       double *last, double *logits);

#endif
