/* surroundings.c - see surroundings.h. */
#include "cli/surroundings.h"

#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/commands.h"
#include "run/options.h"
#include "core/printable.h"
#include "files/mapped_file.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* OpenBLAS starts a thread for each core when it is loaded, and cbe uses none of them
 * (math/gemm.c). Each thread takes 128 MB of address space. Where there is no room, OpenBLAS tries
 * for ever or ends the process. A variable prevents that, but OpenBLAS reads it before main. So in
 * a limited address space the program starts itself again with the variable, before any library
 * begins. */
#if defined __GLIBC__ && !defined SANITIZED
static void limit_blas_threads(int argc, char **argv, char **environment)
{
    enum { MOST_VARIABLES = 4096 };
    static const char wanted[] = "OPENBLAS_NUM_THREADS=1";
    static char variable[] = "OPENBLAS_NUM_THREADS=1";
    static char *changed[MOST_VARIABLES + 2];
    const char *program = (const char *)getauxval(AT_EXECFN);
    struct rlimit limit;
    size_t n = 0;
    (void)argc;
    if (!program || getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    for (char **e = environment; *e; e++) {
        if (strcmp(*e, wanted) == 0 || n == MOST_VARIABLES) return;
        if (strncmp(*e, wanted, sizeof wanted - 2) != 0) changed[n++] = *e;
    }
    changed[n++] = variable;
    changed[n] = NULL;
    execve(program, argv, changed);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const before_libraries)(int, char **,
                                                            char **) = limit_blas_threads;
#endif

int cli_open_standard_descriptors(void)
{
    /* The wrong way round: a read from descriptor 0 fails, and so does a write to 1. */
    static const int ways[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
        /* The lowest free number is fd, since all below it are open. Without /dev, a folder serves
         * as well. */
        if (open("/dev/null", ways[fd]) != fd && open("/", O_RDONLY) != fd) return -1;
    }
    return 0;
}

/* Appends text to a line of `size` bytes, made printable; async-signal-safe, as cbe_printable
 * is. */
static size_t put(char *line, size_t used, size_t size, const char *text)
{
    return used + cbe_printable(line + used, size - used, text, strlen(text));
}

static void report_lost_file(int signal_number, siginfo_t *info, void *unused)
{
    enum { ROOM = 4096, END = 1 };
    (void)unused;
    const char *path = info->si_code > 0 ? cbe_mapped_file_at(info->si_addr) : NULL;
    if (!path) {
        /* The address is in no mapped file: the signal does what it does without a handler. */
        signal(signal_number, SIG_DFL);
        raise(signal_number);
        return;
    }
    char line[ROOM + END];
    size_t n = put(line, 0, ROOM, "cbe: ");
    n = put(line, n, ROOM - 200, path); /* leaves room for the rest of the line */
    n = put(line, n, ROOM,
            ": can no longer be read: it was truncated while it was in use, or its disk failed; "
            "run again with the whole file");
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0) _exit(CLI_FAILED);
    _exit(CLI_FAILED);
}

void cli_handle_signals(void)
{
    struct sigaction lost = {.sa_sigaction = report_lost_file, .sa_flags = SA_SIGINFO};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    sigemptyset(&lost.sa_mask);
    sigaction(SIGBUS, &lost, NULL);
}

void cli_limit_threads(void)
{
    if (omp_get_max_threads() > CBE_MOST_THREADS) omp_set_num_threads((int)CBE_MOST_THREADS);
}
