/* program.c - see program.h. */
#include "support/program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/assert_close.h"
#include "support/temp_folder.h"

extern char **environ;

char program_out[PROGRAM_TEXT], program_err[PROGRAM_TEXT];
static char folder[512];

int program_set_up(void **state)
{
    if (temp_folder_create(state) != 0) return -1;
    snprintf(folder, sizeof folder, "%s", (const char *)*state);
    return 0;
}

static const struct {
    char letter;
    const char *text;
} names[] = {
    {'F', folder},
    {'D', CBE_TEST_DATA},
    {'G', CBE_TEST_DATA "/golden"},
    {'H', CBE_TEST_DATA "/golden/extract/rmsnorm-logit/hidden.safetensors"},
    {'E', CBE_TEST_DATA "/golden/extract/rmsnorm-logit/decoder.safetensors"},
};

static const char *program_path(void)
{
    const char *program = getenv("CBE_PROGRAM");
    if (!program) fail_msg("CBE_PROGRAM must name the program: run this test by ctest");
    return program;
}

const char *program_err_but_verdicts(void)
{
    static char kept[PROGRAM_TEXT];
    size_t n = 0;
    for (const char *line = program_err; *line;) {
        const char *end = strchr(line, '\n'), *next = end ? end + 1 : line + strlen(line),
                   *verdict = strstr(line, ": no mere removal: "),
                   *lens = strstr(line, ": the lens was fitted on the text that");
        if ((!verdict || verdict >= next) && (!lens || lens >= next)) {
            memcpy(kept + n, line, (size_t)(next - line));
            n += (size_t)(next - line);
        }
        line = next;
    }
    kept[n] = 0;
    return kept;
}

const char *program_expand(const char *line)
{
    static char lines[4][4096];
    static unsigned next;
    char *to = lines[next++ % 4];
    size_t n = 0;
    for (; *line; line++) {
        const char *text = NULL;
        for (size_t i = 0; *line == '%' && i < sizeof names / sizeof *names; i++)
            if (line[1] == names[i].letter) text = names[i].text;
        if (*line == '%' && line[1] == 'P') text = program_path();
        assert_true(n + (text ? strlen(text) : 1) < sizeof lines[0]);
        if (text) {
            n += (size_t)sprintf(to + n, "%s", text);
            line++;
        } else {
            to[n++] = *line;
        }
    }
    to[n] = 0;
    return to;
}

static void read_text(const char *path, char *out)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    out[fread(out, 1, PROGRAM_TEXT - 1, file)] = 0;
    fclose(file);
}

/* @param prepare  called in the new process; NULL: no call */
static pid_t start(const char *program, const char *line, void (*prepare)(void))
{
    char copy[4096], out[600], err[600], *argv[64] = {NULL};
    size_t argc = 0;
    argv[argc++] = (char *)(uintptr_t)program;
    snprintf(copy, sizeof copy, "%s", program_expand(line));
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < 63);
        argv[argc++] = word;
    }
    snprintf(out, sizeof out, "%s/stdout", folder);
    snprintf(err, sizeof err, "%s/stderr", folder);
    fflush(stdout);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) return child;
    const int files[] = {open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600),
                         open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600)};
    if (dup2(files[0], STDOUT_FILENO) < 0 || dup2(files[1], STDERR_FILENO) < 0) _exit(126);
    close(files[0]);
    close(files[1]);
    if (prepare) prepare();
    execvp(program, argv);
    _exit(127);
}

static void read_output(void)
{
    char path[600];
    snprintf(path, sizeof path, "%s/stdout", folder);
    read_text(path, program_out);
    snprintf(path, sizeof path, "%s/stderr", folder);
    read_text(path, program_err);
}

pid_t program_begin(const char *line, void (*prepare)(void))
{
    return start(program_path(), line, prepare);
}

/* Whether a process has a handler of SIGTERM. */
static bool catches_sigterm(pid_t child)
{
    char path[64], line[200];
    unsigned long long caught = 0;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)child);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "SigCgt: %llx", &caught) == 1) break;
    if (file) fclose(file);
    return caught >> (SIGTERM - 1) & 1;
}

/* Processor time of a process in clock ticks. */
static unsigned long time_used(pid_t child)
{
    char path[64], text[1000] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)child);
    FILE *file = fopen(path, "r");
    if (file && fgets(text, sizeof text, file)) {
        const char *fields = strrchr(text, ')'); /* the name before it may contain any characters */
        if (fields)
            sscanf(fields, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    }
    if (file) fclose(file);
    return user + system;
}

void program_await_work(pid_t child, unsigned hundredths)
{
    const struct timespec pause = {0, 5000000};
    const unsigned long ticks = (unsigned long)sysconf(_SC_CLK_TCK) * hundredths / 100;
    bool caught = false;
    for (unsigned long begun = 0;;) {
        siginfo_t ended = {0};
        assert_int_equal(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
        if (ended.si_pid) {
            read_output();
            fail_msg("it ended before it was at work: %s", program_err);
        }
        if (!caught && (caught = catches_sigterm(child))) begun = time_used(child);
        if (caught && time_used(child) >= begun + ticks) return;
        nanosleep(&pause, NULL);
    }
}

pid_t program_start(const char *launcher, const char *line)
{
    return start(launcher ? launcher : program_path(), line, NULL);
}

int program_end(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    read_output();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int program_run_under(const char *launcher, const char *line)
{
    const int status = program_end(start(launcher, line, NULL));
    if (status < 0) fail_msg("cbe %s: ended by signal %d, %s", line, -status, program_err);
    return status;
}

int program_run(const char *line)
{
    return program_run_under(program_path(), line);
}

static unsigned limit;

/* Sets a timer, which the process keeps when it becomes the program. */
static void set_limit(void)
{
    const struct itimerval once = {.it_value = {limit / 1000, (suseconds_t)(limit % 1000) * 1000}};
    setitimer(ITIMER_PROF, &once, NULL);
}

/* Fails the test if a signal other than `signal` ended the run; signal 0: if any signal did.
 * @return the exit status, or -1 for the signal */
static int exit_status(const char *line, int status, int signal)
{
    read_output();
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    if (WTERMSIG(status) != signal)
        fail_msg("cbe %s: ended by signal %d, %s", line, WTERMSIG(status), program_err);
    return -1;
}

int program_run_limited(const char *line, unsigned milliseconds)
{
    int status;
    limit = milliseconds ? milliseconds : 1;
    const pid_t child = start(program_path(), line, set_limit);
    assert_int_equal(waitpid(child, &status, 0), child);
    return exit_status(line, status, SIGPROF);
}

static bool is_file(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Waits until the file has the content to wait for, and stops the run.
 * @param over  [out] whether the run has ended, with *status
 * @return false: the run has ended, or removed the file before it stopped */
static bool stop_while(pid_t child, const char *path, bool (*holds)(const char *path), bool *over,
                       int *status)
{
    const struct timespec moment = {0, 200000};
    *over = false;
    while (!*over && !holds(path)) {
        *over = waitpid(child, status, WNOHANG) == child;
        if (!*over) nanosleep(&moment, NULL);
    }
    if (*over) return false;
    kill(child, SIGSTOP);
    assert_int_equal(waitpid(child, status, WUNTRACED), child);
    *over = !WIFSTOPPED(*status);
    return !*over && holds(path);
}

int program_run_while(const char *line, const char *path, bool (*holds)(const char *path),
                      void (*act)(void *context), void *context, bool *acted)
{
    int status;
    bool over;
    char there[600];
    snprintf(there, sizeof there, "%s", program_expand(path));
    const pid_t child = start(program_path(), line, NULL);
    *acted = stop_while(child, there, holds ? holds : is_file, &over, &status);
    if (*acted && act) act(context);
    if (!over) {
        kill(child, *acted && !act ? SIGKILL : SIGCONT);
        assert_int_equal(waitpid(child, &status, 0), child);
    }
    return exit_status(line, status, *acted && !act ? SIGKILL : 0);
}

int program_run_signalled(const char *line, const char *path, int signal, bool *sent)
{
    int status;
    bool over;
    char there[600];
    snprintf(there, sizeof there, "%s", program_expand(path));
    const pid_t child = start(program_path(), line, NULL);
    *sent = stop_while(child, there, is_file, &over, &status);
    if (!over) {
        if (*sent) kill(child, signal);
        kill(child, SIGCONT);
        assert_int_equal(waitpid(child, &status, 0), child);
    }
    return exit_status(line, status, *sent ? signal : 0);
}

void program_done(const char *line)
{
    const int status = program_run(line);
    if (status != 0) fail_msg("cbe %s: exit status %d, %s", line, status, program_err);
}
