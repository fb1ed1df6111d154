/* torch_zip.c - reading; see torch_zip.h. The archive is read through libzip. */
#include "formats/torch_zip.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <zip.h>
#include <zlib.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/input_list.h"
#include "files/mapped_file.h"
#include "formats/pickle.h"
#include "formats/pickle_tensors.h"
#include "formats/zip_archive.h"

enum {
    MOST_ENTRIES = 1000000,
    MOST_NAME = 512,
    PART = 1 << 16,
    /* Most elements of a tensor's extent for each of its elements. */
    MOST_SPREAD = 64,
};

struct cbe_torch_zip {
    char *path;
    cbe_mapped_file map;
    zip_t *zip;
    char *folder; /* folder of data.pkl, with its slash */
    cbe_pickle_tensors tensors;
};

void cbe_torch_zip_close(cbe_torch_zip *file)
{
    if (!file) return;
    cbe_pickle_tensors_free(&file->tensors);
    if (file->zip) zip_discard(file->zip);
    cbe_mapped_file_close(&file->map);
    cbe_free(file->folder);
    cbe_free(file->path);
    cbe_free(file);
}

/* Refuses a file by its first bytes; libzip would search all of a large file for the end of an
 * archive. */
static cbe_status check_start(const cbe_mapped_file *map, cbe_error *err)
{
    /* The pickled number at the start of files of torch.save before 1.6; still older files are tar
     * archives. */
    static const unsigned char legacy[] = {0x80, 2,    0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                           0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    static const struct {
        size_t offset;
        const char *text;
    } tar = {257, "ustar"};
    if (cbe_mapped_file_is_lfs_pointer(map))
        return cbe_fail(err, CBE_ERR_FORMAT, 0,
                        "%s: is a Git LFS pointer, not the data: run 'git lfs pull' in its folder",
                        map->path);
    if ((map->size >= sizeof legacy && memcmp(map->data, legacy, sizeof legacy) == 0) ||
        (map->size >= tar.offset + strlen(tar.text) &&
         memcmp(map->data + tar.offset, tar.text, strlen(tar.text)) == 0))
        return cbe_fail(
            err, CBE_ERR_UNSUPPORTED, 0,
            "%s: is in PyTorch's format from before 1.6; save it again with a newer one: "
            "torch.save(torch.load(FILE, weights_only=True), FILE)",
            map->path);
    if (map->size < 4 || memcmp(map->data, "PK\3\4", 4) != 0)
        return cbe_fail(
            err, CBE_ERR_FORMAT, 0,
            "%s: is not a zip archive, as torch.save writes: damaged, or something else",
            map->path);
    return CBE_OK;
}

/* Finds the folder of the one data.pkl, and checks that entries share no bytes of the file. */
static cbe_status examine_entries(cbe_torch_zip *file, cbe_error *err)
{
    static const char pickle[] = "/data.pkl";
    const zip_int64_t n = zip_get_num_entries(file->zip, 0);
    uint64_t total = 0;
    if (n > MOST_ENTRIES)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: has %lld entries, at most %d are read",
                        file->path, (long long)n, MOST_ENTRIES);
    for (zip_int64_t i = 0; i < n; i++) {
        zip_stat_t info;
        const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_COMP_SIZE;
        if (zip_stat_index(file->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW, &info) != 0 ||
            (info.valid & needed) != needed)
            return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: entry %lld of the archive is damaged",
                            file->path, (long long)i);
        if (info.comp_size > file->map.size - total)
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: entries of the archive overlap, or are larger than the file",
                            file->path);
        total += info.comp_size;
        const char *slash = strchr(info.name, '/');
        if (!slash || strcmp(slash, pickle) != 0) continue;
        if (file->folder)
            return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: has more than one data.pkl", file->path);
        if (!(file->folder = cbe_copy_string(info.name, (size_t)(slash + 1 - info.name), err)))
            return CBE_ERR_NOMEM;
    }
    if (file->folder) return CBE_OK;
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: has no data.pkl: not a file that torch.save wrote", file->path);
}

/* Finds an entry, which must be stored. *there: whether there is one; there NULL: a missing entry
 * is an error. */
static cbe_status find_entry(const cbe_torch_zip *file, const char *folder, const char *name,
                             bool *there, zip_stat_t *info, cbe_error *err)
{
    char full[MOST_NAME];
    const int length = snprintf(full, sizeof full, "%s%s%s", file->folder, folder, name);
    const zip_uint64_t needed =
        ZIP_STAT_INDEX | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    const bool found =
        length >= 0 && (size_t)length < sizeof full && zip_stat(file->zip, full, 0, info) == 0;
    if (there) *there = found;
    if (!found)
        return there ? CBE_OK
                     : cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: has no entry '%.100s'", file->path,
                                full);
    if ((info->valid & needed) != needed)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: entry '%.100s' is damaged", file->path, full);
    if (info->comp_method != ZIP_CM_STORE || info->size != info->comp_size ||
        ((info->valid & ZIP_STAT_ENCRYPTION_METHOD) && info->encryption_method != ZIP_EM_NONE))
        return cbe_fail(
            err, CBE_ERR_FORMAT, -1,
            "%s: entry '%.100s' is compressed, torch.save stores: write the file with torch.save",
            file->path, full);
    return CBE_OK;
}

static cbe_status damaged(const cbe_torch_zip *file, const char *what, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: '%.100s' is truncated or damaged; make or download it again", file->path,
                    what);
}

/* Fails for an entry that cannot be read, as damaged unless libzip lacks memory. */
static cbe_status unread(const cbe_torch_zip *file, const char *what, zip_error_t *why,
                         cbe_error *err)
{
    const cbe_status st = cbe_zip_fail(err, why, file->path);
    return st == CBE_ERR_FORMAT ? damaged(file, what, err) : st;
}

/* Reads size bytes of an entry from byte `first` on. If they are the whole entry, their CRC-32 is
 * compared. A CRC-32 of 0 was not computed (torch.serialization.set_crc32_options); libzip, which
 * would compare it, is asked for raw bytes. */
static cbe_status read_entry(const cbe_torch_zip *file, const zip_stat_t *info, const char *what,
                             uint64_t first, unsigned char *out, size_t size, cbe_error *err)
{
    cbe_status st = CBE_OK;
    uint64_t passed = 0;
    uLong crc = crc32(0, NULL, 0);
    unsigned char *part = NULL;
    errno = 0;
    zip_file_t *stream = zip_fopen_index(file->zip, info->index, ZIP_FL_COMPRESSED);
    if (!stream) return unread(file, what, zip_get_error(file->zip), err);
    if (first > 0 && !(part = cbe_alloc(PART, 1, "part of a file", err))) st = CBE_ERR_NOMEM;
    while (st == CBE_OK && passed < first) {
        errno = 0;
        const zip_int64_t n =
            zip_fread(stream, part, first - passed < PART ? first - passed : PART);
        if (n <= 0) st = unread(file, what, zip_file_get_error(stream), err);
        passed += n > 0 ? (uint64_t)n : 0;
    }
    for (size_t at = 0; st == CBE_OK && at < size;) {
        errno = 0;
        const zip_int64_t n = zip_fread(stream, out + at, size - at < PART ? size - at : PART);
        if (n <= 0) {
            st = unread(file, what, zip_file_get_error(stream), err);
        } else {
            crc = crc32(crc, out + at, (uInt)n);
            at += (size_t)n;
        }
    }
    if (st == CBE_OK && size == info->size && (info->valid & ZIP_STAT_CRC) && info->crc != 0 &&
        info->crc != crc)
        st = damaged(file, what, err);
    cbe_free(part);
    zip_fclose(stream);
    return st;
}

static cbe_status check_byte_order(const cbe_torch_zip *file, cbe_error *err)
{
    static const char little[] = "little";
    zip_stat_t info;
    bool there;
    unsigned char text[sizeof little - 1] = {0};
    cbe_status st = find_entry(file, "", "byteorder", &there, &info, err);
    if (st != CBE_OK || !there) return st;
    if (info.size == sizeof text &&
        (st = read_entry(file, &info, "byteorder", 0, text, sizeof text, err)) != CBE_OK)
        return st;
    if (memcmp(text, little, sizeof text) == 0) return CBE_OK;
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: was written on a big-endian machine; save it again on a little-endian one",
                    file->path);
}

static cbe_status read_pickle(cbe_torch_zip *file, cbe_error *err)
{
    zip_stat_t info;
    cbe_status st = find_entry(file, "", "data.pkl", NULL, &info, err);
    if (st != CBE_OK) return st;
    if (info.size > CBE_PICKLE_MOST)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: its pickle has %llu bytes, at most %d are read", file->path,
                        (unsigned long long)info.size, CBE_PICKLE_MOST);
    unsigned char *data = cbe_alloc((size_t)info.size, 1, "pickle", err);
    if (!data) return CBE_ERR_NOMEM;
    st = read_entry(file, &info, "data.pkl", 0, data, (size_t)info.size, err);
    if (st == CBE_OK)
        st = cbe_pickle_tensors_read(&file->tensors, data, (size_t)info.size, file->path, err);
    cbe_free(data);
    return st;
}

/* Checks the sizes of storages before anything is allocated for them. */
static cbe_status check_storages(const cbe_torch_zip *file, cbe_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < file->tensors.n; i++) {
        const cbe_pickle_tensor *t = &file->tensors.tensors[i];
        const size_t bytes = cbe_dtype_get(t->dtype)->block_bytes;
        zip_stat_t info;
        const cbe_status st = find_entry(file, "data/", t->storage, NULL, &info, err);
        if (st != CBE_OK) return st;
        if (info.size / bytes < t->storage_elements)
            return cbe_fail(
                err, CBE_ERR_FORMAT, -1,
                "%s: tensor '%s': its storage has %llu bytes, its pickle says %zu elements of %zu: "
                "truncated or damaged",
                file->path, t->name, (unsigned long long)info.size, t->storage_elements, bytes);
        if (t->extent / MOST_SPREAD > t->n_elements)
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: tensor '%s' is spread over %zu elements of its storage: save it "
                            "with .contiguous()",
                            file->path, t->name, t->extent);
        if (!cbe_add_size(total, t->n_elements, &total) || total > file->map.size)
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: its tensors have more elements than the file has bytes: they "
                            "share storages; save "
                            "them with .clone()",
                            file->path);
    }
    return CBE_OK;
}

cbe_status cbe_torch_zip_open(cbe_torch_zip **out, const char *path, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    cbe_torch_zip *file = cbe_alloc_zero(1, sizeof *file, "PyTorch file", err);
    if (!file) return CBE_ERR_NOMEM;
    if (!(file->path = cbe_copy_string(path, strlen(path), err))) goto done;
    if ((st = cbe_mapped_file_open(&file->map, path, err)) != CBE_OK) goto done;
    if ((st = check_start(&file->map, err)) != CBE_OK) goto done;
    if ((st = cbe_zip_open(&file->zip, &file->map, err)) != CBE_OK) goto done;
    if ((st = examine_entries(file, err)) != CBE_OK) goto done;
    if ((st = check_byte_order(file, err)) != CBE_OK) goto done;
    if ((st = read_pickle(file, err)) != CBE_OK) goto done;
    if ((st = check_storages(file, err)) != CBE_OK) goto done;
    *out = file;
    file = NULL;
done:
    cbe_torch_zip_close(file);
    return st;
}

cbe_status cbe_torch_zip_note(const cbe_torch_zip *file, cbe_inputs *inputs, cbe_input_role role,
                              cbe_error *err)
{
    return cbe_inputs_add(inputs, role, &file->map, err);
}

const char *cbe_torch_zip_path(const cbe_torch_zip *file)
{
    return file->path;
}

size_t cbe_torch_zip_count(const cbe_torch_zip *file)
{
    return file->tensors.n;
}

cbe_tensor cbe_torch_zip_tensor(const cbe_torch_zip *file, size_t i)
{
    const cbe_pickle_tensor *t = &file->tensors.tensors[i];
    cbe_tensor tensor = {
        .name = t->name, .dtype = t->dtype, .n_dims = t->n_dims, .n_elements = t->n_elements};
    memcpy(tensor.dims, t->dims, sizeof tensor.dims);
    tensor.n_bytes = t->n_elements * cbe_dtype_get(t->dtype)->block_bytes;
    return tensor;
}

static bool is_contiguous(const cbe_pickle_tensor *t)
{
    size_t stride = 1;
    for (size_t i = t->n_dims; i-- > 0;) {
        if (t->dims[i] != 1 && t->strides[i] != stride) return false;
        stride *= t->dims[i];
    }
    return true;
}

/* Copies a tensor from the extent of its storage to out, row-major. */
static void gather(const cbe_pickle_tensor *t, const float *from, float *out)
{
    size_t index[CBE_MAX_DIMS] = {0}, at = 0;
    for (size_t e = 0; e < t->n_elements; e++) {
        out[e] = from[at];
        for (size_t i = t->n_dims; i-- > 0;) {
            at += t->strides[i];
            if (++index[i] < t->dims[i]) break;
            at -= index[i] * t->strides[i];
            index[i] = 0;
        }
    }
}

cbe_status cbe_torch_zip_read(const cbe_torch_zip *file, size_t i, float *out, cbe_error *err)
{
    const cbe_pickle_tensor *t = &file->tensors.tensors[i];
    const size_t bytes = cbe_dtype_get(t->dtype)->block_bytes;
    zip_stat_t info;
    unsigned char *raw = NULL;
    float *spread = NULL;
    cbe_status st;
    if (t->extent == 0) return CBE_OK;
    if ((st = find_entry(file, "data/", t->storage, NULL, &info, err)) != CBE_OK) return st;
    st = CBE_ERR_NOMEM;
    if (!(raw = cbe_alloc(t->extent, bytes, t->name, err))) goto done;
    if ((st = read_entry(file, &info, t->name, (uint64_t)t->offset * bytes, raw, t->extent * bytes,
                         err)) != CBE_OK)
        goto done;
    const cbe_tensor view = {t->name,   t->dtype,          1,   {t->extent},
                             t->extent, t->extent * bytes, raw, false};
    if (is_contiguous(t)) {
        st = cbe_tensor_to_float(&view, 0, t->extent, out, err);
        goto done;
    }
    st = CBE_ERR_NOMEM;
    if (!(spread = cbe_alloc(t->extent, sizeof *spread, t->name, err))) goto done;
    if ((st = cbe_tensor_to_float(&view, 0, t->extent, spread, err)) != CBE_OK) goto done;
    gather(t, spread, out);
done:
    cbe_free(spread);
    cbe_free(raw);
    return st;
}
