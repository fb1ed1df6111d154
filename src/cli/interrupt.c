/* interrupt.c - see interrupt.h. Signal handlers here call async-signal-safe functions alone. */
#include "cli/interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/printable.h"

/* Milliseconds from a signal until the program ends by itself: if no step follows; the same for a
 * process that does not speak, which waits longer, so that the line of the speaking process comes
 * before the launcher ends all; and once the command ends in order, which needs the other processes
 * (cbe_extract). */
enum { UNSEEN = 300, UNSEEN_SILENT = 600, IN_ORDER = 8000 };

static volatile sig_atomic_t noted, speaking;
static atomic_bool finishing;
static bool seen;
static char checkpoint[4096], resumable[4200];

static void set_timer(long milliseconds)
{
    const struct itimerval timer = {.it_value = {milliseconds / 1000, milliseconds % 1000 * 1000}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void note(int signal)
{
    noted = signal;
    set_timer(speaking ? UNSEEN : UNSEEN_SILENT);
}

static void give_up(int unused)
{
    (void)unused;
    if (!noted || atomic_load(&finishing)) return;
    if (speaking) cli_interrupt_say();
    _exit(128 + noted);
}

void cli_interrupt_note(bool speaks)
{
    struct sigaction first = {.sa_handler = note, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    struct sigaction late = {.sa_handler = give_up, .sa_flags = SA_RESTART};
    speaking = speaks;
    sigemptyset(&first.sa_mask);
    sigemptyset(&late.sa_mask);
    sigaction(SIGALRM, &late, NULL);
    sigaction(SIGINT, &first, NULL);
    sigaction(SIGTERM, &first, NULL);
}

int cli_interrupt_signal(void)
{
    if (noted && !seen) {
        seen = true;
        set_timer(IN_ORDER);
    }
    return noted;
}

int cli_interrupt_status(void)
{
    return 128 + noted;
}

void cli_interrupt_resumes_from(const char *path)
{
    if (strlen(path) >= sizeof checkpoint) return;
    const size_t length =
        (size_t)snprintf(resumable, sizeof resumable - 1,
                         "cbe: interrupted; the same command with --resume goes on from %s", path);
    strcpy(resumable + cbe_printable(resumable, sizeof resumable - 1, resumable, length), "\n");
    strcpy(checkpoint, path);
}

void cli_interrupt_say(void)
{
    static const char at_start[] = "cbe: interrupted before the first checkpoint\n",
                      clear[] = "\r\033[K";
    struct stat info;
    const char *line = *checkpoint && stat(checkpoint, &info) == 0 ? resumable : at_start;
    if (isatty(STDERR_FILENO) && write(STDERR_FILENO, clear, sizeof clear - 1) < 0) return;
    if (write(STDERR_FILENO, line, strlen(line)) < 0) return;
}

void cli_interrupt_said(void)
{
    speaking = false;
}

void cli_interrupt_finish(void)
{
    atomic_store(&finishing, true);
}
