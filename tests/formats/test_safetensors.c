/* Reading valid files exactly, and refusing each kind of damage with a message that can be used. */
#include "formats/safetensors.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/bytes.h"
#include "support/temp_folder.h"

/* A file of a header and data_size bytes of data that count 0, 1, 2, ... */
static void build(bytes *b, const char *header, size_t header_size, size_t data_size)
{
    b->size = 0;
    bytes_u64(b, header_size);
    bytes_put(b, header, header_size);
    for (size_t i = 0; i < data_size; i++) bytes_u8(b, (uint8_t)i);
}

static const char *write_file(void **state, const char *name, const char *header, size_t data_size)
{
    bytes b;
    const char *path = temp_path(state, name);
    build(&b, header, strlen(header), data_size);
    temp_write(path, b.data, b.size);
    return path;
}

static cbe_safetensors *open_ok(const char *path)
{
    cbe_error err;
    cbe_safetensors *file = NULL;
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    return file;
}

static const char valid[] =
    "{\"__metadata__\":{\"format\":\"pt\",\"quote\\\"\":\"\\u00e9\\n\"},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[8,16]},"
    "\"a\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
    "\"empty\":{\"dtype\":\"F64\",\"shape\":[3,0],\"data_offsets\":[8,8]},"
    "\"mask\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[16,19]},"
    "\"new\":{\"dtype\":\"F3_E1M1\",\"shape\":[8],\"data_offsets\":[19,22]}}   ";
enum { VALID_DATA = 22 };

static void open__lists_tensors_in_the_order_of_the_header(void **state)
{
    static const char *const names[] = {"b", "a", "empty", "mask", "new"};
    static const char *const dtypes[] = {"F32", "I64", "F64", "I8", "F3_E1M1"};
    static const size_t n_dims[] = {2, 0, 2, 1, 1};
    size_t n;
    const char *path = write_file(state, "valid", valid, VALID_DATA);
    cbe_safetensors *file = open_ok(path);
    assert_string_equal(cbe_safetensors_path(file), path);
    assert_int_equal(cbe_safetensors_count(file), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(cbe_safetensors_name(file, i), names[i]);
        assert_string_equal(cbe_safetensors_dtype_name(file, i), dtypes[i]);
        cbe_safetensors_shape(file, i, &n);
        assert_int_equal(n, n_dims[i]);
        assert_true(cbe_safetensors_has(file, names[i]));
    }
    assert_int_equal(cbe_safetensors_shape(file, 2, &n)[0], 3);
    assert_int_equal(cbe_safetensors_shape(file, 2, &n)[1], 0);
    assert_false(cbe_safetensors_has(file, "__metadata__"));
    assert_false(cbe_safetensors_has(file, ""));
    cbe_safetensors_close(file);
    cbe_safetensors_close(NULL);
}

static void open__takes_blanks_around_the_header(void **state)
{
    cbe_safetensors *file = open_ok(write_file(state, "blanks", " \t\r\n{} \n", 0));
    assert_int_equal(cbe_safetensors_count(file), 0);
    cbe_safetensors_close(file);
}

static void get__gives_dtype_shape_and_data(void **state)
{
    cbe_error err;
    cbe_tensor t;
    cbe_safetensors *file = open_ok(write_file(state, "valid", valid, VALID_DATA));
    cbe_assert_ok(cbe_safetensors_get(file, "b", &t, &err), &err);
    assert_string_equal(t.name, "b");
    assert_int_equal(t.dtype, CBE_F32);
    assert_int_equal(t.n_dims, 2);
    assert_int_equal(t.dims[0], 2);
    assert_int_equal(t.dims[1], 1);
    assert_int_equal(t.n_elements, 2);
    assert_int_equal(t.n_bytes, 8);
    assert_memory_equal(t.data, "\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", 8);
    cbe_assert_ok(cbe_safetensors_get(file, "a", &t, &err), &err);
    assert_int_equal(t.n_dims, 0);
    assert_int_equal(t.n_elements, 1);
    cbe_assert_ok(cbe_safetensors_get(file, "empty", &t, &err), &err);
    assert_int_equal(t.n_elements, 0);
    assert_int_equal(t.n_bytes, 0);
    cbe_safetensors_close(file);
}

static void metadata__values_are_unescaped_and_missing_ones_null(void **state)
{
    cbe_safetensors *file = open_ok(write_file(state, "valid", valid, VALID_DATA));
    assert_string_equal(cbe_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(cbe_safetensors_metadata(file, "quote\""), "\xc3\xa9\n");
    assert_null(cbe_safetensors_metadata(file, "absent"));
    cbe_safetensors_close(file);
    file = open_ok(write_file(state, "none", "{}", 0));
    assert_null(cbe_safetensors_metadata(file, "format"));
    assert_int_equal(cbe_safetensors_count(file), 0);
    cbe_safetensors_close(file);
}

static void get__dtype_that_is_not_read_is_named(void **state)
{
    cbe_error err = {0};
    cbe_tensor t = {.name = "untouched"};
    const char *path = write_file(state, "valid", valid, VALID_DATA);
    cbe_safetensors *file = open_ok(path);
    assert_int_equal(cbe_safetensors_get(file, "mask", &t, &err), CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, "'mask' has dtype I8"));
    assert_int_equal(err.offset, 8 + (strstr(valid, "\"mask\"") - valid));
    assert_int_equal(cbe_safetensors_get(file, "new", &t, &err), CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "F3_E1M1"));
    assert_string_equal(t.name, "untouched");
    cbe_safetensors_close(file);
}

static void open__elements_smaller_than_a_byte_are_counted_in_bits(void **state)
{
    cbe_error err = {0};
    cbe_tensor t;
    cbe_safetensors *file =
        open_ok(write_file(state, "bits",
                           "{\"a\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[0,3]},"
                           "\"b\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[3,6]}}",
                           6));
    assert_int_equal(cbe_safetensors_get(file, "a", &t, &err), CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "has dtype F4,"));
    assert_int_equal(cbe_safetensors_get(file, "b", &t, &err), CBE_ERR_UNSUPPORTED);
    cbe_safetensors_close(file);
}

static void get__missing_tensor_lists_what_there_is(void **state)
{
    cbe_error err = {0};
    cbe_tensor t;
    cbe_safetensors *file = open_ok(write_file(state, "valid", valid, VALID_DATA));
    assert_int_equal(cbe_safetensors_get(file, "c", &t, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "no tensor 'c'; the file has b, a, empty, mask, new"));
    cbe_safetensors_close(file);
    file = open_ok(write_file(state, "none", "{}", 0));
    assert_int_equal(cbe_safetensors_get(file, "c", &t, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "the file has none"));
    cbe_safetensors_close(file);
}

static void get__finds_each_of_hundreds_and_cuts_their_list(void **state)
{
    static char header[60000];
    static bytes b;
    cbe_error err = {0};
    cbe_tensor t;
    size_t used = 0;
    for (int i = 0; i < 200; i++) // names in no sorted order
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%c\"layer.%d\":{\"dtype\":\"F16\",\"shape\":[1],"
                                 "\"data_offsets\":[%d,%d]}",
                                 i ? ',' : '{', i * 37 % 200, 2 * i, 2 * i + 2);
    snprintf(header + used, sizeof header - used, "}");
    build(&b, header, strlen(header), 400);
    const char *path = temp_path(state, "many");
    temp_write(path, b.data, b.size);
    cbe_safetensors *file = open_ok(path);
    for (int i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof name, "layer.%d", i * 37 % 200);
        cbe_assert_ok(cbe_safetensors_get(file, name, &t, &err), &err);
        assert_memory_equal(t.data, b.data + b.size - 400 + 2 * i, 2);
    }
    assert_int_equal(cbe_safetensors_get(file, "layer.200", &t, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "layer.37"));
    assert_non_null(strstr(err.message, " more"));
    cbe_safetensors_close(file);
}

static void open__unaligned_header_is_read(void **state)
{
    cbe_error err;
    cbe_tensor t;
    float value[1];
    static const char header[] =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} ";
    for (size_t cut = 0; cut < 2; cut++) {
        bytes b;
        build(&b, header, sizeof header - 1 - cut, 4);
        temp_write(temp_path(state, "odd"), b.data, b.size);
        cbe_safetensors *file = open_ok(temp_path(state, "odd"));
        cbe_assert_ok(cbe_safetensors_get(file, "a", &t, &err), &err);
        cbe_assert_ok(cbe_tensor_to_float(&t, 0, 1, value, &err), &err);
        assert_memory_equal(value, "\0\1\2\3", 4);
        cbe_safetensors_close(file);
    }
}

static void open__missing_file_is_an_io_error(void **state)
{
    cbe_error err = {0};
    cbe_safetensors *file = NULL;
    const char *path = temp_path(state, "absent");
    assert_int_equal(cbe_safetensors_open(&file, path, &err), CBE_ERR_IO);
    assert_non_null(strstr(err.message, path));
    assert_null(file);
}

/* Asserts the error of a damaged file: its code, the byte, the file's name, and a part of the
 * text. */
static void check_refused(const char *what, const char *path, int64_t offset, const char *text)
{
    cbe_error err = {0};
    cbe_safetensors *file = NULL;
    const cbe_status st = cbe_safetensors_open(&file, path, &err);
    if (st != CBE_ERR_FORMAT || err.code != st || file)
        fail_msg("%s: %s, %s", what, cbe_status_name(st), err.message);
    if (!strstr(err.message, path) || !strstr(err.message, text))
        fail_msg("%s: '%s' does not say '%s'", what, err.message, text);
    if (err.offset != offset)
        fail_msg("%s: byte %lld, expected %lld: %s", what, (long long)err.offset, (long long)offset,
                 err.message);
}

#define T(fields) "{\"a\":{" fields "}}"

static void open__damaged_headers_are_refused(void **state)
{
    static const struct {
        const char *what, *header;
        size_t data;
        int64_t offset;
        const char *text;
    } cases[] = {
        {"empty header", "", 0, 8, "does not start with '{'"},
        {"array", "[]", 0, 8, "does not start with '{'"},
        {"string", "\"a\"", 0, 8, "does not start with '{'"},
        {"nothing but blanks", " \n ", 0, 8, "does not start with '{'"},
        {"a mark before", "\xef\xbb\xbf{}", 0, 8, "does not start with '{'"},
        {"object not closed", "{", 0, 9, "not valid JSON"},
        {"text behind", "{}x", 0, 10, "not valid JSON"},
        {"second object", "{}{}", 0, 10, "not valid JSON"},
        {"invalid UTF-8", "{\"\xff\":1}", 0, 10, "not valid JSON"},
        {"NUL in a name", "{\"a\\u0000b\":{}}", 0, 8, "NUL"},
        {"duplicate names",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
         0, 9, "twice"},
        {"duplicate fields", T("\"dtype\":\"F32\",\"dtype\":\"F64\",\"shape\":[0]"), 0, 9, "twice"},
        {"metadata is a string", "{\"__metadata__\":\"x\"}", 0, 9, "__metadata__ is not an object"},
        {"metadata holds a number", "{\"__metadata__\":{\"k\":1}}", 0, 9, "'k' is not a string"},
        {"entry is a number", "{\"a\":1}", 0, 9, "not an object"},
        {"entry is an array", "{\"a\":[]}", 0, 9, "not an object"},
        {"entry is null", "{\"a\":null}", 0, 9, "not an object"},
        {"no dtype", T("\"shape\":[1],\"data_offsets\":[0,4]"), 4, 9, "'dtype'"},
        {"dtype is a number", T("\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]"), 4, 9,
         "'dtype'"},
        {"no shape", T("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, 9,
         "'shape' is not an array"},
        {"shape is a number", T("\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]"), 4, 9,
         "'shape' is not an array"},
        {"shape is an object", T("\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,4]"), 4, 9,
         "'shape' is not an array"},
        {"negative dimension", T("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4, 9,
         "other than sizes"},
        {"fractional dimension", T("\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]"), 4,
         9, "other than sizes"},
        {"dimension with exponent", T("\"dtype\":\"F32\",\"shape\":[1e0],\"data_offsets\":[0,4]"),
         4, 9, "other than sizes"},
        {"dimension is a string", T("\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]"),
         4, 9, "other than sizes"},
        {"dimension is null", T("\"dtype\":\"F32\",\"shape\":[null],\"data_offsets\":[0,4]"), 4, 9,
         "other than sizes"},
        {"dimension is true", T("\"dtype\":\"F32\",\"shape\":[true],\"data_offsets\":[0,4]"), 4, 9,
         "other than sizes"},
        {"dimension is an array", T("\"dtype\":\"F32\",\"shape\":[[1]],\"data_offsets\":[0,4]"), 4,
         9, "other than sizes"},
        {"dimension of 2^63",
         T("\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]"), 4, 9,
         "overflows"},
        {"dimension of 1e999", T("\"dtype\":\"F32\",\"shape\":[1e999],\"data_offsets\":[0,4]"), 4,
         9, "other than sizes"},
        {"product of 2^64",
         T("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]"), 4, 9,
         "overflows"},
        {"product of 2^65 with a zero behind",
         T("\"dtype\":\"F32\",\"shape\":[4294967296,8589934592,0],\"data_offsets\":[0,0]"), 0, 9,
         "overflows"},
        {"bytes of 2^64",
         T("\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,4]"), 4, 9,
         "overflows"},
        {"nine dimensions",
         T("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4, 9,
         "too many dimensions"},
        {"no offsets", T("\"dtype\":\"F32\",\"shape\":[1]"), 4, 9, "'data_offsets' is not a pair"},
        {"one offset", T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 4, 9,
         "'data_offsets' is not a pair"},
        {"three offsets", T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]"), 4, 9,
         "'data_offsets' is not a pair"},
        {"negative offset", T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]"), 4, 9,
         "'data_offsets' is not a pair"},
        {"fractional offset", T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]"), 4, 9,
         "'data_offsets' is not a pair"},
        {"offsets swapped", T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4, 9,
         "end before they begin"},
        {"end past the file", T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 4, 66,
         "download it again"},
        {"end of 2^63 - 1",
         T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]"), 4, 84,
         "truncated"},
        {"no data at all", T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 0, 62,
         "truncated"},
        {"more elements than bytes", T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4,
         9, "2 elements of F32 are not the 4 bytes"},
        {"fewer elements than bytes", T("\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]"),
         4, 9, "1 elements of F16 are not the 4 bytes"},
        {"scalar of two", T("\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,8]"), 8, 9,
         "1 elements of F32"},
        {"zero dimension with data", T("\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,4]"), 4,
         9, "0 elements of F32"},
        {"sizes are checked for dtypes not read",
         T("\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,4]"), 4, 9, "3 elements of U8"},
        {"half a byte", T("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]"), 1, 9,
         "3 elements of F4"},
        {"same bytes twice",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, 115, "overlaps"},
        {"partial overlap",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
         12, 120, "'b' overlaps 'a'"},
        {"empty tensor inside another",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}",
         8, 119, "'b' overlaps 'a'"},
        {"hole at the start", T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 8, 62,
         "a hole of 4 bytes before tensor 'a'"},
        {"hole between",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
         12, 120, "a hole of 4 bytes before tensor 'b'"},
        {"bytes behind", T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 5, 66,
         "1 bytes behind the last tensor"},
        {"bytes without tensors", "{}", 1, 10, "1 bytes behind the last tensor"},
        {"unaligned F32",
         "{\"m\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}}",
         5, 61, "'a': its data is unaligned"},
        {"unaligned F64",
         "{\"m\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[4,12]}}",
         12, 62, "'a': its data is unaligned"},
        {"name in the metadata, too", "{\"__metadata__\":{\"x\":\"a\",\"y\" : \"\"},\"a\" :{}}", 0,
         43, "'a': 'dtype'"},
        {"name with an escape", "{\"a\\u0041\":{}}", 0, 8, "'aA': 'dtype'"},
        {"name with a line break", "{\"a\\nb\":{}}", 0, 8, "'a?b': 'dtype'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(cases[i].what, write_file(state, "damaged", cases[i].header, cases[i].data),
                      cases[i].offset, cases[i].text);
}

static void open__wrong_header_lengths_are_refused(void **state)
{
    static const struct {
        const char *what;
        uint64_t length;
        size_t size; /* of the file: this many bytes of length and "{}" */
        int64_t offset;
        const char *text;
    } cases[] = {
        {"empty file", 2, 0, 0, "truncated: 0 bytes"},
        {"file of 7 bytes", 2, 7, 7, "truncated: 7 bytes"},
        {"length only", 2, 8, 8, "truncated: header of 2 bytes"},
        {"one byte short", 2, 9, 9, "truncated: header of 2 bytes"},
        {"longer than the file", 3, 10, 10, "truncated: header of 3 bytes"},
        {"100 MB, the limit", 100000000, 10, 10, "truncated: header of 100000000 bytes"},
        {"more than the limit", 100000001, 10, 0, "at most 100000000"},
        {"2 GB", 2147483648u, 10, 0, "at most 100000000"},
        {"2^63", UINT64_C(1) << 63, 10, 0, "at most 100000000"},
        {"2^64 - 8", UINT64_MAX - 7, 10, 0, "at most 100000000"},
        {"2^64 - 1", UINT64_MAX, 10, 0, "at most 100000000"},
    };
    const char *path = temp_path(state, "length");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = {.size = 0};
        bytes_u64(&b, cases[i].length);
        bytes_text(&b, "{}");
        temp_write(path, b.data, cases[i].size);
        check_refused(cases[i].what, path, cases[i].offset, cases[i].text);
    }
}

static void open__deep_nesting_is_refused(void **state)
{
    static char header[8000];
    memset(header, '[', 5000);
    memcpy(header, "{\"a\":", 5);
    check_refused("deep nesting", write_file(state, "deep", header, 0), 8 + 5000, "not valid JSON");
}

/* The reference takes null as no metadata, the last of equal keys, and NUL in values. */
static void open__metadata_is_read_as_the_reference_does(void **state)
{
    static const char *const headers[] = {"{\"__metadata__\":null}",
                                          "{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}",
                                          "{\"__metadata__\":{\"k\":\"x\\u0000\"}}"};
    static const char *const want[] = {NULL, "2", "x"};
    for (size_t i = 0; i < 3; i++) {
        cbe_error err;
        cbe_safetensors *file = NULL;
        const char *path = write_file(state, "metadata", headers[i], 0);
        cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
        assert_int_equal(cbe_safetensors_count(file), 0);
        const char *value = cbe_safetensors_metadata(file, "k");
        assert_true(want[i] ? strcmp(value, want[i]) == 0 : !value);
        cbe_safetensors_close(file);
    }
}

static void open__git_lfs_pointer_is_recognised(void **state)
{
    const char *path = temp_path(state, "pointer");
    const char text[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    temp_write(path, text, sizeof text - 1);
    check_refused("pointer", path, 0, "git lfs pull");
}

static void open__long_names_leave_room_for_the_reason(void **state)
{
    static char header[9000];
    cbe_tensor t;
    cbe_error err = {0};
    char name[4001];
    memset(name, 'n', 4000);
    name[4000] = 0;
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"F32\",\"shape\":7}}", name);
    check_refused("long name", write_file(state, "long", header, 0), 9, "'shape' is not an array");
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", name);
    cbe_safetensors *file = open_ok(write_file(state, "long", header, 0));
    cbe_assert_ok(cbe_safetensors_get(file, name, &t, &err), &err);
    assert_int_equal(cbe_safetensors_get(file, "x", &t, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "the file has 1 more"));
    cbe_safetensors_close(file);
}

/* Opens a file that may be damaged in any way and, when it opens, uses everything in it. */
static void visit(const char *path)
{
    cbe_error err = {.code = CBE_OK};
    cbe_safetensors *file = NULL;
    const cbe_status st = cbe_safetensors_open(&file, path, &err);
    if (st != CBE_OK) {
        assert_int_equal(st, CBE_ERR_FORMAT);
        assert_int_equal(err.code, st);
        assert_non_null(strstr(err.message, path));
        assert_null(file);
        return;
    }
    for (size_t i = 0; i < cbe_safetensors_count(file); i++) {
        cbe_tensor t;
        size_t n_dims;
        float values[64];
        cbe_safetensors_shape(file, i, &n_dims);
        assert_true(n_dims <= CBE_MAX_DIMS);
        if (cbe_safetensors_get(file, cbe_safetensors_name(file, i), &t, &err) != CBE_OK) continue;
        assert_true(t.n_elements <= VALID_DATA);
        if (cbe_tensor_to_float(&t, 0, t.n_elements, values, &err) != CBE_OK)
            assert_int_equal(err.code, CBE_ERR_UNSUPPORTED); /* a type of ids */
    }
    cbe_safetensors_close(file);
}

static void open__no_damage_to_a_small_file_is_fatal(void **state)
{
    static bytes b;
    build(&b, valid, sizeof valid - 1, VALID_DATA);
    bytes_visit_damaged(&b, temp_path(state, "mutant"), b.size - VALID_DATA, visit);
    bytes_visit_random(&b, temp_path(state, "mutant"), b.size - VALID_DATA, 5000, visit);
}

static void open__every_truncation_is_a_format_error(void **state)
{
    static bytes b;
    cbe_error err;
    const char *path = temp_path(state, "short");
    build(&b, valid, sizeof valid - 1, VALID_DATA);
    for (size_t size = 0; size < b.size; size++) {
        cbe_safetensors *file = NULL;
        temp_write(path, b.data, size);
        assert_int_equal(cbe_safetensors_open(&file, path, &err), CBE_ERR_FORMAT);
        assert_true(err.offset >= 0 && err.offset <= (int64_t)size);
    }
}

static void open__every_failing_allocation_is_reported(void **state)
{
    const char *path = write_file(state, "memory", valid, VALID_DATA);
    cbe_error err = {0};
    cbe_status st = CBE_ERR_NOMEM;
    long n = 0;
    for (; st != CBE_OK && n < 100; n++) {
        cbe_safetensors *file = NULL;
        cbe_memory_fail_after(n);
        st = cbe_safetensors_open(&file, path, &err);
        cbe_memory_fail_after(-1);
        if (st != CBE_OK) {
            assert_int_equal(st, CBE_ERR_NOMEM);
            assert_null(file);
        }
        cbe_safetensors_close(file);
    }
    assert_int_equal(st, CBE_OK);
    assert_true(n > 3);
}

static void open__golden_file_is_read(void **state)
{
    (void)state;
    cbe_safetensors *file = open_ok(CBE_TEST_DATA "/golden/gguf/expected.safetensors");
    cbe_error err;
    cbe_tensor t;
    const size_t rows[] = {5, 512}, cube[] = {2, 3, 256};
    assert_int_equal(cbe_safetensors_count(file), 26);
    cbe_assert_ok(cbe_safetensors_get(file, "q8_0.rows.weight", &t, &err), &err);
    cbe_assert_ok(cbe_tensor_expect(&t, cbe_safetensors_path(file), 2, rows, &err), &err);
    cbe_assert_ok(cbe_safetensors_get(file, "f32.cube.weight", &t, &err), &err);
    cbe_assert_ok(cbe_tensor_expect(&t, cbe_safetensors_path(file), 3, cube, &err), &err);
    cbe_safetensors_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open__lists_tensors_in_the_order_of_the_header),
        cmocka_unit_test(open__takes_blanks_around_the_header),
        cmocka_unit_test(get__gives_dtype_shape_and_data),
        cmocka_unit_test(metadata__values_are_unescaped_and_missing_ones_null),
        cmocka_unit_test(get__dtype_that_is_not_read_is_named),
        cmocka_unit_test(open__elements_smaller_than_a_byte_are_counted_in_bits),
        cmocka_unit_test(get__missing_tensor_lists_what_there_is),
        cmocka_unit_test(get__finds_each_of_hundreds_and_cuts_their_list),
        cmocka_unit_test(open__unaligned_header_is_read),
        cmocka_unit_test(open__missing_file_is_an_io_error),
        cmocka_unit_test(open__damaged_headers_are_refused),
        cmocka_unit_test(open__wrong_header_lengths_are_refused),
        cmocka_unit_test(open__deep_nesting_is_refused),
        cmocka_unit_test(open__metadata_is_read_as_the_reference_does),
        cmocka_unit_test(open__git_lfs_pointer_is_recognised),
        cmocka_unit_test(open__long_names_leave_room_for_the_reason),
        cmocka_unit_test(open__no_damage_to_a_small_file_is_fatal),
        cmocka_unit_test(open__every_truncation_is_a_format_error),
        cmocka_unit_test(open__every_failing_allocation_is_reported),
        cmocka_unit_test(open__golden_file_is_read),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
