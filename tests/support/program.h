/*
 * program.h - running cbe as a user does, its path in CBE_PROGRAM (ctest sets it).
 */
#ifndef CBE_TESTS_PROGRAM_H
#define CBE_TESTS_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

enum { PROGRAM_TEXT = 16384 };

/** What the last run wrote, cut to this size: to standard output and to standard error. */
extern char program_out[PROGRAM_TEXT], program_err[PROGRAM_TEXT];

/** Group setup, instead of temp_folder_create: the folder is also that of %F below. */
int program_set_up(void **state);

/** Runs `cbe LINE`, split at blanks; returns the exit status. In the line, %F is the test's folder,
 * %D tests' data, %G its golden folder, %H and %E hidden states and decoder of the golden case
 * rmsnorm-logit, %P the program itself. */
int program_run(const char *line);
/** Runs `LAUNCHER LINE`, where the line names the program. */
int program_run_under(const char *launcher, const char *line);
/** Starts the same and goes on; launcher NULL: the program itself. */
pid_t program_start(const char *launcher, const char *line);
/** Waits for its end; returns the exit status, or minus the signal that ended it. */
int program_end(pid_t process);
/** Runs it for so many milliseconds of processor time, however long they take, and kills it;
 * returns the exit status, or -1 where it was killed. The kernel's clock counts such time in steps
 * of some milliseconds. */
int program_run_limited(const char *line, unsigned milliseconds);
/** Runs it, and while a file is there that the run makes and takes away again does something with
 * the run standing still, then lets it go on; where there is nothing to do it is killed. Returns
 * the exit status, or -1 where it was killed.
 * @param path   program_expand's
 * @param holds  whether the file holds what is waited for; NULL: any file
 * @param acted  [out] false: the run had ended, or the file was gone again, before it could be
 * stopped */
int program_run_while(const char *line, const char *path, bool (*holds)(const char *path),
                      void (*act)(void *context), void *context, bool *acted);
/** As program_run_while, but sends the run a signal instead, and lets it go on.
 * @return the exit status, or -1 where the signal ended it; with *sent false the run had ended
 * before */
int program_run_signalled(const char *line, const char *path, int signal, bool *sent);
/** Starts it, after `prepare` was called in the new process, whose standard output and error are
 * files; NULL: nothing to prepare. */
pid_t program_begin(const char *line, void (*prepare)(void));
/** Waits until a program that was begun catches SIGTERM and has then computed for so many
 * hundredths of a second. */
void program_await_work(pid_t child, unsigned hundredths);
/** As program_run, asserting that it is done. */
void program_done(const char *line);
/** The same line with %F and the others replaced: for paths that a test reads itself. Static
 * memory, valid until the fourth call from now. */
const char *program_expand(const char *line);

#endif
