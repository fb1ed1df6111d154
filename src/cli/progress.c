/* progress.c - see progress.h. */
#include "cli/progress.h"
#include "cli/interrupt.h"
#include "cli/print.h"
#include "core/clock.h"
#include "core/printable.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cli_progress_init(cli_progress *progress, bool quiet, bool verbose)
{
    *progress = (cli_progress){.quiet = quiet, .verbose = verbose && !quiet, .holding = true};
    progress->terminal = isatty(STDERR_FILENO) == 1;
    progress->watch =
        (cbe_watch){.callback = cli_watch, .context = progress, .side = CBE_IN_PROGRAM};
}

void cli_progress_silence(cli_progress *progress)
{
    progress->quiet = progress->silent = true;
    progress->terminal = false;
}

void cli_progress_release(cli_progress *progress)
{
    if (!progress->holding) return;
    progress->holding = false;
    fputs(progress->held, stderr);
}

void cli_status_clear(cli_progress *progress)
{
    if (progress->open) fputs("\r\033[K", stderr);
    progress->open = false;
}

/* Lines that are not warnings wait until work begins. */
static bool hold(cli_progress *progress, const char *format, va_list args)
{
    if (!progress->holding) return false;
    const size_t used = strlen(progress->held), left = sizeof progress->held - used;
    char *line = progress->held + used;
    const int n = vsnprintf(line, left, format, args);
    if (n >= 0 && (size_t)n + 1 < left) {
        char *end = line + cbe_printable(line, left, line, (size_t)n);
        end[0] = '\n';
        end[1] = 0;
    } else {
        line[0] = 0; /* No line is better than half a line. */
    }
    return true;
}

static void say(cli_progress *progress, const char *format, va_list args)
{
    cli_status_clear(progress);
    cli_vprint(stderr, "\n", format, args);
}

void cli_say(cli_progress *progress, const char *format, ...)
{
    if (progress->quiet) return;
    va_list args;
    va_start(args, format);
    if (!hold(progress, format, args)) say(progress, format, args);
    va_end(args);
}

void cli_warn(cli_progress *progress, const char *format, ...)
{
    if (progress->silent) return;
    cli_status_clear(progress);
    fputs("cbe: warning: ", stderr);
    va_list args;
    va_start(args, format);
    say(progress, format, args);
    va_end(args);
}

void cli_status_line(cli_progress *progress, const char *format, ...)
{
    static const double seldom = 30; /* seconds between lines that stay */
    if (progress->quiet) return;
    const double t = cbe_now();
    if (progress->last == 0 && !progress->terminal) progress->last = t;
    if (t - progress->last < (progress->terminal ? 0.1 : seldom)) return;
    progress->last = t;
    cli_progress_release(progress);
    va_list args;
    va_start(args, format);
    if (progress->terminal) fputs("\r\033[K", stderr);
    cli_vprint(stderr, progress->terminal ? "" : "\n", format, args);
    va_end(args);
    fflush(stderr);
    progress->open = progress->terminal;
}

bool cli_watch(void *context, cbe_event event, const char *text, size_t done, size_t total)
{
    cli_progress *progress = context;
    (void)done;
    (void)total;
    switch (event) {
    case CBE_EVENT_NOTE: cli_say(progress, "%s", text); break;
    case CBE_EVENT_WARNING: cli_warn(progress, "%s", text); break;
    case CBE_EVENT_PROGRESS: cli_progress_release(progress); /* fall through */
    case CBE_EVENT_STAGE: cli_status_line(progress, "%s", text); break;
    case CBE_EVENT_LAYER:
        if (!progress->terminal) cli_say(progress, "%s", text);
        break;
    case CBE_EVENT_CHECKPOINT: cli_interrupt_resumes_from(text); break;
    case CBE_EVENT_SAVING:
        cli_progress_release(progress);
        cli_interrupt_finish();
        break;
    /* Without a step that follows soon, signals end the program by themselves (interrupt.h). */
    case CBE_EVENT_PULSE: return true;
    case CBE_N_EVENTS: break;
    }
    return cli_interrupt_signal() == 0;
}
