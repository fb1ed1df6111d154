/*
 * attention.h - causal attention of a range of one sequence's tokens.
 */
#ifndef CBE_MODEL_ATTENTION_H
#define CBE_MODEL_ATTENTION_H

#include <stddef.h>

#include "cbe/model.h"

/** Floats that cbe_attention needs at scratch for sequences of context_length tokens; 0 when the
 * size overflows. */
size_t cbe_attention_scratch(const cbe_model_config *config, size_t context_length);

/** out_t = for each head, softmax over keys 0..t of q_t . k / sqrt(head size), times the values,
 * for the tokens first .. last - 1 of a sequence.
 * @param qkv  (at least last, stride): rows q | k | v of the sequence from its first token,
 *             rotated
 * @param out  [out] (last - first, n_heads head_size), token `first` in its first row */
void cbe_attention(const cbe_model_config *config, size_t context_length, size_t first, size_t last,
                   const float *qkv, size_t stride, float *scratch, float *out);

#endif
