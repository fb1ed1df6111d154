/* interrupt.h - SIGINT and SIGTERM while a command runs that can stop between two steps. */
#ifndef CBE_CLI_INTERRUPT_H
#define CBE_CLI_INTERRUPT_H

#include <stdbool.h>

/** From now on the first of these signals is noted, and the second does what it always does. */
void cli_interrupt_note(void);
/** The signal that was noted; 0: none. */
int cli_interrupt_signal(void);
/** Exit status of a command that stopped for it, as shells have it: 128 + signal. */
int cli_interrupt_status(void);

#endif
