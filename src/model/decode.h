/*
 * decode.h - the arithmetic of a decoder, in the caller's memory.
 */
#ifndef CBE_MODEL_DECODE_H
#define CBE_MODEL_DECODE_H

#include "model/decoder.h"

/** cbe_decoder_logits in memory of the caller, which cannot fail.
 * @param common  subtracted from each logit: cbe_decoder_common where a softmax follows, else 0
 * @param normalised [out] (n, d) */
void cbe_decode(const cbe_decoder *decoder, float common, size_t n, const float *hidden,
                float *normalised, float *logits);

#endif
