/*
 * gguf_metadata.c - the values of a .gguf file's metadata; see formats/gguf.h.
 *
 * Values stay in the mapped file. Opening the container has checked that each lies in it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "formats/gguf_private.h"

const struct cbe_gguf_value_info cbe_gguf_value_types[] = {
    [CBE_GGUF_U8] = {"u8", 1},   [CBE_GGUF_I8] = {"i8", 1},       [CBE_GGUF_U16] = {"u16", 2},
    [CBE_GGUF_I16] = {"i16", 2}, [CBE_GGUF_U32] = {"u32", 4},     [CBE_GGUF_I32] = {"i32", 4},
    [CBE_GGUF_F32] = {"f32", 4}, [CBE_GGUF_BOOL] = {"bool", 1},   [CBE_GGUF_STRING] = {"string", 0},
    [CBE_GGUF_U64] = {"u64", 8}, [CBE_GGUF_ARRAY] = {"array", 0}, [CBE_GGUF_I64] = {"i64", 8},
    [CBE_GGUF_F64] = {"f64", 8},
};

static int shown(size_t length)
{
    return length < CBE_GGUF_SHOWN ? (int)length : CBE_GGUF_SHOWN;
}

static int compare_spans(cbe_span a, cbe_span b)
{
    const size_t length = a.length < b.length ? a.length : b.length;
    const int order = length > 0 ? memcmp(a.data, b.data, length) : 0;
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

int cbe_gguf_compare_keys(const void *a, const void *b)
{
    return compare_spans((*(const cbe_gguf_pair *const *)a)->key,
                         (*(const cbe_gguf_pair *const *)b)->key);
}

const cbe_gguf_pair *cbe_gguf_find_pair(const cbe_gguf *file, const char *key)
{
    const cbe_gguf_pair key_pair = {.key = {key, strlen(key)}}, *wanted = &key_pair;
    const cbe_gguf_pair **found = bsearch(&wanted, file->pairs_by_key, file->n_pairs,
                                          sizeof *file->pairs_by_key, cbe_gguf_compare_keys);
    return found ? *found : NULL;
}

static cbe_status get_pair(const cbe_gguf *file, const char *key, const cbe_gguf_pair **out,
                           cbe_error *err)
{
    *out = cbe_gguf_find_pair(file, key);
    if (*out) return CBE_OK;
    return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: no metadata '%.*s'", file->map.path,
                    CBE_GGUF_SHOWN, key);
}

static cbe_status wrong_type(const cbe_gguf *file, const cbe_gguf_pair *p, const char *expected,
                             cbe_error *err)
{
    const bool array = p->type == CBE_GGUF_ARRAY;
    return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)p->value,
                    "%s: metadata '%.*s' is %s%s, expected %s (byte %zu)", file->map.path,
                    shown(p->key.length), p->key.data, array ? "an array of " : "of type ",
                    cbe_gguf_value_types[array ? p->item_type : p->type].name, expected, p->value);
}

/* A number of any type but bool; one field is set. */
typedef struct {
    enum { NOT_A_NUMBER_TYPE, UNSIGNED, SIGNED, FLOATING } kind;
    uint64_t u;
    int64_t i;
    double d;
} number;

#define CBE_LOAD(type, kind_, field)                                                               \
    do {                                                                                           \
        type value;                                                                                \
        memcpy(&value, at, sizeof value);                                                          \
        result.kind = kind_;                                                                       \
        result.field = value;                                                                      \
    } while (0)

static number load_number(uint32_t type, const unsigned char *at)
{
    number result = {.kind = NOT_A_NUMBER_TYPE};
    switch ((cbe_gguf_value_type)type) {
    case CBE_GGUF_U8: CBE_LOAD(uint8_t, UNSIGNED, u); break;
    case CBE_GGUF_I8: CBE_LOAD(int8_t, SIGNED, i); break;
    case CBE_GGUF_U16: CBE_LOAD(uint16_t, UNSIGNED, u); break;
    case CBE_GGUF_I16: CBE_LOAD(int16_t, SIGNED, i); break;
    case CBE_GGUF_U32: CBE_LOAD(uint32_t, UNSIGNED, u); break;
    case CBE_GGUF_I32: CBE_LOAD(int32_t, SIGNED, i); break;
    case CBE_GGUF_F32: CBE_LOAD(float, FLOATING, d); break;
    case CBE_GGUF_U64: CBE_LOAD(uint64_t, UNSIGNED, u); break;
    case CBE_GGUF_I64: CBE_LOAD(int64_t, SIGNED, i); break;
    case CBE_GGUF_F64: CBE_LOAD(double, FLOATING, d); break;
    case CBE_GGUF_BOOL:
    case CBE_GGUF_STRING:
    case CBE_GGUF_ARRAY:
    case CBE_GGUF_N_VALUE_TYPES: break;
    }
    return result;
}

static double as_double(number value)
{
    return value.kind == FLOATING   ? value.d
           : value.kind == UNSIGNED ? (double)value.u
                                    : (double)value.i;
}

bool cbe_gguf_has(const cbe_gguf *file, const char *key)
{
    return cbe_gguf_find_pair(file, key) != NULL;
}

bool cbe_gguf_is_array(const cbe_gguf *file, const char *key)
{
    const cbe_gguf_pair *p = cbe_gguf_find_pair(file, key);
    return p && p->type == CBE_GGUF_ARRAY;
}

cbe_status cbe_gguf_uint(const cbe_gguf *file, const char *key, uint64_t *out, cbe_error *err)
{
    const cbe_gguf_pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    const number value = load_number(p->type, file->map.data + p->value);
    if (value.kind == SIGNED && value.i < 0)
        return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)p->value,
                        "%s: metadata '%.*s' is %" PRId64 ", it must not be negative (byte %zu)",
                        file->map.path, CBE_GGUF_SHOWN, key, value.i, p->value);
    if (value.kind != SIGNED && value.kind != UNSIGNED)
        return wrong_type(file, p, "an integer", err);
    *out = value.kind == SIGNED ? (uint64_t)value.i : value.u;
    return CBE_OK;
}

cbe_status cbe_gguf_int(const cbe_gguf *file, const char *key, int64_t *out, cbe_error *err)
{
    const cbe_gguf_pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    const number value = load_number(p->type, file->map.data + p->value);
    if (value.kind != SIGNED && value.kind != UNSIGNED)
        return wrong_type(file, p, "an integer", err);
    *out = value.kind == SIGNED ? value.i : value.u < INT64_MAX ? (int64_t)value.u : INT64_MAX;
    return CBE_OK;
}

cbe_status cbe_gguf_double(const cbe_gguf *file, const char *key, double *out, cbe_error *err)
{
    const cbe_gguf_pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    const number value = load_number(p->type, file->map.data + p->value);
    if (value.kind == NOT_A_NUMBER_TYPE) return wrong_type(file, p, "a number", err);
    if (value.kind == FLOATING && !isfinite(value.d))
        return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)p->value,
                        "%s: metadata '%.*s' is not finite (byte %zu)", file->map.path,
                        CBE_GGUF_SHOWN, key, p->value);
    *out = as_double(value);
    return CBE_OK;
}

cbe_status cbe_gguf_bool(const cbe_gguf *file, const char *key, bool *out, cbe_error *err)
{
    const cbe_gguf_pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    if (p->type == CBE_GGUF_BOOL) {
        *out = file->map.data[p->value] != 0;
        return CBE_OK;
    }
    const number value = load_number(p->type, file->map.data + p->value);
    const uint64_t n = value.kind == SIGNED ? (uint64_t)value.i : value.u;
    if ((value.kind != SIGNED && value.kind != UNSIGNED) || n > 1)
        return wrong_type(file, p, "a bool", err);
    *out = n == 1;
    return CBE_OK;
}

/* The string at byte *at, which opening has checked; *at moves behind the string. */
static cbe_span load_string(const cbe_gguf *file, size_t *at)
{
    uint64_t length;
    memcpy(&length, file->map.data + *at, sizeof length);
    const cbe_span span = {(const char *)file->map.data + *at + sizeof length, (size_t)length};
    *at += sizeof length + span.length;
    return span;
}

cbe_status cbe_gguf_string(const cbe_gguf *file, const char *key, cbe_span *out, cbe_error *err)
{
    const cbe_gguf_pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    if (p->type != CBE_GGUF_STRING) return wrong_type(file, p, "a string", err);
    size_t at = p->value;
    *out = load_string(file, &at);
    /* Writers in C have counted the NUL at a string's end. */
    while (out->length > 0 && out->data[out->length - 1] == 0) out->length--;
    return CBE_OK;
}

cbe_status cbe_gguf_strings(const cbe_gguf *file, const char *key, cbe_span **out, size_t *count,
                            cbe_error *err)
{
    const cbe_gguf_pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    if (p->type != CBE_GGUF_ARRAY || p->item_type != CBE_GGUF_STRING)
        return wrong_type(file, p, "an array of strings", err);
    cbe_span *spans = cbe_alloc((size_t)p->count, sizeof *spans, key, err);
    if (!spans) return CBE_ERR_NOMEM;
    size_t at = p->value;
    for (size_t i = 0; i < p->count; i++) spans[i] = load_string(file, &at);
    *out = spans;
    *count = (size_t)p->count;
    return CBE_OK;
}

cbe_status cbe_gguf_ints(const cbe_gguf *file, const char *key, int64_t **out, size_t *count,
                         cbe_error *err)
{
    const cbe_gguf_pair *p;
    cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    static const unsigned char zero[8];
    const int kind = p->type == CBE_GGUF_ARRAY ? (int)load_number(p->item_type, zero).kind : 0;
    const bool flags = p->type == CBE_GGUF_ARRAY && p->item_type == CBE_GGUF_BOOL;
    if (kind != SIGNED && kind != UNSIGNED && !flags)
        return wrong_type(file, p, "an array of integers", err);
    int64_t *values = cbe_alloc((size_t)p->count, sizeof *values, key, err);
    if (!values) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < p->count; i++) {
        const size_t at = p->value + i * cbe_gguf_value_types[p->item_type].size;
        const number value = load_number(p->item_type, file->map.data + at);
        if (value.kind == UNSIGNED && value.u > INT64_MAX) {
            st = cbe_fail(err, CBE_ERR_FORMAT, (int64_t)at,
                          "%s: metadata '%.*s': item %zu is %" PRIu64
                          ", larger than a signed integer "
                          "(byte %zu)",
                          file->map.path, CBE_GGUF_SHOWN, key, i, value.u, at);
            goto done;
        }
        values[i] = flags                    ? file->map.data[at] != 0
                    : value.kind == UNSIGNED ? (int64_t)value.u
                                             : value.i;
    }
    *out = values;
    *count = (size_t)p->count;
    values = NULL;
done:
    cbe_free(values);
    return st;
}

cbe_status cbe_gguf_floats(const cbe_gguf *file, const char *key, float **out, size_t *count,
                           cbe_error *err)
{
    const cbe_gguf_pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    static const unsigned char zero[8];
    if (p->type != CBE_GGUF_ARRAY || load_number(p->item_type, zero).kind == NOT_A_NUMBER_TYPE)
        return wrong_type(file, p, "an array of numbers", err);
    float *values = cbe_alloc((size_t)p->count, sizeof *values, key, err);
    if (!values) return CBE_ERR_NOMEM;
    const size_t size = cbe_gguf_value_types[p->item_type].size;
    for (size_t i = 0; i < p->count; i++)
        values[i] =
            (float)as_double(load_number(p->item_type, file->map.data + p->value + i * size));
    *out = values;
    *count = (size_t)p->count;
    return CBE_OK;
}

void cbe_gguf_free_array(void *array)
{
    cbe_free(array);
}

/* Copies a string to out (size bytes), on one line, without cutting through a UTF-8 character. */
static void print_line(char *out, size_t size, cbe_span text)
{
    size_t length = text.length;
    if (size == 0) return;
    if (length > size - 1) {
        length = size - 1;
        while (length > 0 && ((unsigned char)text.data[length] & 0xc0) == 0x80) length--;
    }
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text.data[i];
        out[i] = c < 0x20 || c == 0x7f ? ' ' : text.data[i];
    }
    out[length] = 0;
}

bool cbe_gguf_describe(const cbe_gguf *file, size_t i, cbe_span *key, char *value, size_t size)
{
    if (i >= file->n_pairs) return false;
    const cbe_gguf_pair *p = &file->pairs[i];
    const unsigned char *at = file->map.data + p->value;
    size_t position = p->value;
    *key = p->key;
    if (p->type == CBE_GGUF_STRING) {
        print_line(value, size, load_string(file, &position));
    } else if (p->type == CBE_GGUF_ARRAY) {
        snprintf(value, size, "%s[%" PRIu64 "]", cbe_gguf_value_types[p->item_type].name, p->count);
    } else if (p->type == CBE_GGUF_BOOL) {
        snprintf(value, size, "%s", *at ? "true" : "false");
    } else {
        const number n = load_number(p->type, at);
        if (n.kind == UNSIGNED) snprintf(value, size, "%" PRIu64, n.u);
        if (n.kind == SIGNED) snprintf(value, size, "%" PRId64, n.i);
        if (n.kind == FLOATING) snprintf(value, size, "%.9g", n.d);
    }
    return true;
}
