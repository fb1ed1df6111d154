/*
 * safetensors.c - reading .safetensors files; the grammar is in formats/safetensors.h.
 *
 * The header's strings are borrowed for the file's life. Names with NUL are refused, and so are
 * equal names. As in the reference implementation, the data of all tensors must tile the rest of
 * the file: no overlap, no hole, nothing behind.
 */
#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "core/utf8.h"
#include "files/foreign_format.h"
#include "formats/json.h"
#include "files/input_list.h"
#include "files/mapped_file.h"

enum {
    LENGTH_BYTES = 8,
    MAX_HEADER_BYTES = 100000000, /* the reference implementation's limit */
    NAMES_SHOWN = 300,            /* characters of tensors' names in a message */
};

/* The format's dtypes; dtype is CBE_N_DTYPES for a dtype that is not read. */
static const struct dtype_row {
    const char *name;
    size_t bits;
    cbe_dtype dtype;
} dtype_rows[] = {
    {"F32", 32, CBE_F32},         {"F16", 16, CBE_F16},         {"BF16", 16, CBE_BF16},
    {"F64", 64, CBE_F64},         {"I64", 64, CBE_I64},         {"U64", 64, CBE_U64},
    {"I32", 32, CBE_I32},         {"U32", 32, CBE_U32},         {"I16", 16, CBE_I16},
    {"U16", 16, CBE_U16},         {"I8", 8, CBE_N_DTYPES},      {"U8", 8, CBE_U8},
    {"BOOL", 8, CBE_U8},          {"C64", 64, CBE_N_DTYPES},    {"F8_E4M3", 8, CBE_N_DTYPES},
    {"F8_E5M2", 8, CBE_N_DTYPES}, {"F8_E8M0", 8, CBE_N_DTYPES}, {"F6_E2M3", 6, CBE_N_DTYPES},
    {"F6_E3M2", 6, CBE_N_DTYPES}, {"F4", 4, CBE_N_DTYPES},
};

typedef struct {
    const char *name, *dtype_name; /* borrowed from the header */
    cbe_dtype dtype;
    size_t n_dims, dims[CBE_MAX_DIMS];
    size_t n_elements;
    size_t begin, end; /* bytes, counted from the start of the data */
} entry;

struct cbe_safetensors {
    cbe_mapped_file map;
    yyjson_doc *header;
    yyjson_val *metadata; /* borrowed from header; NULL: there is none */
    size_t data_start;
    size_t count;
    entry *entries;        /* tensors in the order of the header */
    const entry **by_name; /* sorted */
};

/* Byte of a key in the file, or of the header's start if the key is written with escapes. Only for
 * messages: the parser keeps no positions. */
static int64_t offset_of_key(const cbe_safetensors *file, const char *key)
{
    const char *text = (const char *)file->map.data + LENGTH_BYTES;
    const char *end = (const char *)file->map.data + file->data_start;
    const size_t length = strlen(key);
    for (const char *at = text; (at = memchr(at, '"', (size_t)(end - at))); at++) {
        const char *colon = at + length + 2;
        if (length + 2 >= (size_t)(end - at)) break;
        if (memcmp(at + 1, key, length) != 0 || at[length + 1] != '"') continue;
        while (colon < end && *colon == ' ') colon++;
        if (colon < end && *colon == ':') return LENGTH_BYTES + (at - text);
    }
    return LENGTH_BYTES;
}

static cbe_status entry_error(const cbe_safetensors *file, const char *name, cbe_error *err,
                              const char *what)
{
    const int64_t offset = offset_of_key(file, name);
    return cbe_fail(err, CBE_ERR_FORMAT, offset, "%s: tensor '%.80s': %s (byte %" PRId64 ")",
                    file->map.path, name, what, offset);
}

/* Says what a file is whose first bytes cannot be the length of a header. */
static cbe_status not_safetensors(const cbe_mapped_file *map, uint64_t length, cbe_error *err)
{
    const size_t n = cbe_min_size(map->size, CBE_FOREIGN_HEAD);
    const cbe_foreign_format *other = cbe_foreign_format_of(map->data, n, n == map->size);
    const char *what = other                           ? other->name
                       : cbe_is_web_page(map->data, n) ? "a web page"
                                                       : "a text";
    for (size_t i = 0; i < n && !other; i++)
        if (map->data[i] < ' ' && (!map->data[i] || !strchr("\t\n\r\f", map->data[i]))) what = NULL;
    if (!other && cbe_utf8_valid_length((const char *)map->data, n) + 4 <= n) what = NULL;
    if (other && strstr(what, "safetensors")) what = NULL; /* its header is too long */
    if (what)
        return cbe_fail(err, CBE_ERR_FORMAT, 0, "%s: is not a safetensors file but %s", map->path,
                        what);
    return cbe_fail(err, CBE_ERR_FORMAT, 0,
                    "%s: is not a safetensors file, or damaged: its first bytes give a header of "
                    "%" PRIu64 " bytes, at most %d can be read",
                    map->path, length, MAX_HEADER_BYTES);
}

static cbe_status parse_header(cbe_safetensors *file, cbe_error *err)
{
    const char *path = file->map.path;
    uint64_t length;
    cbe_json_problem problem;
    if (cbe_mapped_file_is_lfs_pointer(&file->map))
        return cbe_fail(err, CBE_ERR_FORMAT, 0,
                        "%s: is a Git LFS pointer, not the data: run 'git lfs pull' in its folder",
                        path);
    if (file->map.size < LENGTH_BYTES)
        return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)file->map.size,
                        "%s: truncated: %zu bytes are less than a safetensors file's first field; "
                        "download it again",
                        path, file->map.size);
    memcpy(&length, file->map.data, sizeof length);
    if (length > MAX_HEADER_BYTES) return not_safetensors(&file->map, length, err);
    if (length > file->map.size - LENGTH_BYTES)
        return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)file->map.size,
                        "%s: truncated: header of %" PRIu64 " bytes, but the file has %zu bytes; "
                        "download it again",
                        path, length, file->map.size);
    const char *text = (const char *)file->map.data + LENGTH_BYTES;
    size_t blanks = 0; /* the format's words forbid them, its reader takes them */
    while (blanks < length && strchr(" \t\r\n", text[blanks]) && text[blanks]) blanks++;
    if (blanks == length || text[blanks] != '{')
        return cbe_fail(err, CBE_ERR_FORMAT, LENGTH_BYTES,
                        "%s: header does not start with '{' (byte %d): not a safetensors file",
                        path, LENGTH_BYTES);
    file->data_start = LENGTH_BYTES + (size_t)length;
    const cbe_status st =
        cbe_json_parse(&file->header, text, (size_t)length, NULL, path, &problem, err);
    if (st != CBE_ERR_FORMAT) return st;
    const int64_t offset = LENGTH_BYTES + (int64_t)problem.byte;
    return cbe_fail(err, CBE_ERR_FORMAT, offset,
                    "%s: header is not valid JSON at byte %" PRId64 ": %s", path, offset,
                    problem.text);
}

static cbe_status check_metadata(cbe_safetensors *file, yyjson_val *metadata, cbe_error *err)
{
    yyjson_val *key, *value;
    const int64_t offset = offset_of_key(file, "__metadata__");
    if (!yyjson_is_obj(metadata))
        return cbe_fail(err, CBE_ERR_FORMAT, offset,
                        "%s: __metadata__ is not an object (byte %" PRId64 ")", file->map.path,
                        offset);
    CBE_JSON_EACH(metadata, walk, key, value)
    {
        if (!yyjson_is_str(value))
            return cbe_fail(err, CBE_ERR_FORMAT, offset,
                            "%s: __metadata__ '%.80s' is not a string (byte %" PRId64 ")",
                            file->map.path, yyjson_get_str(key), offset);
    }
    file->metadata = metadata;
    return CBE_OK;
}

/* Converts a JSON integer that is not negative; false for any other value. */
static bool size_of_json(yyjson_val *value, size_t *out)
{
    if (!yyjson_is_uint(value)) return false;
    *out = (size_t)yyjson_get_uint(value);
    return true;
}

static cbe_status parse_shape(const cbe_safetensors *file, yyjson_val *shape, entry *e,
                              cbe_error *err)
{
    if (!yyjson_is_arr(shape)) return entry_error(file, e->name, err, "'shape' is not an array");
    e->n_dims = yyjson_arr_size(shape);
    if (e->n_dims > CBE_MAX_DIMS)
        return entry_error(file, e->name, err,
                           "'shape' has too many dimensions, at most 8 can be read");
    _Static_assert(CBE_MAX_DIMS == 8, "the message above says so");
    e->n_elements = 1;
    for (size_t i = 0; i < e->n_dims; i++) {
        if (!size_of_json(yyjson_arr_get(shape, i), &e->dims[i]))
            return entry_error(file, e->name, err, "'shape' holds something other than sizes");
        if (!cbe_mul_size(e->n_elements, e->dims[i], &e->n_elements))
            return entry_error(file, e->name, err, "the product of its 'shape' overflows");
    }
    return CBE_OK;
}

static cbe_status parse_offsets(const cbe_safetensors *file, yyjson_val *offsets, entry *e,
                                cbe_error *err)
{
    const size_t data_size = file->map.size - file->data_start;
    if (!yyjson_is_arr(offsets) || yyjson_arr_size(offsets) != 2 ||
        !size_of_json(yyjson_arr_get(offsets, 0), &e->begin) ||
        !size_of_json(yyjson_arr_get(offsets, 1), &e->end))
        return entry_error(file, e->name, err, "'data_offsets' is not a pair of offsets");
    if (e->begin > e->end)
        return entry_error(file, e->name, err, "'data_offsets' end before they begin");
    if (e->end > data_size)
        return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)file->map.size,
                        "%s: truncated: tensor '%.80s' ends at byte %zu of the data, which has %zu "
                        "bytes; download it again",
                        file->map.path, e->name, e->end, data_size);
    return CBE_OK;
}

/* Checks the size of a tensor by its dtype. The size of an unknown dtype is not known, so its range
 * alone was checked. */
static cbe_status check_dtype(const cbe_safetensors *file, entry *e, cbe_error *err)
{
    size_t bits;
    const struct dtype_row *row = NULL;
    for (size_t i = 0; i < sizeof dtype_rows / sizeof *dtype_rows && !row; i++)
        if (strcmp(dtype_rows[i].name, e->dtype_name) == 0) row = &dtype_rows[i];
    e->dtype = row ? row->dtype : CBE_N_DTYPES;
    if (!row) return CBE_OK;
    if (!cbe_mul_size(e->n_elements, row->bits, &bits))
        return entry_error(file, e->name, err, "the product of its 'shape' overflows");
    if (bits % 8 != 0 || bits / 8 != e->end - e->begin) {
        char what[160];
        snprintf(what, sizeof what,
                 "%zu elements of %s are not the %zu bytes of its 'data_offsets'", e->n_elements,
                 row->name, e->end - e->begin);
        return entry_error(file, e->name, err, what);
    }
    if (row->bits >= 8 && e->begin % (row->bits / 8) != 0)
        return entry_error(file, e->name, err,
                           "its data is unaligned: 'data_offsets' do not start at a whole element");
    return CBE_OK;
}

static cbe_status parse_entry(const cbe_safetensors *file, yyjson_val *value, entry *e,
                              cbe_error *err)
{
    cbe_status st;
    if (!yyjson_is_obj(value)) return entry_error(file, e->name, err, "its entry is not an object");
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (yyjson_obj_get(value, keys[i]) != cbe_json_at(value, keys[i]))
            return entry_error(file, e->name, err, "a key of its entry is there twice");
    e->dtype_name = cbe_json_text(value, "dtype");
    if (!e->dtype_name) return entry_error(file, e->name, err, "'dtype' is not a string");
    if ((st = parse_shape(file, cbe_json_at(value, "shape"), e, err)) != CBE_OK) return st;
    if ((st = parse_offsets(file, cbe_json_at(value, "data_offsets"), e, err)) != CBE_OK) return st;
    return check_dtype(file, e, err);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const entry *const *)a)->name, (*(const entry *const *)b)->name);
}

static int compare_ranges(const void *a, const void *b)
{
    const entry *x = *(const entry *const *)a, *y = *(const entry *const *)b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Checks that the ranges, sorted, follow each other from the data's first byte to its last. by_name
 * is the array that is sorted. */
static cbe_status check_tiling(cbe_safetensors *file, cbe_error *err)
{
    const size_t data_size = file->map.size - file->data_start;
    size_t at = 0;
    qsort(file->by_name, file->count, sizeof *file->by_name, compare_ranges);
    for (size_t i = 0; i < file->count; i++) {
        const entry *e = file->by_name[i];
        const int64_t offset = (int64_t)(file->data_start + e->begin);
        if (e->begin < at)
            return cbe_fail(err, CBE_ERR_FORMAT, offset,
                            "%s: tensor '%.80s' overlaps '%.80s' (byte %" PRId64 ")",
                            file->map.path, e->name, file->by_name[i - 1]->name, offset);
        if (e->begin > at)
            return cbe_fail(
                err, CBE_ERR_FORMAT, (int64_t)(file->data_start + at),
                "%s: a hole of %zu bytes before tensor '%.80s' (byte %zu) belongs to no "
                "tensor",
                file->map.path, e->begin - at, e->name, file->data_start + at);
        at = e->end;
    }
    if (at == data_size) return CBE_OK;
    return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)(file->data_start + at),
                    "%s: %zu bytes behind the last tensor (byte %zu) belong to no tensor",
                    file->map.path, data_size - at, file->data_start + at);
}

static cbe_status parse_entries(cbe_safetensors *file, cbe_error *err)
{
    cbe_status st;
    yyjson_val *name, *value, *header = yyjson_doc_get_root(file->header);
    size_t i, n = yyjson_obj_size(header);
    yyjson_val *metadata = cbe_json_get(header, "__metadata__");
    if (metadata && (st = check_metadata(file, metadata, err)) != CBE_OK) return st;
    file->entries = cbe_alloc_zero(n, sizeof *file->entries, "list of tensors", err);
    if (!file->entries) return CBE_ERR_NOMEM;
    file->by_name = cbe_alloc(n, sizeof *file->by_name, "index of tensors", err);
    if (!file->by_name) return CBE_ERR_NOMEM;
    CBE_JSON_EACH(header, walk, name, value)
    {
        entry *e = &file->entries[file->count];
        e->name = yyjson_get_str(name);
        if (strcmp(e->name, "__metadata__") == 0) continue;
        if (strlen(e->name) != yyjson_get_len(name))
            return entry_error(file, e->name, err, "its name has a NUL byte");
        if ((st = parse_entry(file, value, e, err)) != CBE_OK) return st;
        file->by_name[file->count++] = e;
    }
    if ((st = check_tiling(file, err)) != CBE_OK) return st;
    qsort(file->by_name, file->count, sizeof *file->by_name, compare_names);
    for (i = 1; i < file->count; i++)
        if (strcmp(file->by_name[i - 1]->name, file->by_name[i]->name) == 0)
            return entry_error(file, file->by_name[i]->name, err, "the header names it twice");
    return CBE_OK;
}

cbe_status cbe_safetensors_open(cbe_safetensors **out, const char *path, cbe_error *err)
{
    cbe_status st;
    cbe_safetensors *file = cbe_alloc_zero(1, sizeof *file, "safetensors file", err);
    if (!file) return CBE_ERR_NOMEM;
    if ((st = cbe_mapped_file_open(&file->map, path, err)) != CBE_OK) goto done;
    if ((st = parse_header(file, err)) != CBE_OK) goto done;
    if ((st = parse_entries(file, err)) != CBE_OK) goto done;
    *out = file;
    file = NULL;
done:
    cbe_safetensors_close(file);
    return st;
}

void cbe_safetensors_close(cbe_safetensors *file)
{
    if (!file) return;
    cbe_free(file->by_name);
    cbe_free(file->entries);
    yyjson_doc_free(file->header);
    cbe_mapped_file_close(&file->map);
    cbe_free(file);
}

const char *cbe_safetensors_path(const cbe_safetensors *file)
{
    return file->map.path;
}

size_t cbe_safetensors_count(const cbe_safetensors *file)
{
    return file->count;
}

const char *cbe_safetensors_name(const cbe_safetensors *file, size_t i)
{
    return file->entries[i].name;
}

const char *cbe_safetensors_dtype_name(const cbe_safetensors *file, size_t i)
{
    return file->entries[i].dtype_name;
}

const size_t *cbe_safetensors_shape(const cbe_safetensors *file, size_t i, size_t *n_dims)
{
    *n_dims = file->entries[i].n_dims;
    return file->entries[i].dims;
}

cbe_status cbe_safetensors_note(const cbe_safetensors *file, cbe_inputs *inputs,
                                cbe_input_role role, cbe_error *err)
{
    return cbe_inputs_add(inputs, role, &file->map, err);
}

const char *cbe_safetensors_metadata(const cbe_safetensors *file, const char *key)
{
    return cbe_json_text(file->metadata, key);
}

static const entry *find(const cbe_safetensors *file, const char *name)
{
    const entry key = {.name = name}, *wanted = &key;
    const entry **found =
        bsearch(&wanted, file->by_name, file->count, sizeof *file->by_name, compare_names);
    return found ? *found : NULL;
}

bool cbe_safetensors_has(const cbe_safetensors *file, const char *name)
{
    return find(file, name) != NULL;
}

static cbe_status missing(const cbe_safetensors *file, const char *name, cbe_error *err)
{
    char names[NAMES_SHOWN + 1] = "";
    size_t used = 0, i = 0;
    for (; i < file->count; i++) {
        const int length = snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                                    file->entries[i].name);
        if ((size_t)length >= sizeof names - used) break;
        used += (size_t)length;
    }
    names[used] = 0;
    if (i == file->count)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: no tensor '%.80s'; %s%s", file->map.path,
                        name, file->count ? "the file has " : "the file has none", names);
    return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: no tensor '%.80s'; the file has %s%s%zu more",
                    file->map.path, name, names, i ? " and " : "", file->count - i);
}

cbe_status cbe_safetensors_get(const cbe_safetensors *file, const char *name, cbe_tensor *out,
                               cbe_error *err)
{
    const entry *e = find(file, name);
    if (!e) return missing(file, name, err);
    if (e->dtype == CBE_N_DTYPES)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, offset_of_key(file, name),
                        "%s: tensor '%.80s' has dtype %.40s, which cannot be read: convert it to "
                        "F32, F16, BF16, F64 or I64",
                        file->map.path, name, e->dtype_name);
    *out = (cbe_tensor){
        .name = e->name,
        .dtype = e->dtype,
        .n_dims = e->n_dims,
        .n_elements = e->n_elements,
        .n_bytes = e->end - e->begin,
        .data = file->map.data + file->data_start + e->begin,
        .is_bool = strcmp(e->dtype_name, "BOOL") == 0,
    };
    memcpy(out->dims, e->dims, sizeof out->dims);
    return CBE_OK;
}
