/*
 * interrupt.h - SIGINT and SIGTERM for a command that can stop between two steps.
 *
 * The first signal is noted, and the command ends in order at the next step. If no step follows
 * soon, the program ends from within a signal handler. That does no harm, as the files on disk are
 * whole at every moment. The second signal ends the program at once.
 */
#ifndef CBE_CLI_INTERRUPT_H
#define CBE_CLI_INTERRUPT_H

#include <stdbool.h>

/** Begins to note signals.
 * @param speaks  whether this process is the one of several that says how the run ended */
void cli_interrupt_note(bool speaks);
/** The signal that was noted, after which the command must end; 0: none. */
int cli_interrupt_signal(void);
/** Exit status of a command that a signal stopped, as in shells: 128 + signal. */
int cli_interrupt_status(void);

/** Names the file from which the run can go on, once the file exists. The path is copied. */
void cli_interrupt_resumes_from(const char *path);
/** Writes the line of an interrupted run to standard error; async-signal-safe. */
void cli_interrupt_say(void);
/** Tells that the line about the run's end was written. A signal still ends the program, but
 * without a line. */
void cli_interrupt_said(void);
/** Tells that the result is being put in place. From now on signals change nothing. */
void cli_interrupt_finish(void);

#endif
