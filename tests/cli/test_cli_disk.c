/* The commands on a disk that is full, folders that cannot be written or vanish, and files that may
 * not grow: one line, the exit status, and nothing that was there is lost. Each call that can fail
 * is in tests/faults; here are the real things. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/assert_close.h"
#include "support/program.h"
#include "support/temp_folder.h"

enum { NOBODY = 65534, SKIPPED = 77, SMALL_DISK = 128 << 10 };

#define EXTRACT "extract --hidden-states %H --decoder %E -q -t 1 -l 0 --starts 1 --max-iter 2 "

static const char *const writing[] = {
    EXTRACT "-k 2 -o ",
    "capture %G/models/llama --tokens %G/models/llama/golden.safetensors -q --logits -o ",
    "decoder %G/models/llama -o ",
    "lens convert %G/lens/extract-rmsnorm -o ",
    "lens fit %G/models/llama --tokens %G/models/llama/golden.safetensors -q -o ",
};
enum { N_WRITING = sizeof writing / sizeof *writing };

static const char *line_of(size_t i, const char *output)
{
    static char line[600];
    snprintf(line, sizeof line, "%s%s", writing[i], output);
    return line;
}

static void assert_one_line(const char *said)
{
    const char *end = strchr(program_err, '\n');
    if (strncmp(program_err, "cbe: ", 5) != 0 || !end || end[1] || !strstr(program_err, said))
        fail_msg("not one line with '%s': %s", said, program_err);
}

/* Runs a check in a process of its own, whose rights and limits it changes. */
static void apart(void (*check)(void))
{
    int status;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        check();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) skip();
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* As _exit in place of a failed assertion, which would go on with the parent's tests. */
static void must(bool holds, const char *what)
{
    if (holds) return;
    print_error("%s: %s", what, program_err);
    _exit(1);
}

static bool one_line(const char *said)
{
    const char *end = strchr(program_err, '\n');
    return strncmp(program_err, "cbe: ", 5) == 0 && end && !end[1] && strstr(program_err, said);
}

static void in_a_folder_that_is_read_only(void)
{
    if (geteuid() == 0 &&
        (chmod(program_expand("%F"), 0777) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        _exit(SKIPPED);
    if (access(getenv("CBE_PROGRAM"), X_OK) != 0 || access(program_expand("%E"), R_OK) != 0)
        _exit(SKIPPED); /* a private checkout */
    for (size_t i = 0; i < N_WRITING; i++) {
        must(program_run(line_of(i, "%F/closed/new")) == 2, line_of(i, ""));
        must(one_line("Permission denied"), line_of(i, ""));
    }
}

static void output__in_a_folder_that_is_read_only_is_bad_usage(void **state)
{
    (void)state;
    assert_int_equal(mkdir(program_expand("%F/closed"), 0555), 0);
    apart(in_a_folder_that_is_read_only);
}

/* Files of 4 kB at most, as by ulimit -f: the program must not be ended by the signal of that. */
static void with_files_that_may_not_grow(void)
{
    const struct rlimit limit = {4096, 4096};
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
    for (size_t i = 1; i < N_WRITING; i++) {
        must(program_run(line_of(i, "%F/limited")) == 1, line_of(i, ""));
        must(one_line("File too large"), line_of(i, ""));
    }
}

static void output__past_the_limit_of_files_is_a_failed_run(void **state)
{
    (void)state;
    apart(with_files_that_may_not_grow);
    assert_int_equal(temp_count(state, ".tmp"), 0);
}

/* A disk of its own: results of an earlier run, and then no room for others. */
static void on_a_full_disk(void)
{
    char options[64], big[SMALL_DISK] = {0};
    const char *disk = program_expand("%F/disk");
    snprintf(options, sizeof options, "size=%d,mode=0777", SMALL_DISK);
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("cbe-test", disk, "tmpfs", 0, options) != 0)
        _exit(SKIPPED);
    must(program_run(EXTRACT "-k 2 -o %F/disk/result") == 0, "the first run");
    size_t n, m;
    char *before = temp_read(program_expand("%F/disk/result/basis.safetensors"), &n);
    const int fd = open(program_expand("%F/disk/filler"), O_WRONLY | O_CREAT, 0600);
    while (write(fd, big, sizeof big) > 0) {
    }
    while (write(fd, big, 1) > 0) {
    }
    close(fd);
    must(program_run(EXTRACT "-k 3 --seed 5 -o %F/disk/result") == 1, "the second run");
    must(one_line("No space left on device"), "the second run");
    char *after = temp_read(program_expand("%F/disk/result/basis.safetensors"), &m);
    must(n == m && memcmp(before, after, n) == 0, "the earlier result");
    must(unlink(program_expand("%F/disk/filler")) == 0, "the filler");
    must(program_run(EXTRACT "-k 3 --seed 5 --resume -o %F/disk/result") == 0, "with room again");
    free(before);
    free(after);
}

static void output__on_a_full_disk_keeps_what_was_there(void **state)
{
    (void)state;
    assert_int_equal(mkdir(program_expand("%F/disk"), 0700), 0);
    apart(on_a_full_disk);
}

static void move_folder(void *unused)
{
    (void)unused;
    assert_int_equal(rename(program_expand("%F/vanishing"), program_expand("%F/gone")), 0);
}

/* As soon as it is there. (While the search runs: test_cli_outputs.c.) */
static void output__whose_folder_vanishes_is_reported(void **state)
{
    (void)state;
    const char *line = "extract --hidden-states %H --decoder %E -q -t 1 -k 16 -o %F/vanishing";
    int status = 0;
    for (bool acted = false; !acted || status == 0;) { /* again, if it was done by then */
        temp_clear(program_expand("%F/gone"));
        assert_int_equal(rmdir(program_expand("%F/gone")), 0);
        status = program_run_while(line, "%F/vanishing", NULL, move_folder, NULL, &acted);
        if (!acted) assert_int_equal(status, 0);
    }
    assert_int_equal(status, 2);
    assert_one_line("vanishing");
    if (!strstr(program_err, "was moved or replaced while the run was at work") &&
        !strstr(program_err, "is not a folder") &&
        !strstr(program_err, "No such file or directory")) /* while outputs are looked at */
        fail_msg("%s", program_err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output__in_a_folder_that_is_read_only_is_bad_usage),
        cmocka_unit_test(output__past_the_limit_of_files_is_a_failed_run),
        cmocka_unit_test(output__on_a_full_disk_keeps_what_was_there),
        cmocka_unit_test(output__whose_folder_vanishes_is_reported),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
