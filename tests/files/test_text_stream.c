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
    cbe_assert_ok(cbe_text_stream_open(&stream, path, true, 0, &err), &err);
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
    cbe_assert_ok(cbe_text_stream_open(&stream, "/proc/version", true, 0, &err), &err);
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
    cbe_assert_ok(cbe_text_stream_open(&stream, temp_path(state, "part"), true, 0, &err), &err);
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
    cbe_assert_ok(cbe_text_stream_open(&stream, path, true, 0, &err), &err);
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
    cbe_assert_ok(cbe_text_stream_open(&stream, path, false, 0, &err), &err); /* nobody writes */
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

/* A member of compressed data, or what may stand between members, by a letter. */
static size_t add_part(char letter, size_t n_skipped, char *out)
{
    enum { ROOM = 1000 };
    const char *content = letter == 'g' || letter == 'z' ? "text " : "";
    const size_t length = strlen(content);
    z_stream z = {.next_in = (Bytef *)(uintptr_t)content,
                  .avail_in = (uInt)length,
                  .next_out = (Bytef *)out,
                  .avail_out = ROOM};
    switch (letter) {
    case 'g': /* gzip */
    case 'G': /* gzip of nothing */
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        deflateEnd(&z);
        return ROOM - z.avail_out;
    case 'z': /* zstd */
    case 'Z': /* zstd of nothing */ return ZSTD_compress(out, ROOM, content, length, 3);
    case 's': /* a frame of zstd to be skipped */
        out[0] = (char)(0x50 + n_skipped % 16);
        memcpy(out + 1, "\x2a\x4d\x18", 3);
        for (int i = 0; i < 4; i++) out[4 + i] = (char)(n_skipped >> 8 * i);
        memset(out + 8, 'x', n_skipped);
        return 8 + n_skipped;
    case '0': memset(out, 0, n_skipped); return n_skipped;
    default: out[0] = letter; return 1;
    }
}

/* The text of a member. */
static size_t add_text(char *out)
{
    memcpy(out, "text ", 5);
    return 5;
}

/* The lengths of what is skipped bring the parts behind to every place of the buffer. */
static void members__may_stand_in_any_order(void **state)
{
    enum { BUFFER = 1 << 16 };
    static const struct {
        const char *parts;
        size_t n_texts, n_passed; /* times the text; bytes passed over */
        const char *what;         /* of an error */
    } cases[] = {
        {"g", 1, 0, NULL},       {"gg", 2, 0, NULL},       {"gGg", 2, 0, NULL},
        {"G", 0, 0, NULL},       {"Z", 0, 0, NULL},        {"z", 1, 0, NULL},
        {"zz", 2, 0, NULL},      {"zZz", 2, 0, NULL},      {"sz", 1, 0, NULL},
        {"ssz", 1, 0, NULL},     {"szsszs", 2, 0, NULL},   {"s", 0, 0, NULL},
        {"sss", 0, 0, NULL},     {"g0", 1, 0, NULL},       {"g0g", 2, 0, NULL},
        {"0", 0, 0, "plain"},    {"z0", 1, 0, NULL},       {"z0z0", 2, 0, NULL},
        {"gzg", 3, 0, NULL},     {"zg", 2, 0, NULL},       {"gsg", 2, 0, NULL},
        {"gx", 1, 1, NULL},      {"ggxy", 2, 2, NULL},     {"g0x", 1, 1, NULL},
        {"zx", 1, 0, "follows"}, {"z0x", 1, 0, "follows"}, {"sx", 0, 0, "follows"},
    };
    static const size_t lengths[] = {1, 2, 15, 16, 17, 1000, 2 * BUFFER + 5};
    char *packed = malloc(20 * BUFFER), *want = malloc(20 * BUFFER), *got = malloc(20 * BUFFER);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths + 60; k++) {
            const size_t n_lengths = sizeof lengths / sizeof *lengths,
                         skipped = k < n_lengths ? lengths[k] : BUFFER - 40 + (k - n_lengths);
            size_t size = 0, wanted = 0, n = 0;
            for (const char *part = cases[i].parts; *part; part++)
                size += add_part(*part, skipped, packed + size);
            for (size_t t = 0; t < cases[i].n_texts; t++) wanted += add_text(want + wanted);
            const bool plain = cases[i].what && strcmp(cases[i].what, "plain") == 0;
            if (plain) memcpy(want, packed, wanted = size);
            cbe_text_stream *stream = NULL;
            const char *path = temp_path(state, "members");
            temp_write(path, packed, size);
            cbe_assert_ok(cbe_text_stream_open(&stream, path, true, 0, &err), &err);
            cbe_status st = CBE_OK;
            for (size_t part = 1; st == CBE_OK && !cbe_text_stream_ended(stream); n += part)
                st = cbe_text_stream_read(stream, got + n, 1 + k % 7, &part, &err);
            if (cases[i].what && !plain) {
                assert_int_equal(st, CBE_ERR_FORMAT);
                assert_non_null(strstr(err.message, cases[i].what));
            } else {
                cbe_assert_ok(st, &err);
                if (n != wanted || memcmp(got, want, n) != 0)
                    fail_msg("%s, %zu: another text", cases[i].parts, skipped);
                assert_noted(stream, packed, size, true);
            }
            assert_int_equal(cbe_text_stream_passed_over(stream), cases[i].n_passed);
            cbe_text_stream_close(stream);
        }
    free(packed);
    free(want);
    free(got);
}

/* Frames whose head asks for more than zstd reads without being told. */
static void window__of_any_length_is_read(void **state)
{
    unsigned char frame[] = {
        0x28,       0xb5, 0x2f, 0xfd, 0,   0, /* a block: the last, raw, 5 bytes */
        5 << 3 | 1, 0,    0,    't',  'e', 'x', 't', ' '};
    const char *path = temp_path(state, "window");
    char got[10];
    for (unsigned log = 10; log <= 41; log++)
        for (size_t memory = 0; memory <= 1 << 28; memory += 1 << 28) {
            cbe_text_stream *stream = NULL;
            size_t n = 0;
            frame[5] = (unsigned char)((log - 10) << 3);
            temp_write(path, frame, sizeof frame);
            cbe_assert_ok(cbe_text_stream_open(&stream, path, true, memory, &err), &err);
            const cbe_status st = cbe_text_stream_read(stream, got, sizeof got, &n, &err);
            cbe_text_stream_close(stream);
            if (memory && log > 28) {
                assert_int_equal(st, CBE_ERR_ARG);
                assert_non_null(strstr(err.message, "window"));
                assert_non_null(strstr(err.message, "zstd -d --long=31 FILE"));
            } else if (log > 31) {
                assert_int_equal(st, CBE_ERR_UNSUPPORTED);
                assert_non_null(strstr(err.message, "larger than zstd itself reads (2 GB)"));
            } else {
                cbe_assert_ok(st, &err);
                assert_int_equal(n, 5);
                assert_memory_equal(got, "text ", 5);
            }
        }
    /* A text whose length is said needs no more than that. */
    static const unsigned char said[] = {0x28, 0xb5, 0x2f, 0xfd, 0x80,       (31 - 10) << 3,
                                         5,    0,    0,    0,    5 << 3 | 1, 0,
                                         0,    't',  'e',  'x',  't',        ' '};
    cbe_text_stream *stream = NULL;
    temp_write(path, said, sizeof said);
    cbe_assert_ok(cbe_text_stream_open(&stream, path, true, 1, &err), &err);
    assert_int_equal(read_some(stream, got, sizeof got, 10), 5);
    cbe_text_stream_close(stream);
}

static void dictionary__that_is_missing_is_named(void **state)
{
    static const unsigned char frame[] = {
        0x28, 0xb5, 0x2f, 0xfd, 0x01, 0,  7 /* its number */, 5 << 3 | 1, 0,
        0,    't',  'e',  'x',  't',  ' '};
    cbe_text_stream *stream = NULL;
    char got[10];
    size_t n;
    temp_write(temp_path(state, "dictionary"), frame, sizeof frame);
    cbe_assert_ok(cbe_text_stream_open(&stream, temp_path(state, "dictionary"), true, 0, &err),
                  &err);
    assert_int_equal(cbe_text_stream_read(stream, got, sizeof got, &n, &err), CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "zstd -d -D DICTIONARY FILE"));
    cbe_text_stream_close(stream);
}

static void mark__of_byte_order_is_no_text(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {{"\xef\xbb\xbftext", "text"},
                 {"\xef\xbb\xbf", ""},
                 {"\xef\xbb\xbf\xef\xbb\xbftext", "\xef\xbb\xbftext"},
                 {"\xef\xbbtext", "\xef\xbbtext"},
                 {"text\xef\xbb\xbf", "text\xef\xbb\xbf"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_text_stream *stream = NULL;
        char got[20] = "";
        const char *path = temp_path(state, "mark");
        temp_write(path, cases[i].text, strlen(cases[i].text));
        cbe_assert_ok(cbe_text_stream_open(&stream, path, true, 0, &err), &err);
        read_some(stream, got, sizeof got, 3);
        assert_string_equal(got, cases[i].want);
        assert_noted(stream, cases[i].text, strlen(cases[i].text), true);
        cbe_text_stream_close(stream);
    }
}

/* What is compressed may itself be another format: twice compressed, an archive. */
static void format__inside_compressed_data_is_named(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"\x1f\x8b\x08 and more", "is gzip data, compressed by gzip; decompress it first (gzip -dc "
                                  "FILE >NEW), then give what is in it: gzip -dc FILE"},
        {"BZh91AY&SY and more", "is bzip2 data, compressed by gzip"},
        {"PK\x03\x04 and more", "is a zip archive, compressed by gzip"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char packed[200];
        cbe_text_stream *stream = NULL;
        size_t n;
        char got[10];
        z_stream z = {.next_in = (Bytef *)(uintptr_t)cases[i].text,
                      .avail_in = (uInt)strlen(cases[i].text),
                      .next_out = packed,
                      .avail_out = sizeof packed};
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        deflateEnd(&z);
        const char *path = temp_path(state, "twice");
        temp_write(path, packed, sizeof packed - z.avail_out);
        cbe_assert_ok(cbe_text_stream_open(&stream, path, true, 0, &err), &err);
        assert_int_equal(cbe_text_stream_read(stream, got, sizeof got, &n, &err),
                         CBE_ERR_UNSUPPORTED);
        if (!strstr(err.message, path) || !strstr(err.message, cases[i].says))
            fail_msg("'%s' does not say '%s'", err.message, cases[i].says);
        cbe_text_stream_close(stream);
    }
}

static void open__says_what_is_wrong(void **state)
{
    cbe_text_stream *stream = NULL;
    assert_int_equal(cbe_text_stream_open(&stream, temp_path(state, "absent"), false, 0, &err),
                     CBE_ERR_IO);
    assert_non_null(strstr(err.message, "absent: cannot be opened: No such file"));
    assert_int_equal(cbe_text_stream_open(&stream, *state, false, 0, &err), CBE_ERR_IO);
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
        cmocka_unit_test(members__may_stand_in_any_order),
        cmocka_unit_test(window__of_any_length_is_read),
        cmocka_unit_test(dictionary__that_is_missing_is_named),
        cmocka_unit_test(mark__of_byte_order_is_no_text),
        cmocka_unit_test(format__inside_compressed_data_is_named),
        cmocka_unit_test(open__says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
