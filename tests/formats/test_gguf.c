/* Reading valid files bit for bit, and refusing each kind of damage with a message that can be
 * used. */
#include "formats/gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "core/memory.h"
#include "support/assert_close.h"
#include "support/bytes.h"
#include "support/gguf_bytes.h"
#include "support/temp_folder.h"

static const char *write_file(void **state, const bytes *b)
{
    const char *path = temp_path(state, "file.gguf");
    temp_write(path, b->data, b->size);
    return path;
}

static cbe_gguf *open_ok(const char *path)
{
    cbe_error err;
    cbe_gguf *file = NULL;
    cbe_assert_ok(cbe_gguf_open(&file, path, &err), &err);
    return file;
}

/* One pair of every type, arrays, nested arrays, three tensors. */
enum { VALID_PAIRS = 23, VALID_DATA = 100 };

static void build_valid(bytes *b)
{
    const float f32 = 1.5f, floats[] = {-1.0f, 0.25f};
    const double f64 = -2.5;
    gguf_head(b, 3, VALID_PAIRS);
    gguf_key(b, "u8", U8), bytes_u8(b, 200);
    gguf_key(b, "i8", I8), bytes_u8(b, 0xfe);
    gguf_key(b, "u16", U16), bytes_put(b, "\x01\x02", 2);
    gguf_key(b, "i16", I16), bytes_put(b, "\xff\xff", 2);
    gguf_pair_u32(b, "u32", 4000000000u);
    gguf_key(b, "i32", I32), bytes_u32(b, (uint32_t)-7);
    gguf_key(b, "f32", F32), bytes_put(b, &f32, sizeof f32);
    gguf_key(b, "yes", BOOL), bytes_u8(b, 1);
    gguf_key(b, "no", BOOL), bytes_u8(b, 0);
    gguf_key(b, "string", STRING), gguf_string(b, "a\nb \xc3\xa9");
    gguf_key(b, "u64", U64), bytes_u64(b, UINT64_MAX);
    gguf_key(b, "i64", I64), bytes_u64(b, (uint64_t)INT64_MIN);
    gguf_key(b, "f64", F64), bytes_put(b, &f64, sizeof f64);
    gguf_key(b, "nan", F32), bytes_u32(b, 0x7fc00000);
    gguf_key(b, "infinite", F64), bytes_u64(b, UINT64_C(0x7ff0000000000000));
    gguf_key(b, "strings", ARRAY), gguf_array(b, STRING, 3);
    gguf_string(b, "one"), gguf_string(b, ""), gguf_string(b, "three");
    gguf_key(b, "ints", ARRAY), gguf_array(b, I16, 2), bytes_put(b, "\xff\xff\x05\x00", 4);
    gguf_key(b, "large", ARRAY), gguf_array(b, U64, 2), bytes_u64(b, 1), bytes_u64(b, UINT64_MAX);
    gguf_key(b, "floats", ARRAY), gguf_array(b, F32, 2), bytes_put(b, floats, sizeof floats);
    gguf_key(b, "none", ARRAY), gguf_array(b, U32, 0);
    gguf_key(b, "nested", ARRAY), gguf_array(b, ARRAY, 3);
    gguf_array(b, U8, 2), bytes_put(b, "ab", 2);
    gguf_array(b, ARRAY, 2), gguf_array(b, STRING, 1), gguf_string(b, "x"), gguf_array(b, U32, 0);
    gguf_array(b, ARRAY, 0);
    gguf_pair_u32(b, "general.alignment", 16);
    gguf_key(b, "last", BOOL), bytes_u8(b, 1);
    gguf_info(b, "q", 32, 2, 2, 32);
    gguf_info(b, "x", 3, 2, 0, 0);
    gguf_string(b, "odd"), bytes_u32(b, 1), bytes_u64(b, 7), bytes_u32(b, 4), bytes_u64(b, 96);
    gguf_data(b, 16, VALID_DATA);
}

static const char *write_valid(void **state)
{
    static bytes b;
    build_valid(&b);
    return write_file(state, &b);
}

static void uint__any_integer_type_that_is_not_negative(void **state)
{
    static const struct {
        const char *key;
        uint64_t want;
    } good[] = {{"u8", 200}, {"u16", 0x201}, {"u32", 4000000000u}, {"u64", UINT64_MAX}};
    static const struct {
        const char *key, *text;
    } bad[] = {
        {"i8", "'i8' is -2, it must not be negative"},
        {"i16", "'i16' is -1"},
        {"i32", "'i32' is -7"},
        {"i64", "'i64' is -9223372036854775808"},
        {"f32", "'f32' is of type f32, expected an integer"},
        {"f64", "of type f64, expected an integer"},
        {"yes", "of type bool, expected an integer"},
        {"string", "of type string, expected an integer"},
        {"ints", "an array of i16, expected an integer"},
        {"absent", "no metadata 'absent'"},
    };
    const char *path = write_valid(state);
    cbe_gguf *file = open_ok(path);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t value = 42;
        cbe_error err;
        cbe_assert_ok(cbe_gguf_uint(file, good[i].key, &value, &err), &err);
        assert_true(value == good[i].want);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t value = 42;
        cbe_error err = {0};
        assert_int_equal(cbe_gguf_uint(file, bad[i].key, &value, &err), CBE_ERR_FORMAT);
        assert_int_equal(value, 42);
        if (!strstr(err.message, path) || !strstr(err.message, bad[i].text))
            fail_msg("'%s' does not say '%s'", err.message, bad[i].text);
    }
    cbe_gguf_close(file);
    cbe_gguf_close(NULL);
}

static void double__any_number_that_is_finite(void **state)
{
    static const struct {
        const char *key;
        double want;
    } good[] = {{"u8", 200},     {"i8", -2},   {"i64", -0x1p63},
                {"u64", 0x1p64}, {"f32", 1.5}, {"f64", -2.5}};
    static const char *const bad[] = {"nan", "infinite", "yes", "string", "floats", "absent"};
    cbe_error err = {0};
    cbe_gguf *file = open_ok(write_valid(state));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        double value = NAN;
        cbe_assert_ok(cbe_gguf_double(file, good[i].key, &value, &err), &err);
        assert_true(value == good[i].want);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double value = 42;
        assert_int_equal(cbe_gguf_double(file, bad[i], &value, &err), CBE_ERR_FORMAT);
        assert_non_null(strstr(err.message, bad[i]));
        assert_true(value == 42);
    }
    cbe_gguf_close(file);
}

static void bool_and_string__only_of_their_own_type(void **state)
{
    bool value = false;
    cbe_span span = {0};
    cbe_error err = {0};
    cbe_gguf *file = open_ok(write_valid(state));
    cbe_assert_ok(cbe_gguf_bool(file, "yes", &value, &err), &err);
    assert_true(value);
    cbe_assert_ok(cbe_gguf_bool(file, "no", &value, &err), &err);
    assert_false(value);
    assert_int_equal(cbe_gguf_bool(file, "u8", &value, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "'u8' is of type u8, expected a bool"));
    cbe_assert_ok(cbe_gguf_string(file, "string", &span, &err), &err);
    assert_int_equal(span.length, 6);
    assert_memory_equal(span.data, "a\nb \xc3\xa9", 6);
    assert_int_equal(cbe_gguf_string(file, "strings", &span, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "an array of string, expected a string"));
    assert_int_equal(cbe_gguf_string(file, "absent", &span, &err), CBE_ERR_FORMAT);
    assert_true(cbe_gguf_has(file, "nested"));
    assert_false(cbe_gguf_has(file, "neste"));
    assert_false(cbe_gguf_has(file, "nestedd"));
    cbe_gguf_close(file);
}

static void arrays__strings_integers_and_floats(void **state)
{
    cbe_span *spans = NULL;
    int64_t *ints = NULL;
    float *floats = NULL;
    size_t count = 0;
    cbe_error err = {0};
    cbe_gguf *file = open_ok(write_valid(state));
    cbe_assert_ok(cbe_gguf_strings(file, "strings", &spans, &count, &err), &err);
    assert_int_equal(count, 3);
    assert_memory_equal(spans[0].data, "one", 3);
    assert_int_equal(spans[1].length, 0);
    assert_int_equal(spans[2].length, 5);
    assert_memory_equal(spans[2].data, "three", 5);
    cbe_gguf_free_array(spans);
    cbe_assert_ok(cbe_gguf_ints(file, "ints", &ints, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_true(ints[0] == -1 && ints[1] == 5);
    cbe_gguf_free_array(ints);
    cbe_assert_ok(cbe_gguf_ints(file, "none", &ints, &count, &err), &err);
    assert_int_equal(count, 0);
    cbe_gguf_free_array(ints);
    cbe_assert_ok(cbe_gguf_floats(file, "floats", &floats, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_true(floats[0] == -1.0f && floats[1] == 0.25f);
    cbe_gguf_free_array(floats);
    cbe_assert_ok(cbe_gguf_floats(file, "ints", &floats, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_true(floats[0] == -1.0f && floats[1] == 5.0f);
    cbe_gguf_free_array(floats);
    cbe_gguf_free_array(NULL);

    count = 42;
    spans = NULL, ints = NULL, floats = NULL;
    assert_int_equal(cbe_gguf_ints(file, "large", &ints, &count, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "item 1 is 18446744073709551615"));
    assert_int_equal(cbe_gguf_ints(file, "strings", &ints, &count, &err), CBE_ERR_FORMAT);
    assert_int_equal(cbe_gguf_ints(file, "u8", &ints, &count, &err), CBE_ERR_FORMAT);
    assert_int_equal(cbe_gguf_ints(file, "floats", &ints, &count, &err), CBE_ERR_FORMAT);
    assert_int_equal(cbe_gguf_ints(file, "nested", &ints, &count, &err), CBE_ERR_FORMAT);
    assert_int_equal(cbe_gguf_floats(file, "strings", &floats, &count, &err), CBE_ERR_FORMAT);
    assert_int_equal(cbe_gguf_floats(file, "f32", &floats, &count, &err), CBE_ERR_FORMAT);
    assert_int_equal(cbe_gguf_strings(file, "string", &spans, &count, &err), CBE_ERR_FORMAT);
    assert_int_equal(cbe_gguf_strings(file, "ints", &spans, &count, &err), CBE_ERR_FORMAT);
    assert_int_equal(cbe_gguf_strings(file, "absent", &spans, &count, &err), CBE_ERR_FORMAT);
    assert_true(!spans && !ints && !floats && count == 42);
    cbe_gguf_close(file);
}

static void describe__one_line_for_each_key_in_order(void **state)
{
    static const char *const want[VALID_PAIRS][2] = {
        {"u8", "200"},
        {"i8", "-2"},
        {"u16", "513"},
        {"i16", "-1"},
        {"u32", "4000000000"},
        {"i32", "-7"},
        {"f32", "1.5"},
        {"yes", "true"},
        {"no", "false"},
        {"string", "a b \xc3\xa9"},
        {"u64", "18446744073709551615"},
        {"i64", "-9223372036854775808"},
        {"f64", "-2.5"},
        {"nan", "nan"},
        {"infinite", "inf"},
        {"strings", "string[3]"},
        {"ints", "i16[2]"},
        {"large", "u64[2]"},
        {"floats", "f32[2]"},
        {"none", "u32[0]"},
        {"nested", "array[3]"},
        {"general.alignment", "16"},
        {"last", "true"},
    };
    cbe_span key;
    char value[40];
    cbe_gguf *file = open_ok(write_valid(state));
    for (size_t i = 0; i < VALID_PAIRS; i++) {
        assert_true(cbe_gguf_describe(file, i, &key, value, sizeof value));
        assert_int_equal(key.length, strlen(want[i][0]));
        assert_memory_equal(key.data, want[i][0], key.length);
        assert_string_equal(value, want[i][1]);
    }
    assert_false(cbe_gguf_describe(file, VALID_PAIRS, &key, value, sizeof value));
    assert_true(cbe_gguf_describe(file, 9, &key, value, 6)); // would cut the last character in two
    assert_string_equal(value, "a b ");
    assert_true(cbe_gguf_describe(file, 10, &key, value, 4));
    assert_string_equal(value, "184");
    cbe_gguf_close(file);
}

static void tensor__shape_is_reversed_and_data_found_by_alignment(void **state)
{
    const size_t x_dims[] = {2, 3}, q_dims[] = {2, 32};
    size_t n_dims;
    cbe_tensor t;
    cbe_error err = {0};
    const char *path = write_valid(state);
    cbe_gguf *file = open_ok(path);
    assert_string_equal(cbe_gguf_path(file), path);
    assert_int_equal(cbe_gguf_count(file), 3);
    assert_string_equal(cbe_gguf_name(file, 0), "q");
    assert_string_equal(cbe_gguf_type_name(file, 0), "q4_0");
    assert_string_equal(cbe_gguf_type_name(file, 2), "?");
    assert_int_equal(cbe_gguf_shape(file, 1, &n_dims)[0], 2);
    assert_int_equal(cbe_gguf_shape(file, 1, &n_dims)[1], 3);
    assert_int_equal(n_dims, 2);
    assert_true(cbe_gguf_has_tensor(file, "x"));
    assert_false(cbe_gguf_has_tensor(file, "y"));
    cbe_assert_ok(cbe_gguf_tensor(file, "x", &t, &err), &err);
    cbe_assert_ok(cbe_tensor_expect(&t, path, 2, x_dims, &err), &err);
    assert_string_equal(t.name, "x");
    assert_int_equal(t.dtype, CBE_F32);
    assert_int_equal(t.n_bytes, 24);
    assert_memory_equal(t.data, "\0\1\2\3\4\5", 6);
    cbe_assert_ok(cbe_gguf_tensor(file, "q", &t, &err), &err);
    cbe_assert_ok(cbe_tensor_expect(&t, path, 2, q_dims, &err), &err);
    assert_int_equal(t.n_bytes, 36);
    assert_int_equal(*(const unsigned char *)t.data, 32);
    cbe_gguf_close(file);
}

static void tensor__missing_or_unknown_is_named(void **state)
{
    cbe_tensor t = {.name = "untouched"};
    cbe_error err = {0};
    const char *path = write_valid(state);
    cbe_gguf *file = open_ok(path);
    assert_int_equal(cbe_gguf_tensor(file, "y", &t, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, "no tensor 'y'"));
    assert_int_equal(cbe_gguf_tensor(file, "odd", &t, &err), CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'odd' has unknown type 4"));
    assert_string_equal(t.name, "untouched");
    cbe_gguf_close(file);
}

static void open__small_valid_files_are_read(void **state)
{
    static bytes b;
    cbe_tensor t;
    cbe_error err;
    gguf_head(&b, 0, 0);
    cbe_gguf *file = open_ok(write_file(state, &b));
    assert_int_equal(cbe_gguf_count(file), 0);
    cbe_gguf_close(file);

    b.data[4] = 2; // the version
    cbe_gguf_close(open_ok(write_file(state, &b)));

    gguf_head(&b, 2, 0); // a tensor without elements needs no data, not even padding
    gguf_info(&b, "empty", 0, 5, 0, 0);
    gguf_string(&b, "none"), bytes_u32(&b, 1), bytes_u64(&b, 0), bytes_u32(&b, 0), bytes_u64(&b, 0);
    file = open_ok(write_file(state, &b));
    cbe_assert_ok(cbe_gguf_tensor(file, "empty", &t, &err), &err);
    assert_int_equal(t.n_elements, 0);
    cbe_gguf_close(file);

    gguf_head(&b, 1, 0); // a scalar
    gguf_string(&b, "s"), bytes_u32(&b, 0), bytes_u32(&b, 28), bytes_u64(&b, 0);
    gguf_data(&b, 32, 8);
    file = open_ok(write_file(state, &b));
    cbe_assert_ok(cbe_gguf_tensor(file, "s", &t, &err), &err);
    assert_int_equal(t.dtype, CBE_F64);
    assert_int_equal(t.n_dims, 0);
    assert_int_equal(t.n_elements, 1);
    cbe_gguf_close(file);
}

/* Damaged files: one builder for each. */

#define DAMAGED(name) static void name(bytes *b)

DAMAGED(empty)
{
    b->size = 0;
}
DAMAGED(three_bytes)
{
    b->size = 0, bytes_text(b, "GGU");
}
DAMAGED(wrong_magic)
{
    b->size = 0, bytes_text(b, "GGML"), bytes_zeros(b, 60);
}
DAMAGED(lfs_pointer)
{
    b->size = 0, bytes_text(b, "version https://git-lfs.github.com/spec/v1\n");
}
DAMAGED(magic_only)
{
    b->size = 0, bytes_text(b, "GGUF");
}
DAMAGED(version_0)
{
    gguf_head(b, 0, 0), b->data[4] = 0;
}
DAMAGED(version_1)
{
    gguf_head(b, 0, 0), b->data[4] = 1;
}
DAMAGED(version_4)
{
    gguf_head(b, 0, 0), b->data[4] = 4;
}
DAMAGED(big_endian)
{
    gguf_head(b, 0, 0), memcpy(b->data + 4, "\0\0\0\3", 4);
}
DAMAGED(no_counts)
{
    gguf_head(b, 0, 0), b->size = 8;
}
DAMAGED(half_a_count)
{
    gguf_head(b, 0, 0), b->size = 20;
}
DAMAGED(tensors_2_40)
{
    gguf_head(b, UINT64_C(1) << 40, 0);
}
DAMAGED(tensors_2_64)
{
    gguf_head(b, UINT64_MAX, 0), bytes_zeros(b, 100);
}
DAMAGED(pairs_2_40)
{
    gguf_head(b, 0, UINT64_C(1) << 40), bytes_zeros(b, 100);
}
DAMAGED(pairs_2_64)
{
    gguf_head(b, 0, UINT64_MAX);
}
DAMAGED(pair_missing)
{
    gguf_head(b, 0, 1);
}

DAMAGED(key_past_end)
{
    gguf_head(b, 0, 1), bytes_u64(b, 100), bytes_zeros(b, 20);
}
DAMAGED(key_2_64)
{
    gguf_head(b, 0, 1), bytes_u64(b, UINT64_MAX), bytes_zeros(b, 20);
}
DAMAGED(type_13)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", 13), bytes_u32(b, 0);
}
DAMAGED(type_2_32)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", UINT32_MAX), bytes_u32(b, 0);
}
DAMAGED(value_cut)
{
    gguf_head(b, 0, 1), gguf_key(b, "key", U64), bytes_u32(b, 0);
}
DAMAGED(string_past_end)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", STRING), bytes_u64(b, 1);
}
DAMAGED(string_2_64)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", STRING), bytes_u64(b, UINT64_MAX - 7);
}
DAMAGED(bool_of_2)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", BOOL), bytes_u8(b, 2);
}
DAMAGED(array_type_13)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY), gguf_array(b, 13, 0);
}
DAMAGED(array_cut)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY), bytes_u32(b, U8);
}
DAMAGED(array_2_60)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY), gguf_array(b, U8, UINT64_C(1) << 60);
}
DAMAGED(array_of_u64_2_61)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY),
        gguf_array(b, U64, UINT64_C(1) << 61); // 2^64 bytes
}
DAMAGED(strings_2_61)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY), gguf_array(b, STRING, UINT64_C(1) << 61);
}
DAMAGED(arrays_2_62)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY), gguf_array(b, ARRAY, UINT64_C(1) << 62);
}
DAMAGED(array_one_short)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY), gguf_array(b, U16, 3), bytes_zeros(b, 5);
}
DAMAGED(string_in_array_past_end)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY), gguf_array(b, STRING, 2);
    gguf_string(b, "fits"), bytes_u64(b, 5), bytes_text(b, "four");
}
DAMAGED(strings_in_array_missing)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY), gguf_array(b, STRING, 2);
    gguf_string(b, "eats the second");
}
DAMAGED(inner_array_2_60)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY), gguf_array(b, ARRAY, 1);
    gguf_array(b, I32, UINT64_C(1) << 60);
}
DAMAGED(inner_array_missing)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY), gguf_array(b, ARRAY, 2);
    gguf_array(b, U8, 12), bytes_zeros(b, 12);
}
DAMAGED(arrays_too_deep)
{
    gguf_head(b, 0, 1), gguf_key(b, "k", ARRAY);
    for (int i = 0; i < 1000; i++) gguf_array(b, ARRAY, 1);
    gguf_array(b, U8, 0);
}
DAMAGED(duplicate_key)
{
    gguf_head(b, 0, 3);
    gguf_pair_u32(b, "twice", 1), gguf_pair_u32(b, "other", 1), gguf_pair_u32(b, "twice", 1);
}
DAMAGED(alignment_0)
{
    gguf_head(b, 0, 1), gguf_pair_u32(b, "general.alignment", 0);
}
DAMAGED(alignment_4)
{
    gguf_head(b, 0, 1), gguf_pair_u32(b, "general.alignment", 4);
}
DAMAGED(alignment_24)
{
    gguf_head(b, 0, 1), gguf_pair_u32(b, "general.alignment", 24);
}
DAMAGED(alignment_2_63)
{
    gguf_head(b, 0, 1), gguf_key(b, "general.alignment", U64), bytes_u64(b, UINT64_C(1) << 63);
}
DAMAGED(alignment_negative)
{
    gguf_head(b, 0, 1), gguf_key(b, "general.alignment", I32), bytes_u32(b, UINT32_MAX);
}
DAMAGED(alignment_string)
{
    gguf_head(b, 0, 1), gguf_key(b, "general.alignment", STRING), gguf_string(b, "32");
}

DAMAGED(name_past_end)
{
    gguf_head(b, 1, 0), bytes_u64(b, 1000), bytes_zeros(b, 50);
}
DAMAGED(name_2_64)
{
    gguf_head(b, 1, 0), bytes_u64(b, UINT64_MAX), bytes_zeros(b, 50);
}
DAMAGED(name_with_nul)
{
    gguf_head(b, 1, 0), bytes_u64(b, 3), bytes_put(b, "a\0b", 3), bytes_zeros(b, 40);
}
DAMAGED(dims_9)
{
    gguf_head(b, 1, 0), gguf_string(b, "w"), bytes_u32(b, 9), bytes_zeros(b, 200);
}
DAMAGED(dims_2_32)
{
    gguf_head(b, 1, 0), gguf_string(b, "w"), bytes_u32(b, UINT32_MAX), bytes_zeros(b, 200);
}
DAMAGED(dims_missing)
{
    gguf_head(b, 1, 0), gguf_string(b, "w"), bytes_u32(b, 8), bytes_zeros(b, 60);
}
DAMAGED(info_cut)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", 1, 1, 0, 0), b->size -= 1;
}
DAMAGED(infos_missing)
{
    gguf_head(b, 2, 0), gguf_info(b, "a name as long as a second tensor's info", 1, 1, 0, 0);
}
DAMAGED(dim_overflow)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", UINT64_C(1) << 63, 2, 0, 0), gguf_data(b, 32, 64);
}
DAMAGED(dim_overflow_then_0)
{
    gguf_head(b, 1, 0), gguf_string(b, "w"), bytes_u32(b, 3);
    bytes_u64(b, UINT64_C(1) << 63), bytes_u64(b, UINT64_C(1) << 63), bytes_u64(b, 0);
    bytes_u32(b, 0), bytes_u64(b, 0), gguf_data(b, 32, 64);
}
DAMAGED(byte_overflow)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", UINT64_C(1) << 61, 1, 28, 0), gguf_data(b, 32, 64);
}
DAMAGED(dim_2_60)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", UINT64_C(1) << 60, 1, 24, 0), gguf_data(b, 32, 64);
}
DAMAGED(part_of_a_block)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", 48, 2, 2, 0), gguf_data(b, 32, 64);
}
DAMAGED(scalar_block)
{
    gguf_head(b, 1, 0), gguf_string(b, "w"), bytes_u32(b, 0), bytes_u32(b, 8), bytes_u64(b, 0);
    gguf_data(b, 32, 64);
}
DAMAGED(unaligned)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", 4, 1, 0, 4), gguf_data(b, 32, 64);
}
DAMAGED(unaligned_for_its_file)
{
    gguf_head(b, 1, 1), gguf_pair_u32(b, "general.alignment", 64);
    gguf_info(b, "w", 4, 1, 0, 32), gguf_data(b, 64, 64);
}
DAMAGED(offset_past_end)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", 4, 1, 0, 96), gguf_data(b, 32, 64);
}
DAMAGED(offset_2_64)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", 4, 1, 0, UINT64_MAX - 31), gguf_data(b, 32, 64);
}
DAMAGED(unknown_type_past_end)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", 4, 1, 99, 96), gguf_data(b, 32, 64);
}
DAMAGED(data_past_end)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", 4, 5, 0, 0), gguf_data(b, 32, 79);
}
DAMAGED(data_missing)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", 4, 1, 0, 0);
}
DAMAGED(unread_type_past_end)
{
    gguf_head(b, 1, 0), gguf_info(b, "w", 256, 1, 12, 0), gguf_data(b, 32, 143);
}
DAMAGED(duplicate_name)
{
    gguf_head(b, 3, 0), gguf_info(b, "w", 4, 1, 0, 0), gguf_info(b, "v", 4, 1, 0, 32);
    gguf_info(b, "w", 4, 1, 0, 64), gguf_data(b, 32, 96);
}
DAMAGED(overlap_whole)
{
    gguf_head(b, 2, 0), gguf_info(b, "v", 4, 1, 0, 0), gguf_info(b, "w", 4, 1, 0, 0);
    gguf_data(b, 32, 96);
}
DAMAGED(overlap_part)
{
    gguf_head(b, 2, 0), gguf_info(b, "w", 4, 1, 0, 32), gguf_info(b, "v", 9, 1, 0, 0);
    gguf_data(b, 32, 96);
}
DAMAGED(overlap_around_empty)
{
    gguf_head(b, 3, 0), gguf_info(b, "v", 20, 1, 0, 0), gguf_info(b, "none", 0, 1, 0, 32);
    gguf_info(b, "w", 4, 1, 0, 64), gguf_data(b, 32, 96);
}

static void open__damaged_files_are_refused(void **state)
{
    enum { HEAD = 24 };
    static const struct {
        const char *what;
        void (*build)(bytes *b);
        cbe_status status;
        int64_t offset;
        const char *text;
    } cases[] = {
#define CASE(name, status, offset, text) {#name, name, CBE_ERR_##status, offset, text}
        CASE(empty, FORMAT, 0, "truncated"),
        CASE(three_bytes, FORMAT, 0, "truncated"),
        CASE(wrong_magic, FORMAT, 0, "not a GGUF file"),
        CASE(lfs_pointer, FORMAT, 0, "git lfs pull"),
        CASE(magic_only, FORMAT, 4, "the version"),
        CASE(version_0, UNSUPPORTED, 4, "version 0 cannot be read"),
        CASE(version_1, UNSUPPORTED, 4, "version 1 cannot be read"),
        CASE(version_4, UNSUPPORTED, 4, "version 4 cannot be read"),
        CASE(big_endian, UNSUPPORTED, 4, "big-endian"),
        CASE(no_counts, FORMAT, 8, "the number of tensors"),
        CASE(half_a_count, FORMAT, 16, "the number of metadata pairs"),
        CASE(tensors_2_40, FORMAT, 8, "1099511627776 tensors"),
        CASE(tensors_2_64, FORMAT, 8, "18446744073709551615 tensors"),
        CASE(pairs_2_40, FORMAT, 16, "1099511627776 metadata pairs"),
        CASE(pairs_2_64, FORMAT, 16, "18446744073709551615 metadata pairs"),
        CASE(pair_missing, FORMAT, 16, "1 metadata pairs"),
        CASE(key_past_end, FORMAT, HEAD, "a metadata key"),
        CASE(key_2_64, FORMAT, HEAD, "a metadata key"),
        CASE(type_13, FORMAT, HEAD, "'k' at byte 24 has unknown type 13"),
        CASE(type_2_32, FORMAT, HEAD, "unknown type 4294967295"),
        CASE(value_cut, FORMAT, HEAD + 15, "a metadata value"),
        CASE(string_past_end, FORMAT, HEAD + 13, "a metadata string"),
        CASE(string_2_64, FORMAT, HEAD + 13, "a metadata string"),
        CASE(bool_of_2, FORMAT, HEAD + 13, "a bool of value 2"),
        CASE(array_type_13, FORMAT, HEAD + 13, "array of unknown type 13"),
        CASE(array_cut, FORMAT, HEAD + 17, "an array's length"),
        CASE(array_2_60, FORMAT, HEAD + 13, "array of 1152921504606846976 u8 items"),
        CASE(array_of_u64_2_61, FORMAT, HEAD + 13, "array of 2305843009213693952 u64 items"),
        CASE(strings_2_61, FORMAT, HEAD + 13, "array of 2305843009213693952 string items"),
        CASE(arrays_2_62, FORMAT, HEAD + 13, "array of 4611686018427387904 array items"),
        CASE(array_one_short, FORMAT, HEAD + 13, "array of 3 u16 items"),
        CASE(string_in_array_past_end, FORMAT, HEAD + 37, "a string in an array"),
        CASE(strings_in_array_missing, FORMAT, HEAD + 48, "a string in an array"),
        CASE(inner_array_2_60, FORMAT, HEAD + 25, "array of 1152921504606846976 i32 items"),
        CASE(inner_array_missing, FORMAT, HEAD + 49, "an array's type"),
        CASE(arrays_too_deep, FORMAT, HEAD + 13 + 12 * 5, "nested more than 4 deep"),
        CASE(duplicate_key, FORMAT, HEAD + 59, "duplicate metadata 'twice'"),
        CASE(alignment_0, FORMAT, HEAD + 29, "'general.alignment' is 0, not a power of two"),
        CASE(alignment_4, FORMAT, HEAD + 29, "'general.alignment' is 4, not a power of two"),
        CASE(alignment_24, FORMAT, HEAD + 29, "'general.alignment' is 24, not a power of two"),
        CASE(alignment_2_63, FORMAT, HEAD + 29, "'general.alignment' is 9223372036854775808"),
        CASE(alignment_negative, FORMAT, HEAD + 29, "'general.alignment' is -1"),
        CASE(alignment_string, FORMAT, HEAD + 29, "of type string, expected an integer"),
        CASE(name_past_end, FORMAT, HEAD, "a tensor's name"),
        CASE(name_2_64, FORMAT, HEAD, "a tensor's name"),
        CASE(name_with_nul, FORMAT, HEAD, "contains NUL"),
        CASE(dims_9, FORMAT, HEAD, "'w': too many dimensions"),
        CASE(dims_2_32, FORMAT, HEAD, "'w': too many dimensions"),
        CASE(dims_missing, FORMAT, HEAD + 69, "a tensor's dimension"),
        CASE(info_cut, FORMAT, HEAD + 33, "a tensor's offset"),
        CASE(infos_missing, FORMAT, HEAD + 80, "a tensor's name"),
        CASE(dim_overflow, FORMAT, HEAD, "'w': the product of its dimensions overflows"),
        CASE(dim_overflow_then_0, FORMAT, HEAD, "'w': the product of its dimensions overflows"),
        CASE(byte_overflow, FORMAT, HEAD, "'w': the product of its dimensions overflows"),
        CASE(dim_2_60, FORMAT, HEAD, "'w': truncated"),
        CASE(part_of_a_block, FORMAT, HEAD, "'w': its rows are not whole blocks"),
        CASE(scalar_block, FORMAT, HEAD, "'w': its rows are not whole blocks"),
        CASE(unaligned, FORMAT, HEAD, "'w': its data is unaligned"),
        CASE(unaligned_for_its_file, FORMAT, HEAD + 33, "'w': its data is unaligned"),
        CASE(offset_past_end, FORMAT, HEAD, "'w': truncated"),
        CASE(offset_2_64, FORMAT, HEAD, "'w': truncated"),
        CASE(unknown_type_past_end, FORMAT, HEAD, "'w': truncated"),
        CASE(data_past_end, FORMAT, HEAD, "'w': truncated"),
        CASE(data_missing, FORMAT, HEAD, "'w': truncated"),
        CASE(unread_type_past_end, FORMAT, HEAD, "'w': truncated"),
        CASE(duplicate_name, FORMAT, HEAD + 82, "'w': duplicate name"),
        CASE(overlap_whole, FORMAT, HEAD + 41, "'w': its data overlaps that of 'v'"),
        CASE(overlap_part, FORMAT, HEAD, "'w': its data overlaps that of 'v'"),
        CASE(overlap_around_empty, FORMAT, HEAD + 85, "'w': its data overlaps that of 'v'"),
#undef CASE
    };
    static bytes b;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        cbe_gguf *file = NULL;
        cases[i].build(&b);
        const char *path = write_file(state, &b);
        const cbe_status st = cbe_gguf_open(&file, path, &err);
        if (st != cases[i].status || err.code != st || file)
            fail_msg("%s: %s, %s", cases[i].what, cbe_status_name(st), err.message);
        if (!strstr(err.message, path) || !strstr(err.message, cases[i].text))
            fail_msg("%s: '%s' does not say '%s'", cases[i].what, err.message, cases[i].text);
        if (err.offset != cases[i].offset)
            fail_msg("%s: byte %lld, expected %lld: %s", cases[i].what, (long long)err.offset,
                     (long long)cases[i].offset, err.message);
    }
}

static void open__missing_file_is_an_io_error(void **state)
{
    cbe_error err = {0};
    cbe_gguf *file = NULL;
    const char *path = temp_path(state, "absent");
    assert_int_equal(cbe_gguf_open(&file, path, &err), CBE_ERR_IO);
    assert_non_null(strstr(err.message, path));
    assert_null(file);
}

static void open__counts_that_fit_a_large_file_are_bounded_too(void **state)
{
    static const struct {
        uint64_t n_tensors, n_pairs;
        int64_t offset;
        const char *text;
    } cases[] = {
        {1000001, 0, 8, "1000001 tensors (byte 8), at most 1000000"},
        {0, 1000001, 16, "1000001 metadata pairs (byte 16), at most 1000000"},
    };
    static bytes b;
    for (size_t i = 0; i < 2; i++) {
        cbe_error err = {0};
        cbe_gguf *file = NULL;
        gguf_head(&b, cases[i].n_tensors, cases[i].n_pairs);
        const char *path = write_file(state, &b);
        assert_int_equal(truncate(path, 1 << 30), 0); // a hole: takes no room on the disk
        assert_int_equal(cbe_gguf_open(&file, path, &err), CBE_ERR_FORMAT);
        assert_non_null(strstr(err.message, cases[i].text));
        assert_int_equal(err.offset, cases[i].offset);
    }
}

/* Opens a file that may be damaged in any way and, when it opens, uses everything in it. */
static void visit(const char *path)
{
    cbe_error err = {.code = CBE_OK};
    cbe_gguf *file = NULL;
    const cbe_status st = cbe_gguf_open(&file, path, &err);
    if (st != CBE_OK) {
        assert_true(st == CBE_ERR_FORMAT || st == CBE_ERR_UNSUPPORTED);
        assert_int_equal(err.code, st);
        assert_non_null(strstr(err.message, path));
        assert_null(file);
        return;
    }
    cbe_span key;
    char value[32], name[64];
    for (size_t i = 0; cbe_gguf_describe(file, i, &key, value, sizeof value); i++) {
        cbe_span string, *strings;
        int64_t *ints;
        float *floats;
        size_t count;
        uint64_t u;
        double d;
        bool flag;
        if (key.length >= sizeof name) continue;
        if (key.length > 0) memcpy(name, key.data, key.length);
        name[key.length] = 0;
        cbe_gguf_uint(file, name, &u, &err);
        cbe_gguf_double(file, name, &d, &err);
        cbe_gguf_bool(file, name, &flag, &err);
        cbe_gguf_string(file, name, &string, &err);
        if (cbe_gguf_strings(file, name, &strings, &count, &err) == CBE_OK) {
            unsigned sum = 0; // reads every byte, for the sanitizer's sake
            for (size_t k = 0; k < count; k++)
                for (size_t n = 0; n < strings[k].length; n++)
                    sum += (unsigned char)strings[k].data[n];
            assert_true(sum < 255u * BYTES_CAPACITY);
            cbe_gguf_free_array(strings);
        }
        if (cbe_gguf_ints(file, name, &ints, &count, &err) == CBE_OK) cbe_gguf_free_array(ints);
        if (cbe_gguf_floats(file, name, &floats, &count, &err) == CBE_OK)
            cbe_gguf_free_array(floats);
    }
    for (size_t i = 0; i < cbe_gguf_count(file); i++) {
        cbe_tensor t;
        float values[256];
        if (cbe_gguf_tensor(file, cbe_gguf_name(file, i), &t, &err) != CBE_OK) continue;
        assert_true(t.n_elements <= sizeof values / sizeof *values);
        cbe_assert_ok(cbe_tensor_to_float(&t, 0, t.n_elements, values, &err), &err);
    }
    cbe_gguf_close(file);
}

static void open__no_damage_to_a_small_file_is_fatal(void **state)
{
    static bytes b;
    gguf_head(&b, 2, 4);
    gguf_key(&b, "s", STRING), gguf_string(&b, "text");
    gguf_key(&b, "a", ARRAY), gguf_array(&b, STRING, 2), gguf_string(&b, "b"), gguf_string(&b, "");
    gguf_key(&b, "n", ARRAY), gguf_array(&b, ARRAY, 1), gguf_array(&b, I16, 1), bytes_zeros(&b, 2);
    gguf_pair_u32(&b, "general.alignment", 8);
    gguf_info(&b, "x", 3, 2, 0, 0);
    gguf_info(&b, "q", 32, 2, 2, 24);
    const size_t header = b.size;
    gguf_data(&b, 8, 60);
    cbe_gguf_close(open_ok(write_file(state, &b)));
    bytes_visit_damaged(&b, temp_path(state, "mutant"), header, visit);

    build_valid(&b);
    bytes_visit_random(&b, temp_path(state, "mutant"), b.size - VALID_DATA, 5000, visit);
}

static void open__every_truncation_is_a_format_error(void **state)
{
    static bytes b;
    cbe_error err;
    const char *path = temp_path(state, "short");
    build_valid(&b);
    // The last tensor starts at 96; what is behind belongs to none.
    for (size_t size = 0; size < b.size - VALID_DATA + 96; size++) {
        cbe_gguf *file = NULL;
        temp_write(path, b.data, size);
        assert_int_equal(cbe_gguf_open(&file, path, &err), CBE_ERR_FORMAT);
        assert_true(err.offset >= 0 && err.offset <= (int64_t)size);
    }
}

static void open__every_failing_allocation_is_reported(void **state)
{
    const char *path = write_valid(state);
    cbe_error err = {0};
    cbe_status st = CBE_ERR_NOMEM;
    long n = 0;
    for (; st != CBE_OK && n < 100; n++) {
        cbe_gguf *file = NULL;
        cbe_memory_fail_after(n);
        st = cbe_gguf_open(&file, path, &err);
        cbe_memory_fail_after(-1);
        if (st != CBE_OK) {
            assert_int_equal(st, CBE_ERR_NOMEM);
            assert_null(file);
        }
        cbe_gguf_close(file);
    }
    assert_int_equal(st, CBE_OK);
    assert_true(n > 8); // file, path, two lists, two indexes, three names
}

static void arrays__failing_allocations_leave_the_outputs(void **state)
{
    cbe_span *spans = NULL;
    int64_t *ints = NULL;
    float *floats = NULL;
    size_t count = 42;
    cbe_error err = {0};
    cbe_gguf *file = open_ok(write_valid(state));
    cbe_memory_fail_after(0);
    const cbe_status a = cbe_gguf_strings(file, "strings", &spans, &count, &err);
    const cbe_status b = cbe_gguf_ints(file, "ints", &ints, &count, &err);
    const cbe_status c = cbe_gguf_floats(file, "floats", &floats, &count, &err);
    cbe_memory_fail_after(-1);
    assert_true(a == CBE_ERR_NOMEM && b == CBE_ERR_NOMEM && c == CBE_ERR_NOMEM);
    assert_true(!spans && !ints && !floats && count == 42);
    cbe_gguf_close(file);
}

static void golden__every_type_that_is_read_is_met_bit_for_bit(void **state)
{
    (void)state;
    /* The first thirteen are of expected.safetensors, the others of expected-blocks.safetensors. */
    enum { OTHERS = 13 };
    static const char *const types[] = {
        "f32",   "f16",   "bf16",  "q8_0",    "q4_0",   "q4_1",   "q5_0",    "q5_1",  "q2_k",
        "q3_k",  "q4_k",  "q5_k",  "q6_k",    "iq4_nl", "iq4_xs", "tq1_0",   "tq2_0", "mxfp4",
        "nvfp4", "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s",  "iq3_xxs", "iq3_s"};
    static const char *const names[] = {"rows.weight", "cube.weight"};
    cbe_error err;
    cbe_safetensors *files[2] = {NULL, NULL};
    const char *golden = CBE_TEST_DATA "/golden/gguf";
    char path[600], name[40];
    snprintf(path, sizeof path, "%s/expected.safetensors", golden);
    cbe_assert_ok(cbe_safetensors_open(&files[0], path, &err), &err);
    snprintf(path, sizeof path, "%s/expected-blocks.safetensors", golden);
    cbe_assert_ok(cbe_safetensors_open(&files[1], path, &err), &err);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const cbe_safetensors *expected = files[i >= OTHERS];
        snprintf(path, sizeof path, "%s/%s.gguf", golden, types[i]);
        cbe_gguf *file = open_ok(path);
        assert_int_equal(cbe_gguf_count(file), 2);
        for (size_t k = 0; k < 2; k++) {
            cbe_tensor got, want;
            float values[2560];
            snprintf(name, sizeof name, "%s.%s", types[i], names[k]);
            cbe_assert_ok(cbe_gguf_tensor(file, names[k], &got, &err), &err);
            cbe_assert_ok(cbe_safetensors_get(expected, name, &want, &err), &err);
            cbe_assert_ok(cbe_tensor_expect(&got, path, want.n_dims, want.dims, &err), &err);
            cbe_assert_ok(cbe_tensor_to_float(&got, 0, got.n_elements, values, &err), &err);
            assert_memory_equal(values, want.data, want.n_bytes);
        }
        cbe_gguf_close(file);
    }
    cbe_safetensors_close(files[0]);
    cbe_safetensors_close(files[1]);
}

static void tensor__type_that_is_not_read_is_named_when_asked_for(void **state)
{
    static bytes b;
    cbe_tensor t;
    cbe_error err = {0};
    gguf_head(&b, 1, 0);
    gguf_info(&b, "rows.weight", 32, 2, 9, 0); // q8_1
    gguf_data(&b, 32, 2 * 36);
    const char *path = write_file(state, &b);
    cbe_gguf *file = open_ok(path);
    assert_string_equal(cbe_gguf_type_name(file, 0), "q8_1");
    assert_int_equal(cbe_gguf_tensor(file, "rows.weight", &t, &err), CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, "'rows.weight' has type q8_1"));
    assert_non_null(strstr(err.message, "convert"));
    cbe_gguf_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uint__any_integer_type_that_is_not_negative),
        cmocka_unit_test(double__any_number_that_is_finite),
        cmocka_unit_test(bool_and_string__only_of_their_own_type),
        cmocka_unit_test(arrays__strings_integers_and_floats),
        cmocka_unit_test(describe__one_line_for_each_key_in_order),
        cmocka_unit_test(tensor__shape_is_reversed_and_data_found_by_alignment),
        cmocka_unit_test(tensor__missing_or_unknown_is_named),
        cmocka_unit_test(open__small_valid_files_are_read),
        cmocka_unit_test(open__damaged_files_are_refused),
        cmocka_unit_test(open__counts_that_fit_a_large_file_are_bounded_too),
        cmocka_unit_test(open__missing_file_is_an_io_error),
        cmocka_unit_test(open__no_damage_to_a_small_file_is_fatal),
        cmocka_unit_test(open__every_truncation_is_a_format_error),
        cmocka_unit_test(open__every_failing_allocation_is_reported),
        cmocka_unit_test(arrays__failing_allocations_leave_the_outputs),
        cmocka_unit_test(golden__every_type_that_is_read_is_met_bit_for_bit),
        cmocka_unit_test(tensor__type_that_is_not_read_is_named_when_asked_for),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
