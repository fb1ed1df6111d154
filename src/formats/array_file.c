/* array_file.c - see array_file.h. .safetensors and .npy files are mapped; .npz files are read
 * through libzip. */
#include "formats/array_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zip.h>

#include "formats/safetensors.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/input_list.h"
#include "files/mapped_file.h"
#include "formats/npy.h"
#include "formats/zip_archive.h"

enum { PART = 1 << 16, MOST_ENTRIES = 100000 };

/* An array in a .npz or .npy file. */
typedef struct {
    char *name;
    cbe_tensor tensor; /* shape and type; data in a .npy file */
    size_t head_size;
    cbe_status status; /* status of reading its head, told when the array is read */
    cbe_error err;
} entry;

struct cbe_array_file {
    char *path;
    cbe_safetensors *safetensors; /* set for a .safetensors file */
    cbe_mapped_file map;          /* set for .npz and .npy files */
    zip_t *npz;
    size_t n_entries;
    entry *entries; /* arrays of a .npz file in the archive's order, or the one of a .npy file */
};

struct cbe_array_reader {
    const cbe_array_file *file;
    cbe_tensor tensor; /* data is NULL if the array lies in an archive */
    size_t at;         /* elements read or skipped */
    zip_file_t *stream;
    unsigned char *part;
};

void cbe_array_file_close(cbe_array_file *file)
{
    if (!file) return;
    for (size_t i = 0; i < file->n_entries; i++) cbe_free(file->entries[i].name);
    cbe_free(file->entries);
    if (file->npz) zip_discard(file->npz);
    cbe_mapped_file_close(&file->map);
    cbe_safetensors_close(file->safetensors);
    cbe_free(file->path);
    cbe_free(file);
}

static cbe_status open_npy(cbe_array_file *file, const char *name, cbe_error *err)
{
    if (!(file->entries = cbe_alloc_zero(1, sizeof *file->entries, "array", err)))
        return CBE_ERR_NOMEM;
    entry *e = file->entries;
    if (!(e->name = cbe_copy_string(name, strlen(name), err))) return CBE_ERR_NOMEM;
    file->n_entries = 1;
    const cbe_status st = cbe_npy_read_head(file->map.data, file->map.size, file->map.size,
                                            file->path, &e->tensor, &e->head_size, err);
    if (st == CBE_OK) e->tensor.data = file->map.data + e->head_size;
    return st;
}

/* Reads size bytes of an entry, or fewer if it ends: *n bytes. */
static cbe_status read_bytes(const cbe_array_file *file, zip_file_t *stream, unsigned char *out,
                             size_t size, size_t *n, cbe_error *err)
{
    for (*n = 0; *n < size;) {
        errno = 0;
        const zip_int64_t got = zip_fread(stream, out + *n, size - *n);
        if (got < 0) {
            zip_error_t *why = zip_file_get_error(stream);
            const cbe_status st = cbe_zip_fail(err, why, file->path);
            return st != CBE_ERR_FORMAT
                       ? st
                       : cbe_fail(err, CBE_ERR_FORMAT, -1,
                                  "%s: damaged archive (%s); make or download it again", file->path,
                                  zip_error_strerror(why));
        }
        if (got == 0) break;
        *n += (size_t)got;
    }
    return CBE_OK;
}

/* Reads the head of an array in the archive. A failure is remembered in *e until the array is
 * read. */
static cbe_status read_entry(const cbe_array_file *file, zip_uint64_t index, size_t size,
                             unsigned char *head, entry *e, cbe_error *err)
{
    size_t n = 0;
    errno = 0;
    zip_file_t *stream = zip_fopen_index(file->npz, index, 0);
    if (!stream) {
        zip_error_t *why = zip_get_error(file->npz);
        e->status = cbe_zip_fail(&e->err, why, file->path);
        if (e->status == CBE_ERR_FORMAT)
            cbe_fail(&e->err, CBE_ERR_FORMAT, -1, "%s: '%.80s' cannot be read (%s)", file->path,
                     e->name, zip_error_strerror(why));
    } else
        e->status = read_bytes(file, stream, head,
                               size < CBE_NPY_HEAD_MOST ? size : CBE_NPY_HEAD_MOST, &n, &e->err);
    if (stream) zip_fclose(stream);
    if (e->status == CBE_OK)
        e->status =
            cbe_npy_read_head(head, n, size, file->path, &e->tensor, &e->head_size, &e->err);
    if (e->status != CBE_ERR_NOMEM && e->status != CBE_ERR_SYSTEM) return CBE_OK;
    if (err) *err = e->err;
    return e->status;
}

/* Reads the heads of all entries NAME.npy. */
static cbe_status open_npz(cbe_array_file *file, cbe_error *err)
{
    static const char ending[] = ".npy";
    unsigned char *head = NULL;
    cbe_status st = cbe_zip_open(&file->npz, &file->map, err);
    if (st != CBE_OK) return st;
    const zip_int64_t n = zip_get_num_entries(file->npz, 0);
    if (n > MOST_ENTRIES)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %lld entries, at most %d can be read",
                        file->path, (long long)n, MOST_ENTRIES);
    file->entries = cbe_alloc_zero((size_t)n, sizeof *file->entries, "arrays", err);
    head = cbe_alloc(CBE_NPY_HEAD_MOST, 1, "head of an array", err);
    if (!file->entries || !head) st = CBE_ERR_NOMEM;
    for (zip_int64_t i = 0; i < n && st == CBE_OK; i++) {
        zip_stat_t info;
        if (zip_stat_index(file->npz, (zip_uint64_t)i, 0, &info) != 0 ||
            !(info.valid & ZIP_STAT_NAME) || !(info.valid & ZIP_STAT_SIZE) || info.size > SIZE_MAX)
            continue;
        const size_t length = strlen(info.name), size = sizeof ending - 1;
        if (length <= size || strcmp(info.name + length - size, ending) != 0) continue;
        entry *e = &file->entries[file->n_entries];
        if (!(e->name = cbe_copy_string(info.name, length - size, err))) {
            st = CBE_ERR_NOMEM;
            break;
        }
        file->n_entries++;
        st = read_entry(file, (zip_uint64_t)i, (size_t)info.size, head, e, err);
    }
    cbe_free(head);
    return st;
}

/* Refuses a file that has neither magic and is named .npz or .npy: it would be read as a
 * safetensors file. */
static cbe_status check_name(const cbe_mapped_file *file, cbe_error *err)
{
    const char *ending = strrchr(file->path, '.');
    if (!ending || (strcmp(ending, ".npy") != 0 && strcmp(ending, ".npz") != 0) ||
        cbe_mapped_file_is_lfs_pointer(file))
        return CBE_OK;
    return cbe_fail(err, CBE_ERR_FORMAT, 0,
                    "%s: begins neither as NumPy's .npy nor as its .npz: damaged, or something "
                    "else; save it again with NumPy",
                    file->path);
}

cbe_status cbe_array_file_open(cbe_array_file **out, const char *path, const char *single_name,
                               cbe_error *err)
{
    static const unsigned char zip_magic[][4] = {{'P', 'K', 3, 4}, {'P', 'K', 5, 6}};
    cbe_status st = CBE_ERR_NOMEM;
    cbe_array_file *made = cbe_alloc_zero(1, sizeof *made, "file of arrays", err);
    if (!made) return CBE_ERR_NOMEM;
    if (!(made->path = cbe_copy_string(path, strlen(path), err))) goto done;
    if ((st = cbe_mapped_file_open(&made->map, path, err)) != CBE_OK) goto done;
    if (cbe_npy_is(made->map.data, made->map.size)) {
        st = open_npy(made, single_name, err);
    } else {
        const bool zip = made->map.size >= sizeof *zip_magic &&
                         (memcmp(made->map.data, zip_magic[0], sizeof *zip_magic) == 0 ||
                          memcmp(made->map.data, zip_magic[1], sizeof *zip_magic) == 0);
        if (zip) {
            st = open_npz(made, err);
        } else {
            st = check_name(&made->map, err);
            cbe_mapped_file_close(&made->map);
            if (st == CBE_OK) st = cbe_safetensors_open(&made->safetensors, path, err);
        }
    }
    if (st != CBE_OK) goto done;
    *out = made;
    made = NULL;
done:
    cbe_array_file_close(made);
    return st;
}

cbe_status cbe_array_file_note(const cbe_array_file *file, cbe_inputs *inputs, cbe_input_role role,
                               cbe_error *err)
{
    return file->safetensors ? cbe_safetensors_note(file->safetensors, inputs, role, err)
                             : cbe_inputs_add(inputs, role, &file->map, err);
}

const char *cbe_array_file_path(const cbe_array_file *file)
{
    return file->path;
}

size_t cbe_array_file_count(const cbe_array_file *file)
{
    return file->safetensors ? cbe_safetensors_count(file->safetensors) : file->n_entries;
}

const char *cbe_array_file_name(const cbe_array_file *file, size_t i)
{
    return file->safetensors ? cbe_safetensors_name(file->safetensors, i) : file->entries[i].name;
}

static const entry *find_entry(const cbe_array_file *file, const char *name)
{
    for (size_t i = 0; i < file->n_entries; i++)
        if (strcmp(file->entries[i].name, name) == 0) return &file->entries[i];
    return NULL;
}

bool cbe_array_file_has(const cbe_array_file *file, const char *name)
{
    return file->safetensors ? cbe_safetensors_has(file->safetensors, name)
                             : find_entry(file, name) != NULL;
}

const char *cbe_array_file_metadata(const cbe_array_file *file, const char *key)
{
    return file->safetensors ? cbe_safetensors_metadata(file->safetensors, key) : NULL;
}

/* Finds an array; out->data is NULL if it lies in an archive. */
static cbe_status find_array(const cbe_array_file *file, const char *name, cbe_tensor *out,
                             cbe_error *err)
{
    if (file->safetensors) return cbe_safetensors_get(file->safetensors, name, out, err);
    const entry *e = find_entry(file, name);
    if (!e)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: there is no array '%.80s'", file->path, name);
    if (e->status != CBE_OK) {
        if (err) *err = e->err;
        return e->status;
    }
    *out = e->tensor;
    out->name = e->name;
    return CBE_OK;
}

cbe_status cbe_array_file_describe(const cbe_array_file *file, const char *name, cbe_tensor *out,
                                   cbe_error *err)
{
    const cbe_status st = find_array(file, name, out, err);
    if (st == CBE_OK) out->data = NULL;
    return st;
}

static cbe_status damaged(const cbe_array_reader *r, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: '%.80s' ends too early: damaged archive, make or download it again",
                    r->file->path, r->tensor.name);
}

/* Opens an array in the archive, behind its head. */
static cbe_status open_stream(cbe_array_reader *r, const char *name, cbe_error *err)
{
    char full[1024];
    const entry *e = find_entry(r->file, name);
    size_t n;
    snprintf(full, sizeof full, "%s.npy", name);
    if (!(r->part = cbe_alloc(PART, 1, "part of an array", err))) return CBE_ERR_NOMEM;
    errno = 0;
    if (!(r->stream = zip_fopen(r->file->npz, full, 0))) {
        const cbe_status st = cbe_zip_fail(err, zip_get_error(r->file->npz), r->file->path);
        return st == CBE_ERR_FORMAT ? damaged(r, err) : st;
    }
    for (size_t left = e->head_size; left > 0; left -= n) {
        const cbe_status st =
            read_bytes(r->file, r->stream, r->part, left < PART ? left : PART, &n, err);
        if (st != CBE_OK) return st;
        if (n == 0) return damaged(r, err);
    }
    return CBE_OK;
}

cbe_status cbe_array_reader_open(cbe_array_reader **out, const cbe_array_file *file,
                                 const char *name, cbe_error *err)
{
    cbe_array_reader *made = cbe_alloc_zero(1, sizeof *made, "array", err);
    if (!made) return CBE_ERR_NOMEM;
    made->file = file;
    cbe_status st = find_array(file, name, &made->tensor, err);
    if (st == CBE_OK && file->npz) st = open_stream(made, name, err);
    if (st == CBE_OK)
        *out = made;
    else
        cbe_array_reader_close(made);
    return st;
}

void cbe_array_reader_close(cbe_array_reader *reader)
{
    if (!reader) return;
    if (reader->stream) zip_fclose(reader->stream);
    cbe_free(reader->part);
    cbe_free(reader);
}

/* Reads the next size bytes from the archive, unconverted; out NULL skips them. */
static cbe_status next_bytes(cbe_array_reader *r, size_t size, unsigned char *out, cbe_error *err)
{
    size_t n;
    for (size_t done = 0; done < size; done += n) {
        const size_t part = size - done < PART ? size - done : PART;
        const cbe_status st =
            read_bytes(r->file, r->stream, out ? out + done : r->part, part, &n, err);
        if (st != CBE_OK) return st;
        if (n < part) return damaged(r, err);
    }
    return CBE_OK;
}

/* Reads the entry's end, at which libzip compares its checksum. */
static cbe_status check_end(cbe_array_reader *r, cbe_error *err)
{
    size_t n;
    return r->stream && r->at == r->tensor.n_elements
               ? read_bytes(r->file, r->stream, r->part, 1, &n, err)
               : CBE_OK;
}

/* Puts the file's name before a message that has none. */
static cbe_status named(const cbe_array_file *file, cbe_status st, cbe_error *err)
{
    return st == CBE_OK || !err ? st : cbe_fail_as(err, err, "%s: ", file->path);
}

cbe_status cbe_array_reader_next(cbe_array_reader *reader, size_t count, float *out, cbe_error *err)
{
    cbe_array_reader *r = reader;
    cbe_status st = CBE_OK;
    const size_t item = cbe_dtype_get(r->tensor.dtype)->block_bytes;
    if (count > r->tensor.n_elements - r->at)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: '%.80s' has %zu numbers, %zu more than %zu were asked for",
                        r->file->path, r->tensor.name, r->tensor.n_elements, count, r->at);
    if (!r->stream) {
        if (out) st = named(r->file, cbe_tensor_to_float(&r->tensor, r->at, count, out, err), err);
    } else if (!out) {
        st = next_bytes(r, count * item, NULL, err);
    } else {
        const size_t most = PART / item;
        for (size_t done = 0; done < count && st == CBE_OK;) {
            const size_t n = count - done < most ? count - done : most;
            cbe_tensor part = {
                .name = r->tensor.name, .dtype = r->tensor.dtype, .n_elements = n, .data = r->part};
            st = next_bytes(r, n * item, r->part, err);
            if (st == CBE_OK)
                st = named(r->file, cbe_tensor_to_float(&part, 0, n, out + done, err), err);
            done += n;
        }
    }
    r->at += count;
    return st == CBE_OK ? check_end(r, err) : st;
}

static bool is_integer(cbe_dtype dtype)
{
    return dtype == CBE_I64 || dtype == CBE_I32 || dtype == CBE_U8 || dtype == CBE_I16 ||
           dtype == CBE_U16 || dtype == CBE_U32 || dtype == CBE_U64;
}

/* What int64 has no room for is the largest one. */
static void widen(cbe_dtype dtype, const unsigned char *data, size_t n, int64_t *out)
{
    const size_t size = cbe_dtype_get(dtype)->block_bytes;
    for (size_t i = 0; i < n; i++) {
        int64_t value = 0; /* files and machine are little-endian */
        memcpy(&value, data + i * size, size);
        if (dtype == CBE_I32) value = (int32_t)value;
        if (dtype == CBE_I16) value = (int16_t)value;
        out[i] = dtype == CBE_U64 && value < 0 ? INT64_MAX : value;
    }
}

cbe_status cbe_array_file_integers(const cbe_array_file *file, const char *name, cbe_tensor *tensor,
                                   int64_t **out, cbe_error *err)
{
    cbe_array_reader *reader = NULL;
    int64_t *values = NULL;
    cbe_status st = cbe_array_reader_open(&reader, file, name, err);
    if (st != CBE_OK) return st;
    const cbe_dtype dtype = reader->tensor.dtype;
    const size_t n = reader->tensor.n_elements, item = cbe_dtype_get(dtype)->block_bytes;
    if (!is_integer(dtype)) {
        st = cbe_fail(err, CBE_ERR_SHAPE, -1, "%s: tensor '%.80s' is %s; integers are needed",
                      file->path, name, cbe_dtype_get(dtype)->name);
        goto done;
    }
    if (!(values = cbe_alloc(n, sizeof *values, name, err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    const unsigned char *data = reader->tensor.data;
    for (size_t at = 0; at < n && st == CBE_OK;) {
        const size_t part = n - at < PART / item ? n - at : PART / item;
        if (reader->stream) st = next_bytes(reader, part * item, reader->part, err);
        if (st == CBE_OK)
            widen(dtype, reader->stream ? reader->part : data + at * item, part, values + at);
        at += part;
    }
    reader->at = n;
    if (st == CBE_OK) st = check_end(reader, err);
    if (st != CBE_OK) goto done;
    *tensor = reader->tensor;
    tensor->data = NULL;
    tensor->name = NULL;
    *out = values;
    values = NULL;
done:
    cbe_free(values);
    cbe_array_reader_close(reader);
    return st;
}

cbe_status cbe_array_file_ids(const cbe_array_file *file, const char *name, cbe_tensor *tensor,
                              int64_t **out, cbe_error *err)
{
    const cbe_status st = cbe_array_file_describe(file, name, tensor, err);
    if (st != CBE_OK) return st;
    if (tensor->is_bool)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: tensor '%.80s' holds booleans, as a mask does; save the ids as int64",
                        file->path, name);
    return cbe_array_file_integers(file, name, tensor, out, err);
}
