/* json.c - see json.h. */
#include "formats/json.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/utf8.h"
#include "core/utf8_replace.h"
#include "files/mapped_file.h"
#include "formats/json_memory.h"

enum { ESCAPE = 6 /* characters of \uXXXX */ };

/* The unit of the escape \uXXXX at the beginning of a text; -1: there is none. */
static long unit_of(const char *text, size_t length)
{
    long unit = 0;
    if (length < ESCAPE || text[0] != '\\' || text[1] != 'u') return -1;
    for (size_t i = 2; i < ESCAPE; i++) {
        const char c = text[i];
        const char from = c >= '0' && c <= '9'   ? '0'
                          : c >= 'a' && c <= 'f' ? 'a' - 10
                          : c >= 'A' && c <= 'F' ? 'A' - 10
                                                 : 0;
        if (!from) return -1;
        unit = 16 * unit + (c - from);
    }
    return unit;
}

static bool is_high(long unit)
{
    return unit >= 0xd800 && unit < 0xdc00;
}

static bool is_low(long unit)
{
    return unit >= 0xdc00 && unit < 0xe000;
}

/* Turns each escape of half a surrogate pair into that of U+FFFD, and returns their number. */
static size_t mend_surrogates(char *text, size_t length)
{
    size_t mended = 0;
    for (size_t i = 0; i < length;) {
        const long unit = unit_of(text + i, length - i);
        if (unit < 0) {
            i += text[i] == '\\' && i + 1 < length ? 2 : 1;
        } else if (is_high(unit) && is_low(unit_of(text + i + ESCAPE, length - i - ESCAPE))) {
            i += (size_t)2 * ESCAPE;
        } else {
            if (is_high(unit) || is_low(unit)) {
                memcpy(text + i + 2, "fffd", 4);
                mended++;
            }
            i += ESCAPE;
        }
    }
    return mended;
}

static yyjson_doc *parse(const char *text, size_t length, yyjson_read_err *why)
{
    const yyjson_read_flag flags = YYJSON_READ_ALLOW_INF_AND_NAN | YYJSON_READ_ALLOW_BOM;
    /* yyjson does not write to the text without YYJSON_READ_INSITU. */
    return yyjson_read_opts((char *)(size_t)text, length, flags, &cbe_json_memory, why);
}

/* Parses a copy in which what yyjson refuses in strings, and Python's json does not, is mended. */
static cbe_status parse_mended(yyjson_doc **out, const char *text, size_t length,
                               size_t *n_replaced, yyjson_read_err *why, cbe_error *err)
{
    char *copy = NULL;
    size_t size = length;
    cbe_status st = CBE_OK;
    if (n_replaced)
        st = cbe_utf8_replace(&copy, text, length, &size, n_replaced, err);
    else if (!(copy = cbe_copy_string(text, length, err)))
        st = CBE_ERR_NOMEM;
    if (st == CBE_OK && mend_surrogates(copy, size) + (n_replaced ? *n_replaced : 0) > 0)
        *out = parse(copy, size, why);
    cbe_free(copy);
    return st;
}

cbe_status cbe_json_parse(yyjson_doc **out, const char *text, size_t length, size_t *n_replaced,
                          const char *path, cbe_json_problem *problem, cbe_error *err)
{
    size_t column, character;
    yyjson_read_err why = {0};
    if (n_replaced) *n_replaced = 0;
    if (length == 0) {
        *problem = (cbe_json_problem){0, 1, "the text is empty"};
        return CBE_ERR_FORMAT;
    }
    yyjson_doc *doc = parse(text, length, &why);
    if (!doc && why.code == YYJSON_READ_ERROR_INVALID_STRING) {
        const cbe_status st = parse_mended(&doc, text, length, n_replaced, &why, err);
        if (st != CBE_OK) return st;
    }
    if (doc) {
        *out = doc;
        return CBE_OK;
    }
    if (why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: out of memory while its JSON is read", path);
    *problem = (cbe_json_problem){why.pos < length ? why.pos : length, 1, why.msg};
    yyjson_locate_pos(text, length, problem->byte, &problem->line, &column, &character);
    return CBE_ERR_FORMAT;
}

cbe_status cbe_json_read(yyjson_doc **out, const char *text, size_t length, const char *path,
                         cbe_error *err)
{
    cbe_json_problem problem;
    const cbe_status st = cbe_json_parse(out, text, length, NULL, path, &problem, err);
    if (st != CBE_ERR_FORMAT) return st;
    if (cbe_is_lfs_pointer(text, length))
        return cbe_fail(err, st, 0,
                        "%s: is a Git LFS pointer, not the data: run 'git lfs pull' in its folder",
                        path);
    if (length > 0 && text[0] == '<')
        return cbe_fail(err, st, 0,
                        "%s: not JSON but HTML or XML, perhaps of a download that failed", path);
    return cbe_fail(err, st, (int64_t)problem.byte, "%s: line %zu: not JSON: %s (byte %zu)", path,
                    problem.line, problem.text, problem.byte);
}

yyjson_val *cbe_json_at(yyjson_val *object, const char *key)
{
    const size_t length = strlen(key);
    yyjson_val *found = NULL, *name, *value;
    CBE_JSON_EACH(object, walk, name, value)
    {
        if (yyjson_equals_strn(name, key, length)) found = value;
    }
    return found;
}

yyjson_val *cbe_json_get(yyjson_val *object, const char *key)
{
    yyjson_val *value = cbe_json_at(object, key);
    return yyjson_is_null(value) ? NULL : value;
}

const char *cbe_json_text(yyjson_val *object, const char *key)
{
    return yyjson_get_str(cbe_json_at(object, key));
}

bool cbe_json_is_true(yyjson_val *value)
{
    if (yyjson_is_ctn(value)) return unsafe_yyjson_get_len(value) > 0;
    if (yyjson_is_str(value)) return yyjson_get_len(value) > 0;
    return yyjson_is_num(value) ? yyjson_get_num(value) != 0 : yyjson_is_true(value);
}
