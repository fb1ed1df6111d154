/*
 * tensor.h - a named array as it lies in a file, and its conversion to float.
 */
#ifndef CBE_FORMATS_TENSOR_H
#define CBE_FORMATS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"

enum { CBE_MAX_DIMS = 8 };

typedef enum {
    CBE_F32 = 0,
    CBE_F64,
    CBE_F16,
    CBE_BF16,
    CBE_I64,
    CBE_I32,
    CBE_U8, /* also booleans */
    /* Ids of tokens, as other programs write them; no numbers to compute with. */
    CBE_I16,
    CBE_U16,
    CBE_U32,
    CBE_U64,
    /* GGUF blocks of 32 items: an f16 scale, in _1 also an f16 minimum, and 4, 5 or 8 bits an
     * item. */
    CBE_Q4_0,
    CBE_Q4_1,
    CBE_Q5_0,
    CBE_Q5_1,
    CBE_Q8_0,
    /* GGUF blocks of 256 items, whose groups have scales of their own: 2 to 6 bits an item. */
    CBE_Q2_K,
    CBE_Q3_K,
    CBE_Q4_K,
    CBE_Q5_K,
    CBE_Q6_K,
    CBE_IQ4_NL, /* GGUF blocks of 32 items: an f16 scale, 4 bits that choose one of 16 levels */
    CBE_IQ4_XS, /* the same in blocks of 256 items */
    /* GGUF blocks of 256 items of -1, 0 and 1 times an f16 scale. */
    CBE_TQ1_0,
    CBE_TQ2_0,
    /* GGUF blocks of 32 and 64 items: floats of 4 bits, with scales of 8 bits. */
    CBE_MXFP4,
    CBE_NVFP4,
    /* GGUF blocks of 256 items, 8 or 4 of which together choose a point of a grid. */
    CBE_IQ2_XXS,
    CBE_IQ2_XS,
    CBE_IQ2_S,
    CBE_IQ3_XXS,
    CBE_IQ3_S,
    CBE_IQ1_S,
    CBE_IQ1_M,
    CBE_N_DTYPES
} cbe_dtype;

/** A dtype's name ("F32", "Q4_1"), and the items and bytes of one block. */
typedef struct {
    const char *name;
    size_t block_items, block_bytes;
} cbe_dtype_info;

/** The table's row of a dtype, borrowed, static; dtype must be below CBE_N_DTYPES. */
const cbe_dtype_info *cbe_dtype_get(cbe_dtype dtype);

/** A view into a mapped file, valid until the file is closed. Little-endian, row-major. */
typedef struct {
    const char *name;
    cbe_dtype dtype;
    size_t n_dims;             /* 0: a scalar */
    size_t dims[CBE_MAX_DIMS]; /* slowest first, as NumPy's shape (GGUF files list the reverse) */
    size_t n_elements, n_bytes;
    const void *data; /* not necessarily aligned */
    bool is_bool;     /* of type CBE_U8: the elements are called booleans */
} cbe_tensor;

/** Converts elements first .. first + count - 1 to float: exactly for F32, F16, BF16 and U8,
 * rounded to nearest for F64, I64 and I32, dequantised for quantised types.
 * @param out shape (count)
 * @return CBE_OK; CBE_ERR_ARG if the range leaves the tensor or starts or ends inside a block;
 * CBE_ERR_UNSUPPORTED for types of ids */
cbe_status cbe_tensor_to_float(const cbe_tensor *tensor, size_t first, size_t count, float *out,
                               cbe_error *err);

/** Checks that a tensor has shape dims (n_dims).
 * @param path  the file, named in the message
 * @return CBE_OK; CBE_ERR_SHAPE, whose message has the tensor's name, its shape and the shape
 * expected */
cbe_status cbe_tensor_expect(const cbe_tensor *tensor, const char *path, size_t n_dims,
                             const size_t *dims, cbe_error *err);

#endif
