/* given_inputs.h - inputs of a run that come from memory, in its record. */
#ifndef CBE_RUN_GIVEN_INPUTS_H
#define CBE_RUN_GIVEN_INPUTS_H

#include "run/inputs.h"

/** Adds the hidden states and the decoder that were given from memory to the inputs of the run:
 * each state of its layers, without the tokens that a mask leaves out, and the unembedding, as
 * float32 with the SHA-256 of their bytes. Their paths are "memory: hidden_states.15" and "memory:
 * unembedding". Layers are chosen by then.
 * @return CBE_OK; CBE_ERR_NUMERIC (NaN or infinity); CBE_ERR_NOMEM */
cbe_status cbe_note_given_inputs(const cbe_run_settings *settings, const cbe_run_inputs *in,
                                 cbe_error *err);

#endif
