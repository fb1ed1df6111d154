/*
 * attention_scores.h - scores of attention: how many are held at once, the softmax, its way back.
 */
#ifndef CBE_MODEL_ATTENTION_SCORES_H
#define CBE_MODEL_ATTENTION_SCORES_H

#include "model/attention.h"

/** Number of queries whose scores are held at once. */
size_t cbe_attention_block_queries(const cbe_attention_spec *spec, size_t context_length);
/** Most keys that a block of `queries` can see. */
size_t cbe_attention_max_keys(const cbe_attention_spec *spec, size_t context_length,
                              size_t queries);

/** Turns the scores of a token's n keys, the last its own, into exp(score - largest); returns
 * their sum. */
double cbe_attention_exp_scores(const cbe_attention_spec *spec, size_t head, size_t n,
                                float *scores);
/** Turns the scores of a token's n keys into probabilities, as in the forward pass.
 * @param slope [out] (n) the soft cap's slope, if there is a cap */
void cbe_attention_softmax(const cbe_attention_spec *spec, size_t head, size_t n, float *scores,
                           float *slope);
/** grad = p (grad - p . grad): from the gradient in probabilities to the gradient in scores.
 * @param slope  of the soft cap, by which gradients are multiplied; NULL: no cap */
void cbe_attention_softmax_back(size_t n, const float *p, const float *slope, float *grad);

#endif
