/* Conversion to float, bit for bit, against values worked out from the formats' definitions. */
#include "formats/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/assert_close.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static cbe_tensor tensor_of(cbe_dtype dtype, size_t n_elements, const void *data)
{
    const cbe_dtype_info *info = cbe_dtype_get(dtype);
    return (cbe_tensor){
        .name = "t",
        .dtype = dtype,
        .n_dims = 1,
        .dims = {n_elements},
        .n_elements = n_elements,
        .n_bytes = n_elements / info->block_items * info->block_bytes,
        .data = data,
    };
}

static void dtype__table_has_names_and_block_sizes(void **state)
{
    (void)state;
    static const struct {
        cbe_dtype dtype;
        const char *name;
        size_t items, bytes;
    } rows[] = {
        {CBE_F32, "F32", 1, 4},
        {CBE_F64, "F64", 1, 8},
        {CBE_F16, "F16", 1, 2},
        {CBE_BF16, "BF16", 1, 2},
        {CBE_I64, "I64", 1, 8},
        {CBE_I32, "I32", 1, 4},
        {CBE_U8, "U8", 1, 1},
        {CBE_I16, "I16", 1, 2},
        {CBE_U16, "U16", 1, 2},
        {CBE_U32, "U32", 1, 4},
        {CBE_U64, "U64", 1, 8},
        {CBE_Q4_0, "Q4_0", 32, 18},
        {CBE_Q4_1, "Q4_1", 32, 20},
        {CBE_Q5_0, "Q5_0", 32, 22},
        {CBE_Q5_1, "Q5_1", 32, 24},
        {CBE_Q8_0, "Q8_0", 32, 34},
        {CBE_Q2_K, "Q2_K", 256, 84},
        {CBE_Q3_K, "Q3_K", 256, 110},
        {CBE_Q4_K, "Q4_K", 256, 144},
        {CBE_Q5_K, "Q5_K", 256, 176},
        {CBE_Q6_K, "Q6_K", 256, 210},
        {CBE_IQ4_NL, "IQ4_NL", 32, 18},
        {CBE_IQ4_XS, "IQ4_XS", 256, 136},
        {CBE_TQ1_0, "TQ1_0", 256, 54},
        {CBE_TQ2_0, "TQ2_0", 256, 66},
        {CBE_MXFP4, "MXFP4", 32, 17},
        {CBE_NVFP4, "NVFP4", 64, 36},
        {CBE_IQ2_XXS, "IQ2_XXS", 256, 66},
        {CBE_IQ2_XS, "IQ2_XS", 256, 74},
        {CBE_IQ2_S, "IQ2_S", 256, 82},
        {CBE_IQ3_XXS, "IQ3_XXS", 256, 98},
        {CBE_IQ3_S, "IQ3_S", 256, 110},
        {CBE_IQ1_S, "IQ1_S", 256, 50},
        {CBE_IQ1_M, "IQ1_M", 256, 56},
    };
    _Static_assert(sizeof rows / sizeof *rows == CBE_N_DTYPES, "every dtype is tested");
    for (size_t i = 0; i < CBE_N_DTYPES; i++) {
        const cbe_dtype_info *info = cbe_dtype_get(rows[i].dtype);
        assert_string_equal(info->name, rows[i].name);
        assert_int_equal(info->block_items, rows[i].items);
        assert_int_equal(info->block_bytes, rows[i].bytes);
    }
}

/* The value of a half from its definition: m 2^-24, or (1024 + m) 2^(e - 25). */
static float half_by_definition(unsigned half)
{
    const int exponent = (half >> 10) & 31, mantissa = half & 1023;
    double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    if (exponent == 31) value = mantissa ? (double)NAN : (double)INFINITY;
    return (float)(half >> 15 ? -value : value);
}

static void to_float__every_f16_is_exact(void **state)
{
    (void)state;
    static uint16_t halves[65536];
    static float out[65536];
    cbe_error err;
    for (unsigned i = 0; i < 65536; i++) halves[i] = (uint16_t)i;
    const cbe_tensor t = tensor_of(CBE_F16, 65536, halves);
    cbe_assert_ok(cbe_tensor_to_float(&t, 0, 65536, out, &err), &err);
    for (unsigned i = 0; i < 65536; i++) {
        const float want = half_by_definition(i);
        if (isnan(want) ? !isnan(out[i]) : bits_of(out[i]) != bits_of(want))
            fail_msg("half %04x is %a, expected %a", i, (double)out[i], (double)want);
    }
    assert_int_equal(bits_of(out[0x8000]), 0x80000000u); // minus zero keeps its sign
    assert_true(out[0x0001] == 0x1p-24f && out[0x03ff] == 1023 * 0x1p-24f &&
                out[0x0400] == 0x1p-14f);
    assert_true(out[0x7bff] == 65504.0f && out[0x7c00] == INFINITY && out[0xfc00] == -INFINITY);
}

static void to_float__every_bf16_is_the_upper_half_of_its_float(void **state)
{
    (void)state;
    static uint16_t halves[65536];
    static float out[65536];
    cbe_error err;
    for (unsigned i = 0; i < 65536; i++) halves[i] = (uint16_t)i;
    const cbe_tensor t = tensor_of(CBE_BF16, 65536, halves);
    cbe_assert_ok(cbe_tensor_to_float(&t, 0, 65536, out, &err), &err);
    for (unsigned i = 0; i < 65536; i++) assert_int_equal(bits_of(out[i]), (uint32_t)i << 16);
}

static void to_float__refuses_types_of_ids(void **state)
{
    (void)state;
    static const cbe_dtype ids[] = {CBE_I16, CBE_U16, CBE_U32, CBE_U64};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        cbe_error err = {0};
        float out = 7;
        const uint64_t in = 1;
        const cbe_tensor t = tensor_of(ids[i], 1, &in);
        assert_int_equal(cbe_tensor_to_float(&t, 0, 1, &out, &err), CBE_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, "which only token ids may be"));
        assert_true(out == 7);
    }
}

static void to_float__f32_is_copied_bit_for_bit(void **state)
{
    (void)state;
    const uint32_t in[] = {0x80000000u, 1u, 0x7f800000u, 0xffc12345u, 0x3f800001u};
    uint32_t out[5];
    float values[5];
    cbe_error err;
    const cbe_tensor t = tensor_of(CBE_F32, 5, in);
    cbe_assert_ok(cbe_tensor_to_float(&t, 0, 5, values, &err), &err);
    memcpy(out, values, sizeof out);
    assert_memory_equal(out, in, sizeof in);
}

static void to_float__f64_rounds_to_nearest_even(void **state)
{
    (void)state;
    const double in[] = {0x1.000001p0, 0x1.000001000001p0, 0x1.000003p0, -0x1p-149,
                         0x1p-150,     0x1.fffffefp127,    1e300,        -1e300};
    const float want[] = {1.0f, 0x1.000002p0f,   0x1.000004p0f, -0x1p-149f,
                          0.0f, 0x1.fffffep127f, INFINITY,      -INFINITY};
    float out[8];
    cbe_error err;
    const cbe_tensor t = tensor_of(CBE_F64, 8, in);
    cbe_assert_ok(cbe_tensor_to_float(&t, 0, 8, out, &err), &err);
    for (int i = 0; i < 8; i++) assert_int_equal(bits_of(out[i]), bits_of(want[i]));
}

static void to_float__i64_rounds_to_nearest_even(void **state)
{
    (void)state;
    const int64_t in[] = {0, -1, 16777217, 16777219, INT64_MAX, INT64_MIN};
    const float want[] = {0.0f, -1.0f, 16777216.0f, 16777220.0f, 0x1p63f, -0x1p63f};
    float out[6];
    cbe_error err;
    const cbe_tensor t = tensor_of(CBE_I64, 6, in);
    cbe_assert_ok(cbe_tensor_to_float(&t, 0, 6, out, &err), &err);
    for (int i = 0; i < 6; i++) assert_int_equal(bits_of(out[i]), bits_of(want[i]));
}

/* Three blocks, each with its own scale 1, 2, 4; items come from one formula. */
enum { N_BLOCKS = 3, ITEMS = 32 * N_BLOCKS };

static int item(int block, int i, int limit)
{
    return (7 * i + 3 * block) % limit;
}

static uint16_t half_power(int power)
{
    return (uint16_t)((15 + power) << 10);
}

static void fill_4bit(unsigned char *data, size_t block_bytes, size_t head, int b)
{
    for (int j = 0; j < 16; j++)
        data[(size_t)b * block_bytes + head + (size_t)j] =
            (unsigned char)(item(b, j, 16) | item(b, j + 16, 16) << 4);
}

static void to_float__q4_0_is_scale_times_nibble_minus_8(void **state)
{
    (void)state;
    unsigned char data[18 * N_BLOCKS];
    float out[ITEMS];
    cbe_error err;
    for (int b = 0; b < N_BLOCKS; b++) {
        const uint16_t d = half_power(b);
        memcpy(data + 18 * b, &d, 2);
        fill_4bit(data, 18, 2, b);
    }
    const cbe_tensor t = tensor_of(CBE_Q4_0, ITEMS, data);
    cbe_assert_ok(cbe_tensor_to_float(&t, 0, ITEMS, out, &err), &err);
    for (int i = 0; i < ITEMS; i++)
        assert_true(out[i] == (float)((item(i / 32, i % 32, 16) - 8) * (1 << i / 32)));
}

static void to_float__q4_1_is_scale_times_nibble_plus_minimum(void **state)
{
    (void)state;
    unsigned char data[20 * N_BLOCKS];
    float out[ITEMS];
    cbe_error err;
    for (int b = 0; b < N_BLOCKS; b++) {
        const uint16_t d = half_power(b), m = (uint16_t)(half_power(b - 2) | 0x8000);
        memcpy(data + 20 * b, &d, 2);
        memcpy(data + 20 * b + 2, &m, 2);
        fill_4bit(data, 20, 4, b);
    }
    const cbe_tensor t = tensor_of(CBE_Q4_1, ITEMS, data);
    cbe_assert_ok(cbe_tensor_to_float(&t, 0, ITEMS, out, &err), &err);
    for (int i = 0; i < ITEMS; i++) {
        const float scale = (float)(1 << i / 32);
        assert_true(out[i] == (float)item(i / 32, i % 32, 16) * scale - scale / 4);
    }
}

static void to_float__q8_0_is_scale_times_signed_byte(void **state)
{
    (void)state;
    unsigned char data[34 * N_BLOCKS];
    float out[ITEMS];
    cbe_error err;
    for (int b = 0; b < N_BLOCKS; b++) {
        const uint16_t d = half_power(b);
        memcpy(data + 34 * b, &d, 2);
        for (int j = 0; j < 32; j++) data[34 * b + 2 + j] = (unsigned char)(item(b, j, 256) + 100);
    }
    const cbe_tensor t = tensor_of(CBE_Q8_0, ITEMS, data);
    cbe_assert_ok(cbe_tensor_to_float(&t, 0, ITEMS, out, &err), &err);
    for (int i = 0; i < ITEMS; i++) {
        const int byte = (item(i / 32, i % 32, 256) + 100) % 256;
        assert_true(out[i] == (float)((byte < 128 ? byte : byte - 256) * (1 << i / 32)));
    }
}

static void to_float__any_range_of_blocks_equals_the_whole_at_any_address(void **state)
{
    (void)state;
    enum { TAKEN = 512 };
    unsigned char store[8 * TAKEN + 8];
    float whole[TAKEN], part[TAKEN];
    cbe_error err;
    for (int d = 0; d < CBE_N_DTYPES; d++) {
        if (d >= CBE_I16 && d <= CBE_U64) continue; /* ids */
        const size_t unit = cbe_dtype_get((cbe_dtype)d)->block_items;
        for (size_t i = 0; i < sizeof store; i++) store[i] = (unsigned char)(i % 61 + 3);
        for (size_t shift = 0; shift < 8; shift++) {
            memmove(store + shift, store + (shift ? shift - 1 : 0), 8 * TAKEN);
            const cbe_tensor t = tensor_of((cbe_dtype)d, TAKEN, store + shift);
            cbe_assert_ok(cbe_tensor_to_float(&t, 0, TAKEN, whole, &err), &err);
            for (size_t first = 0; first <= TAKEN; first += unit * (1 + 36 / unit)) {
                const size_t count = (TAKEN - first) / unit * unit;
                memset(part, 0x55, sizeof part);
                cbe_assert_ok(cbe_tensor_to_float(&t, first, count, part, &err), &err);
                assert_memory_equal(part, whole + first, count * sizeof *part);
                if (count < TAKEN) assert_int_equal(bits_of(part[count]), 0x55555555u);
            }
        }
    }
}

static void to_float__ranges_outside_or_inside_a_block_are_refused(void **state)
{
    (void)state;
    static const unsigned char data[18 * 2];
    static const struct {
        size_t first, count;
    } bad[] = {{0, 65},        {65, 0}, {64, 32}, {32, 64}, {SIZE_MAX, 1},
               {32, SIZE_MAX}, {1, 31}, {0, 31},  {16, 32}};
    const cbe_tensor t = tensor_of(CBE_Q4_0, 64, data);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        float out[96] = {42.0f};
        cbe_error err = {0};
        const cbe_status st = cbe_tensor_to_float(&t, bad[i].first, bad[i].count, out, &err);
        assert_int_equal(st, CBE_ERR_ARG);
        assert_non_null(strstr(err.message, "'t'"));
        assert_true(out[0] == 42.0f);
    }
    assert_int_equal(cbe_tensor_to_float(&t, 64, 0, NULL, NULL), CBE_OK);
}

static void expect__names_file_tensor_and_both_shapes(void **state)
{
    (void)state;
    const cbe_tensor t = {.name = "norm.weight", .n_dims = 2, .dims = {3, 4}};
    const cbe_tensor scalar = {.name = "s"};
    const size_t same[] = {3, 4}, other[] = {4, 3};
    cbe_error err = {0};
    cbe_assert_ok(cbe_tensor_expect(&t, "f", 2, same, &err), &err);
    cbe_assert_ok(cbe_tensor_expect(&scalar, "f", 0, NULL, &err), &err);
    assert_int_equal(cbe_tensor_expect(&t, "d.safetensors", 2, other, &err), CBE_ERR_SHAPE);
    assert_string_equal(err.message,
                        "d.safetensors: tensor 'norm.weight' has shape [3, 4], expected [4, 3]");
    assert_int_equal(cbe_tensor_expect(&t, "f", 1, same, &err), CBE_ERR_SHAPE);
    assert_int_equal(cbe_tensor_expect(&scalar, "f", 1, same, &err), CBE_ERR_SHAPE);
    assert_string_equal(err.message, "f: tensor 's' has shape [], expected [3]");
}

static void expect__shape_too_long_for_the_message_is_cut(void **state)
{
    (void)state;
    cbe_tensor t = {.name = "t", .n_dims = CBE_MAX_DIMS};
    const size_t want[] = {1};
    cbe_error err = {0};
    for (size_t i = 0; i < CBE_MAX_DIMS; i++) t.dims[i] = SIZE_MAX;
    assert_int_equal(cbe_tensor_expect(&t, "f", 1, want, &err), CBE_ERR_SHAPE);
    assert_non_null(strstr(err.message, "expected [1]"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtype__table_has_names_and_block_sizes),
        cmocka_unit_test(to_float__every_f16_is_exact),
        cmocka_unit_test(to_float__every_bf16_is_the_upper_half_of_its_float),
        cmocka_unit_test(to_float__refuses_types_of_ids),
        cmocka_unit_test(to_float__f32_is_copied_bit_for_bit),
        cmocka_unit_test(to_float__f64_rounds_to_nearest_even),
        cmocka_unit_test(to_float__i64_rounds_to_nearest_even),
        cmocka_unit_test(to_float__q4_0_is_scale_times_nibble_minus_8),
        cmocka_unit_test(to_float__q4_1_is_scale_times_nibble_plus_minimum),
        cmocka_unit_test(to_float__q8_0_is_scale_times_signed_byte),
        cmocka_unit_test(to_float__any_range_of_blocks_equals_the_whole_at_any_address),
        cmocka_unit_test(to_float__ranges_outside_or_inside_a_block_are_refused),
        cmocka_unit_test(expect__names_file_tensor_and_both_shapes),
        cmocka_unit_test(expect__shape_too_long_for_the_message_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
