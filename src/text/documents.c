/* documents.c - see documents.h. */
#include "text/documents.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "formats/json.h"
#include "files/text_stream.h"
#include "core/byte_buffer.h"

enum { PART = 1 << 16, WHERE_SIZE = 400 };

/* A file that is being read. */
typedef struct {
    const char *path; /* the file's name in messages */
    cbe_documents_kind kind;
    const char *field;
    const cbe_documents_options *options; /* NULL: defaults */
    cbe_document_fn *visit;
    void *user;
    bool *stop;
    size_t line;       /* number of the last line read, from 1 */
    size_t first_line; /* first line of the document being gathered */
    cbe_byte_buffer document;
} reading;

static cbe_status visit(reading *r, const char *text, size_t length, size_t line, cbe_error *err)
{
    char where[WHERE_SIZE];
    if (line)
        snprintf(where, sizeof where, "%.*s: line %zu", WHERE_SIZE - 40, r->path, line);
    else
        snprintf(where, sizeof where, "%s", r->path);
    return r->visit(r->user, where, text, length, r->stop, err);
}

__attribute__((format(printf, 2, 3))) static void warn(const reading *r, const char *format, ...)
{
    char line[CBE_MESSAGE_SIZE];
    if (!r->options || !r->options->warn) return;
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    r->options->warn(r->options->context, line);
}

static bool is_blank(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return false;
    return true;
}

static cbe_status take_json(reading *r, const char *line, size_t length, cbe_error *err)
{
    cbe_status st;
    cbe_json_problem why;
    if (is_blank(line, length)) return CBE_OK;
    yyjson_doc *doc = NULL;
    st = cbe_json_parse(&doc, line, length, NULL, r->path, &why, err);
    if (st == CBE_ERR_NOMEM) return st;
    yyjson_val *text = cbe_json_at(yyjson_doc_get_root(doc), r->field);
    if (!doc)
        st = cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: line %zu: not JSON, at its byte %zu: %s",
                      r->path, r->line, why.byte + 1, why.text);
    else if (!yyjson_is_str(text))
        st = cbe_fail(
            err, CBE_ERR_FORMAT, -1,
            "%s: line %zu: no field '%.60s' that is a string; name the field with " CBE_OPTION(
                "text-field"),
            r->path, r->line, r->field);
    else
        st = visit(r, yyjson_get_str(text), yyjson_get_len(text), r->line, err);
    yyjson_doc_free(doc);
    return st;
}

/* Visits the lines gathered so far as a document, without the end of the last line. */
static cbe_status end_document(reading *r, cbe_error *err)
{
    size_t length = r->document.size;
    if (length == 0) return CBE_OK;
    length--;
    if (length > 0 && r->document.bytes[length - 1] == '\r') length--;
    r->document.size = 0;
    return visit(r, r->document.bytes, length, r->first_line, err);
}

/* Takes a line, given without its end. */
static cbe_status take_line(reading *r, const char *line, size_t length, cbe_error *err)
{
    r->line++;
    if (r->kind == CBE_DOCUMENTS_JSONL) return take_json(r, line, length, err);
    if (is_blank(line, length)) return end_document(r, err);
    if (r->document.size == 0) r->first_line = r->line;
    const cbe_status st = cbe_byte_buffer_put(&r->document, line, length, err);
    return st == CBE_OK ? cbe_byte_buffer_put(&r->document, "\n", 1, err) : st;
}

/* Takes the whole lines at the beginning of a buffer; the rest moves to the front. */
static cbe_status take_lines(reading *r, cbe_byte_buffer *buffer, size_t searched, bool at_end,
                             cbe_error *err)
{
    size_t at = 0;
    cbe_status st = CBE_OK;
    while (st == CBE_OK && !*r->stop && at < buffer->size) {
        const size_t from = at > searched ? at : searched;
        const char *end =
            from < buffer->size ? memchr(buffer->bytes + from, '\n', buffer->size - from) : NULL;
        if (!end && !at_end) break;
        const size_t length = end ? (size_t)(end - buffer->bytes) - at : buffer->size - at;
        st = take_line(r, buffer->bytes + at, length, err);
        at += length + (end != NULL);
    }
    if (at > 0 && at < buffer->size) memmove(buffer->bytes, buffer->bytes + at, buffer->size - at);
    buffer->size -= at;
    return st;
}

static cbe_documents_kind kind_of(const char *path, const cbe_documents_options *options)
{
    static const char *const endings[] = {".jsonl",  ".jsonl.gz",  ".jsonl.zst",
                                          ".ndjson", ".ndjson.gz", ".ndjson.zst"};
    const size_t length = strlen(path);
    if (options && options->kind != CBE_DOCUMENTS_AUTO) return options->kind;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t size = strlen(endings[i]);
        if (length > size && strcmp(path + length - size, endings[i]) == 0)
            return CBE_DOCUMENTS_JSONL;
    }
    return CBE_DOCUMENTS_FILE;
}

cbe_status cbe_documents_visit(const char *path, const cbe_documents_options *options,
                               cbe_document_fn *visit_document, void *user, bool *stop,
                               cbe_error *err)
{
    reading r = {.path = cbe_text_name(path),
                 .kind = kind_of(path, options),
                 .field = options && options->field ? options->field : "text",
                 .options = options,
                 .visit = visit_document,
                 .user = user,
                 .stop = stop};
    cbe_text_stream *stream = NULL;
    cbe_byte_buffer buffer = {0};
    cbe_inputs *inputs = options ? options->inputs : NULL;
    cbe_status st = cbe_text_stream_open(&stream, path, inputs && inputs->digests,
                                         options ? options->memory : 0, err);
    size_t n_bytes = 0;
    for (bool ended = false; st == CBE_OK && !ended && !*stop;) {
        size_t n;
        if ((st = cbe_byte_buffer_reserve(&buffer, PART, err)) != CBE_OK) break;
        const size_t before = buffer.size;
        st = cbe_text_stream_read(stream, buffer.bytes + before, buffer.capacity - before, &n, err);
        if (st != CBE_OK) break;
        buffer.size += n;
        n_bytes += n;
        if (options && options->progress && !options->progress(options->context, n_bytes, 0)) {
            st = cbe_fail(err, CBE_ERR_CANCELLED, -1, "%s: reading was cancelled", r.path);
            break;
        }
        ended = cbe_text_stream_ended(stream);
        if (r.kind != CBE_DOCUMENTS_FILE) st = take_lines(&r, &buffer, before, ended, err);
    }
    if (st == CBE_OK && !*stop)
        st = r.kind == CBE_DOCUMENTS_FILE ? visit(&r, buffer.bytes, buffer.size, 0, err)
                                          : end_document(&r, err);
    if (st == CBE_OK && cbe_text_stream_passed_over(stream))
        warn(&r, "%s: %llu bytes behind the gzip data are no gzip data, and were passed over",
             r.path, (unsigned long long)cbe_text_stream_passed_over(stream));
    if (st == CBE_OK) st = cbe_text_stream_note(stream, inputs, err);
    cbe_text_stream_close(stream);
    cbe_free(buffer.bytes);
    cbe_free(r.document.bytes);
    return st;
}
