/*
 * program.h - running cbe as a user does; ctest sets its path in CBE_PROGRAM.
 */
#ifndef CBE_TESTS_PROGRAM_H
#define CBE_TESTS_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

enum { PROGRAM_TEXT = 16384 };

/** Standard output and standard error of the last run, each cut to PROGRAM_TEXT bytes. */
extern char program_out[PROGRAM_TEXT], program_err[PROGRAM_TEXT];

/** program_err without the lines that judge vectors, which are seldom removals in a tiny model, and
 * lenses. Static memory, valid until the next call. */
const char *program_err_but_verdicts(void);

/** Group setup, in place of temp_folder_create; the folder is also %F below. */
int program_set_up(void **state);

/** Runs `cbe LINE`, split at blanks; returns the exit status. In the line, %F is the test's folder,
 * %D tests' data, %G its golden folder, %H and %E hidden states and decoder of the golden case
 * rmsnorm-logit, %P the program itself. */
int program_run(const char *line);
/** Runs `LAUNCHER LINE`, where the line names the program. */
int program_run_under(const char *launcher, const char *line);
/** Starts `LAUNCHER LINE` without waiting for its end; launcher NULL: `cbe LINE`. */
pid_t program_start(const char *launcher, const char *line);
/** Waits for the end of a process; returns the exit status, or minus the signal that ended it. */
int program_end(pid_t process);
/** Runs `cbe LINE` and kills it after this many milliseconds of processor time; returns the exit
 * status, or -1 if it was killed. The kernel counts processor time in steps of some
 * milliseconds. */
int program_run_limited(const char *line, unsigned milliseconds);
/** Runs `cbe LINE`, stops the run while it has a file that it makes and removes again, calls act,
 * and lets the run go on; act NULL: the run is killed. Returns the exit status, or -1 if it was
 * killed.
 * @param path   the file's path, of program_expand
 * @param holds  whether the file has the content to wait for; NULL: any content
 * @param acted  [out] false: the run had ended or removed the file before it could be stopped */
int program_run_while(const char *line, const char *path, bool (*holds)(const char *path),
                      void (*act)(void *context), void *context, bool *acted);
/** As program_run_while, but sends the run a signal in place of calling act, and lets it go on.
 * @return the exit status, or -1 if the signal ended the run; *sent false: the run had ended
 * before */
int program_run_signalled(const char *line, const char *path, int signal, bool *sent);
/** Starts `cbe LINE`, after calling `prepare` in the new process, whose standard output and error
 * are files; prepare NULL: no call. */
pid_t program_begin(const char *line, void (*prepare)(void));
/** Waits until a program of program_begin catches SIGTERM and has then computed for this many
 * hundredths of a second. */
void program_await_work(pid_t child, unsigned hundredths);
/** program_run that asserts exit status 0. */
void program_done(const char *line);
/** The line with %F, %D, %G, %H, %E and %P replaced, for paths that a test reads itself. Static
 * memory, valid until the fourth call from now. */
const char *program_expand(const char *line);

#endif
