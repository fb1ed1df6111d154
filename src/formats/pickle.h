/*
 * pickle.h - reading a pickle's value as records; nothing is executed.
 *
 * A pickle is a program for a stack machine that may call any function of Python. This reader knows
 * only the opcodes that torch.save writes for a dict of tensors, in protocols 2 to 5: dicts,
 * tuples, strings, integers, booleans and None, the memo, storages by persistent id, and calls of
 * collections.OrderedDict, torch._utils._rebuild_tensor_v2 and torch._utils._rebuild_parameter,
 * which here only make records. Every other opcode and every other global is an error that names
 * it.
 *
 * Values refer to each other by index, so that nothing is copied, nothing is walked recursively,
 * and a value used twice takes room once.
 */
#ifndef CBE_FORMATS_PICKLE_H
#define CBE_FORMATS_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/tensor.h"

enum { CBE_PICKLE_MOST = 4 << 20 }; /* most bytes of a pickle; a tensor takes about 125 */

#define CBE_PICKLE_NOTHING UINT32_MAX /* stands for no index */

typedef enum {
    CBE_PICKLE_NONE,
    CBE_PICKLE_BOOL,
    CBE_PICKLE_INTEGER,
    CBE_PICKLE_TEXT,
    CBE_PICKLE_TUPLE,
    CBE_PICKLE_DICT,
    CBE_PICKLE_GLOBAL,
    CBE_PICKLE_STORAGE,
    CBE_PICKLE_TENSOR,
    CBE_N_PICKLE_KINDS
} cbe_pickle_kind;

typedef struct {
    const char *start; /* first byte, in the pickle; no 0 ends the text */
    size_t length;
} cbe_pickle_text;

typedef struct {
    cbe_pickle_kind kind;
    union {
        int64_t integer; /* booleans too */
        cbe_pickle_text text;
        struct {
            uint32_t first, count; /* indices of `items` */
        } tuple;
        struct {
            uint32_t first, last; /* ends of a chain in pairs; CBE_PICKLE_NOTHING: empty */
            bool ordered;
        } dict;
        size_t global; /* pickle.c's own number */
        struct {
            cbe_dtype dtype; /* CBE_N_DTYPES: a known type that is not read */
            uint32_t key;
            const char *type; /* "LongStorage" */
            int64_t n_elements;
        } storage;
        struct {
            uint32_t storage, dims, strides; /* values: a storage and two tuples */
            int64_t offset;
        } tensor;
    } as;
} cbe_pickle_value;

/** An entry of a dict: indices of values, and of the next entry. */
typedef struct {
    uint32_t key, value, next;
} cbe_pickle_pair;

/** A pickle's values. Owns its arrays; texts lie in the pickle. */
typedef struct {
    uint32_t result; /* index of the pickle's value */
    cbe_pickle_value *values;
    uint32_t *items; /* items of tuples: indices of values */
    cbe_pickle_pair *pairs;
} cbe_pickle;

/** Reads a pickle.
 * @param data  size bytes, which must outlive *out
 * @param path  the file, named in messages
 * @return CBE_OK; CBE_ERR_FORMAT (err->offset: byte in the pickle); CBE_ERR_NOMEM */
cbe_status cbe_pickle_read(cbe_pickle *out, const unsigned char *data, size_t size,
                           const char *path, cbe_error *err);
void cbe_pickle_free(cbe_pickle *pickle); /* a zeroed pickle is allowed */

/** Name of a value's kind for messages: "a string". */
const char *cbe_pickle_kind_name(const cbe_pickle_value *value);

/** Item i of a tuple. */
static inline const cbe_pickle_value *cbe_pickle_item(const cbe_pickle *pickle,
                                                      const cbe_pickle_value *tuple, size_t i)
{
    return &pickle->values[pickle->items[tuple->as.tuple.first + i]];
}

#endif
