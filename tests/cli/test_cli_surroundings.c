/* What a shell does to cbe: signals at any moment, descriptors that are closed, readers that go
 * away, little address space. */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "support/assert_close.h"
#include "support/program.h"
#include "support/temp_folder.h"

/* Sanitizers map terabytes, and gcc's notes of what ran end in a crash where memory is short. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ || defined CBE_COVERAGE
enum { NEEDS_SPACE = true };
#else
enum { NEEDS_SPACE = false };
#endif

#define GGUF "%G/gguf/tiny-llama/llama-f32.gguf"
#define SMALL                                                                                      \
    "extract --hidden-states %H --decoder %E "                                                     \
    "-q -k 1 -l 0-1 --starts 1 --max-iter 1 -t 1 "
#define DESCRIPTOR_LOST "cbe: standard output cannot be written: Bad file descriptor\n"
#define READER_GONE     "cbe: standard output cannot be written: Broken pipe\n"

/* An emulator catches signals, and takes address space, of its own. */
static void skip_under_emulator(void)
{
    const char *program = getenv("CBE_PROGRAM");
    if (!program || strstr(program, "emulated")) skip();
}

/* So many parts of 16 MB, each the same few bytes again and again, in a small file. */
static void write_long_text(const char *name, const char *unit, unsigned parts)
{
    enum { PART = 1 << 24, PACKED = 1 << 20 };
    const size_t length = strlen(unit);
    char *text = malloc(PART);
    unsigned char *packed = malloc(PACKED);
    z_stream z = {0};
    assert_non_null(text);
    assert_non_null(packed);
    for (size_t i = 0; i < PART; i++) text[i] = unit[i % length];
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)text;
    z.avail_in = (uInt)(PART / length * length);
    z.next_out = packed;
    z.avail_out = PACKED;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    FILE *file = fopen(program_expand(name), "wb");
    assert_non_null(file);
    for (unsigned i = 0; i < parts; i++)
        assert_int_equal(fwrite(packed, PACKED - z.avail_out, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    deflateEnd(&z);
    free(packed);
    free(text);
}

static bool is_there(const char *path)
{
    struct stat info;
    return stat(program_expand(path), &info) == 0;
}

static void assert_same_file(const char *a, const char *b)
{
    size_t n, m;
    char *first = temp_read(program_expand(a), &n), *second = temp_read(program_expand(b), &m);
    assert_int_equal(n, m);
    assert_memory_equal(first, second, n);
    free(first);
    free(second);
}

/* Minutes of work each, in which nothing is found yet. */
static void signal__ends_extract_wherever_it_is(void **state)
{
    static const struct {
        const char *what, *line;
    } cases[] = {
        {"decompression",
         "extract " GGUF " --text %F/blank.gz --documents blank-line -t 1 -o %F/interrupted"},
        {"decompression of one document",
         "extract " GGUF " --text %F/blank.gz --documents file -t 1 -o %F/interrupted"},
        {"tokens",
         "extract " GGUF " --text %F/documents.gz --documents blank-line -t 1 -o %F/interrupted"},
        {"search", "extract --hidden-states %H --decoder %E -k 1 -l 0 --starts 200000 -t 1 -o "
                   "%F/interrupted"},
    };
    static const struct {
        int signal, status;
    } signals[] = {{SIGTERM, 143}, {SIGINT, 130}};
    (void)state;
    skip_under_emulator();
    write_long_text("%F/blank.gz", "\n", 1024);
    write_long_text("%F/documents.gz", "a\n\n", 64);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < sizeof signals / sizeof *signals; k++) {
            const pid_t child = program_begin(cases[i].line, NULL);
            program_await_work(child, 20);
            kill(child, signals[k].signal);
            const int status = program_end(child);
            const char *line = strstr(program_err, "cbe: ");
            if (status != signals[k].status || !line ||
                strcmp(line, "cbe: interrupted before the first checkpoint\n") != 0)
                fail_msg("%s, signal %d: status %d: %s", cases[i].what, signals[k].signal, status,
                         program_err);
            assert_false(is_there("%F/interrupted/basis.safetensors"));
            assert_false(is_there("%F/interrupted/checkpoint.safetensors"));
        }
    unlink(program_expand("%F/blank.gz"));
}

static void no_reader(void)
{
    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[1], STDOUT_FILENO) < 0) _exit(126);
    close(ends[0]);
    close(ends[1]);
    signal(SIGPIPE, SIG_DFL);
}

static void full_disk(void)
{
    const int fd = open("/dev/full", O_WRONLY);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0) _exit(126);
    close(fd);
}

static void output__without_a_reader_is_told_at_the_end(void **state)
{
    static const char *const lines[] = {"--help",
                                        "--version",
                                        "extract --help",
                                        "lens --help",
                                        "lens train --help",
                                        "info " GGUF,
                                        "tokenize " GGUF " hello"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(program_end(program_begin(lines[i], no_reader)), 1);
        assert_string_equal(program_err, READER_GONE);
    }
    program_done(SMALL "-o %F/undisturbed");
    assert_int_equal(program_end(program_begin(SMALL "-o %F/unread", no_reader)), 1);
    assert_string_equal(program_err_but_verdicts(), READER_GONE);
    assert_same_file("%F/undisturbed/basis.safetensors", "%F/unread/basis.safetensors");
    assert_true(is_there("%F/unread/basis.json"));
    assert_false(is_there("%F/unread/checkpoint.safetensors"));
    if (access("/dev/full", W_OK) != 0) return;
    assert_int_equal(program_end(program_begin(SMALL "-o %F/full", full_disk)), 1);
    assert_string_equal(program_err_but_verdicts(),
                        "cbe: standard output cannot be written: No space left on device\n");
    assert_same_file("%F/undisturbed/basis.safetensors", "%F/full/basis.safetensors");
}

/* A billion bytes of text, of which only the first are tokenised. */
static void tokenize__ends_when_nobody_reads(void **state)
{
    (void)state;
    skip_under_emulator();
    write_long_text("%F/documents.gz", "a\n\n", 64);
    const int status = program_end(program_begin(
        "tokenize " GGUF " --documents blank-line --text %F/documents.gz %F/documents.gz",
        no_reader));
    assert_int_equal(status, 1);
    assert_string_equal(program_err, "cbe: standard output cannot be written: Broken pipe\n");
}

static unsigned to_close; /* bit fd */

static void close_some(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (to_close >> fd & 1) close(fd);
}

static void descriptors__that_are_closed_get_no_file(void **state)
{
    (void)state;
    program_done(SMALL "-o %F/open");
    for (to_close = 1; to_close < 8; to_close++) {
        const bool no_output = to_close & 2, no_errors = to_close & 4;
        assert_int_equal(program_end(program_begin(SMALL "-v -o %F/closed", close_some)),
                         no_output ? 1 : 0);
        if (no_errors) assert_string_equal(program_err, "");
        if (no_output && !no_errors) assert_non_null(strstr(program_err, DESCRIPTOR_LOST));
        if (no_output) assert_string_equal(program_out, "");
        assert_same_file("%F/open/basis.safetensors", "%F/closed/basis.safetensors");
        assert_int_equal(program_end(program_begin("info " GGUF, close_some)), no_output ? 1 : 0);
        if (no_output && !no_errors) assert_string_equal(program_err, DESCRIPTOR_LOST);
        assert_int_equal(program_end(program_begin("no-command", close_some)), 2);
        if (!no_errors) assert_non_null(strstr(program_err, "not a command"));
    }
}

static rlim_t address_space;

static void limit_address_space(void)
{
    const struct rlimit limit = {address_space, address_space}, core = {0, 0};
    if (setrlimit(RLIMIT_AS, &limit) != 0 || setrlimit(RLIMIT_CORE, &core) != 0) _exit(126);
}

/* Runs the program with at most so many megabytes of address space; returns its status. */
static int run_within(const char *line, unsigned megabytes)
{
    address_space = (rlim_t)megabytes << 20;
    return program_end(program_begin(line, limit_address_space));
}

/* Whether a crash is that of a library before main. libgfortran, which BLAS brings, recurses for
 * ever where it finds no memory when it is loaded; with a megabyte less the loader gives up. */
static bool is_of_loading(const char *line, unsigned megabytes, int status)
{
    return status == -SIGSEGV && run_within(line, megabytes - 1) == 127;
}

/* From too little for its libraries to enough: the program ends by itself, and says why where it
 * fails. */
static void address_space__that_is_small_ends_with_a_line(void **state)
{
    static const char *const lines[] = {
        "tokenize " GGUF " hello",
        SMALL "-o %F/limited",
        "capture " GGUF
        " --text %D/support/program.h -t 2 --context-length 32 -q -o %F/limited.safetensors",
        "lens fit " GGUF
        " --text %D/support/program.h -t 2 --context-length 32 -q -o %F/limited-lens",
    };
    (void)state;
    if (NEEDS_SPACE) skip();
    skip_under_emulator();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        size_t n_done = 0, n_told = 0;
        for (unsigned megabytes = 60; megabytes <= 1500; megabytes += megabytes / 6) {
            const int status = run_within(lines[i], megabytes);
            if (is_of_loading(lines[i], megabytes, status)) continue;
            n_done += status == 0;
            n_told +=
                status == 1 &&
                strstr(program_err,
                       "cbe: memory: the address space has no room for what BLAS needs") != NULL;
            if (status < 0 || (status > 2 && status != 127) || (status != 0 && !*program_err))
                fail_msg("%s, %u MB of address space: status %d: %s", lines[i], megabytes, status,
                         program_err);
        }
        assert_true(n_done > 0);
        if (i > 0) assert_true(n_told > 0);
    }
}

/* BLAS has buffers for 256 threads; more are refused where they are typed, and not taken from the
 * environment. */
static void threads__of_the_environment_are_limited(void **state)
{
    (void)state;
    assert_int_equal(setenv("OMP_NUM_THREADS", "100000", 1), 0);
    program_done("decoder %G/gguf/tiny-llama/llama-f32.gguf -o %F/threads.safetensors");
    assert_string_equal(program_err, "");
    assert_int_equal(unsetenv("OMP_NUM_THREADS"), 0);
    assert_int_equal(program_run("extract m --threads 257"), 2);
    assert_non_null(strstr(program_err, "--threads 257: a whole number of 0 to 256 expected"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signal__ends_extract_wherever_it_is),
        cmocka_unit_test(output__without_a_reader_is_told_at_the_end),
        cmocka_unit_test(tokenize__ends_when_nobody_reads),
        cmocka_unit_test(descriptors__that_are_closed_get_no_file),
        cmocka_unit_test(address_space__that_is_small_ends_with_a_line),
        cmocka_unit_test(threads__of_the_environment_are_limited),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
