/* test_documents.c - documents of plain and compressed files, and damaged ones. Serves
 * files/text_stream.c too. */
#include "support/assert_close.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "core/fail.h"
#include "core/memory.h"
#include "support/temp_folder.h"
#include "text/documents.h"

enum { ROOM = 1 << 16 };

/* Documents, each ended by '|'; where: of the last. */
typedef struct {
    char text[ROOM], where[500];
    size_t length, stop_after, n;
} gathered;

static cbe_status gather(void *user, const char *where, const char *text, size_t length, bool *stop,
                         cbe_error *err)
{
    gathered *g = user;
    (void)err;
    assert_true(g->length + length + 1 < sizeof g->text);
    if (length) memcpy(g->text + g->length, text, length);
    g->length += length;
    g->text[g->length++] = '|';
    g->text[g->length] = 0;
    snprintf(g->where, sizeof g->where, "%s", where);
    *stop = ++g->n == g->stop_after;
    return CBE_OK;
}

static cbe_status read_all(gathered *g, const char *path, cbe_documents_kind kind,
                           const char *field, cbe_error *err)
{
    const cbe_documents_options options = {.kind = kind, .field = field};
    bool stop = false;
    g->length = g->n = 0;
    g->text[0] = g->where[0] = 0;
    return cbe_documents_visit(path, &options, gather, g, &stop, err);
}

static void expect_documents(void **state, const char *name, cbe_documents_kind kind,
                             const char *text, const char *want)
{
    static gathered g;
    cbe_error err;
    const char *path = temp_path(state, name);
    temp_write(path, text, strlen(text));
    cbe_assert_ok(read_all(&g, path, kind, NULL, &err), &err);
    if (strcmp(g.text, want) != 0)
        fail_msg("'%s' has documents '%s', not '%s'", text, g.text, want);
}

static void documents__are_files_paragraphs_or_fields(void **state)
{
    expect_documents(state, "a.txt", CBE_DOCUMENTS_AUTO, " one\n\n two\n", " one\n\n two\n|");
    expect_documents(state, "a.txt", CBE_DOCUMENTS_FILE, "", "|");
    expect_documents(state, "a.jsonl", CBE_DOCUMENTS_FILE, "{}", "{}|");
    expect_documents(state, "a.txt", CBE_DOCUMENTS_BLANK_LINE, "one\ntwo\n\nthree",
                     "one\ntwo|three|");
    expect_documents(state, "a.txt", CBE_DOCUMENTS_BLANK_LINE, "\n \t\n one \n\r\n\n\ntwo\r\n\r\n",
                     " one |two|");
    expect_documents(state, "a.txt", CBE_DOCUMENTS_BLANK_LINE, "\n\n", "");
    static const char lines[] = "{\"text\": \"a\\nb\", \"id\": 1}\n\n  \r\n{\"id\": 2, \"text\": "
                                "\"\\u00e9\"}\r\n{\"text\": \"\"}";
    expect_documents(state, "a.jsonl", CBE_DOCUMENTS_AUTO, lines, "a\nb|\xc3\xa9||");
    expect_documents(state, "a.ndjson", CBE_DOCUMENTS_AUTO, lines, "a\nb|\xc3\xa9||");
    expect_documents(state, "a.txt", CBE_DOCUMENTS_JSONL, lines, "a\nb|\xc3\xa9||");
}

static void documents__are_named_by_file_and_line(void **state)
{
    static gathered g;
    cbe_error err;
    const char *path = temp_path(state, "b.txt");
    temp_write(path, "one\n\n\ntwo\nthree\n", 16);
    cbe_assert_ok(read_all(&g, path, CBE_DOCUMENTS_FILE, NULL, &err), &err);
    assert_string_equal(g.where, path);
    cbe_assert_ok(read_all(&g, path, CBE_DOCUMENTS_BLANK_LINE, NULL, &err), &err);
    assert_string_equal(strrchr(g.where, '/'), "/b.txt: line 4");
}

static void documents__reading_stops_when_told(void **state)
{
    static gathered g;
    cbe_error err;
    const char *path = temp_path(state, "c.jsonl");
    static const char text[] = "{\"x\": \"1\"}\n{\"x\": \"2\"}\nnot JSON\n";
    temp_write(path, text, sizeof text - 1);
    g.stop_after = 2;
    cbe_assert_ok(read_all(&g, path, CBE_DOCUMENTS_AUTO, "x", &err), &err);
    assert_string_equal(g.text, "1|2|");
    g.stop_after = 0;
}

static void documents__bad_lines_are_named(void **state)
{
    static const struct {
        const char *text, *what;
    } cases[] = {
        {"{\"text\": \"a\"}\n{\"text\": \"b\"", "line 2: not JSON"},
        {"{\"text\": \"a\"}\n\n[1]\n",
         "line 3: is a list, where an object with the field 'text' is needed"},
        {"{\"content\": \"a\"}",
         "line 1: no field 'text' but 'content'; name the field with text-field"},
        {"{\"text\": 1}", "line 1: field 'text' is a number, not a string"},
        {"{\"text\": \"a\"} x", "line 1: not JSON"},
        {"text", "line 1: not JSON"},
    };
    static gathered g;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        const char *path = temp_path(state, "bad.jsonl");
        temp_write(path, cases[i].text, strlen(cases[i].text));
        assert_int_equal(read_all(&g, path, CBE_DOCUMENTS_AUTO, NULL, &err), CBE_ERR_FORMAT);
        if (!strstr(err.message, cases[i].what) || !strstr(err.message, path))
            fail_msg("'%s' does not say '%s'", err.message, cases[i].what);
    }
}

/* text as a member of a gzip file, or as a frame of a zstd file with its checksum. */
static size_t pack(bool zstd, const char *text, size_t length, unsigned char *out)
{
    if (zstd) {
        ZSTD_CCtx *context = ZSTD_createCCtx();
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
        const size_t n = ZSTD_compress2(context, out, ROOM, text, length);
        assert_false(ZSTD_isError(n));
        ZSTD_freeCCtx(context);
        return n;
    }
    z_stream z = {.next_in = (Bytef *)(uintptr_t)text,
                  .avail_in = (uInt)length,
                  .next_out = out,
                  .avail_out = ROOM};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return ROOM - z.avail_out;
}

/* More than one part that is read at a time when it is long. */
static size_t fill_text(char *text, size_t n_lines)
{
    size_t length = 0;
    for (size_t i = 0; i < n_lines; i++)
        length += (size_t)sprintf(text + length, "line %zu of %zu\n", i * i, n_lines);
    return length;
}

static void stream__compressed_files_read_like_plain_ones(void **state)
{
    static char text[ROOM - 1];
    static unsigned char packed[2 * ROOM];
    static gathered g;
    cbe_error err;
    for (int zstd = 0; zstd < 2; zstd++)
        for (size_t n_lines = 0; n_lines <= 2000; n_lines = 8 * n_lines + 1) {
            const size_t length = fill_text(text, n_lines);
            const char *path = temp_path(state, "packed.txt"); /* not known by its name */
            size_t size = pack(zstd, text, length, packed);
            temp_write(path, packed, size);
            cbe_assert_ok(read_all(&g, path, CBE_DOCUMENTS_FILE, NULL, &err), &err);
            assert_int_equal(g.length, length + 1);
            assert_memory_equal(g.text, text, length);
            if (2 * length > ROOM - 2) continue;
            size += pack(zstd, text, length, packed + size); /* a second member */
            temp_write(path, packed, size);
            cbe_assert_ok(read_all(&g, path, CBE_DOCUMENTS_FILE, NULL, &err), &err);
            assert_int_equal(g.length, 2 * length + 1);
            assert_memory_equal(g.text + length, text, length);
        }
}

/* Longer than any buffer, so that lines are cut by the parts in which a file is read. */
static void stream__lines_cross_parts(void **state)
{
    enum { N = 3000 };
    static gathered g;
    cbe_error err;
    char *text = malloc(N * 90), *want = malloc(N * 40);
    size_t length = 0, n = 0;
    for (size_t i = 0; i < N; i++) {
        length += (size_t)sprintf(text + length, "{\"pad\": \"%0*d\", \"text\": \"%zu\"}\n",
                                  (int)(i * 7919 % 40), 1, i);
        n += (size_t)sprintf(want + n, "%zu|", i);
    }
    const char *path = temp_path(state, "long.jsonl");
    temp_write(path, text, length);
    cbe_assert_ok(read_all(&g, path, CBE_DOCUMENTS_AUTO, NULL, &err), &err);
    assert_string_equal(g.text, want);
    free(text);
    free(want);
}

static void stream__damage_is_an_error(void **state)
{
    static char text[ROOM];
    static unsigned char packed[ROOM];
    static gathered g;
    cbe_error err;
    const size_t length = fill_text(text, 60);
    for (int zstd = 0; zstd < 2; zstd++) {
        const char *path = temp_path(state, zstd ? "t.zst" : "t.gz");
        const size_t size = pack(zstd, text, length, packed), magic = zstd ? 4 : 2;
        for (size_t cut = magic; cut < size; cut++) {
            temp_write(path, packed, cut);
            assert_int_equal(read_all(&g, path, CBE_DOCUMENTS_FILE, NULL, &err), CBE_ERR_FORMAT);
            assert_true(strstr(err.message, path) &&
                        strstr(err.message, zstd ? "damaged zstd" : "damaged gzip"));
        }
        for (size_t i = magic; i < size; i++) {
            packed[i] ^= 0x55;
            temp_write(path, packed, size);
            const cbe_status st = read_all(&g, path, CBE_DOCUMENTS_FILE, NULL, &err);
            packed[i] ^= 0x55;
            /* Time, operating system and flags of the header are not protected; the text is. */
            if (st == CBE_OK)
                assert_true(g.length == length + 1 && memcmp(g.text, text, length) == 0);
        }
        temp_write(path, packed, size);
        cbe_assert_ok(read_all(&g, path, CBE_DOCUMENTS_FILE, NULL, &err), &err);
        packed[size] = 'x'; /* gzip passes over it, zstd does not */
        temp_write(path, packed, size + 1);
        assert_int_equal(read_all(&g, path, CBE_DOCUMENTS_FILE, NULL, &err),
                         zstd ? CBE_ERR_FORMAT : CBE_OK);
    }
}

static void documents__survive_every_failing_allocation(void **state)
{
    static char text[ROOM];
    static unsigned char packed[ROOM];
    static gathered g;
    const size_t length =
        (size_t)sprintf(text, "{\"text\": \"some words\"}\n{\"text\": \"others\"}\n");
    const char *path = temp_path(state, "f.jsonl");
    for (int kind = 0; kind < 4; kind++) {
        const size_t size = kind < 2 ? length : pack(kind == 3, text, length, packed);
        temp_write(path, kind < 2 ? (const void *)text : packed, size);
        cbe_status st = CBE_ERR_NOMEM;
        long n_failed = 0;
        for (; st != CBE_OK; n_failed++) {
            cbe_error err = {0};
            assert_true(n_failed < 100);
            cbe_memory_fail_after(n_failed);
            st = read_all(&g, path, kind == 1 ? CBE_DOCUMENTS_BLANK_LINE : CBE_DOCUMENTS_AUTO, NULL,
                          &err);
            cbe_memory_fail_after(-1);
            assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
            assert_int_equal(st, err.code);
        }
        assert_true(n_failed > 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents__are_files_paragraphs_or_fields),
        cmocka_unit_test(documents__are_named_by_file_and_line),
        cmocka_unit_test(documents__reading_stops_when_told),
        cmocka_unit_test(documents__bad_lines_are_named),
        cmocka_unit_test(stream__compressed_files_read_like_plain_ones),
        cmocka_unit_test(stream__lines_cross_parts),
        cmocka_unit_test(stream__damage_is_an_error),
        cmocka_unit_test(documents__survive_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
