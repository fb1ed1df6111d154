/* surroundings.h - what the program sets for its process before it begins: descriptors, signals,
 * threads. */
#ifndef CBE_CLI_SURROUNDINGS_H
#define CBE_CLI_SURROUNDINGS_H

/** Opens standard input, output and error on /dev/null if they are closed, so that no file gets
 * their numbers. Reading that input and writing that output still fail (EBADF); messages vanish.
 * @return 0; -1: /dev/null could not be opened */
int cli_open_standard_descriptors(void);

/** Sets the program's signal handlers. SIGPIPE and SIGXFSZ are ignored, so that the write that
 * fails tells the error. SIGBUS, from a mapped file that another process truncated, ends the
 * program with a line that names the file. */
void cli_handle_signals(void);

/** Limits OpenMP to CBE_MOST_THREADS threads, even if the environment asks for more. */
void cli_limit_threads(void);

#endif
