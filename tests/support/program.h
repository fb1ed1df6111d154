/*
 * program.h - running cbe as a user does, its path in CBE_PROGRAM (ctest sets it).
 */
#ifndef CBE_TESTS_PROGRAM_H
#define CBE_TESTS_PROGRAM_H

#include <sys/types.h>

enum { PROGRAM_TEXT = 16384 };

/** What the last run wrote, cut to this size: to standard output and to standard error. */
extern char program_out[PROGRAM_TEXT], program_err[PROGRAM_TEXT];

/** Group setup, instead of temp_folder_create: the folder is also that of %F below. */
int program_set_up(void **state);

/** Runs `cbe LINE`, split at blanks; returns the exit status. In the line, %F is the test's folder, %D tests' data,
 * %G its golden folder, %H and %E hidden states and decoder of the golden case rmsnorm-logit, %P the program itself. */
int program_run(const char *line);
/** Runs `LAUNCHER LINE`, where the line names the program. */
int program_run_under(const char *launcher, const char *line);
/** Starts the same and goes on; launcher NULL: the program itself. */
pid_t program_start(const char *launcher, const char *line);
/** Waits for its end; returns the exit status, or minus the signal that ended it. */
int program_end(pid_t process);
/** Runs it and sends it a signal after so many milliseconds, unless it has ended; returns the exit status, or -1 where the signal
 * ended it. */
int program_run_signalled(const char *line, unsigned milliseconds, int signal);
/** As program_run, asserting that it is done. */
void program_done(const char *line);
/** The same line with %F and the others replaced: for paths that a test reads itself. Static memory, valid until the
 * fourth call from now. */
const char *program_expand(const char *line);

#endif
