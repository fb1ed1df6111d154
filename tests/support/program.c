/* program.c - see program.h. */
#include "support/program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static pid_t start(const char *program, const char *line)
{
    char copy[4096], out[600], err[600], *argv[64] = {NULL};
    size_t argc = 0;
    pid_t child;
    argv[argc++] = strdup(program);
    snprintf(copy, sizeof copy, "%s", program_expand(line));
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < 63);
        argv[argc++] = word;
    }
    snprintf(out, sizeof out, "%s/stdout", folder);
    snprintf(err, sizeof err, "%s/stderr", folder);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&files, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(posix_spawnp(&child, program, &files, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    free(argv[0]);
    return child;
}

static void read_output(void)
{
    char path[600];
    snprintf(path, sizeof path, "%s/stdout", folder);
    read_text(path, program_out);
    snprintf(path, sizeof path, "%s/stderr", folder);
    read_text(path, program_err);
}

pid_t program_start(const char *launcher, const char *line)
{
    return start(launcher ? launcher : program_path(), line);
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
    const int status = program_end(start(launcher, line));
    if (status < 0) fail_msg("cbe %s: ended by signal %d, %s", line, -status, program_err);
    return status;
}

int program_run(const char *line)
{
    return program_run_under(program_path(), line);
}

int program_run_signalled(const char *line, unsigned milliseconds, int signal)
{
    int status;
    const pid_t child = start(program_path(), line);
    const struct timespec pause = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    nanosleep(&pause, NULL);
    kill(child, signal);
    assert_int_equal(waitpid(child, &status, 0), child);
    read_output();
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    if (WTERMSIG(status) != signal) fail_msg("cbe %s: ended by signal %d, %s", line, WTERMSIG(status), program_err);
    return -1;
}

void program_done(const char *line)
{
    const int status = program_run(line);
    if (status != 0) fail_msg("cbe %s: exit status %d, %s", line, status, program_err);
}
