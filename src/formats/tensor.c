/*
 * tensor.c - the table of dtypes, and conversion to float.
 *
 * Data may lie at any address, so elements are copied out with memcpy, which compiles to loads.
 * Every conversion is one loop without branches over a contiguous range, so that it vectorises.
 * Quantised types are in quantised_blocks.c.
 */
#include "formats/tensor.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "formats/half.h"
#include "formats/quantised_blocks.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in place");

static void convert_f32(const unsigned char *data, size_t count, float *out)
{
    memcpy(out, data, count * sizeof *out);
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
        out[i] = cbe_float_of_half(half);
    }
}

static void convert_bf16(const unsigned char *data, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t high;
        memcpy(&high, data + i * sizeof high, sizeof high);
        out[i] = cbe_float_of_bits((uint32_t)high << 16);
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

static void convert_i32(const unsigned char *data, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        int32_t value;
        memcpy(&value, data + i * sizeof value, sizeof value);
        out[i] = (float)value;
    }
}

static void convert_u8(const unsigned char *data, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) out[i] = (float)data[i];
}

static const struct {
    cbe_dtype_info info;
    cbe_convert_fn *convert; /* NULL: a type of ids */
} dtypes[] = {
    [CBE_F32] = {{"F32", 1, sizeof(float)}, convert_f32},
    [CBE_F64] = {{"F64", 1, sizeof(double)}, convert_f64},
    [CBE_F16] = {{"F16", 1, 2}, convert_f16},
    [CBE_BF16] = {{"BF16", 1, 2}, convert_bf16},
    [CBE_I64] = {{"I64", 1, sizeof(int64_t)}, convert_i64},
    [CBE_I32] = {{"I32", 1, sizeof(int32_t)}, convert_i32},
    [CBE_U8] = {{"U8", 1, 1}, convert_u8},
    [CBE_I16] = {{"I16", 1, sizeof(int16_t)}, NULL},
    [CBE_U16] = {{"U16", 1, sizeof(uint16_t)}, NULL},
    [CBE_U32] = {{"U32", 1, sizeof(uint32_t)}, NULL},
    [CBE_U64] = {{"U64", 1, sizeof(uint64_t)}, NULL},
    [CBE_Q4_0] = {{"Q4_0", CBE_BLOCK_ITEMS, CBE_Q4_0_BYTES}, cbe_convert_q4_0},
    [CBE_Q4_1] = {{"Q4_1", CBE_BLOCK_ITEMS, CBE_Q4_1_BYTES}, cbe_convert_q4_1},
    [CBE_Q5_0] = {{"Q5_0", CBE_BLOCK_ITEMS, CBE_Q5_0_BYTES}, cbe_convert_q5_0},
    [CBE_Q5_1] = {{"Q5_1", CBE_BLOCK_ITEMS, CBE_Q5_1_BYTES}, cbe_convert_q5_1},
    [CBE_Q8_0] = {{"Q8_0", CBE_BLOCK_ITEMS, CBE_Q8_0_BYTES}, cbe_convert_q8_0},
    [CBE_Q2_K] = {{"Q2_K", CBE_SUPER_ITEMS, CBE_Q2_K_BYTES}, cbe_convert_q2_k},
    [CBE_Q3_K] = {{"Q3_K", CBE_SUPER_ITEMS, CBE_Q3_K_BYTES}, cbe_convert_q3_k},
    [CBE_Q4_K] = {{"Q4_K", CBE_SUPER_ITEMS, CBE_Q4_K_BYTES}, cbe_convert_q4_k},
    [CBE_Q5_K] = {{"Q5_K", CBE_SUPER_ITEMS, CBE_Q5_K_BYTES}, cbe_convert_q5_k},
    [CBE_Q6_K] = {{"Q6_K", CBE_SUPER_ITEMS, CBE_Q6_K_BYTES}, cbe_convert_q6_k},
    [CBE_IQ4_NL] = {{"IQ4_NL", CBE_BLOCK_ITEMS, CBE_IQ4_NL_BYTES}, cbe_convert_iq4_nl},
    [CBE_IQ4_XS] = {{"IQ4_XS", CBE_SUPER_ITEMS, CBE_IQ4_XS_BYTES}, cbe_convert_iq4_xs},
    [CBE_TQ1_0] = {{"TQ1_0", CBE_SUPER_ITEMS, CBE_TQ1_0_BYTES}, cbe_convert_tq1_0},
    [CBE_TQ2_0] = {{"TQ2_0", CBE_SUPER_ITEMS, CBE_TQ2_0_BYTES}, cbe_convert_tq2_0},
    [CBE_MXFP4] = {{"MXFP4", CBE_BLOCK_ITEMS, CBE_MXFP4_BYTES}, cbe_convert_mxfp4},
    [CBE_NVFP4] = {{"NVFP4", CBE_NVFP4_ITEMS, CBE_NVFP4_BYTES}, cbe_convert_nvfp4},
    [CBE_IQ2_XXS] = {{"IQ2_XXS", CBE_SUPER_ITEMS, CBE_IQ2_XXS_BYTES}, cbe_convert_iq2_xxs},
    [CBE_IQ2_XS] = {{"IQ2_XS", CBE_SUPER_ITEMS, CBE_IQ2_XS_BYTES}, cbe_convert_iq2_xs},
    [CBE_IQ2_S] = {{"IQ2_S", CBE_SUPER_ITEMS, CBE_IQ2_S_BYTES}, cbe_convert_iq2_s},
    [CBE_IQ3_XXS] = {{"IQ3_XXS", CBE_SUPER_ITEMS, CBE_IQ3_XXS_BYTES}, cbe_convert_iq3_xxs},
    [CBE_IQ3_S] = {{"IQ3_S", CBE_SUPER_ITEMS, CBE_IQ3_S_BYTES}, cbe_convert_iq3_s},
    [CBE_IQ1_S] = {{"IQ1_S", CBE_SUPER_ITEMS, CBE_IQ1_S_BYTES}, cbe_convert_iq1_s},
    [CBE_IQ1_M] = {{"IQ1_M", CBE_SUPER_ITEMS, CBE_IQ1_M_BYTES}, cbe_convert_iq1_m},
};
_Static_assert(sizeof dtypes / sizeof *dtypes == CBE_N_DTYPES, "one row for each dtype");

const cbe_dtype_info *cbe_dtype_get(cbe_dtype dtype)
{
    return &dtypes[dtype].info;
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
    if (!dtypes[tensor->dtype].convert)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "tensor '%.80s' is %s, which only token ids may be: convert it to F32",
                        tensor->name, info->name);
    if (count == 0) return CBE_OK;
    const unsigned char *data =
        (const unsigned char *)tensor->data + first / info->block_items * info->block_bytes;
    dtypes[tensor->dtype].convert(data, count, out);
    return CBE_OK;
}

/* Writes a shape as "[2, 3]"; a shape too long for the buffer is cut. */
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
