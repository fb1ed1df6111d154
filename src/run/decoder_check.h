/*
 * decoder_check.h - whether hidden states made elsewhere and a decoder belong together: mistakes
 * with arrays that would give wrong energies without a word.
 */
#ifndef CBE_RUN_DECODER_CHECK_H
#define CBE_RUN_DECODER_CHECK_H

#include "model/decoder.h"
#include "model/hidden_states.h"

/** Compares the decoder with the model's own logits, where the states have some, on a few tokens;
 * and looks whether hidden_states.<state> is the output of the final norm, as the last of the
 * hidden states that Hugging Face's transformers returns is.
 * @param path   what messages call the states
 * @param state  the highest one that the run reads
 * @return CBE_OK; CBE_ERR_ARG (what is wrong, and what to give instead); CBE_ERR_SHAPE (logits of
 * another vocabulary); CBE_ERR_NOMEM; what reading the states returns */
cbe_status cbe_check_decoder(const cbe_hidden_states *states, const char *path, size_t state,
                             const cbe_decoder *decoder, cbe_error *err);

#endif
