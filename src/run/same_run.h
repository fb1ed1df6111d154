/* same_run.h - what a run was given, as pairs of texts; and that all its processes were given the
 * same: options, files, and so token ids. */
#ifndef CBE_RUN_SAME_RUN_H
#define CBE_RUN_SAME_RUN_H

#include "extract/run_identity.h"
#include "run/inputs.h"

/** Adds the options in force; a lens that lies in files is "tuned".
 * @param matters  whether an option is compared
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_run_identity_add_settings(cbe_run_identity *out, const cbe_run_settings *run,
                                         bool (*matters)(const char *option), cbe_error *err);

/** Compares what each process has with what rank 0 has; all call it.
 * @param tokens  of the run's text; without sequences where there is none
 * @return CBE_OK; CBE_ERR_ARG (the process, and what differs); CBE_ERR_NOMEM */
cbe_status cbe_check_same_run(const cbe_run_settings *run, const cbe_tokens *tokens,
                              cbe_error *err);

#endif
