/*
 * safetensors_writer.c - writing .safetensors files; the grammar is in formats/safetensors.h.
 *
 * The header is known before any data, so it is written first and every element has its place from
 * then on. The header lists the tensors as declared; the data lies by decreasing element size, as
 * in the reference implementation, so that every tensor is aligned without holes.
 */
#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/utf8.h"
#include "files/atomic_file.h"
#include "formats/json_writer.h"

enum { DATA_ALIGNMENT = 8 };

typedef struct {
    char *name;
    size_t element_size, n_elements;
    size_t begin;     /* first byte, counted from the start of the data */
    uint64_t written; /* elements put so far */
} slot;

struct cbe_safetensors_writer {
    cbe_atomic_file *file;
    char *path;
    size_t count;
    slot *slots;
    size_t data_start, data_size;
};

static void writer_free(cbe_safetensors_writer *writer)
{
    if (!writer) return;
    cbe_atomic_file_abandon(writer->file);
    for (size_t i = 0; writer->slots && i < writer->count; i++) cbe_free(writer->slots[i].name);
    cbe_free(writer->slots);
    cbe_free(writer->path);
    cbe_free(writer);
}

static cbe_status declare(slot *s, const cbe_tensor_spec *spec, const char *path, cbe_error *err)
{
    size_t bytes;
    if ((unsigned)spec->dtype >= CBE_N_DTYPES || cbe_dtype_get(spec->dtype)->block_items != 1)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: tensor '%.80s': its dtype cannot be written",
                        path, spec->name);
    if (spec->n_dims > CBE_MAX_DIMS)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: tensor '%.80s': %zu dimensions, at most %d",
                        path, spec->name, spec->n_dims, CBE_MAX_DIMS);
    if (strcmp(spec->name, "__metadata__") == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: no tensor can be called '__metadata__'", path);
    s->element_size = cbe_dtype_get(spec->dtype)->block_bytes;
    s->n_elements = 1;
    for (size_t i = 0; i < spec->n_dims; i++)
        if (spec->dims[i] > INT64_MAX ||
            !cbe_mul_size(s->n_elements, spec->dims[i], &s->n_elements))
            goto overflow;
    if (!cbe_mul_size(s->n_elements, s->element_size, &bytes) || bytes > INT64_MAX) goto overflow;
    s->name = cbe_copy_string(spec->name, strlen(spec->name), err);
    return s->name ? CBE_OK : CBE_ERR_NOMEM;
overflow:
    return cbe_fail(err, CBE_ERR_ARG, -1, "%s: tensor '%.80s': the product of its shape overflows",
                    path, spec->name);
}

static cbe_status lay_out(cbe_safetensors_writer *writer, cbe_error *err)
{
    for (size_t size = DATA_ALIGNMENT; size > 0; size /= 2)
        for (size_t i = 0; i < writer->count; i++) {
            slot *s = &writer->slots[i];
            if (s->element_size != size) continue;
            s->begin = writer->data_size;
            if (!cbe_add_size(writer->data_size, s->n_elements * size, &writer->data_size) ||
                writer->data_size > INT64_MAX)
                return cbe_fail(err, CBE_ERR_ARG, -1, "%s: all tensors together are too large",
                                writer->path);
        }
    return CBE_OK;
}

/* A tensor's entry in the header. */
static yyjson_mut_val *describe(cbe_json_writer *w, const slot *s, const cbe_tensor_spec *spec)
{
    yyjson_mut_val *entry = cbe_json_new_object(w), *shape = cbe_json_new_list(w),
                   *offsets = cbe_json_new_list(w);
    for (size_t i = 0; i < spec->n_dims; i++)
        cbe_json_append(w, shape, cbe_json_new_count(w, spec->dims[i]));
    cbe_json_append(w, offsets, cbe_json_new_count(w, s->begin));
    cbe_json_append(w, offsets, cbe_json_new_count(w, s->begin + s->n_elements * s->element_size));
    cbe_json_put_string(w, entry, "dtype", cbe_dtype_get(spec->dtype)->name);
    cbe_json_put(w, entry, "shape", shape);
    cbe_json_put(w, entry, "data_offsets", offsets);
    return entry;
}

static bool is_utf8(const char *text)
{
    return cbe_utf8_valid_length(text, strlen(text)) == strlen(text);
}

/* Looks at a key of the header, and its value if that is a string, before both are put there. */
static cbe_status check_key(yyjson_mut_val *object, const char *key, const char *value,
                            const char *path, cbe_error *err)
{
    if (yyjson_mut_obj_get(object, key))
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: '%.80s' is declared twice", path, key);
    if (is_utf8(key) && is_utf8(value)) return CBE_OK;
    return cbe_fail(err, CBE_ERR_ARG, -1, "%s: '%.80s' cannot be put into the header: not UTF-8?",
                    path, key);
}

/* Makes the header as JSON; the caller frees *text with cbe_free. */
static cbe_status make_header(const cbe_safetensors_writer *writer, const cbe_tensor_spec *tensors,
                              size_t n_metadata, const char *const *metadata, char **text,
                              cbe_error *err)
{
    cbe_status st = CBE_OK;
    cbe_json_writer json = cbe_json_start(), *w = &json;
    yyjson_mut_val *header = cbe_json_new_object(w), *pairs = cbe_json_new_object(w);
    for (size_t i = 0; i < n_metadata && st == CBE_OK; i++) {
        const char *key = metadata[2 * i], *value = metadata[2 * i + 1];
        st = check_key(pairs, key, value, writer->path, err);
        if (st == CBE_OK) cbe_json_put_string(w, pairs, key, value);
    }
    if (n_metadata > 0) cbe_json_put(w, header, "__metadata__", pairs);
    for (size_t i = 0; i < writer->count && st == CBE_OK; i++) {
        const char *name = writer->slots[i].name;
        st = check_key(header, name, "", writer->path, err);
        if (st == CBE_OK)
            cbe_json_put(w, header, name, describe(w, &writer->slots[i], &tensors[i]));
    }
    if (st != CBE_OK) {
        cbe_json_drop(w);
        return st;
    }
    *text = cbe_json_finish(w, header, false);
    if (*text) return CBE_OK;
    return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: out of memory for the header", writer->path);
}

static cbe_status write_header(cbe_safetensors_writer *writer, const char *text, cbe_error *err)
{
    static const char spaces[DATA_ALIGNMENT] = "        ", zero;
    cbe_status st;
    const size_t length = strlen(text);
    const size_t padding = (DATA_ALIGNMENT - length % DATA_ALIGNMENT) % DATA_ALIGNMENT;
    const uint64_t field = length + padding;
    writer->data_start = sizeof field + length + padding;
    if ((st = cbe_atomic_file_write(writer->file, 0, &field, sizeof field, err)) != CBE_OK)
        return st;
    if ((st = cbe_atomic_file_write(writer->file, sizeof field, text, length, err)) != CBE_OK)
        return st;
    st = cbe_atomic_file_write(writer->file, sizeof field + length, spaces, padding, err);
    if (st != CBE_OK || writer->data_size == 0) return st;
    // Writing the last byte gives the file its size, so that a limit on sizes shows at once.
    return cbe_atomic_file_write(writer->file, writer->data_start + writer->data_size - 1, &zero, 1,
                                 err);
}

cbe_status cbe_safetensors_writer_create(cbe_safetensors_writer **out, const char *path,
                                         size_t n_tensors, const cbe_tensor_spec *tensors,
                                         size_t n_metadata, const char *const *metadata,
                                         cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    char *text = NULL;
    cbe_safetensors_writer *writer = cbe_alloc_zero(1, sizeof *writer, "safetensors writer", err);
    if (!writer) return CBE_ERR_NOMEM;
    if (!(writer->path = cbe_copy_string(path, strlen(path), err))) goto done;
    writer->slots = cbe_alloc_zero(n_tensors, sizeof *writer->slots, "list of tensors", err);
    if (!writer->slots) goto done;
    writer->count = n_tensors;
    for (size_t i = 0; i < n_tensors; i++)
        if ((st = declare(&writer->slots[i], &tensors[i], path, err)) != CBE_OK) goto done;
    if ((st = lay_out(writer, err)) != CBE_OK) goto done;
    if ((st = make_header(writer, tensors, n_metadata, metadata, &text, err)) != CBE_OK) goto done;
    if ((st = cbe_atomic_file_create(&writer->file, path, err)) != CBE_OK) goto done;
    if ((st = write_header(writer, text, err)) != CBE_OK) goto done;
    *out = writer;
    writer = NULL;
done:
    cbe_free(text);
    writer_free(writer);
    return st;
}

cbe_status cbe_safetensors_writer_put(cbe_safetensors_writer *writer, size_t i, size_t first,
                                      size_t count, const void *data, cbe_error *err)
{
    if (i >= writer->count)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: tensor number %zu of %zu", writer->path, i,
                        writer->count);
    slot *s = &writer->slots[i];
    if (first > s->n_elements || count > s->n_elements - first)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "%s: tensor '%.80s': %zu elements from number %zu on do not fit, it has %zu",
            writer->path, s->name, count, first, s->n_elements);
    const cbe_status st =
        cbe_atomic_file_write(writer->file, writer->data_start + s->begin + first * s->element_size,
                              data, count * s->element_size, err);
    if (st == CBE_OK) s->written += count;
    return st;
}

cbe_status cbe_safetensors_writer_flush(cbe_safetensors_writer *writer, cbe_error *err)
{
    return cbe_atomic_file_flush(writer->file, err);
}

cbe_status cbe_safetensors_writer_commit(cbe_safetensors_writer *writer, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < writer->count && st == CBE_OK; i++) {
        const slot *s = &writer->slots[i];
        if (s->written < s->n_elements)
            st = cbe_fail(err, CBE_ERR_ARG, -1,
                          "%s: tensor '%.80s': only %" PRIu64 " of %zu elements were written",
                          writer->path, s->name, s->written, s->n_elements);
    }
    if (st == CBE_OK) {
        st = cbe_atomic_file_commit(writer->file, err);
        writer->file = NULL;
    }
    writer_free(writer);
    return st;
}

void cbe_safetensors_writer_abandon(cbe_safetensors_writer *writer)
{
    writer_free(writer);
}
