/*
 * gguf_parts.c - models of one or several .gguf files: opening them, and finding their tensors.
 *
 * A split model is NAME-00001-of-00003.gguf and its neighbours: every part has its number and the
 * number of parts (split.no, from 0, and split.count), the first part holds all other metadata, and
 * each tensor lies in one part.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "formats/gguf_private.h"
#include "files/input_list.h"
#include "files/path.h"

enum { NUMBER_DIGITS = 5, MOST_PARTS = 99999, SUFFIX_SIZE = 64 };

/* Reads a count; *value is 0 if the key is missing. */
static cbe_status read_count(const cbe_gguf *part, const char *key, uint64_t *value, cbe_error *err)
{
    *value = 0;
    return cbe_gguf_has(part, key) ? cbe_gguf_uint(part, key, value, err) : CBE_OK;
}

/* "-00001-of-00003.gguf" */
static void print_suffix(char text[SUFFIX_SIZE], uint64_t number, uint64_t count)
{
    snprintf(text, SUFFIX_SIZE, "-%0*" PRIu64 "-of-%0*" PRIu64 ".gguf", NUMBER_DIGITS, number,
             NUMBER_DIGITS, count);
}

/* Opens part `number` (from 1) and checks its number. path holds the first part's name, with room
 * for the suffix. */
static cbe_status open_other(cbe_gguf *first, char *path, size_t stem, uint64_t number,
                             uint64_t count, cbe_error *err)
{
    cbe_path_kind kind;
    uint64_t no, of;
    cbe_status st;
    print_suffix(path + stem, number, count);
    if ((st = cbe_path_look(path, &kind, err)) != CBE_OK) return st;
    if (kind == CBE_PATH_NOTHING)
        return cbe_fail(err, CBE_ERR_IO, -1,
                        "%s: part %" PRIu64 " of %" PRIu64
                        " of the model is missing; all parts must lie in one folder",
                        path, number, count);
    if ((st = cbe_gguf_open_part(&first->others[first->n_others], path, err)) != CBE_OK) return st;
    const cbe_gguf *part = first->others[first->n_others++];
    if ((st = read_count(part, "split.no", &no, err)) != CBE_OK) return st;
    if ((st = read_count(part, "split.count", &of, err)) != CBE_OK) return st;
    if (no + 1 != number || of != count)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: is part %" PRIu64 " of %" PRIu64
                        " (split.no, split.count), not part %" PRIu64 " of %" PRIu64
                        " as its name says",
                        path, no + 1, of, number, count);
    for (size_t i = 0; i < part->n_infos; i++) {
        const char *name = part->infos[i].name;
        bool twice = cbe_gguf_find_info(first, name) != NULL;
        for (size_t p = 0; p + 1 < first->n_others && !twice; p++)
            twice = cbe_gguf_find_info(first->others[p], name) != NULL;
        if (twice)
            return cbe_fail(err, CBE_ERR_FORMAT, (int64_t)part->infos[i].position,
                            "%s: tensor '%.*s' is in an earlier part too", path, CBE_GGUF_SHOWN,
                            name);
    }
    return CBE_OK;
}

/* Checks that the parts have as many tensors together as the first part says, if it says so. */
static cbe_status check_total(const cbe_gguf *first, cbe_error *err)
{
    static const char key[] = "split.tensors.count";
    uint64_t total;
    if (!cbe_gguf_has(first, key)) return CBE_OK;
    const cbe_status st = cbe_gguf_uint(first, key, &total, err);
    if (st != CBE_OK) return st;
    if (total == cbe_gguf_count(first)) return CBE_OK;
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: the parts hold %zu tensors, but %s is %" PRIu64
                    ": they are not of one model",
                    first->map.path, cbe_gguf_count(first), key, total);
}

static cbe_status open_others(cbe_gguf *first, cbe_error *err)
{
    uint64_t count, no;
    cbe_status st;
    if ((st = read_count(first, "split.count", &count, err)) != CBE_OK) return st;
    if ((st = read_count(first, "split.no", &no, err)) != CBE_OK) return st;
    if (count <= 1) return CBE_OK;
    const char *path = first->map.path;
    if (count > MOST_PARTS || no >= count)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: part %" PRIu64 " of %" PRIu64 " (split.no, split.count) cannot be",
                        path, no + 1, count);
    char suffix[SUFFIX_SIZE];
    const size_t length = strlen(path);
    print_suffix(suffix, no + 1, count);
    if (length < strlen(suffix) || strcmp(path + length - strlen(suffix), suffix) != 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: is part %" PRIu64 " of %" PRIu64
                        " of a model, but its name does not end in %s; rename it, "
                        "so that the others are found",
                        path, no + 1, count, suffix);
    if (no > 0) {
        print_suffix(suffix, 1, count);
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: is part %" PRIu64 " of %" PRIu64 " of a model; name the first, ...%s",
                        path, no + 1, count, suffix);
    }
    char *name = NULL;
    first->others = cbe_alloc_zero((size_t)count - 1, sizeof(cbe_gguf *), "parts of a model", err);
    if (!first->others || !(name = cbe_copy_string(path, length, err))) return CBE_ERR_NOMEM;
    for (uint64_t number = 2; number <= count && st == CBE_OK; number++)
        st = open_other(first, name, length - strlen(suffix), number, count, err);
    cbe_free(name);
    return st == CBE_OK ? check_total(first, err) : st;
}

cbe_status cbe_gguf_open(cbe_gguf **out, const char *path, cbe_error *err)
{
    cbe_gguf *file = NULL;
    cbe_status st = cbe_gguf_open_part(&file, path, err);
    if (st == CBE_OK) st = open_others(file, err);
    if (st == CBE_OK)
        *out = file;
    else
        cbe_gguf_close(file);
    return st;
}

const char *cbe_gguf_path(const cbe_gguf *file)
{
    return file->map.path;
}

size_t cbe_gguf_n_parts(const cbe_gguf *file)
{
    return file->n_others + 1;
}

const char *cbe_gguf_part_path(const cbe_gguf *file, size_t i)
{
    return i == 0 ? file->map.path : file->others[i - 1]->map.path;
}

size_t cbe_gguf_count(const cbe_gguf *file)
{
    size_t count = file->n_infos;
    for (size_t p = 0; p < file->n_others; p++) count += file->others[p]->n_infos;
    return count;
}

cbe_status cbe_gguf_note(const cbe_gguf *file, cbe_inputs *inputs, cbe_error *err)
{
    cbe_status st = cbe_inputs_add(inputs, CBE_INPUT_MODEL, &file->map, err);
    for (size_t p = 0; p < file->n_others && st == CBE_OK; p++)
        st = cbe_inputs_add(inputs, CBE_INPUT_MODEL, &file->others[p]->map, err);
    return st;
}

/* Tensor i of all parts, in their order. */
static const cbe_gguf_info *info_at(const cbe_gguf *file, size_t i)
{
    if (i < file->n_infos) return &file->infos[i];
    i -= file->n_infos;
    size_t p = 0;
    while (i >= file->others[p]->n_infos) i -= file->others[p++]->n_infos;
    return &file->others[p]->infos[i];
}

const char *cbe_gguf_name(const cbe_gguf *file, size_t i)
{
    return info_at(file, i)->name;
}

const char *cbe_gguf_type_name(const cbe_gguf *file, size_t i)
{
    const cbe_gguf_tensor_type *type = cbe_gguf_tensor_type_get(info_at(file, i)->type);
    return type ? type->name : "?";
}

const size_t *cbe_gguf_shape(const cbe_gguf *file, size_t i, size_t *n_dims)
{
    const cbe_gguf_info *t = info_at(file, i);
    *n_dims = t->n_dims;
    return t->dims;
}

/* Finds a tensor and its part; NULL: there is none. */
static const cbe_gguf_info *find_tensor(const cbe_gguf *file, const char *name,
                                        const cbe_gguf **part)
{
    *part = file;
    const cbe_gguf_info *found = cbe_gguf_find_info(file, name);
    for (size_t p = 0; !found && p < file->n_others; p++) {
        *part = file->others[p];
        found = cbe_gguf_find_info(*part, name);
    }
    return found;
}

bool cbe_gguf_has_tensor(const cbe_gguf *file, const char *name)
{
    const cbe_gguf *part;
    return find_tensor(file, name, &part) != NULL;
}

cbe_status cbe_gguf_tensor(const cbe_gguf *file, const char *name, cbe_tensor *out, cbe_error *err)
{
    const cbe_gguf *part;
    const cbe_gguf_info *t = find_tensor(file, name, &part);
    if (!t)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: no tensor '%.*s'", file->map.path,
                        CBE_GGUF_SHOWN, name);
    const cbe_gguf_tensor_type *type = cbe_gguf_tensor_type_get(t->type);
    if (!type)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, (int64_t)t->position,
                        "%s: tensor '%.*s' has unknown type %" PRIu32
                        ": convert the model to q8_0, f16 "
                        "or bf16",
                        part->map.path, CBE_GGUF_SHOWN, name, t->type);
    if (type->dtype == CBE_N_DTYPES)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, (int64_t)t->position,
                        "%s: tensor '%.*s' has type %s, which cannot be read: convert the model to "
                        "q8_0, f16 or bf16",
                        part->map.path, CBE_GGUF_SHOWN, name, type->name);
    *out = (cbe_tensor){
        .name = t->name,
        .dtype = type->dtype,
        .n_dims = t->n_dims,
        .n_elements = t->n_elements,
        .n_bytes = t->n_bytes,
        .data = part->map.data + part->data_start + t->offset,
    };
    memcpy(out->dims, t->dims, sizeof out->dims);
    /* ggml's tensors have as many further dimensions of 1 as one likes. */
    while (out->n_dims > 1 && out->dims[0] == 1)
        memmove(out->dims, out->dims + 1, --out->n_dims * sizeof *out->dims);
    return CBE_OK;
}
