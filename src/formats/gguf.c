/*
 * gguf.c - reading one .gguf file; the grammar is in formats/gguf.h.
 *
 * A cursor walks the mapped file once. It compares each length with the bytes left before it reads,
 * skips or allocates, so that no damaged file needs a special case. Values stay in the file: a pair
 * keeps the offset of its value, which the walk has checked.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "files/foreign_format.h"
#include "formats/gguf_private.h"
#include "files/mapped_file.h"

enum {
    MIN_PAIR_BYTES = 8 + 4 + 1,     /* an empty key, a type, a value of one byte */
    MIN_INFO_BYTES = 8 + 4 + 4 + 8, /* an empty name, no dimensions, type, offset */
    MIN_STRING_BYTES = 8,           /* the string's length */
    MIN_ARRAY_BYTES = 4 + 8,        /* type and count */
    MAX_ARRAY_DEPTH = 4,            /* arrays in arrays; files in use have none */
    /* most tensors or pairs: bounds the allocations that a damaged head causes */
    MAX_COUNT = 1000000,
    DEFAULT_ALIGNMENT = 32,
    MIN_ALIGNMENT = 8,
};

typedef struct {
    const cbe_mapped_file *map;
    size_t at; /* never past map->size */
    cbe_error *err;
} cursor;

static int shown(size_t length)
{
    return length < CBE_GGUF_SHOWN ? (int)length : CBE_GGUF_SHOWN;
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

/* Fails without moving past the string's length, so that the message gives the byte of the
 * length. */
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

/* Reads the head of an array: the type and number of its items, which the bytes left can hold. */
static cbe_status read_array_head(cursor *c, uint32_t *item_type, uint64_t *count)
{
    const size_t start = c->at;
    cbe_status st;
    if ((st = read_u32(c, item_type, "an array's type")) != CBE_OK) return st;
    if ((st = read_u64(c, count, "an array's length")) != CBE_OK) return st;
    if (*item_type >= CBE_GGUF_N_VALUE_TYPES)
        return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)start,
                        "%s: array of unknown type %" PRIu32
                        " at byte %zu: damaged, download it again",
                        c->map->path, *item_type, start);
    const size_t size = *item_type == CBE_GGUF_STRING  ? MIN_STRING_BYTES
                        : *item_type == CBE_GGUF_ARRAY ? MIN_ARRAY_BYTES
                                                       : cbe_gguf_value_types[*item_type].size;
    if (*count <= bytes_left(c) / size) return CBE_OK;
    return cbe_fail(
        c->err, CBE_ERR_FORMAT, (int64_t)start,
        "%s: truncated or damaged: array of %" PRIu64 " %s items at byte %zu does not fit "
        "the file's %zu bytes; download it again",
        c->map->path, *count, cbe_gguf_value_types[*item_type].name, start, c->map->size);
}

/* Moves past an array's items. Arrays of arrays are walked with a small stack of counts instead of
 * recursion: the file must not decide the depth of calls. */
static cbe_status skip_items(cursor *c, uint32_t item_type, uint64_t count)
{
    uint64_t items_left[MAX_ARRAY_DEPTH]; // items left in the enclosing arrays
    int depth = 0;
    cbe_status st = CBE_OK;
    for (;;) {
        if (item_type == CBE_GGUF_ARRAY && count > 0) {
            if (depth == MAX_ARRAY_DEPTH)
                return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)c->at,
                                "%s: arrays nested more than %d deep at byte %zu", c->map->path,
                                MAX_ARRAY_DEPTH, c->at);
            items_left[depth++] = count - 1;
            if ((st = read_array_head(c, &item_type, &count)) != CBE_OK) return st;
            continue;
        }
        if (item_type == CBE_GGUF_STRING) {
            cbe_span string;
            for (uint64_t i = 0; i < count && st == CBE_OK; i++)
                st = read_string(c, &string, "a string in an array");
        } else {
            // The product cannot overflow: read_array_head has compared it with the bytes left.
            st = skip(c, count * cbe_gguf_value_types[item_type].size, "an array");
        }
        if (st != CBE_OK) return st;
        while (depth > 0 && items_left[depth - 1] == 0) depth--;
        if (depth == 0) return CBE_OK;
        item_type = CBE_GGUF_ARRAY;
        count = items_left[--depth];
    }
}

static cbe_status read_pair(cursor *c, cbe_gguf_pair *p)
{
    cbe_status st;
    cbe_span string;
    const size_t start = c->at;
    if ((st = read_string(c, &p->key, "a metadata key")) != CBE_OK) return st;
    if ((st = read_u32(c, &p->type, "a metadata type")) != CBE_OK) return st;
    if (p->type >= CBE_GGUF_N_VALUE_TYPES)
        return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)start,
                        "%s: metadata '%.*s' at byte %zu has unknown type %" PRIu32
                        ": damaged, download it again",
                        c->map->path, shown(p->key.length), p->key.data, start, p->type);
    p->value = c->at;
    if (p->type == CBE_GGUF_STRING) return read_string(c, &string, "a metadata string");
    if (p->type == CBE_GGUF_ARRAY) {
        if ((st = read_array_head(c, &p->item_type, &p->count)) != CBE_OK) return st;
        p->value = c->at;
        return skip_items(c, p->item_type, p->count);
    }
    if ((st = skip(c, cbe_gguf_value_types[p->type].size, "a metadata value")) != CBE_OK) return st;
    if (p->type == CBE_GGUF_BOOL && c->map->data[p->value] > 1)
        return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)p->value,
                        "%s: metadata '%.*s' at byte %zu is a bool of value %d, not 0 or 1",
                        c->map->path, shown(p->key.length), p->key.data, p->value,
                        c->map->data[p->value]);
    return CBE_OK;
}

static cbe_status info_error(const cursor *c, const cbe_gguf_info *t, const char *what)
{
    return cbe_fail(c->err, CBE_ERR_FORMAT, (int64_t)t->position,
                    "%s: tensor '%.*s': %s (byte %zu)", c->map->path, CBE_GGUF_SHOWN, t->name, what,
                    t->position);
}

static cbe_status read_info(cursor *c, cbe_gguf_info *t)
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
    const cbe_gguf_tensor_type *type = cbe_gguf_tensor_type_get(t->type);
    if (!type) return CBE_OK; // an unknown type: an error when the tensor is read
    if ((n_dims > 0 ? t->dims[n_dims - 1] : 1) % type->block_items)
        return info_error(c, t, "its rows are not whole blocks of its type");
    if (!cbe_mul_size(t->n_elements / type->block_items, type->block_bytes, &t->n_bytes))
        return info_error(c, t, "the product of its dimensions overflows");
    return CBE_OK;
}

/* Checks that `count` items of at least min_size bytes fit the file; the count stands at byte
 * `byte`. */
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

/* Fails for a file that begins otherwise; says what it is, if that is known. */
static cbe_status other_format(const cursor *c)
{
    static const struct {
        const char *begin, *what;
    } others[] = {
        {"tjgg", "a GGML file (GGJT) from before GGUF: convert the model again with a current "
                 "llama.cpp"},
        {"lmgg", "a GGML file from before GGUF: convert the model again with a current llama.cpp"},
        {"fmgg", "a GGML file (GGMF) from before GGUF: convert the model again with a current "
                 "llama.cpp"},
        {"algg", "a LoRA adapter of the form before GGUF, not a model"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (c->map->size >= strlen(others[i].begin) &&
            memcmp(c->map->data, others[i].begin, strlen(others[i].begin)) == 0)
            return cbe_fail(c->err, CBE_ERR_FORMAT, 0, "%s: is %s", c->map->path, others[i].what);
    const size_t n = cbe_min_size(c->map->size, CBE_FOREIGN_HEAD);
    const cbe_foreign_format *other = cbe_foreign_format_of(c->map->data, n, n == c->map->size);
    if (other && strstr(other->name, "safetensors"))
        return cbe_fail(c->err, CBE_ERR_FORMAT, 0,
                        "%s: is a safetensors file, which is a part of a model: give the folder "
                        "with its config.json",
                        c->map->path);
    if (other)
        return cbe_fail(c->err, CBE_ERR_FORMAT, 0,
                        "%s: is %s, not a GGUF file: give a GGUF file, or a folder with "
                        "config.json and safetensors files",
                        c->map->path, other->name);
    if (cbe_is_web_page(c->map->data, n))
        return cbe_fail(c->err, CBE_ERR_FORMAT, 0, "%s: is a web page: download the file itself",
                        c->map->path);
    return cbe_fail(c->err, CBE_ERR_FORMAT, 0, "%s: does not start with 'GGUF': not a GGUF file",
                    c->map->path);
}

/* Reads magic, version and counts. */
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
    if (memcmp(c->map->data, magic, sizeof magic) != 0) return other_format(c);
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

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const cbe_gguf_info *const *)a)->name,
                  (*(const cbe_gguf_info *const *)b)->name);
}

static int compare_offsets(const void *a, const void *b)
{
    const cbe_gguf_info *x = *(const cbe_gguf_info *const *)a,
                        *y = *(const cbe_gguf_info *const *)b;
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
    qsort(file->pairs_by_key, count, sizeof *file->pairs_by_key, cbe_gguf_compare_keys);
    for (size_t i = 1; i < count; i++) {
        const cbe_gguf_pair *p = file->pairs_by_key[i];
        if (cbe_gguf_compare_keys(&file->pairs_by_key[i - 1], &file->pairs_by_key[i]) == 0)
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

static cbe_status read_alignment(cbe_gguf *file, cbe_error *err)
{
    static const char key[] = "general.alignment";
    uint64_t alignment = DEFAULT_ALIGNMENT;
    const cbe_gguf_pair *p = cbe_gguf_find_pair(file, key);
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

/* Finds the start of the data, and checks that every tensor lies in it, aligned, without overlap
 * and with a name of its own. Tensors of unknown type count as empty. */
static cbe_status check_data(cbe_gguf *file, const cursor *c)
{
    const size_t padding = (file->alignment - c->at % file->alignment) % file->alignment;
    // A file without data may end before the padding does.
    const size_t data_size = bytes_left(c) > padding ? bytes_left(c) - padding : 0;
    const cbe_gguf_info **sorted = file->infos_by_name; // sorted by offset first, at last by name
    file->data_start = c->map->size - data_size;
    qsort(sorted, file->n_infos, sizeof *sorted, compare_offsets);
    const cbe_gguf_info *previous = NULL; // the last tensor with data
    for (size_t i = 0; i < file->n_infos; i++) {
        const cbe_gguf_info *t = sorted[i];
        if (t->offset % file->alignment)
            return info_error(c, t,
                              "its data is unaligned: not at a multiple of general.alignment");
        if (t->offset > data_size || t->n_bytes > data_size - t->offset)
            return info_error(
                c, t, "truncated: its data ends past the end of the file; download it again");
        if (t->n_bytes == 0) continue;
        if (previous && t->offset - previous->offset < previous->n_bytes) {
            char what[CBE_MESSAGE_SIZE];
            snprintf(what, sizeof what, "its data overlaps that of '%.*s'", CBE_GGUF_SHOWN,
                     previous->name);
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

cbe_status cbe_gguf_open_part(cbe_gguf **out, const char *path, cbe_error *err)
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
    for (size_t i = 0; i < file->n_others; i++) cbe_gguf_close(file->others[i]);
    cbe_free(file->others);
    for (size_t i = 0; i < file->n_infos; i++) cbe_free(file->infos[i].name);
    cbe_free(file->infos_by_name);
    cbe_free(file->infos);
    cbe_free(file->pairs_by_key);
    cbe_free(file->pairs);
    cbe_mapped_file_close(&file->map);
    cbe_free(file);
}

const cbe_gguf_info *cbe_gguf_find_info(const cbe_gguf *part, const char *name)
{
    // compare_names only reads, but the field is not const because the file owns its names.
    const cbe_gguf_info key = {.name = (char *)(uintptr_t)name}, *wanted = &key;
    const cbe_gguf_info **found = bsearch(&wanted, part->infos_by_name, part->n_infos,
                                          sizeof *part->infos_by_name, compare_names);
    return found ? *found : NULL;
}
