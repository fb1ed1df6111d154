/*
 * attention_own.h - attention of tokens that each stand alone among clean ones (own scope).
 *
 * A token's query scores the clean keys of the tokens before it, and its own key; values likewise.
 * No token sees another one of the batch, so the way back of a token leads to its own query, key
 * and value alone: clean keys and values are constants. Twin: tests/ref/model_ref.c.
 */
#ifndef CBE_MODEL_ATTENTION_OWN_H
#define CBE_MODEL_ATTENTION_OWN_H

#include "model/attention.h"

/** Computes attention of tokens first .. last - 1 of a sequence, as cbe_attention does.
 * @param own      (last - first, stride): rows q | k | v of these tokens, rotated
 * @param clean    (at least last, 2 n_kv_heads head_size): rows k | v of the clean sequence, from
 *                 its first token
 * @param scratch  cbe_attention_scratch floats */
void cbe_attention_own(const cbe_attention_spec *spec, size_t context_length, size_t first,
                       size_t last, const float *own, size_t stride, const float *clean,
                       float *scratch, float *out);

/** Backward pass of one whole sequence for key-value head g, as cbe_attention_back does it.
 * @param own, clean  of the whole sequence
 * @param scratch     cbe_attention_back_scratch floats */
void cbe_attention_own_back(const cbe_attention_spec *spec, size_t context_length, size_t g,
                            const float *own, size_t stride, const float *clean,
                            const float *grad_out, float *scratch, float *grad_own);

#endif
