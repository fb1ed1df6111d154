/*
 * gguf.c - reading .gguf files; the grammar is in cbe/gguf.h.
 *
 * A cursor walks the mapped file once. It compares each length with the bytes left before anything
 * is read, skipped or allocated, so that no damaged file needs a special case. Values stay where
 * they are: a pair keeps the offset of its value, which the walk has checked.
 */
#include "cbe/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "io/mapped_file.h"

enum {
    MIN_PAIR_BYTES = 8 + 4 + 1,     /* an empty key, a type, a value of one byte */
    MIN_INFO_BYTES = 8 + 4 + 4 + 8, /* an empty name, no dimensions, type, offset */
    MIN_STRING_BYTES = 8,           /* its length */
    MIN_ARRAY_BYTES = 4 + 8,        /* type and count */
    MAX_ARRAY_DEPTH = 4,            /* arrays in arrays; files in use have none */
    MAX_COUNT = 1000000, /* tensors, pairs: bounds what a damaged head makes us allocate */
    DEFAULT_ALIGNMENT = 32,
    MIN_ALIGNMENT = 8,
    SHOWN = 80, /* characters of a name in a message */
};

/* Types of metadata values, by number. size: of one value, 0 where it varies. */
typedef enum {
    TYPE_U8,
    TYPE_I8,
    TYPE_U16,
    TYPE_I16,
    TYPE_U32,
    TYPE_I32,
    TYPE_F32,
    TYPE_BOOL,
    TYPE_STRING,
    TYPE_ARRAY,
    TYPE_U64,
    TYPE_I64,
    TYPE_F64,
    N_TYPES
} value_type;

static const struct {
    const char *name;
    size_t size;
} value_types[] = {
    [TYPE_U8] = {"u8", 1},   [TYPE_I8] = {"i8", 1},       [TYPE_U16] = {"u16", 2},
    [TYPE_I16] = {"i16", 2}, [TYPE_U32] = {"u32", 4},     [TYPE_I32] = {"i32", 4},
    [TYPE_F32] = {"f32", 4}, [TYPE_BOOL] = {"bool", 1},   [TYPE_STRING] = {"string", 0},
    [TYPE_U64] = {"u64", 8}, [TYPE_ARRAY] = {"array", 0}, [TYPE_I64] = {"i64", 8},
    [TYPE_F64] = {"f64", 8},
};
_Static_assert(sizeof value_types / sizeof *value_types == N_TYPES, "one row for each value type");

/* Types of tensors, by number; dtype is CBE_N_DTYPES for what we do not read. Numbers without a row
 * were given up (4, 5, 31 to 33, 36 to 38). */
typedef struct {
    const char *name;
    cbe_dtype dtype;
    size_t block_items, block_bytes;
} tensor_type;

static const tensor_type tensor_types[] = {
    [0] = {"f32", CBE_F32, 1, 4},
    [1] = {"f16", CBE_F16, 1, 2},
    [2] = {"q4_0", CBE_Q4_0, 32, 18},
    [3] = {"q4_1", CBE_Q4_1, 32, 20},
    [6] = {"q5_0", CBE_N_DTYPES, 32, 22},
    [7] = {"q5_1", CBE_N_DTYPES, 32, 24},
    [8] = {"q8_0", CBE_Q8_0, 32, 34},
    [9] = {"q8_1", CBE_N_DTYPES, 32, 36},
    [10] = {"q2_k", CBE_N_DTYPES, 256, 84},
    [11] = {"q3_k", CBE_N_DTYPES, 256, 110},
    [12] = {"q4_k", CBE_N_DTYPES, 256, 144},
    [13] = {"q5_k", CBE_N_DTYPES, 256, 176},
    [14] = {"q6_k", CBE_N_DTYPES, 256, 210},
    [15] = {"q8_k", CBE_N_DTYPES, 256, 292},
    [16] = {"iq2_xxs", CBE_N_DTYPES, 256, 66},
    [17] = {"iq2_xs", CBE_N_DTYPES, 256, 74},
    [18] = {"iq3_xxs", CBE_N_DTYPES, 256, 98},
    [19] = {"iq1_s", CBE_N_DTYPES, 256, 50},
    [20] = {"iq4_nl", CBE_N_DTYPES, 32, 18},
    [21] = {"iq3_s", CBE_N_DTYPES, 256, 110},
    [22] = {"iq2_s", CBE_N_DTYPES, 256, 82},
    [23] = {"iq4_xs", CBE_N_DTYPES, 256, 136},
    [24] = {"i8", CBE_N_DTYPES, 1, 1},
    [25] = {"i16", CBE_N_DTYPES, 1, 2},
    [26] = {"i32", CBE_N_DTYPES, 1, 4},
    [27] = {"i64", CBE_I64, 1, 8},
    [28] = {"f64", CBE_F64, 1, 8},
    [29] = {"iq1_m", CBE_N_DTYPES, 256, 56},
    [30] = {"bf16", CBE_BF16, 1, 2},
    [34] = {"tq1_0", CBE_N_DTYPES, 256, 54},
    [35] = {"tq2_0", CBE_N_DTYPES, 256, 66},
    [39] = {"mxfp4", CBE_N_DTYPES, 32, 17},
    [40] = {"nvfp4", CBE_N_DTYPES, 64, 36},
    [41] = {"q1_0", CBE_N_DTYPES, 128, 18},
};
_Static_assert(sizeof tensor_types / sizeof *tensor_types == 42, "rows up to number 41");

typedef struct {
    cbe_span key;
    uint32_t type, item_type; /* value_type; item_type: of an array's items */
    uint64_t count;           /* items of an array */
    size_t value;             /* byte in the file: the value, an array's first item */
} pair;

typedef struct {
    char *name;
    uint32_t type;
    size_t n_dims, dims[CBE_MAX_DIMS]; /* slowest first */
    size_t n_elements, n_bytes;        /* n_bytes: 0 for an unknown type */
    uint64_t offset;                   /* from the start of the data */
    size_t position;                   /* byte of this info in the file, for messages */
} info;

struct cbe_gguf {
    cbe_mapped_file map;
    size_t n_pairs, n_infos;
    pair *pairs; /* in the order of the file */
    info *infos;
    const pair **pairs_by_key;  /* sorted */
    const info **infos_by_name; /* sorted */
    size_t alignment, data_start;
};

typedef struct {
    const cbe_mapped_file *map;
    size_t at; /* never past map->size */
    cbe_error *err;
} cursor;

static int shown(size_t length)
{
    return length < SHOWN ? (int)length : SHOWN;
}

static size_t bytes_left(const cursor *c)
{
    return c->map->size - c->at;
}

static cbe_status truncated(const cursor *c, const char *what)
{
    cbe_fail(
        c->err, CBE_ERR_FORMAT, (int64_t)c->at,
        "%s: truncated or damaged: %s at byte %zu does not fit the file's %zu bytes; download it "
        "again",
        c->map->path, what, c->at, c->map->size);
    return CBE_ERR_FORMAT;
}

static cbe_status skip(cursor *c, uint64_t size, const char *what)
{
    if (size > bytes_left(c)) return truncated(c, what);
    c->at += (size_t)size;
    return CBE_OK;
}

static cbe_status read_u32(cursor *c, uint32_t *out, const char *what)
{
    if (sizeof *out > bytes_left(c)) return truncated(c, what);
    memcpy(out, c->map->data + c->at, sizeof *out);
    c->at += sizeof *out;
    return CBE_OK;
}

static cbe_status read_u64(cursor *c, uint64_t *out, const char *what)
{
    if (sizeof *out > bytes_left(c)) return truncated(c, what);
    memcpy(out, c->map->data + c->at, sizeof *out);
    c->at += sizeof *out;
    return CBE_OK;
}

/* Fails without moving past the string's length, so that the message shows where that stands. */
static cbe_status read_string(cursor *c, cbe_span *out, const char *what)
{
    uint64_t length;
    cursor next = *c;
    cbe_status st = read_u64(&next, &length, what);
    if (st != CBE_OK) return st;
    if (length > bytes_left(&next)) return truncated(c, what);
    out->data = (const char *)c->map->data + next.at;
    out->length = (size_t)length;
    c->at = next.at + (size_t)length;
    return CBE_OK;
}

/* The head of an array: its items' type and how many there are, which the bytes left could hold. */
static cbe_status read_array_head(cursor *c, uint32_t *item_type, uint64_t *count)
{
    const size_t start = c->at;
    cbe_status st;
    if ((st = read_u32(c, item_type, "an array's type")) != CBE_OK) return st;
    if ((st = read_u64(c, count, "an array's length")) != CBE_OK) return st;
    if (*item_type >= N_TYPES)
        return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)start,
                        "%s: array of unknown type %" PRIu32
                        " at byte %zu: damaged, download it again",
                        c->map->path, *item_type, start);
    const size_t size = *item_type == TYPE_STRING  ? MIN_STRING_BYTES
                        : *item_type == TYPE_ARRAY ? MIN_ARRAY_BYTES
                                                   : value_types[*item_type].size;
    if (*count <= bytes_left(c) / size) return CBE_OK;
    return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)start,
                    "%s: truncated or damaged: array of %" PRIu64
                    " %s items at byte %zu does not fit "
                    "the file's %zu bytes; download it again",
                    c->map->path, *count, value_types[*item_type].name, start, c->map->size);
}

/* Moves past an array's items. Arrays of arrays are walked with a small stack of counts instead of
 * recursion: the file must not decide how deep we call. */
static cbe_status skip_items(cursor *c, uint32_t item_type, uint64_t count)
{
    uint64_t items_left[MAX_ARRAY_DEPTH]; // of the enclosing arrays
    int depth = 0;
    cbe_status st = CBE_OK;
    for (;;) {
        if (item_type == TYPE_ARRAY && count > 0) {
            if (depth == MAX_ARRAY_DEPTH)
                return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)c->at,
                                "%s: arrays nested more than %d deep at byte %zu", c->map->path,
                                MAX_ARRAY_DEPTH, c->at);
            items_left[depth++] = count - 1;
            if ((st = read_array_head(c, &item_type, &count)) != CBE_OK) return st;
            continue;
        }
        if (item_type == TYPE_STRING) {
            cbe_span string;
            for (uint64_t i = 0; i < count && st == CBE_OK; i++)
                st = read_string(c, &string, "a string in an array");
        } else {
            // read_array_head has compared this product with the bytes left.
            st = skip(c, count * value_types[item_type].size, "an array");
        }
        if (st != CBE_OK) return st;
        while (depth > 0 && items_left[depth - 1] == 0) depth--;
        if (depth == 0) return CBE_OK;
        item_type = TYPE_ARRAY;
        count = items_left[--depth];
    }
}

static cbe_status read_pair(cursor *c, pair *p)
{
    cbe_status st;
    cbe_span string;
    const size_t start = c->at;
    if ((st = read_string(c, &p->key, "a metadata key")) != CBE_OK) return st;
    if ((st = read_u32(c, &p->type, "a metadata type")) != CBE_OK) return st;
    if (p->type >= N_TYPES)
        return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)start,
                        "%s: metadata '%.*s' at byte %zu has unknown type %" PRIu32
                        ": damaged, download it again",
                        c->map->path, shown(p->key.length), p->key.data, start, p->type);
    p->value = c->at;
    if (p->type == TYPE_STRING) return read_string(c, &string, "a metadata string");
    if (p->type == TYPE_ARRAY) {
        if ((st = read_array_head(c, &p->item_type, &p->count)) != CBE_OK) return st;
        p->value = c->at;
        return skip_items(c, p->item_type, p->count);
    }
    if ((st = skip(c, value_types[p->type].size, "a metadata value")) != CBE_OK) return st;
    if (p->type == TYPE_BOOL && c->map->data[p->value] > 1)
        return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)p->value,
                        "%s: metadata '%.*s' at byte %zu is a bool of value %d, not 0 or 1",
                        c->map->path, shown(p->key.length), p->key.data, p->value,
                        c->map->data[p->value]);
    return CBE_OK;
}

static cbe_status info_error(const cursor *c, const info *t, const char *what)
{
    return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)t->position,
                    "%s: tensor '%.*s': %s (byte %zu)", c->map->path, SHOWN, t->name, what,
                    t->position);
}

/* NULL for a number without a row. */
static const tensor_type *type_of(const info *t)
{
    if (t->type >= sizeof tensor_types / sizeof *tensor_types) return NULL;
    return tensor_types[t->type].name ? &tensor_types[t->type] : NULL;
}

static cbe_status read_info(cursor *c, info *t)
{
    cbe_status st;
    cbe_span name;
    uint32_t n_dims;
    t->position = c->at;
    if ((st = read_string(c, &name, "a tensor's name")) != CBE_OK) return st;
    if (memchr(name.data, 0, name.length))
        return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)t->position,
                        "%s: a tensor's name at byte %zu contains NUL: damaged, download it again",
                        c->map->path, t->position);
    t->name = cbe_copy_string(name.data, name.length, c->err);
    if (!t->name) return CBE_ERR_NOMEM;
    if ((st = read_u32(c, &n_dims, "a tensor's number of dimensions")) != CBE_OK) return st;
    if (n_dims > CBE_MAX_DIMS)
        return info_error(c, t, "too many dimensions, at most 8 can be read");
    _Static_assert(CBE_MAX_DIMS == 8, "the message above says so");
    t->n_dims = n_dims;
    t->n_elements = 1;
    for (size_t i = n_dims; i-- > 0;) { // the file lists the fastest first
        uint64_t dim;
        if ((st = read_u64(c, &dim, "a tensor's dimension")) != CBE_OK) return st;
        if (dim > SIZE_MAX || !cbe_mul_size(t->n_elements, (size_t)dim, &t->n_elements))
            return info_error(c, t, "the product of its dimensions overflows");
        t->dims[i] = (size_t)dim;
    }
    if ((st = read_u32(c, &t->type, "a tensor's type")) != CBE_OK) return st;
    if ((st = read_u64(c, &t->offset, "a tensor's offset")) != CBE_OK) return st;
    const tensor_type *type = type_of(t);
    if (!type) return CBE_OK; // unknown: nothing more can be checked; an error when it is asked for
    if ((n_dims > 0 ? t->dims[n_dims - 1] : 1) % type->block_items)
        return info_error(c, t, "its rows are not whole blocks of its type");
    if (!cbe_mul_size(t->n_elements / type->block_items, type->block_bytes, &t->n_bytes))
        return info_error(c, t, "the product of its dimensions overflows");
    return CBE_OK;
}

/* A count of the head, which stands at a byte: whether so many items of min_size fit the file. */
static cbe_status check_count(const cursor *c, int64_t byte, uint64_t count, size_t min_size,
                              const char *what)
{
    if (count > bytes_left(c) / min_size)
        return cbe_fail(c->err, CBE_ERR_FORMAT, byte,
                        "%s: truncated or damaged: %" PRIu64 " %s (byte %" PRId64
                        ") do not fit the "
                        "file's %zu bytes; download it again",
                        c->map->path, count, what, byte, c->map->size);
    if (count > MAX_COUNT)
        return cbe_fail(c->err, CBE_ERR_FORMAT, byte,
                        "%s: %" PRIu64 " %s (byte %" PRId64 "), at most %d can be read: damaged, "
                        "download it again",
                        c->map->path, count, what, byte, MAX_COUNT);
    return CBE_OK;
}

/* Magic, version and counts. */
static cbe_status read_head(cursor *c, uint64_t *n_infos, uint64_t *n_pairs)
{
    static const char magic[4] = {'G', 'G', 'U', 'F'};
    const char *path = c->map->path;
    cbe_status st;
    uint32_t version;
    if (cbe_mapped_file_is_lfs_pointer(c->map))
        return cbe_fail(c->err, CBE_ERR_FORMAT, 0,
                        "%s: is a Git LFS pointer, not the data: run 'git lfs pull' in its folder",
                        path);
    if (bytes_left(c) < sizeof magic) return truncated(c, "the file's first field");
    if (memcmp(c->map->data, magic, sizeof magic) != 0)
        return cbe_fail(c->err, CBE_ERR_FORMAT, 0,
                        "%s: does not start with 'GGUF': not a GGUF file", path);
    c->at = sizeof magic;
    if ((st = read_u32(c, &version, "the version")) != CBE_OK) return st;
    if ((version & 0xffff) == 0 && version != 0)
        return cbe_fail(c->err, CBE_ERR_UNSUPPORTED, sizeof magic,
                        "%s: big-endian GGUF cannot be read (byte 4): convert it with "
                        "gguf_convert_endian.py of llama.cpp",
                        path);
    if (version != 2 && version != 3)
        return cbe_fail(c->err, CBE_ERR_UNSUPPORTED, sizeof magic,
                        "%s: GGUF version %" PRIu32
                        " cannot be read (byte 4), only 2 and 3: convert "
                        "the model again with a current llama.cpp",
                        path, version);
    if ((st = read_u64(c, n_infos, "the number of tensors")) != CBE_OK) return st;
    if ((st = read_u64(c, n_pairs, "the number of metadata pairs")) != CBE_OK) return st;
    if ((st = check_count(c, 8, *n_infos, MIN_INFO_BYTES, "tensors")) != CBE_OK) return st;
    return check_count(c, 16, *n_pairs, MIN_PAIR_BYTES, "metadata pairs");
}

static int compare_spans(cbe_span a, cbe_span b)
{
    const size_t length = a.length < b.length ? a.length : b.length;
    const int order = length > 0 ? memcmp(a.data, b.data, length) : 0;
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

static int compare_keys(const void *a, const void *b)
{
    return compare_spans((*(const pair *const *)a)->key, (*(const pair *const *)b)->key);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const info *const *)a)->name, (*(const info *const *)b)->name);
}

static int compare_offsets(const void *a, const void *b)
{
    const info *x = *(const info *const *)a, *y = *(const info *const *)b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static cbe_status read_pairs(cbe_gguf *file, cursor *c, size_t count)
{
    cbe_status st;
    file->pairs = cbe_alloc_zero(count, sizeof *file->pairs, "metadata of a GGUF file", c->err);
    if (!file->pairs) return CBE_ERR_NOMEM;
    file->pairs_by_key = cbe_alloc(count, sizeof *file->pairs_by_key, "index of metadata", c->err);
    if (!file->pairs_by_key) return CBE_ERR_NOMEM;
    file->n_pairs = count;
    for (size_t i = 0; i < count; i++) {
        if ((st = read_pair(c, &file->pairs[i])) != CBE_OK) return st;
        file->pairs_by_key[i] = &file->pairs[i];
    }
    qsort(file->pairs_by_key, count, sizeof *file->pairs_by_key, compare_keys);
    for (size_t i = 1; i < count; i++) {
        const pair *p = file->pairs_by_key[i];
        if (compare_spans(p->key, file->pairs_by_key[i - 1]->key) == 0)
            return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)p->value,
                            "%s: duplicate metadata '%.*s' (byte %zu)", c->map->path,
                            shown(p->key.length), p->key.data, p->value);
    }
    return CBE_OK;
}

static cbe_status read_infos(cbe_gguf *file, cursor *c, size_t count)
{
    cbe_status st;
    file->infos = cbe_alloc_zero(count, sizeof *file->infos, "tensors of a GGUF file", c->err);
    if (!file->infos) return CBE_ERR_NOMEM;
    file->infos_by_name = cbe_alloc(count, sizeof *file->infos_by_name, "index of tensors", c->err);
    if (!file->infos_by_name) return CBE_ERR_NOMEM;
    file->n_infos = count;
    for (size_t i = 0; i < count; i++) {
        if ((st = read_info(c, &file->infos[i])) != CBE_OK) return st;
        file->infos_by_name[i] = &file->infos[i];
    }
    return CBE_OK;
}

static const pair *find_pair(const cbe_gguf *file, const char *key)
{
    const pair key_pair = {.key = {key, strlen(key)}}, *wanted = &key_pair;
    const pair **found = bsearch(&wanted, file->pairs_by_key, file->n_pairs,
                                 sizeof *file->pairs_by_key, compare_keys);
    return found ? *found : NULL;
}

static cbe_status read_alignment(cbe_gguf *file, cbe_error *err)
{
    static const char key[] = "general.alignment";
    uint64_t alignment = DEFAULT_ALIGNMENT;
    const pair *p = find_pair(file, key);
    const cbe_status st = p ? cbe_gguf_uint(file, key, &alignment, err) : CBE_OK;
    if (st != CBE_OK) return st;
    if (alignment < MIN_ALIGNMENT || alignment > UINT32_MAX || (alignment & (alignment - 1)))
        return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)p->value,
                        "%s: metadata '%s' is %" PRIu64 ", not a power of two of at least %d (byte "
                        "%zu): damaged, download it again",
                        file->map.path, key, alignment, MIN_ALIGNMENT, p->value);
    file->alignment = (size_t)alignment;
    return CBE_OK;
}

/* Where the data starts, and that every tensor lies in it, aligned, by itself, under its own name.
 * Tensors of unknown type count as empty. */
static cbe_status check_data(cbe_gguf *file, const cursor *c)
{
    const size_t padding = (file->alignment - c->at % file->alignment) % file->alignment;
    // A file without data may end before the padding does.
    const size_t data_size = bytes_left(c) > padding ? bytes_left(c) - padding : 0;
    const info **sorted = file->infos_by_name; // by offset first, then for good by name
    file->data_start = c->map->size - data_size;
    qsort(sorted, file->n_infos, sizeof *sorted, compare_offsets);
    const info *previous = NULL; // the last one with data
    for (size_t i = 0; i < file->n_infos; i++) {
        const info *t = sorted[i];
        if (t->offset % file->alignment)
            return info_error(c, t,
                              "its data is unaligned: not at a multiple of general.alignment");
        if (t->offset > data_size || t->n_bytes > data_size - t->offset)
            return info_error(
                c, t, "truncated: its data ends past the end of the file; download it again");
        if (t->n_bytes == 0) continue;
        if (previous && t->offset - previous->offset < previous->n_bytes) {
            char what[CBE_MESSAGE_SIZE];
            snprintf(what, sizeof what, "its data overlaps that of '%.*s'", SHOWN, previous->name);
            return info_error(c, t, what);
        }
        previous = t;
    }
    qsort(sorted, file->n_infos, sizeof *sorted, compare_names);
    for (size_t i = 1; i < file->n_infos; i++)
        if (strcmp(sorted[i]->name, sorted[i - 1]->name) == 0)
            return info_error(c, sorted[i], "duplicate name");
    return CBE_OK;
}

cbe_status cbe_gguf_open(cbe_gguf **out, const char *path, cbe_error *err)
{
    cbe_status st;
    uint64_t n_infos = 0, n_pairs = 0;
    cbe_gguf *file = cbe_alloc_zero(1, sizeof *file, "GGUF file", err);
    if (!file) return CBE_ERR_NOMEM;
    if ((st = cbe_mapped_file_open(&file->map, path, err)) != CBE_OK) goto done;
    cursor c = {.map = &file->map, .at = 0, .err = err};
    if ((st = read_head(&c, &n_infos, &n_pairs)) != CBE_OK) goto done;
    if ((st = read_pairs(file, &c, (size_t)n_pairs)) != CBE_OK) goto done;
    if ((st = read_infos(file, &c, (size_t)n_infos)) != CBE_OK) goto done;
    if ((st = read_alignment(file, err)) != CBE_OK) goto done;
    if ((st = check_data(file, &c)) != CBE_OK) goto done;
    *out = file;
    file = NULL;
done:
    cbe_gguf_close(file);
    return st;
}

void cbe_gguf_close(cbe_gguf *file)
{
    if (!file) return;
    for (size_t i = 0; i < file->n_infos; i++) cbe_free(file->infos[i].name);
    cbe_free(file->infos_by_name);
    cbe_free(file->infos);
    cbe_free(file->pairs_by_key);
    cbe_free(file->pairs);
    cbe_mapped_file_close(&file->map);
    cbe_free(file);
}

const char *cbe_gguf_path(const cbe_gguf *file)
{
    return file->map.path;
}

static cbe_status get_pair(const cbe_gguf *file, const char *key, const pair **out, cbe_error *err)
{
    *out = find_pair(file, key);
    if (*out) return CBE_OK;
    return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: no metadata '%.*s'", file->map.path, SHOWN, key);
}

static cbe_status wrong_type(const cbe_gguf *file, const pair *p, const char *expected,
                             cbe_error *err)
{
    const bool array = p->type == TYPE_ARRAY;
    return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)p->value,
                    "%s: metadata '%.*s' is %s%s, expected %s (byte %zu)", file->map.path,
                    shown(p->key.length), p->key.data, array ? "an array of " : "of type ",
                    value_types[array ? p->item_type : p->type].name, expected, p->value);
}

/* A number of any type but bool, of which one field is set. */
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
    switch ((value_type)type) {
    case TYPE_U8:
        CBE_LOAD(uint8_t, UNSIGNED, u);
        break;
    case TYPE_I8:
        CBE_LOAD(int8_t, SIGNED, i);
        break;
    case TYPE_U16:
        CBE_LOAD(uint16_t, UNSIGNED, u);
        break;
    case TYPE_I16:
        CBE_LOAD(int16_t, SIGNED, i);
        break;
    case TYPE_U32:
        CBE_LOAD(uint32_t, UNSIGNED, u);
        break;
    case TYPE_I32:
        CBE_LOAD(int32_t, SIGNED, i);
        break;
    case TYPE_F32:
        CBE_LOAD(float, FLOATING, d);
        break;
    case TYPE_U64:
        CBE_LOAD(uint64_t, UNSIGNED, u);
        break;
    case TYPE_I64:
        CBE_LOAD(int64_t, SIGNED, i);
        break;
    case TYPE_F64:
        CBE_LOAD(double, FLOATING, d);
        break;
    case TYPE_BOOL:
    case TYPE_STRING:
    case TYPE_ARRAY:
    case N_TYPES:
        break;
    }
    return result;
}

bool cbe_gguf_has(const cbe_gguf *file, const char *key)
{
    return find_pair(file, key) != NULL;
}

cbe_status cbe_gguf_uint(const cbe_gguf *file, const char *key, uint64_t *out, cbe_error *err)
{
    const pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    const number value = load_number(p->type, file->map.data + p->value);
    if (value.kind == SIGNED && value.i < 0)
        return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)p->value,
                        "%s: metadata '%.*s' is %" PRId64 ", it must not be negative (byte %zu)",
                        file->map.path, SHOWN, key, value.i, p->value);
    if (value.kind != SIGNED && value.kind != UNSIGNED)
        return wrong_type(file, p, "an integer", err);
    *out = value.kind == SIGNED ? (uint64_t)value.i : value.u;
    return CBE_OK;
}

cbe_status cbe_gguf_double(const cbe_gguf *file, const char *key, double *out, cbe_error *err)
{
    const pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    const number value = load_number(p->type, file->map.data + p->value);
    if (value.kind == NOT_A_NUMBER_TYPE) return wrong_type(file, p, "a number", err);
    if (value.kind == FLOATING && !isfinite(value.d))
        return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)p->value,
                        "%s: metadata '%.*s' is not finite (byte %zu)", file->map.path, SHOWN, key,
                        p->value);
    *out = value.kind == FLOATING   ? value.d
           : value.kind == UNSIGNED ? (double)value.u
                                    : (double)value.i;
    return CBE_OK;
}

cbe_status cbe_gguf_bool(const cbe_gguf *file, const char *key, bool *out, cbe_error *err)
{
    const pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    if (p->type != TYPE_BOOL) return wrong_type(file, p, "a bool", err);
    *out = file->map.data[p->value] != 0;
    return CBE_OK;
}

/* The string at a byte that the walk has checked; *at moves behind it. */
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
    const pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    if (p->type != TYPE_STRING) return wrong_type(file, p, "a string", err);
    size_t at = p->value;
    *out = load_string(file, &at);
    return CBE_OK;
}

cbe_status cbe_gguf_strings(const cbe_gguf *file, const char *key, cbe_span **out, size_t *count,
                            cbe_error *err)
{
    const pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    if (p->type != TYPE_ARRAY || p->item_type != TYPE_STRING)
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
    const pair *p;
    cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    static const unsigned char zero[8];
    const int kind = p->type == TYPE_ARRAY ? (int)load_number(p->item_type, zero).kind : 0;
    if (kind != SIGNED && kind != UNSIGNED) return wrong_type(file, p, "an array of integers", err);
    int64_t *values = cbe_alloc((size_t)p->count, sizeof *values, key, err);
    if (!values) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < p->count; i++) {
        const size_t at = p->value + i * value_types[p->item_type].size;
        const number value = load_number(p->item_type, file->map.data + at);
        if (value.kind == UNSIGNED && value.u > INT64_MAX) {
            st = cbe_fail(err, CBE_ERR_FORMAT, (int64_t)at,
                          "%s: metadata '%.*s': item %zu is %" PRIu64
                          ", larger than a signed integer "
                          "(byte %zu)",
                          file->map.path, SHOWN, key, i, value.u, at);
            goto done;
        }
        values[i] = value.kind == UNSIGNED ? (int64_t)value.u : value.i;
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
    const pair *p;
    const cbe_status st = get_pair(file, key, &p, err);
    if (st != CBE_OK) return st;
    if (p->type != TYPE_ARRAY || p->item_type != TYPE_F32)
        return wrong_type(file, p, "an array of f32", err);
    float *values = cbe_alloc((size_t)p->count, sizeof *values, key, err);
    if (!values) return CBE_ERR_NOMEM;
    if (p->count > 0) memcpy(values, file->map.data + p->value, (size_t)p->count * sizeof *values);
    *out = values;
    *count = (size_t)p->count;
    return CBE_OK;
}

void cbe_gguf_free_array(void *array)
{
    cbe_free(array);
}

/* Copies a string into size bytes, on one line; a UTF-8 character is not cut in two. */
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
    const pair *p = &file->pairs[i];
    const unsigned char *at = file->map.data + p->value;
    size_t position = p->value;
    *key = p->key;
    if (p->type == TYPE_STRING) {
        print_line(value, size, load_string(file, &position));
    } else if (p->type == TYPE_ARRAY) {
        snprintf(value, size, "%s[%" PRIu64 "]", value_types[p->item_type].name, p->count);
    } else if (p->type == TYPE_BOOL) {
        snprintf(value, size, "%s", *at ? "true" : "false");
    } else {
        const number n = load_number(p->type, at);
        if (n.kind == UNSIGNED) snprintf(value, size, "%" PRIu64, n.u);
        if (n.kind == SIGNED) snprintf(value, size, "%" PRId64, n.i);
        if (n.kind == FLOATING) snprintf(value, size, "%.9g", n.d);
    }
    return true;
}

size_t cbe_gguf_count(const cbe_gguf *file)
{
    return file->n_infos;
}

const char *cbe_gguf_name(const cbe_gguf *file, size_t i)
{
    return file->infos[i].name;
}

const char *cbe_gguf_type_name(const cbe_gguf *file, size_t i)
{
    const tensor_type *type = type_of(&file->infos[i]);
    return type ? type->name : "?";
}

const size_t *cbe_gguf_shape(const cbe_gguf *file, size_t i, size_t *n_dims)
{
    *n_dims = file->infos[i].n_dims;
    return file->infos[i].dims;
}

static const info *find_info(const cbe_gguf *file, const char *name)
{
    // compare_names only reads, but the field is not const because the file owns its names.
    const info key = {.name = (char *)(uintptr_t)name}, *wanted = &key;
    const info **found = bsearch(&wanted, file->infos_by_name, file->n_infos,
                                 sizeof *file->infos_by_name, compare_names);
    return found ? *found : NULL;
}

bool cbe_gguf_has_tensor(const cbe_gguf *file, const char *name)
{
    return find_info(file, name) != NULL;
}

cbe_status cbe_gguf_tensor(const cbe_gguf *file, const char *name, cbe_tensor *out, cbe_error *err)
{
    const info *t = find_info(file, name);
    if (!t)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: no tensor '%.*s'", file->map.path, SHOWN,
                        name);
    const tensor_type *type = type_of(t);
    if (!type)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, (int64_t)t->position,
                        "%s: tensor '%.*s' has unknown type %" PRIu32
                        ": convert the model to q8_0, f16 "
                        "or bf16",
                        file->map.path, SHOWN, name, t->type);
    if (type->dtype == CBE_N_DTYPES)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, (int64_t)t->position,
                        "%s: tensor '%.*s' has type %s, which cannot be read: convert the model to "
                        "q8_0, f16 or bf16",
                        file->map.path, SHOWN, name, type->name);
    *out = (cbe_tensor){
        .name = t->name,
        .dtype = type->dtype,
        .n_dims = t->n_dims,
        .n_elements = t->n_elements,
        .n_bytes = t->n_bytes,
        .data = file->map.data + file->data_start + t->offset,
    };
    memcpy(out->dims, t->dims, sizeof out->dims);
    return CBE_OK;
}
