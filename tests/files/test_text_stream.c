/* Texts as streams: files that grow, files without a size, pipes that deliver in any pieces, plain
 * or compressed; and what was read. */
#include "files/text_stream.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "core/memory.h"
#include "files/sha256.h"
#include "support/assert_close.h"
#include "support/temp_folder.h"

enum { SIZE = 200000 };
static cbe_error err;
static char text[SIZE];

/* Reads up to `most` bytes, in parts of a size. @return how many */
static size_t read_some(cbe_text_stream *stream, char *out, size_t most, size_t part)
{
    size_t size = 0, n;
    while (size < most && !cbe_text_stream_ended(stream)) {
        cbe_assert_ok(cbe_text_stream_read(stream, out + size,
                                           part < most - size ? part : most - size, &n, &err),
                      &err);
        size += n;
    }
    return size;
}

/* What a stream notes of itself. */
static void assert_noted(const cbe_text_stream *stream, const void *bytes, size_t size, bool known)
{
    char digest[CBE_SHA256_TEXT];
    cbe_inputs inputs = {.digests = true};
    cbe_assert_ok(cbe_text_stream_note(stream, &inputs, &err), &err);
    cbe_sha256_bytes(bytes, size, digest);
    assert_int_equal(inputs.n, 1);
    assert_int_equal(inputs.files[0].n_bytes, size);
    assert_string_equal(inputs.files[0].sha256, digest);
    assert_int_equal(inputs.files[0].identity.known, known);
    assert_int_equal(cbe_input_look(&inputs.files[0]), CBE_INPUT_SAME);
    cbe_inputs_free(&inputs);
}

static void file__that_grows_is_read_to_its_end(void **state)
{
    char *got = malloc(SIZE);
    cbe_text_stream *stream = NULL;
    const char *path = temp_path(state, "growing");
    temp_write(path, text, SIZE / 2);
    cbe_assert_ok(cbe_text_stream_open(&stream, path, true, &err), &err);
    assert_int_equal(read_some(stream, got, 10, 10), 10);
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    assert_int_equal(fwrite(text + SIZE / 2, 1, SIZE - SIZE / 2, file), SIZE - SIZE / 2);
    fclose(file);
    assert_int_equal(read_some(stream, got + 10, SIZE, 1000), SIZE - 10);
    assert_memory_equal(got, text, SIZE);
    cbe_text_stream_close(stream);
    free(got);
}

static void file__without_a_size_is_read_to_its_end(void **state)
{
    (void)state;
    static char got[4096], want[4096];
    cbe_text_stream *stream = NULL;
    struct stat info;
    FILE *file = fopen("/proc/version", "rb");
    if (!file || stat("/proc/version", &info) != 0 || info.st_size != 0) {
        print_message("skipped: there is no /proc/version\n");
        skip();
    }
    const size_t size = fread(want, 1, sizeof want, file);
    fclose(file);
    assert_true(size > 0);
    cbe_assert_ok(cbe_text_stream_open(&stream, "/proc/version", true, &err), &err);
    assert_int_equal(read_some(stream, got, sizeof got, 7), size);
    assert_memory_equal(got, want, size);
    assert_noted(stream, want, size, false);
    cbe_text_stream_close(stream);
}

/* The same bytes count as read, however a reader stops. */
static void part__that_was_read_is_what_is_noted(void **state)
{
    enum { BUFFER = 1 << 16 };
    char got[100];
    cbe_text_stream *stream = NULL;
    temp_write(temp_path(state, "part"), text, SIZE);
    cbe_assert_ok(cbe_text_stream_open(&stream, temp_path(state, "part"), true, &err), &err);
    assert_noted(stream, text, 0, true);
    assert_int_equal(read_some(stream, got, 100, 3), 100);
    assert_noted(stream, text, BUFFER, true);
    cbe_text_stream_close(stream);
}

static void write_all(int fd, const char *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        const ssize_t n = write(fd, data + at, size - at);
        if (n < 0) _exit(1);
        at += (size_t)n;
    }
}

/* A child opens the named pipe and writes into it, in pieces that it ends by waiting now and
 * then. */
static void check_pipe(void **state, const char *data, size_t size, size_t piece, const char *want,
                       size_t want_size)
{
    char *got = malloc(want_size + 1);
    cbe_text_stream *stream = NULL;
    const char *path = temp_path(state, "pipe");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    const pid_t child = fork();
    if (child == 0) {
        const int fd = open(path, O_WRONLY);
        for (size_t at = 0; at < size; at += piece) {
            /* longer than a reader waits at once */
            if (at == piece) nanosleep(&(struct timespec){0, 300000000}, NULL);
            write_all(fd, data + at, size - at < piece ? size - at : piece);
        }
        _exit(0);
    }
    cbe_assert_ok(cbe_text_stream_open(&stream, path, true, &err), &err);
    assert_int_equal(read_some(stream, got, want_size + 1, 5000), want_size);
    assert_true(cbe_text_stream_ended(stream));
    assert_memory_equal(got, want, want_size);
    assert_noted(stream, data, size, false);
    cbe_text_stream_close(stream);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    free(got);
}

static void pipe__plain_or_compressed_gives_the_text(void **state)
{
    static char gzip[2 * SIZE], zstandard[2 * SIZE];
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)text;
    z.avail_in = SIZE;
    z.next_out = (Bytef *)gzip;
    z.avail_out = sizeof gzip;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    const size_t gzip_size = sizeof gzip - z.avail_out,
                 zstd_size = ZSTD_compress(zstandard, sizeof zstandard, text, SIZE, 3);
    deflateEnd(&z);
    assert_false(ZSTD_isError(zstd_size));
    check_pipe(state, text, SIZE, 1 << 15, text, SIZE);
    check_pipe(state, text, 5, 1, text, 5); /* the first byte alone does not say what it is */
    check_pipe(state, "", 0, 1, "", 0);
    check_pipe(state, gzip, gzip_size, 1, text, SIZE);
    check_pipe(state, zstandard, zstd_size, 3, text, SIZE);
}

static void pipe__that_has_nothing_returns_after_a_moment(void **state)
{
    char got[10];
    size_t n = 7;
    cbe_text_stream *stream = NULL;
    const char *path = temp_path(state, "idle");
    assert_int_equal(mkfifo(path, 0600), 0);
    cbe_assert_ok(cbe_text_stream_open(&stream, path, false, &err), &err); /* nobody writes */
    for (int i = 0; i < 2; i++) {
        cbe_assert_ok(cbe_text_stream_read(stream, got, sizeof got, &n, &err), &err);
        assert_int_equal(n, 0);
        assert_false(cbe_text_stream_ended(stream));
    }
    const int writer = open(path, O_WRONLY);
    assert_int_equal(write(writer, "abc", 3), 3);
    cbe_assert_ok(cbe_text_stream_read(stream, got, sizeof got, &n, &err), &err);
    assert_int_equal(n, 0); /* more may come */
    close(writer);
    assert_int_equal(read_some(stream, got, sizeof got, 10), 3);
    assert_memory_equal(got, "abc", 3);
    cbe_text_stream_close(stream);
}

static void open__says_what_is_wrong(void **state)
{
    cbe_text_stream *stream = NULL;
    assert_int_equal(cbe_text_stream_open(&stream, temp_path(state, "absent"), false, &err),
                     CBE_ERR_IO);
    assert_non_null(strstr(err.message, "absent: cannot be opened: No such file"));
    assert_int_equal(cbe_text_stream_open(&stream, *state, false, &err), CBE_ERR_IO);
    assert_non_null(strstr(err.message, "is a directory"));
    assert_string_equal(cbe_text_name("-"), "standard input");
    assert_string_equal(cbe_text_name("./-"), "./-");
    assert_false(cbe_text_is_file("-"));
    assert_true(cbe_text_is_file(*state));
    assert_false(cbe_text_is_file("/dev/null"));
}

static int set_up(void **state)
{
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < SIZE; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        text[i] = (char)('a' + x % 20);
    }
    return temp_folder_create(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file__that_grows_is_read_to_its_end),
        cmocka_unit_test(file__without_a_size_is_read_to_its_end),
        cmocka_unit_test(part__that_was_read_is_what_is_noted),
        cmocka_unit_test(pipe__plain_or_compressed_gives_the_text),
        cmocka_unit_test(pipe__that_has_nothing_returns_after_a_moment),
        cmocka_unit_test(open__says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
