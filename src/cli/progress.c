/* progress.c - see progress.h. */
#include "cli/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cli_progress_init(cli_progress *progress, bool quiet, bool verbose)
{
    *progress = (cli_progress){quiet, verbose && !quiet, isatty(STDERR_FILENO) == 1, 0, false};
}

void cli_status_clear(cli_progress *progress)
{
    if (progress->open) fputs("\r\033[K", stderr);
    progress->open = false;
}

static void say(cli_progress *progress, const char *format, va_list args)
{
    cli_status_clear(progress);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void cli_say(cli_progress *progress, const char *format, ...)
{
    if (progress->quiet) return;
    va_list args;
    va_start(args, format);
    say(progress, format, args);
    va_end(args);
}

void cli_say_more(cli_progress *progress, const char *format, ...)
{
    if (!progress->verbose) return;
    va_list args;
    va_start(args, format);
    say(progress, format, args);
    va_end(args);
}

void cli_warn(cli_progress *progress, const char *format, ...)
{
    cli_status_clear(progress);
    fputs("cbe: warning: ", stderr);
    va_list args;
    va_start(args, format);
    say(progress, format, args);
    va_end(args);
}

void cli_status_line(cli_progress *progress, const char *format, ...)
{
    if (progress->quiet || !progress->terminal) return;
    const double t = now();
    if (t - progress->last < 0.1) return;
    progress->last = t;
    va_list args;
    va_start(args, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
    progress->open = true;
}

bool cli_forward_progress(void *context, size_t done, size_t total)
{
    cli_status_line(context, "running the model: %.0f%%", total ? 100.0 * (double)done / (double)total : 100.0);
    return true;
}
