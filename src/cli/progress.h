/*
 * progress.h - the messages of a run at work, on standard error. On a terminal the state is one
 * line that is written over; elsewhere all messages are plain lines.
 */
#ifndef CBE_CLI_PROGRESS_H
#define CBE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "run/watch.h"

typedef struct {
    bool quiet, verbose, terminal, silent;
    double last; /* time of the last line about the state of the work */
    bool open;   /* such a line is on the screen */
    /* Lines are held until work begins, so that bad input is answered by one line alone. */
    bool holding;
    char held[2048];
    cbe_watch watch; /* what the library tells comes here */
} cli_progress;

void cli_progress_init(cli_progress *progress, bool quiet, bool verbose);
/** Silences even warnings, in a process beside the one that speaks. */
void cli_progress_silence(cli_progress *progress);
/** Tells that work begins. The lines held so far are shown, and later ones at once. */
void cli_progress_release(cli_progress *progress);
/** Shows a line that stays. */
void cli_say(cli_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Shows a warning, even with --quiet. */
void cli_warn(cli_progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** Shows the state of the work: on a terminal in one line, at most ten times a second, else in a
 * line of its own every half minute. */
void cli_status_line(cli_progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** Clears the line of the state. */
void cli_status_clear(cli_progress *progress);
/** Shows an event of a run. context is a cli_progress. @return false once a signal has come */
bool cli_watch(void *context, cbe_event event, const char *text, size_t done, size_t total);

#endif
