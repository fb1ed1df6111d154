/* surroundings.h - what the program makes sure of before it begins: descriptors, signals, threads
 * of BLAS. */
#ifndef CBE_CLI_SURROUNDINGS_H
#define CBE_CLI_SURROUNDINGS_H

/** Standard input, output and error that are closed are opened on /dev/null, so that no file of the
 * program gets their numbers. Reading that input and writing that output fail (EBADF), as they
 * would without it; messages vanish.
 * @return 0; -1: they could not be opened */
int cli_open_standard_descriptors(void);

/** Failing writes are errors of the write, not the end of the program: SIGPIPE and SIGXFSZ are
 * ignored. A mapped file that another process has truncated ends the program with a line that names
 * it (SIGBUS). */
void cli_handle_signals(void);

/** OpenMP takes at most CBE_MOST_THREADS threads, whatever the environment says. */
void cli_limit_threads(void);

#endif
