/*
 * company.h - commands that several processes can share: what all of them do alike before and after
 * the work.
 */
#ifndef CBE_CLI_COMPANY_H
#define CBE_CLI_COMPANY_H

#include "cli/arguments.h"
#include "cli/progress.h"
#include "run/run.h"

/** Parses the arguments and joins the other processes. All agree on whether --help was typed, and
 * on whether the arguments are wrong: a launcher can give one process arguments of its own, and the
 * others would wait for it. */
cbe_status cli_begin_shared(const cli_command *command, cbe_run *run, int argc, char **argv,
                            bool *help, cbe_error *err);
/** Runs it, or shows --help, and tells how it ended; frees the run.
 * @param st  of cli_begin_shared; err its error
 * @param watch  set as the run's callback, with its context
 * @return the exit status, the same in all processes */
int cli_execute_shared(const cli_command *command, cbe_run *run, cbe_status st, bool help,
                       cbe_callback *watch, void *context, cbe_error *err);
/** Prepares what shows progress: all but the one that speaks are silent. */
void cli_progress_shared(cli_progress *progress, const cbe_run *run);

#endif
