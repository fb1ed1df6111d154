/*
 * progress.h - what a run tells while it works, on standard error: one line that is written over
 * when that is a terminal, plain lines otherwise.
 */
#ifndef CBE_CLI_PROGRESS_H
#define CBE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "run/watch.h"

typedef struct {
    bool quiet, verbose, terminal, silent;
    double last; /* time of the last line written over */
    bool open;   /* such a line is on the screen */
    /* lines are kept until work begins: bad input is answered by its one line alone */
    bool holding;
    char held[2048];
    cbe_watch watch; /* what the library tells comes here */
} cli_progress;

void cli_progress_init(cli_progress *progress, bool quiet, bool verbose);
/** Says nothing at all, not even warnings: another process speaks. */
void cli_progress_silence(cli_progress *progress);
/** Work begins: lines held so far are shown, later ones at once. */
void cli_progress_release(cli_progress *progress);
/** A line that stays. */
void cli_say(cli_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** A warning: shown even with --quiet. */
void cli_warn(cli_progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** The state of things: on a terminal only, and at most ten times a second. */
void cli_status_line(cli_progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** Takes the status line away. */
void cli_status_clear(cli_progress *progress);
/** What a run tells, shown; context is a cli_progress. @return false once a signal has come */
bool cli_watch(void *context, cbe_event event, const char *text, size_t done, size_t total);

#endif
