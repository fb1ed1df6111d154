/*
 * Texts as people have them: troubles with corpora that were reported in public, each a row. A row
 * is a file's name and bytes, and the documents in it, each ended by '|', or what is said of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "core/terms.h"
#include "support/assert_close.h"
#include "support/temp_folder.h"
#include "text/documents.h"

enum { ROOM = 1 << 21 };

typedef enum { AS_IT_IS, GZIP, ZSTD } packing;

typedef struct {
    const char *trouble; /* where it comes from */
    const char *name;
    packing packed;
    const char *bytes;
    size_t size;
    const char *want, *warns; /* documents; a part of the one warning, NULL: there is none */
    cbe_documents_counts counts;
} text_row;

typedef struct {
    const char *trouble, *name;
    packing packed;
    const char *bytes;
    size_t size;
    const char *says; /* a part of the message */
} refused_row;

#define BYTES(text) text, sizeof text - 1
#define LINES       "{\"text\": \"One.\"}\n{\"text\": \"Two.\"}\n"

/* clang-format off */
static const text_row texts[] = {
    {"C4 is JSON lines called .json.gz", "c4-train.00000-of-01024.json.gz", GZIP, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"Dolma has fields beside", "cc_en_head-0000.json.gz", GZIP, BYTES("{\"id\": \"1\", \"metadata\": {\"text\": \"no\", \"n\": [1]}, \"text\": \"One.\"}\n"), "One.|", NULL, {0}},
    {"JSON lines called .json", "train.json", AS_IT_IS, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"jsonlines' own ending", "train.jsonlines", AS_IT_IS, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"Scrapy's ending", "items.jl", AS_IT_IS, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"the Pile's successors: .jsonl.zstd", "00.jsonl.zstd", ZSTD, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"names in capitals", "TRAIN.JSONL", AS_IT_IS, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"names in capitals, compressed", "TRAIN.JSON.GZ", GZIP, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"parts without an ending, as Spark writes them", "part-00000", AS_IT_IS, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"a browser has decompressed it and kept the name", "train.jsonl.gz", AS_IT_IS, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"gzip called .zst", "train.jsonl.zst", GZIP, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"JSON lines called .txt", "train.txt", AS_IT_IS, BYTES(LINES), "One.|Two.|", "--documents file takes the file as one text", {0}},
    {"the same with another field", "train.txt", AS_IT_IS, BYTES("{\"content\": \"One.\"}\n"), "{\"content\": \"One.\"}\n|", "--documents jsonl with --text-field", {0}},
    {"an array of documents called .txt", "train.txt", AS_IT_IS, BYTES("[{\"text\": \"One.\"}]"), "[{\"text\": \"One.\"}]|", "--documents jsonl", {0}},
    {"a laid out object called .txt", "train.txt", AS_IT_IS, BYTES("{\n \"text\": \"One.\"}"), "{\n \"text\": \"One.\"}|", "--documents jsonl", {0}},
    {"a template, which begins with a brace", "page.txt", AS_IT_IS, BYTES("{% extends %}\n"), "{% extends %}\n|", NULL, {0}},
    {"a link, which begins with a bracket", "page.md", AS_IT_IS, BYTES("[A link](page)\n"), "[A link](page)\n|", NULL, {0}},
    {"a set of strings", "page.txt", AS_IT_IS, BYTES("{\"a\", \"b\"}\n"), "{\"a\", \"b\"}\n|", NULL, {0}},
    {"words called .json", "words.json", AS_IT_IS, BYTES("words\n"), "words\n|", NULL, {0}},
    {"empty lines before", "train.json", AS_IT_IS, BYTES("\n \r\n" LINES), "One.|Two.|", NULL, {0}},
    {"Windows' ends of lines", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"One.\"}\r\n\r\n{\"text\": \"Two.\"}\r\n"), "One.|Two.|", NULL, {0}},
    {"no end of the last line", "train.json", AS_IT_IS, BYTES("{\"text\": \"One.\"}"), "One.|", NULL, {0}},
    {"Notepad's byte order mark", "train.jsonl", AS_IT_IS, BYTES("\xef\xbb\xbf" LINES), "One.|Two.|", NULL, {0}},
    {"the same, compressed, called .json", "train.json.gz", GZIP, BYTES("\xef\xbb\xbf" LINES), "One.|Two.|", NULL, {0}},
    {"files with marks put one behind another", "all.jsonl", AS_IT_IS, BYTES("\xef\xbb\xbf" LINES "\xef\xbb\xbf" LINES), "One.|Two.|One.|Two.|", NULL, {0}},
    {"a mark and nothing else on a line", "all.jsonl", AS_IT_IS, BYTES(LINES "\xef\xbb\xbf\n"), "One.|Two.|", NULL, {0}},
    {"a plain text with a mark", "notes.txt", AS_IT_IS, BYTES("\xef\xbb\xbfOne.\n"), "One.\n|", NULL, {0}},
    {"a mark in the middle of a plain text", "notes.txt", AS_IT_IS, BYTES("One.\xef\xbb\xbfTwo."), "One.\xef\xbb\xbfTwo.|", NULL, {0}},
    {"JSON text sequences (RFC 7464)", "train.json-seq", AS_IT_IS, BYTES("\x1e{\"text\": \"One.\"}\n\x1e{\"text\": \"Two.\"}\n"), "One.|Two.|", NULL, {0}},
    {"NaN of a quality filter", "train.jsonl", AS_IT_IS, BYTES("{\"score\": NaN, \"text\": \"One.\"}\n{\"text\": \"Two.\", \"x\": [-Infinity, Infinity]}\n"), "One.|Two.|", NULL, {0}},
    {"an identifier beyond 64 bits", "train.jsonl", AS_IT_IS, BYTES("{\"id\": 123456789012345678901234567890, \"text\": \"One.\"}\n"), "One.|", NULL, {0}},
    {"a number beyond double", "train.jsonl", AS_IT_IS, BYTES("{\"x\": 1e400, \"text\": \"One.\"}\n"), "One.|", NULL, {0}},
    {"half an emoji, cut by a byte limit", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"One\\ud83d\"}\n"), "One\xef\xbf\xbd|", NULL, {0}},
    {"the halves in the wrong order", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"\\ude00\\ud83d!\"}\n"), "\xef\xbf\xbd\xef\xbf\xbd!|", NULL, {0}},
    {"an emoji in escapes", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"\\ud83d\\ude00\"}\n"), "\xf0\x9f\x98\x80|", NULL, {0}},
    {"a page in Latin-1", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"caf\xe9\"}\n{\"text\": \"Two.\"}\n"), "caf\xef\xbf\xbd|Two.|", NULL, {.n_replaced = 1}},
    {"Latin-1 before a quote, called .json", "train.json", AS_IT_IS, BYTES("{\"url\": \"\xe9\", \"text\": \"One.\xf0\x9f\"}\n"), "One.\xef\xbf\xbd|", NULL, {.n_replaced = 2}},
    {"surrogates as UTF-8 (CESU-8)", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"\xed\xa0\xbd\"}\n"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|", NULL, {.n_replaced = 3}},
    {"U+2028, U+2029 and U+0085 do not end lines", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"a\xe2\x80\xa8" "b\xe2\x80\xa9" "c\xc2\x85" "d\"}\n"), "a\xe2\x80\xa8" "b\xe2\x80\xa9" "c\xc2\x85" "d|", NULL, {0}},
    {"two fields of one name: the last counts", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"no\", \"text\": \"One.\"}\n"), "One.|", NULL, {0}},
    {"null in the place of a text, of pandas", "train.jsonl", AS_IT_IS, BYTES("{\"text\": null}\n" LINES "{\"text\": null}\n"), "One.|Two.|", NULL, {.n_null = 2}},
    {"the same first, called .json.gz", "train.json.gz", GZIP, BYTES("{\"text\": null}\n" LINES), "One.|Two.|", NULL, {.n_null = 1}},
    {"empty documents of wikitext", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"\"}\n" LINES), "|One.|Two.|", NULL, {0}},
    {"a web page called .txt", "page.txt", AS_IT_IS, BYTES("\n<!doctype HTML><p>One."), "\n<!doctype HTML><p>One.|", "is a web page, and is read as plain text with its markup", {0}},
    {"a web page of Common Crawl", "page.html", AS_IT_IS, BYTES("<html lang=en>One."), "<html lang=en>One.|", "is a web page", {0}},
    {"a text about HTML", "page.txt", AS_IT_IS, BYTES("<htm>"), "<htm>|", NULL, {0}},
    {"a table of pandas", "train.csv.gz", GZIP, BYTES("text,n\n\"One.\",1\n"), "text,n\n\"One.\",1\n|", "is called a table, and is read as plain text with its commas or tabs", {0}},
    {"the same with tabs", "train.TSV", AS_IT_IS, BYTES("text\tn\nOne.\t1\n"), "text\tn\nOne.\t1\n|", "is called a table", {0}},
    {"lines of JSON called a table", "train.csv", AS_IT_IS, BYTES(LINES), "One.|Two.|", NULL, {0}},
    {"a formula, which begins as zlib's streams", "x.txt", AS_IT_IS, BYTES("x^2 + y^2 = z^2\n"), "x^2 + y^2 = z^2\n|", NULL, {0}},
    {"an empty file among the parts", "part-00001.jsonl", AS_IT_IS, BYTES(""), "", NULL, {0}},
    {"an empty part, compressed", "part-00001.json.gz", GZIP, BYTES(""), "|", NULL, {0}},
};

static const refused_row refused[] = {
    {"an array of documents, laid out", "train.json", AS_IT_IS, BYTES("[\n  {\n    \"text\": \"One.\"\n  }\n]\n"), "is JSON, but not one object a line; make such lines: jq -c . FILE"},
    {"an array on one line", "train.json.gz", GZIP, BYTES("[{\"text\": \"One.\"}, {\"text\": \"Two.\"}]"), "jq -c '.[]' FILE"},
    {"an array called .jsonl", "train.jsonl", AS_IT_IS, BYTES("[{\"text\": \"One.\"}]\n"), "jq -c '.[]' FILE"},
    {"an array of strings", "train.json", AS_IT_IS, BYTES("[\"One.\", \"Two.\"]\n"), "jq -c '.[]' FILE"},
    {"an object laid out, called .jsonl", "train.jsonl", AS_IT_IS, BYTES("{\n  \"text\": \"One.\"\n}\n"), "is JSON, but not one object a line"},
    {"objects laid out, one behind another", "train.json", AS_IT_IS, BYTES("{\"id\": 1,\n \"text\": \"One.\"}\n{\"id\": 2,\n \"text\": \"Two.\"}\n"), "jq -c . FILE"},
    {"lines that end in commas", "train.json", AS_IT_IS, BYTES("{\"text\": \"One.\"},\n{\"text\": \"Two.\"}\n"), "is JSON, but not one object a line"},
    {"objects one behind another on a line", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"One.\"}{\"text\": \"Two.\"}\n"), "line 1: not JSON, at its byte 17: unexpected content"},
    {"datasets' {\"data\": [...]}", "train.json", AS_IT_IS, BYTES("{\"data\": [{\"text\": \"One.\"}]}"), "line 1: field 'text' is inside of 'data', and is read where it is a field of the line"},
    {"a later line of another kind", "train.jsonl", AS_IT_IS, BYTES(LINES "[1]\n"), "line 3: is a list, where an object with the field 'text' is needed"},
    {"a field that is a list", "train.jsonl", AS_IT_IS, BYTES("{\"text\": [\"One.\"]}\n"), "line 1: field 'text' is a list, not a string; name another field with text-field"},
    {"a conversation, whose texts are nested", "train.jsonl", AS_IT_IS, BYTES("{\"id\": 1, \"raw\": {\"text\": \"One.\"}}\n"), "line 1: field 'text' is inside of 'raw', and is read where it is a field of the line: take it out, as with jq -c"},
    {"a field of another name", "train.jsonl", AS_IT_IS, BYTES("{\"id\": 1, \"content\": \"One.\"}\n"), "line 1: no field 'text' but 'id', 'content'; name the field with text-field"},
    {"an object without a key", "train.jsonl", AS_IT_IS, BYTES("{}\n"), "line 1: no field 'text' but none; name"},
    {"a page of HTML from a failed download", "train.jsonl.gz", AS_IT_IS, BYTES("<!DOCTYPE html>\n<html></html>\n"), "line 1: not JSON but HTML or XML"},
    {"Amazon reviews in Python's notation", "reviews_Books.json.gz", GZIP, BYTES("{'reviewText': 'One.'}\n"), "line 1: not JSON but Python's notation of a dict; write it anew with json.dumps"},
    {"a download that broke off in a line", "train.jsonl", AS_IT_IS, BYTES(LINES "{\"text\": \"Thr"), "line 3: not JSON, at its byte 14: unexpected end"},
    {"a tab in a string, which Python refuses too", "train.jsonl", AS_IT_IS, BYTES("{\"text\": \"a\tb\"}\n"), "line 1: not JSON, at its byte 12"},
    {"a clone without Git LFS", "train.jsonl.gz", AS_IT_IS, BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"), "is a Git LFS pointer, not the text; run 'git lfs pull'"},
    {"Hugging Face's datasets are Parquet", "train-00000-of-00001.parquet", AS_IT_IS, BYTES("PAR1\x15\x04\x15\x10"), "is a Parquet table; write it as JSON lines: python -c"},
    {"their cache is Arrow", "data-00000-of-00001.arrow", AS_IT_IS, BYTES("\xff\xff\xff\xff\x78\x02\0\0\x10\0\0\0\0\0\x0a\0"), "datasets.Dataset.from_file('FILE')"},
    {"gsutil has compressed it once more", "train.jsonl.gz", GZIP, BYTES("\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\x56"), "is gzip data, compressed by gzip; decompress it first"},
    {"PowerShell's > writes UTF-16", "train.jsonl", AS_IT_IS, BYTES("\xff\xfe{\0\"\0t\0e\0x\0t\0\"\0"), "is a text in UTF-16; convert it to UTF-8: iconv -f UTF-16 -t UTF-8"},
    {"the Reddit dumps' old bzip2", "RC_2017-03.bz2", AS_IT_IS, BYTES("BZh91AY&SY\x12\x34"), "is bzip2 data; give what is in it: bzip2 -dc FILE"},
    {"the Pile's old xz", "RS_2019-01.xz", AS_IT_IS, BYTES("\xfd" "7zXZ\0\0\x04"), "is xz data; give what is in it: xz -dc FILE"},
    {"a zip of texts", "texts.zip", AS_IT_IS, BYTES("PK\x03\x04\x14\0\0\0"), "is a zip archive; take the texts out of it"},
    {"Python's zlib.compress", "x.txt", AS_IT_IS, BYTES("x\x9cK\xcbL\xcaI\xd5Q\x01\0\x0f\xed\x03\x9a"), "is zlib data; give what is in it: python -c"},
    {"zlib at its lowest level", "x.txt", AS_IT_IS, BYTES("x\x01\x01\x03\0\xfc\xff" "abc\x02M\x01'"), "is zlib data; give what is in it: python -c"},
    {"a PDF", "paper.pdf", AS_IT_IS, BYTES("%PDF-1.5\n%\xd0\xd4\xc5\xd8\n"), "is a PDF document; make a text of it: pdftotext FILE"},
};
/* clang-format on */

/* Documents, each ended by '|', and the last warning. */
typedef struct {
    char text[ROOM], warning[1000];
    size_t length, n_warnings;
} gathered;

static gathered got;

static cbe_status gather(void *user, const char *where, const char *text, size_t length, bool *stop,
                         cbe_error *err)
{
    (void)user, (void)where, (void)stop, (void)err;
    assert_true(got.length + length + 2 < sizeof got.text);
    if (length) memcpy(got.text + got.length, text, length);
    got.length += length;
    got.text[got.length++] = '|';
    got.text[got.length] = 0;
    return CBE_OK;
}

static void hear(void *context, const char *line)
{
    bool all;
    (void)context;
    cbe_choose_terms(got.warning, sizeof got.warning, line, CBE_IN_PROGRAM, &all);
    got.n_warnings++;
}

static size_t pack(packing how, const char *bytes, size_t size, unsigned char *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes,
                  .avail_in = (uInt)size,
                  .next_out = out,
                  .avail_out = ROOM};
    if (how == AS_IT_IS) {
        memcpy(out, bytes, size);
        return size;
    }
    if (how == ZSTD) return ZSTD_compress(out, ROOM, bytes, size, 3);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return ROOM - z.avail_out;
}

static cbe_status read_row(void **state, const char *name, const unsigned char *bytes, size_t size,
                           cbe_documents_kind kind, cbe_documents_counts *counts, cbe_error *err)
{
    const cbe_documents_options options = {.kind = kind, .counts = counts, .warn = hear};
    const char *path = temp_path(state, name);
    bool stop = false;
    got.length = got.n_warnings = 0;
    got.text[0] = got.warning[0] = 0;
    temp_write(path, bytes, size);
    return cbe_documents_visit(path, &options, gather, NULL, &stop, err);
}

static void texts__are_read_as_they_are_meant(void **state)
{
    static unsigned char packed[ROOM];
    size_t n_failed = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const text_row *t = &texts[i];
        cbe_documents_counts counts = {0};
        cbe_error err = {0};
        const size_t size = pack(t->packed, t->bytes, t->size, packed);
        const cbe_status st =
            read_row(state, t->name, packed, size, CBE_DOCUMENTS_AUTO, &counts, &err);
        const bool right =
            st == CBE_OK && strcmp(got.text, t->want) == 0 &&
            got.n_warnings == (t->warns != NULL) && (!t->warns || strstr(got.warning, t->warns)) &&
            counts.n_null == t->counts.n_null && counts.n_replaced == t->counts.n_replaced;
        if (right) continue;
        print_error("%s (%s): %s'%s' %s, %zu null, %zu replaced\n", t->trouble, t->name,
                    err.message, got.text, got.warning, counts.n_null, counts.n_replaced);
        n_failed++;
    }
    if (n_failed) fail_msg("%zu of %zu texts", n_failed, sizeof texts / sizeof *texts);
}

static void texts__that_cannot_be_read_are_named(void **state)
{
    static unsigned char packed[ROOM];
    size_t n_failed = 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const refused_row *t = &refused[i];
        cbe_error err = {0};
        const size_t size = pack(t->packed, t->bytes, t->size, packed);
        const cbe_status st =
            read_row(state, t->name, packed, size, CBE_DOCUMENTS_AUTO, NULL, &err);
        if ((st == CBE_ERR_FORMAT || st == CBE_ERR_UNSUPPORTED) && strstr(err.message, t->says) &&
            strstr(err.message, t->name))
            continue;
        print_error("%s (%s): '%s' does not say '%s'\n", t->trouble, t->name, err.message, t->says);
        n_failed++;
    }
    if (n_failed) fail_msg("%zu of %zu texts", n_failed, sizeof refused / sizeof *refused);
}

/* What is said to be a file is taken as it is, and lines up to a blank one as they are. */
static void texts__of_a_kind_that_is_given_are_not_guessed(void **state)
{
    cbe_error err;
    cbe_assert_ok(read_row(state, "x.json", (const unsigned char *)LINES, sizeof LINES - 1,
                           CBE_DOCUMENTS_FILE, NULL, &err),
                  &err);
    assert_string_equal(got.text, LINES "|");
    cbe_assert_ok(read_row(state, "x.json", (const unsigned char *)"[1]\n\n{}", 7,
                           CBE_DOCUMENTS_BLANK_LINE, NULL, &err),
                  &err);
    assert_string_equal(got.text, "[1]|{}|");
    assert_int_equal(got.n_warnings, 0);
}

/* Members of pigz and bgzip, cut anywhere in a line, with what block devices and tapes put behind,
 * and what gzip passes over. */
static void members__and_what_stands_behind(void **state)
{
    static const char lines[] = LINES;
    static unsigned char packed[ROOM];
    for (size_t cut = 0; cut < sizeof lines; cut++)
        for (int behind = 0; behind < 3; behind++)
            for (int zstd = 0; zstd < 2; zstd++) {
                cbe_error err = {0};
                const packing how = zstd ? ZSTD : GZIP;
                size_t size = pack(how, lines, cut, packed);
                size += pack(how, "", 0, packed + size);
                size += pack(how, lines + cut, sizeof lines - 1 - cut, packed + size);
                if (behind == 1) {
                    memset(packed + size, 0, 512);
                    size += 512;
                } else if (behind == 2 && !zstd) {
                    memcpy(packed + size, "garbage", 7);
                    size += 7;
                }
                cbe_assert_ok(
                    read_row(state, "x.json.gz", packed, size, CBE_DOCUMENTS_AUTO, NULL, &err),
                    &err);
                assert_string_equal(got.text, "One.|Two.|");
                assert_int_equal(got.n_warnings, behind == 2 && !zstd);
                if (got.n_warnings)
                    assert_non_null(strstr(got.warning, "7 bytes behind the gzip data"));
            }
}

/* pzstd writes a skippable frame before each frame; the seekable format has its table in one at the
 * end. */
static void zstd__frames_that_are_skipped(void **state)
{
    static unsigned char packed[ROOM];
    static const char head[] = "\x50\x2a\x4d\x18\x04\0\0\0\x20\0\0\0",
                      table[] = "\x5e\x2a\x4d\x18\x09\0\0\0\0\0\0\0\0\xb1\xea\x92\x8f";
    cbe_error err;
    size_t size = 0;
    for (int frame = 0; frame < 2; frame++) {
        memcpy(packed + size, head, sizeof head - 1);
        size += sizeof head - 1;
        size += pack(ZSTD, LINES, sizeof LINES - 1, packed + size);
    }
    memcpy(packed + size, table, sizeof table - 1);
    size += sizeof table - 1;
    cbe_assert_ok(read_row(state, "x.txt.zst", packed, size, CBE_DOCUMENTS_FILE, NULL, &err), &err);
    assert_string_equal(got.text, LINES LINES "|");
}

/* Lines far longer than what is read at once, also the first, by which the kind is told; and
 * fields nested deeper than Python's json goes. */
static void lines__may_be_long_and_deep(void **state)
{
    enum { LENGTH = 700000, DEPTH = 5000 };
    char *line = malloc(2 * LENGTH);
    cbe_error err;
    size_t n = (size_t)sprintf(line, "{\"x\": ");
    memset(line + n, '[', DEPTH);
    memset(line + n + DEPTH, ']', DEPTH);
    n += 2 * DEPTH;
    n += (size_t)sprintf(line + n, ", \"text\": \"");
    memset(line + n, 'a', LENGTH);
    n += LENGTH;
    n += (size_t)sprintf(line + n, "\"}\n" LINES);
    cbe_assert_ok(
        read_row(state, "x.json", (unsigned char *)line, n, CBE_DOCUMENTS_AUTO, NULL, &err), &err);
    assert_int_equal(got.length, LENGTH + 1 + 10);
    assert_string_equal(got.text + LENGTH, "|One.|Two.|");
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts__are_read_as_they_are_meant),
        cmocka_unit_test(texts__that_cannot_be_read_are_named),
        cmocka_unit_test(texts__of_a_kind_that_is_given_are_not_guessed),
        cmocka_unit_test(members__and_what_stands_behind),
        cmocka_unit_test(zstd__frames_that_are_skipped),
        cmocka_unit_test(lines__may_be_long_and_deep),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
