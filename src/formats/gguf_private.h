/*
 * gguf_private.h - the contents of an open .gguf file, for gguf.c (the container), gguf_metadata.c
 * (values) and gguf_parts.c (models of one or several files).
 */
#ifndef CBE_FORMATS_GGUF_PRIVATE_H
#define CBE_FORMATS_GGUF_PRIVATE_H

#include <stdint.h>

#include "formats/gguf.h"
#include "files/mapped_file.h"

enum { CBE_GGUF_SHOWN = 80 /* characters of a name in a message */ };

/* Types of metadata values, by number. */
typedef enum {
    CBE_GGUF_U8,
    CBE_GGUF_I8,
    CBE_GGUF_U16,
    CBE_GGUF_I16,
    CBE_GGUF_U32,
    CBE_GGUF_I32,
    CBE_GGUF_F32,
    CBE_GGUF_BOOL,
    CBE_GGUF_STRING,
    CBE_GGUF_ARRAY,
    CBE_GGUF_U64,
    CBE_GGUF_I64,
    CBE_GGUF_F64,
    CBE_GGUF_N_VALUE_TYPES
} cbe_gguf_value_type;

/** Name of each type, and the bytes of one value; 0: they vary. */
extern const struct cbe_gguf_value_info {
    const char *name;
    size_t size;
} cbe_gguf_value_types[CBE_GGUF_N_VALUE_TYPES];

typedef struct {
    cbe_span key;
    uint32_t type, item_type; /* cbe_gguf_value_type; item_type: type of an array's items */
    uint64_t count;           /* number of an array's items */
    size_t value;             /* byte in the file of the value, or of an array's first item */
} cbe_gguf_pair;

typedef struct {
    char *name;
    uint32_t type;
    size_t n_dims, dims[CBE_MAX_DIMS]; /* slowest first */
    size_t n_elements, n_bytes;        /* n_bytes: 0 for an unknown type */
    uint64_t offset;                   /* from the start of the data */
    size_t position;                   /* byte of this info in the file, for messages */
} cbe_gguf_info;

struct cbe_gguf {
    cbe_mapped_file map;
    size_t n_pairs, n_infos;
    cbe_gguf_pair *pairs; /* pairs in the order of the file */
    cbe_gguf_info *infos;
    const cbe_gguf_pair **pairs_by_key;  /* sorted */
    const cbe_gguf_info **infos_by_name; /* sorted */
    size_t alignment, data_start;
    size_t n_others; /* the further parts of a split model, owned by the first */
    cbe_gguf **others;
};

/** Opens one file by itself, even if it is a part of a split model.
 * @return as cbe_gguf_open */
cbe_status cbe_gguf_open_part(cbe_gguf **out, const char *path, cbe_error *err);
/** The tensor of that name in this one file; NULL: there is none. */
const cbe_gguf_info *cbe_gguf_find_info(const cbe_gguf *part, const char *name);

/** The pair of a key; NULL: there is none. */
const cbe_gguf_pair *cbe_gguf_find_pair(const cbe_gguf *file, const char *key);
/** For qsort over (const cbe_gguf_pair *). */
int cbe_gguf_compare_keys(const void *a, const void *b);

/** A tensor type; dtype is CBE_N_DTYPES for a type that is not read. */
typedef struct {
    const char *name;
    cbe_dtype dtype;
    size_t block_items, block_bytes;
} cbe_gguf_tensor_type;

/** The tensor type of a number in a file; NULL for an unknown number. */
const cbe_gguf_tensor_type *cbe_gguf_tensor_type_get(uint32_t number);

#endif
