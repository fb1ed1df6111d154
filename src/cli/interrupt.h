/*
 * interrupt.h - SIGINT and SIGTERM while a command runs that can stop between two steps.
 *
 * The first signal is noted. The command looks between its steps, and ends in order. Where no look
 * follows soon, as while a long text is read or a large layer is prepared, the program ends from
 * within a signal handler: all that it leaves on disk is whole at every moment. The second signal
 * does what it always does.
 */
#ifndef CBE_CLI_INTERRUPT_H
#define CBE_CLI_INTERRUPT_H

#include <stdbool.h>

/** Notes signals from now on. @param speaks  whether this process, of several, is the one that says
 * how the run ended */
void cli_interrupt_note(bool speaks);
/** The signal that was noted; 0: none. Whoever sees one ends the command. */
int cli_interrupt_signal(void);
/** Exit status of a command that stopped for it, as shells have it: 128 + signal. */
int cli_interrupt_status(void);

/** The run goes on from this file, once it exists. The path is copied. */
void cli_interrupt_resumes_from(const char *path);
/** Writes the line of an interrupted run to standard error; async-signal-safe. */
void cli_interrupt_say(void);
/** How the run ended has been said: a signal still ends it, as a launcher's does, but without a
 * line. */
void cli_interrupt_said(void);
/** The result is being put in place: signals change nothing from now on. */
void cli_interrupt_finish(void);

#endif
