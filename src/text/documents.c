/* documents.c - see documents.h. */
#include "text/documents.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/foreign_format.h"
#include "formats/json.h"
#include "files/text_stream.h"
#include "core/byte_buffer.h"
#include "text/documents_kind.h"

enum { PART = 1 << 16, WHERE_SIZE = 400, KEYS_SIZE = 200 };

/* A file that is being read. */
typedef struct {
    const char *path; /* the file's name in messages */
    cbe_documents_kind kind;
    const char *field;
    const cbe_documents_options *options; /* NULL: defaults */
    cbe_documents_name name;              /* what the path says, where the kind is not given */
    cbe_documents_look look;              /* how far the text was looked at for its kind */
    cbe_document_fn *visit;
    void *user;
    bool *stop;
    cbe_documents_counts *counts; /* NULL: not wanted */
    size_t line;                  /* number of the last line read, from 1 */
    size_t n_objects;             /* lines of JSON before this one */
    size_t first_line;            /* first line of the document being gathered */
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

/* JSON is there, but not as lines of it. */
static cbe_status not_lines(const reading *r, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: is JSON, but not one object a line; make such lines: jq -c . FILE "
                    ">NEW.jsonl, or of an array jq -c '.[]' FILE >NEW.jsonl; " CBE_OPTION(
                        "documents") " file takes the file as it is",
                    r->path);
}

/* Why a line is not JSON; what is known by its first bytes is named. */
static cbe_status not_json(const reading *r, const char *line, size_t length,
                           const cbe_json_problem *why, cbe_error *err)
{
    if (r->n_objects == 0 && cbe_documents_is_laid_out(line, length)) return not_lines(r, err);
    if (line[0] == '<')
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: line %zu: not JSON but HTML or XML, perhaps of a download that failed",
                        r->path, r->line);
    if (length > 1 && line[0] == '{' && line[1] == '\'')
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: line %zu: not JSON but Python's notation of a dict; write it anew "
                        "with json.dumps",
                        r->path, r->line);
    return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: line %zu: not JSON, at its byte %zu: %s", r->path,
                    r->line, why->byte + 1, why->text);
}

/* Takes off what may stand before a line of JSON: a byte order mark, where files were put one
 * behind another, and the mark of a record (RFC 7464). */
static void skip_marks(const char **line, size_t *length)
{
    static const char byte_order[] = {'\xef', '\xbb', '\xbf'};
    enum { RECORD = 0x1e };
    size_t n = 0;
    if (*length >= sizeof byte_order && memcmp(*line, byte_order, sizeof byte_order) == 0)
        n = sizeof byte_order;
    if (n < *length && (*line)[n] == RECORD) n++;
    *line += n;
    *length -= n;
}

/* Writes the names of an object's keys as a message shows them. */
static void list_keys(yyjson_val *object, char out[KEYS_SIZE])
{
    yyjson_val *key, *value;
    size_t used = 0;
    out[0] = 0;
    CBE_JSON_EACH(object, walk, key, value)
    {
        const int n = snprintf(out + used, KEYS_SIZE - used, "%s'%.40s'", used ? ", " : "",
                               yyjson_get_str(key));
        if (n < 0 || (size_t)n >= KEYS_SIZE - used - sizeof ", ..") {
            snprintf(out + used, KEYS_SIZE - used, "%s..", used ? ", " : "");
            return;
        }
        used += (size_t)n;
    }
}

/* The key of an object whose value has the field: an object, or a list of objects; NULL: none. */
static const char *nested_in(yyjson_val *object, const char *field)
{
    yyjson_val *key, *value;
    CBE_JSON_EACH(object, walk, key, value)
    {
        yyjson_val *inner = yyjson_is_arr(value) ? yyjson_arr_get_first(value) : value;
        if (cbe_json_at(inner, field)) return yyjson_get_str(key);
    }
    return NULL;
}

/* Says what is in the place of a line's text. */
static cbe_status no_text(const reading *r, yyjson_val *root, yyjson_val *text, cbe_error *err)
{
    char keys[KEYS_SIZE];
    yyjson_val *wrong = text ? text : root;
    const char *kind = yyjson_is_obj(wrong)    ? "an object"
                       : yyjson_is_arr(wrong)  ? "a list"
                       : yyjson_is_num(wrong)  ? "a number"
                       : yyjson_is_bool(wrong) ? "true or false"
                       : yyjson_is_str(wrong)  ? "a string"
                                               : "null";
    if (text)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: line %zu: field '%.60s' is %s, not a string; name another field "
                        "with " CBE_OPTION("text-field"),
                        r->path, r->line, r->field, kind);
    if (!yyjson_is_obj(root))
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: line %zu: is %s, where an object with the field '%.60s' is needed",
                        r->path, r->line, kind, r->field);
    const char *outer = nested_in(root, r->field);
    if (outer)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: line %zu: field '%.60s' is inside of '%.60s', and is read where it "
                        "is a field of the line: take it out, as with jq -c",
                        r->path, r->line, r->field, outer);
    list_keys(root, keys);
    return cbe_fail(
        err, CBE_ERR_FORMAT, -1,
        "%s: line %zu: no field '%.60s' but %s; name the field with " CBE_OPTION("text-field"),
        r->path, r->line, r->field, keys[0] ? keys : "none");
}

static cbe_status take_json(reading *r, const char *line, size_t length, cbe_error *err)
{
    cbe_json_problem why;
    yyjson_doc *doc = NULL;
    size_t n_replaced = 0;
    skip_marks(&line, &length);
    if (is_blank(line, length)) return CBE_OK;
    cbe_status st = cbe_json_parse(&doc, line, length, &n_replaced, r->path, &why, err);
    if (st == CBE_ERR_FORMAT) return not_json(r, line, length, &why, err);
    if (st != CBE_OK) return st;
    yyjson_val *root = yyjson_doc_get_root(doc), *text = cbe_json_at(root, r->field);
    if (r->counts) r->counts->n_replaced += n_replaced;
    if (yyjson_is_str(text))
        st = visit(r, yyjson_get_str(text), yyjson_get_len(text), r->line, err);
    else if (yyjson_is_null(text) && r->counts)
        r->counts->n_null++;
    else if (r->n_objects == 0 && yyjson_is_arr(root))
        st = not_lines(r, err);
    else if (!yyjson_is_null(text))
        st = no_text(r, root, text, err);
    r->n_objects++;
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

/* Whether a line is an object of JSON, and has the field with a text, or null in its place. */
static cbe_status look_at_line(const reading *r, const char *line, size_t length, bool *is_object,
                               bool *has_text, cbe_error *err)
{
    cbe_json_problem why;
    yyjson_doc *doc = NULL;
    size_t n_replaced;
    const cbe_status st = cbe_json_parse(&doc, line, length, &n_replaced, r->path, &why, err);
    if (st != CBE_OK && st != CBE_ERR_FORMAT) return st;
    yyjson_val *root = yyjson_doc_get_root(doc), *text = cbe_json_at(root, r->field);
    *is_object = yyjson_is_obj(root);
    *has_text = yyjson_is_str(text) || yyjson_is_null(text);
    yyjson_doc_free(doc);
    return CBE_OK;
}

/* Decides what a document is, of the text's beginning: lines of JSON, whatever the text is called;
 * else the file. The name .json says that it is JSON. Other names do not, so the lines must have
 * the field, and what else begins as JSON does is told. */
static cbe_status decide(reading *r, const cbe_byte_buffer *text, bool ended, cbe_error *err)
{
    size_t length = 0;
    bool is_object = false, has_text = false;
    const bool named = r->name == CBE_NAMED_JSON;
    const cbe_documents_beginning beginning =
        cbe_documents_look_at(&r->look, text->bytes, text->size, ended, &length);
    if (beginning == CBE_BEGINS_UNKNOWN) return CBE_OK;
    if (beginning == CBE_BEGINS_LINE) {
        const cbe_status st =
            look_at_line(r, text->bytes + r->look.line, length, &is_object, &has_text, err);
        if (st != CBE_OK) return st;
    }
    const bool laid_out = beginning == CBE_BEGINS_OBJECT || beginning == CBE_BEGINS_ARRAY;
    if (named && (laid_out || beginning == CBE_BEGINS_BRACKET)) return not_lines(r, err);
    if (has_text && r->name == CBE_NAMED_TEXT)
        warn(r,
             "%s: lines of JSON: each is a document, the text in its field '%s'; " CBE_OPTION(
                 "documents") " file takes the file as one text",
             r->path, r->field);
    if (!named && !has_text && (is_object || laid_out))
        warn(r,
             "%s: begins as JSON, and is taken as one text; " CBE_OPTION(
                 "documents") " jsonl with " CBE_OPTION("text-field") " takes a field of each line",
             r->path);
    if (!has_text && cbe_is_web_page((const unsigned char *)text->bytes, text->size))
        warn(r,
             "%s: is a web page, and is read as plain text with its markup; to be without, make a "
             "text of it: pandoc -t plain FILE -o NEW.txt",
             r->path);
    else if (!has_text && r->name == CBE_NAMED_TABLE)
        warn(r,
             "%s: is called a table, and is read as plain text with its commas or tabs; for a "
             "document of each row, write it as JSON lines: python -c \"import pandas; "
             "pandas.read_csv('FILE', sep=None, engine='python').to_json('NEW.jsonl', "
             "orient='records', lines=True)\"",
             r->path);
    const bool lines =
        has_text || (named && (beginning == CBE_BEGINS_LINE || beginning == CBE_BEGINS_BRACE));
    r->kind = lines ? CBE_DOCUMENTS_JSONL : CBE_DOCUMENTS_FILE;
    return CBE_OK;
}

cbe_status cbe_documents_visit(const char *path, const cbe_documents_options *options,
                               cbe_document_fn *visit_document, void *user, bool *stop,
                               cbe_error *err)
{
    reading r = {.path = cbe_text_name(path),
                 .kind = options ? options->kind : CBE_DOCUMENTS_AUTO,
                 .name = cbe_documents_name_of(path),
                 .counts = options ? options->counts : NULL,
                 .field = options && options->field ? options->field : "text",
                 .options = options,
                 .visit = visit_document,
                 .user = user,
                 .stop = stop};
    if (r.kind == CBE_DOCUMENTS_AUTO && r.name == CBE_NAMED_JSON_LINES)
        r.kind = CBE_DOCUMENTS_JSONL;
    cbe_text_stream *stream = NULL;
    cbe_byte_buffer buffer = {0};
    cbe_inputs *inputs = options ? options->inputs : NULL;
    cbe_status st = cbe_text_stream_open(&stream, path, inputs && inputs->digests,
                                         options ? options->memory : 0, err);
    size_t n_bytes = 0;
    for (bool ended = false; st == CBE_OK && !ended && !*stop;) {
        size_t n;
        if ((st = cbe_byte_buffer_reserve(&buffer, PART, err)) != CBE_OK) break;
        size_t before = buffer.size;
        st = cbe_text_stream_read(stream, buffer.bytes + before, buffer.capacity - before, &n, err);
        if (st != CBE_OK) break;
        buffer.size += n;
        n_bytes += n;
        if (options && options->progress && !options->progress(options->context, n_bytes, 0)) {
            st = cbe_fail(err, CBE_ERR_CANCELLED, -1, "%s: reading was cancelled", r.path);
            break;
        }
        ended = cbe_text_stream_ended(stream);
        if (r.kind == CBE_DOCUMENTS_AUTO) {
            if ((st = decide(&r, &buffer, ended, err)) != CBE_OK) break;
            before = 0; /* its lines were not taken */
        }
        if (r.kind == CBE_DOCUMENTS_JSONL || r.kind == CBE_DOCUMENTS_BLANK_LINE)
            st = take_lines(&r, &buffer, before, ended, err);
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
