/*
 * tensor.c - the table of dtypes, and conversion to float.
 *
 * Data may lie at any address, so elements are copied out with memcpy, which compiles to loads.
 * Every conversion is one loop without branches over a contiguous range, so that it vectorises. F16
 * is unpacked with integer operations, because the baseline instruction set has no conversion.
 */
#include "cbe/tensor.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"

// d * q + m is rounded twice in the files' reference implementation; a fused product differs.
#pragma STDC FP_CONTRACT OFF

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in place");

enum { BLOCK_ITEMS = 32 };

typedef struct {
    uint16_t d;
    uint8_t q[BLOCK_ITEMS / 2];
} block_q4_0;

typedef struct {
    uint16_t d, m;
    uint8_t q[BLOCK_ITEMS / 2];
} block_q4_1;

typedef struct {
    uint16_t d;
    int8_t q[BLOCK_ITEMS];
} block_q8_0;

static const cbe_dtype_info dtypes[] = {
    [CBE_F32] = {"F32", 1, sizeof(float)},
    [CBE_F64] = {"F64", 1, sizeof(double)},
    [CBE_F16] = {"F16", 1, 2},
    [CBE_BF16] = {"BF16", 1, 2},
    [CBE_I64] = {"I64", 1, sizeof(int64_t)},
    [CBE_Q4_0] = {"Q4_0", BLOCK_ITEMS, sizeof(block_q4_0)},
    [CBE_Q4_1] = {"Q4_1", BLOCK_ITEMS, sizeof(block_q4_1)},
    [CBE_Q8_0] = {"Q8_0", BLOCK_ITEMS, sizeof(block_q8_0)},
};
_Static_assert(sizeof dtypes / sizeof *dtypes == CBE_N_DTYPES, "one row for each dtype");
_Static_assert(sizeof(block_q4_0) == 18 && sizeof(block_q4_1) == 20 && sizeof(block_q8_0) == 34,
               "blocks have no padding");

const cbe_dtype_info *cbe_dtype_get(cbe_dtype dtype)
{
    return &dtypes[dtype];
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/*
 * s eeeee mmmmmmmmmm (bias 15) -> s eeeeeeee mmmmmmmmmm0000000000000 (bias 127).
 * Subnormals: the mantissa is put behind an exponent of 2^-14, which is then subtracted; the
 * difference is exact. All three cases are computed and one is selected: no branch.
 */
static float float_of_half(uint16_t half)
{
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    const uint32_t exponent = magnitude & 0x7c00u << 13;
    const float tiny = float_of_bits(magnitude + (113u << 23)) - 0x1p-14f;
    uint32_t tiny_bits;
    memcpy(&tiny_bits, &tiny, sizeof tiny_bits);
    uint32_t bits = magnitude + (112u << 23);
    bits = exponent == 0 ? tiny_bits : bits;
    bits = exponent == 0x7c00u << 13 ? magnitude | 0xffu << 23 : bits; // infinity, NaN
    return float_of_bits(bits | (uint32_t)(half & 0x8000) << 16);
}

static void convert_f64(const unsigned char *data, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        double value;
        memcpy(&value, data + i * sizeof value, sizeof value);
        out[i] = (float)value;
    }
}

static void convert_f16(const unsigned char *data, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, data + i * sizeof half, sizeof half);
        out[i] = float_of_half(half);
    }
}

static void convert_bf16(const unsigned char *data, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t high;
        memcpy(&high, data + i * sizeof high, sizeof high);
        out[i] = float_of_bits((uint32_t)high << 16);
    }
}

static void convert_i64(const unsigned char *data, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        int64_t value;
        memcpy(&value, data + i * sizeof value, sizeof value);
        out[i] = (float)value;
    }
}

/* 4-bit blocks: byte j holds item j in its low half and item j + 16 in its high half. */

static void convert_q4_0(const unsigned char *data, size_t count, float *out)
{
    for (size_t i = 0; i < count / BLOCK_ITEMS; i++, out += BLOCK_ITEMS) {
        block_q4_0 block;
        memcpy(&block, data + i * sizeof block, sizeof block);
        const float d = float_of_half(block.d);
        for (int j = 0; j < BLOCK_ITEMS / 2; j++) {
            out[j] = (float)((block.q[j] & 15) - 8) * d;
            out[j + BLOCK_ITEMS / 2] = (float)((block.q[j] >> 4) - 8) * d;
        }
    }
}

static void convert_q4_1(const unsigned char *data, size_t count, float *out)
{
    for (size_t i = 0; i < count / BLOCK_ITEMS; i++, out += BLOCK_ITEMS) {
        block_q4_1 block;
        memcpy(&block, data + i * sizeof block, sizeof block);
        const float d = float_of_half(block.d), m = float_of_half(block.m);
        for (int j = 0; j < BLOCK_ITEMS / 2; j++) {
            out[j] = (float)(block.q[j] & 15) * d + m;
            out[j + BLOCK_ITEMS / 2] = (float)(block.q[j] >> 4) * d + m;
        }
    }
}

static void convert_q8_0(const unsigned char *data, size_t count, float *out)
{
    for (size_t i = 0; i < count / BLOCK_ITEMS; i++, out += BLOCK_ITEMS) {
        block_q8_0 block;
        memcpy(&block, data + i * sizeof block, sizeof block);
        const float d = float_of_half(block.d);
        for (int j = 0; j < BLOCK_ITEMS; j++) out[j] = (float)block.q[j] * d;
    }
}

cbe_status cbe_tensor_to_float(const cbe_tensor *tensor, size_t first, size_t count, float *out,
                               cbe_error *err)
{
    const cbe_dtype_info *info = cbe_dtype_get(tensor->dtype);
    if (first > tensor->n_elements || count > tensor->n_elements - first)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "tensor '%.80s': %zu elements from number %zu on were asked for, it has %zu",
            tensor->name, count, first, tensor->n_elements);
    if (first % info->block_items || count % info->block_items)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "tensor '%.80s': %zu elements from number %zu on are not whole blocks of %zu "
            "(%s)",
            tensor->name, count, first, info->block_items, info->name);
    if (count == 0) return CBE_OK;
    const unsigned char *data =
        (const unsigned char *)tensor->data + first / info->block_items * info->block_bytes;
    switch (tensor->dtype) {
    case CBE_F32:
        memcpy(out, data, count * sizeof *out);
        break;
    case CBE_F64:
        convert_f64(data, count, out);
        break;
    case CBE_F16:
        convert_f16(data, count, out);
        break;
    case CBE_BF16:
        convert_bf16(data, count, out);
        break;
    case CBE_I64:
        convert_i64(data, count, out);
        break;
    case CBE_Q4_0:
        convert_q4_0(data, count, out);
        break;
    case CBE_Q4_1:
        convert_q4_1(data, count, out);
        break;
    case CBE_Q8_0:
        convert_q8_0(data, count, out);
        break;
    case CBE_N_DTYPES:
        break;
    }
    return CBE_OK;
}

/* "[2, 3]"; a shape too long for the buffer is cut. */
static void print_shape(char *text, size_t size, size_t n_dims, const size_t *dims)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (size_t i = 0; i < n_dims && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%zu", i ? ", " : "", dims[i]);
    if (used < size) snprintf(text + used, size - used, "]");
}

cbe_status cbe_tensor_expect(const cbe_tensor *tensor, const char *path, size_t n_dims,
                             const size_t *dims, cbe_error *err)
{
    bool same = tensor->n_dims == n_dims;
    for (size_t i = 0; same && i < n_dims; i++) same = tensor->dims[i] == dims[i];
    if (same) return CBE_OK;
    char got[120], want[120];
    print_shape(got, sizeof got, tensor->n_dims, tensor->dims);
    print_shape(want, sizeof want, n_dims, dims);
    return cbe_fail(err, CBE_ERR_SHAPE, -1, "%s: tensor '%.80s' has shape %s, expected %s", path,
                    tensor->name, got, want);
}
