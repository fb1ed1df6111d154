/*
 * decode.h - the arithmetic of a decoder, on memory that the caller has.
 */
#ifndef CBE_MODEL_DECODE_H
#define CBE_MODEL_DECODE_H

#include "model/decoder.h"

/** As cbe_decoder_logits, with room for the normalised hidden states.
 * @param normalised [out] (n, d) */
void cbe_decode(const cbe_decoder *decoder, size_t n, const float *hidden, float *normalised,
                float *logits);

#endif
