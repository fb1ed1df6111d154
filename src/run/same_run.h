/* same_run.h - that all processes of a run were given the same: options, files, and so token
 * ids. */
#ifndef CBE_RUN_SAME_RUN_H
#define CBE_RUN_SAME_RUN_H

#include "run/inputs.h"

/** Compares what each process has with what rank 0 has; all call it.
 * @param tokens  of the run's text; without sequences where there is none
 * @return CBE_OK; CBE_ERR_ARG (the process, and what differs); CBE_ERR_NOMEM */
cbe_status cbe_check_same_run(const cbe_run_settings *run, const cbe_tokens *tokens,
                              cbe_error *err);

#endif
