/*
 * torch_zip_writer.c - writing; see torch_zip.h.
 *
 * Zip (PKWARE's APPNOTE.TXT): local header and data of each entry, then a directory, then its end.
 * Entries are stored; a field of padding in each local header puts data at multiples of 64, which
 * libzip cannot do. Sizes and offsets past 32 bits go to zip64 fields.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "formats/torch_zip.h"

enum {
    ALIGNMENT = 64,
    NAME_SPACE = 40,       /* bytes of an entry's name, "archive/data/" and a number */
    PICKLE_FIXED = 256,    /* bytes of the pickle's start and end */
    PICKLE_TENSOR = 200,   /* bytes of a tensor, without its name and dimensions */
    PICKLE_DIMENSION = 20, /* bytes of a size and a stride */
    LOCAL_BYTES = 30,
    DIRECTORY_BYTES = 46,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    END_BYTES = 22,
    EXTRA_HEADER = 4,
    PADDING_ID = 0x4246, /* "FB", as torch.save */
    ZIP64_ID = 1,
    VERSION_PLAIN = 20,
    VERSION_64 = 45,
    MOST_TENSORS = 50000, /* with the other entries below the 16 bits of zip's count */
    UTF8_NAMES = 0x800,
};

static const uint32_t ESCAPE32 = UINT32_MAX;

typedef struct {
    unsigned char *data;
    size_t size, capacity;
} output;

typedef struct {
    char name[NAME_SPACE];
    uint64_t offset, size; /* byte of the local header; bytes of the data */
    uint32_t crc;
} entry;

typedef struct {
    cbe_atomic_file *file;
    uint64_t at;
    size_t n;
    entry *entries;
} archive;

/* Appends bytes. The room was counted before: writing past it would be a mistake of this file, and
 * is left out. */
static void put(output *o, const void *data, size_t size)
{
    if (size <= o->capacity - o->size) memcpy(o->data + o->size, data, size);
    o->size += size <= o->capacity - o->size ? size : 0;
}

static void put_number(output *o, uint64_t number, size_t bytes)
{
    unsigned char little[8];
    for (size_t i = 0; i < bytes; i++) little[i] = (unsigned char)(number >> 8 * i);
    put(o, little, bytes);
}

static void put_code(output *o, const char *code)
{
    put(o, code, strlen(code));
}

static void put_text(output *o, const char *text)
{
    put_code(o, "X");
    put_number(o, strlen(text), 4);
    put_code(o, text);
}

static void put_integer(output *o, uint64_t number)
{
    const bool is_short = number <= INT32_MAX;
    put_code(o, is_short ? "J" : "\x8a\x08");
    put_number(o, number, is_short ? 4 : 8);
}

/* Writes the call _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()). */
static void put_tensor(output *o, const cbe_torch_tensor *t, size_t key)
{
    char text[24];
    size_t stride = 1, strides[CBE_MAX_DIMS];
    for (size_t i = t->n_dims; i-- > 0;) {
        strides[i] = stride;
        stride *= t->dims[i];
    }
    snprintf(text, sizeof text, "%zu", key);
    put_code(o, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(o, "storage");
    put_code(o, "ctorch\nFloatStorage\n");
    put_text(o, text);
    put_text(o, "cpu");
    put_integer(o, stride);
    put_code(o, "tQ");
    put_integer(o, 0);
    put_code(o, "(");
    for (size_t i = 0; i < t->n_dims; i++) put_integer(o, t->dims[i]);
    put_code(o, "t(");
    for (size_t i = 0; i < t->n_dims; i++) put_integer(o, strides[i]);
    put_code(o, "t\x89"
                "ccollections\nOrderedDict\n)RtR");
}

static cbe_status make_pickle(output *o, size_t n, const cbe_torch_tensor *tensors, cbe_error *err)
{
    *o = (output){NULL, 0, PICKLE_FIXED};
    for (size_t i = 0; i < n; i++)
        o->capacity +=
            PICKLE_TENSOR + strlen(tensors[i].name) + tensors[i].n_dims * PICKLE_DIMENSION;
    if (!(o->data = cbe_alloc(o->capacity, 1, "pickle", err))) return CBE_ERR_NOMEM;
    put_code(o, "\x80\x02"
                "ccollections\nOrderedDict\n)R(");
    for (size_t i = 0; i < n; i++) {
        put_text(o, tensors[i].name);
        put_tensor(o, &tensors[i], i);
    }
    put_code(o, "u.");
    return CBE_OK;
}

static cbe_status append(archive *a, const void *data, size_t size, cbe_error *err)
{
    const cbe_status st = cbe_atomic_file_write(a->file, a->at, data, size, err);
    a->at += size;
    return st;
}

static uint32_t crc_of(const unsigned char *data, size_t size)
{
    return (uint32_t)crc32_z(crc32(0, NULL, 0), data, size);
}

/* Writes the fields that local header and directory share, from the version needed to the length of
 * the name. */
static void put_common(output *o, const entry *e, bool large)
{
    put_number(o, large ? VERSION_64 : VERSION_PLAIN, 2);
    put_number(o, UTF8_NAMES, 2);
    put_number(o, 0, 2);          /* stored */
    put_number(o, 0x00210000, 4); /* 1 January 1980: the same file for the same lens */
    put_number(o, e->crc, 4);
    put_number(o, large ? ESCAPE32 : e->size, 4);
    put_number(o, large ? ESCAPE32 : e->size, 4);
    put_number(o, strlen(e->name), 2);
}

static cbe_status add_entry(archive *a, const char *name, const void *data, size_t size,
                            cbe_error *err)
{
    unsigned char bytes[LOCAL_BYTES + NAME_SPACE + 2 * EXTRA_HEADER + 16 + ALIGNMENT];
    output o = {bytes, 0, sizeof bytes};
    entry *e = &a->entries[a->n++];
    *e = (entry){.offset = a->at, .size = size, .crc = crc_of(data, size)};
    snprintf(e->name, sizeof e->name, "%s", name);
    const bool large = size >= ESCAPE32;
    const size_t zip64 = large ? EXTRA_HEADER + 16 : 0;
    const size_t before =
        (size_t)(a->at % ALIGNMENT) + LOCAL_BYTES + strlen(name) + zip64 + EXTRA_HEADER;
    const size_t padding = (ALIGNMENT - before % ALIGNMENT) % ALIGNMENT;
    put_code(&o, "PK\3\4");
    put_common(&o, e, large);
    put_number(&o, zip64 + EXTRA_HEADER + padding, 2);
    put_code(&o, name);
    if (large) {
        put_number(&o, ZIP64_ID, 2);
        put_number(&o, 16, 2);
        put_number(&o, size, 8);
        put_number(&o, size, 8);
    }
    put_number(&o, PADDING_ID, 2);
    put_number(&o, padding, 2);
    for (size_t i = 0; i < padding; i++) put_code(&o, "Z");
    const cbe_status st = append(a, bytes, o.size, err);
    return st == CBE_OK ? append(a, data, size, err) : st;
}

static cbe_status add_directory_entry(archive *a, const entry *e, cbe_error *err)
{
    unsigned char bytes[DIRECTORY_BYTES + NAME_SPACE + EXTRA_HEADER + 24];
    output o = {bytes, 0, sizeof bytes};
    const bool large = e->size >= ESCAPE32, beyond = e->offset >= ESCAPE32;
    const size_t zip64 = (large ? 16 : 0) + (beyond ? 8 : 0);
    put_code(&o, "PK\1\2");
    put_number(&o, VERSION_64, 2); /* made by */
    put_common(&o, e, large);
    put_number(&o, zip64 ? EXTRA_HEADER + zip64 : 0, 2);
    put_number(&o, 0, 2); /* no comment */
    put_number(&o, 0, 2); /* disk */
    put_number(&o, 0, 2);
    put_number(&o, 0, 4); /* attributes */
    put_number(&o, beyond ? ESCAPE32 : e->offset, 4);
    put_code(&o, e->name);
    if (zip64) {
        put_number(&o, ZIP64_ID, 2);
        put_number(&o, zip64, 2);
        if (large) {
            put_number(&o, e->size, 8);
            put_number(&o, e->size, 8);
        }
        if (beyond) put_number(&o, e->offset, 8);
    }
    return append(a, bytes, o.size, err);
}

static cbe_status add_end(archive *a, uint64_t start, cbe_error *err)
{
    unsigned char bytes[END64_BYTES + LOCATOR_BYTES + END_BYTES];
    output o = {bytes, 0, sizeof bytes};
    const uint64_t size = a->at - start;
    if (start >= ESCAPE32 || size >= ESCAPE32) {
        put_code(&o, "PK\6\6");
        put_number(&o, END64_BYTES - 12, 8);
        put_number(&o, VERSION_64, 2);
        put_number(&o, VERSION_64, 2);
        put_number(&o, 0, 8); /* disks */
        put_number(&o, a->n, 8);
        put_number(&o, a->n, 8);
        put_number(&o, size, 8);
        put_number(&o, start, 8);
        put_code(&o, "PK\6\7");
        put_number(&o, 0, 4);
        put_number(&o, a->at, 8);
        put_number(&o, 1, 4);
    }
    put_code(&o, "PK\5\6");
    put_number(&o, 0, 4); /* disks */
    put_number(&o, a->n, 2);
    put_number(&o, a->n, 2);
    put_number(&o, size < ESCAPE32 ? size : ESCAPE32, 4);
    put_number(&o, start < ESCAPE32 ? start : ESCAPE32, 4);
    put_number(&o, 0, 2); /* no comment */
    return append(a, bytes, o.size, err);
}

static cbe_status add_all(archive *a, const output *pickle, size_t n,
                          const cbe_torch_tensor *tensors, cbe_error *err)
{
    cbe_status st;
    if ((st = add_entry(a, "archive/data.pkl", pickle->data, pickle->size, err)) != CBE_OK)
        return st;
    if ((st = add_entry(a, "archive/byteorder", "little", strlen("little"), err)) != CBE_OK)
        return st;
    for (size_t i = 0; i < n; i++) {
        char name[NAME_SPACE];
        size_t elements = 1;
        for (size_t k = 0; k < tensors[i].n_dims; k++) elements *= tensors[i].dims[k];
        snprintf(name, sizeof name, "archive/data/%zu", i);
        if ((st = add_entry(a, name, tensors[i].data, elements * sizeof(float), err)) != CBE_OK)
            return st;
    }
    if ((st = add_entry(a, "archive/version", "3\n", 2, err)) != CBE_OK) return st;
    const uint64_t start = a->at;
    for (size_t i = 0; i < a->n; i++)
        if ((st = add_directory_entry(a, &a->entries[i], err)) != CBE_OK) return st;
    return add_end(a, start, err);
}

cbe_status cbe_torch_zip_save(const char *path, size_t n_tensors, const cbe_torch_tensor *tensors,
                              cbe_error *err)
{
    enum { OTHER_ENTRIES = 3 };
    cbe_status st;
    archive a = {0};
    output pickle = {0};
    if (n_tensors > MOST_TENSORS)
        return cbe_fail(err, CBE_ERR_ARG, -1, "%s: %zu tensors, at most %d can be written", path,
                        n_tensors, MOST_TENSORS);
    if ((st = make_pickle(&pickle, n_tensors, tensors, err)) != CBE_OK) goto done;
    st = CBE_ERR_NOMEM;
    if (!(a.entries = cbe_alloc(n_tensors + OTHER_ENTRIES, sizeof *a.entries, "archive", err)))
        goto done;
    if ((st = cbe_atomic_file_create(&a.file, path, err)) != CBE_OK) goto done;
    if ((st = add_all(&a, &pickle, n_tensors, tensors, err)) != CBE_OK) goto done;
    st = cbe_atomic_file_commit(a.file, err);
    a.file = NULL;
done:
    cbe_atomic_file_abandon(a.file);
    cbe_free(a.entries);
    cbe_free(pickle.data);
    return st;
}
