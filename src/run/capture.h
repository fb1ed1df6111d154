/*
 * run_model.h - running the model on a run's text, for the hidden states that the search is over.
 */
#ifndef CBE_RUN_CAPTURE_H
#define CBE_RUN_CAPTURE_H

#include "run/inputs.h"

/** Fills in `in->states` with hidden states of the process's own layers and sequences, and
 * `in->derangement`; layers and division are chosen by then. Where groups of processes search
 * layers of the same tokens, each runs the model on its part of them, and all give one another the
 * layers they have: where that cannot change a bit of them, and all have room. Called by all
 * processes of the run.
 * @param tokens  of the run
 * @param to_end  the output of the last block too, whatever the layers
 * @return CBE_OK; CBE_ERR_ARG (no room), CBE_ERR_NOMEM, CBE_ERR_CANCELLED, CBE_ERR_IO */
cbe_status cbe_run_capture(cbe_run_inputs *in, const cbe_run_settings *run,
                           const cbe_tokens *tokens, bool to_end, cbe_watch *watch, cbe_error *err);

#endif
