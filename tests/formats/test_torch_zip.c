/*
 * Reading what torch.save writes (tests/golden/torch): every way in which it has written a state
 * dict, and hostile files, none of which may be read or run; writing, and that a file so written is
 * what PyTorch maps.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

#include "formats/safetensors.h"
#include "core/memory.h"
#include "formats/pickle_tensors.h"
#include "formats/torch_zip.h"
#include "support/assert_close.h"
#include "support/golden.h"
#include "support/temp_folder.h"

static cbe_error err;

/* All that torch.save has written, in PyTorch 1.6 or later; the first is read in other tests
 * too. */
static const char *const good[] = {
    "plain",
    "dict",
    "protocol3",
    "protocol4",
    "protocol5",
    "parameters",
    "float64",
    "float16",
    "bfloat16",
    "transposed",
    "columns",
    "shared",
    "every_second",
    "no_byteorder",
    "pytorch_1_6",
    "no_crc",
    "named_after_its_file",
};

static const struct {
    const char *name;
    cbe_status status;
    const char *message; /* part of it */
} bad[] = {
    {"big_endian", CBE_ERR_UNSUPPORTED, "was written on a big-endian machine"},
    {"binstring", CBE_ERR_FORMAT, "refused: opcode BINSTRING "},
    {"buffer", CBE_ERR_FORMAT, "refused: opcode NEXT_BUFFER "},
    {"build_dict", CBE_ERR_FORMAT, "refused: BUILD of something other than an OrderedDict"},
    {"build_state", CBE_ERR_FORMAT, "refused: BUILD with a state other than '_metadata'"},
    {"build_tensor", CBE_ERR_FORMAT, "refused: BUILD of something other than an OrderedDict"},
    {"build_tuple", CBE_ERR_FORMAT, "refused: BUILD with a state that is no dict"},
    {"builtins_eval", CBE_ERR_FORMAT, "refused: the pickle names 'builtins.eval'"},
    {"builtins_exec_by_stack_global", CBE_ERR_FORMAT, "refused: the pickle names 'builtins.exec'"},
    {"builtins_getattr", CBE_ERR_FORMAT, "refused: the pickle names 'builtins.getattr'"},
    {"bytearray", CBE_ERR_FORMAT, "refused: opcode BYTEARRAY8 "},
    {"bytes", CBE_ERR_FORMAT, "refused: opcode SHORT_BINBYTES "},
    {"bytes_behind", CBE_ERR_FORMAT, "bytes behind the pickle's end"},
    {"codecs_encode", CBE_ERR_FORMAT, "refused: the pickle names '_codecs.encode'"},
    {"compressed_pickle", CBE_ERR_FORMAT, "entry 'archive/data.pkl' is compressed"},
    {"compressed_storage", CBE_ERR_FORMAT, "entry 'archive/data/0' is compressed"},
    {"data_damaged", CBE_ERR_FORMAT, "'0.weight' is truncated or damaged"},
    {"dict_in_itself", CBE_ERR_FORMAT, "entry 'x' is a dict, a state dict holds tensors only"},
    {"dotted_name", CBE_ERR_FORMAT,
     "refused: the pickle names 'collections.OrderedDict.__init__.__globals__'"},
    {"doubled_tuples", CBE_ERR_FORMAT,
     "entry '0.weight' is a tuple, a state dict holds tensors only"},
    {"dup", CBE_ERR_FORMAT, "refused: opcode DUP "},
    {"empty", CBE_ERR_FORMAT, "not a pickle of protocol 2 or later"},
    {"empty_file", CBE_ERR_FORMAT, "is not a zip archive, as torch.save writes"},
    {"entry_is_a_number", CBE_ERR_FORMAT,
     "entry '0.weight' is an integer, a state dict holds tensors only"},
    {"entry_is_a_storage", CBE_ERR_FORMAT,
     "entry '0.weight' is a storage, a state dict holds tensors only"},
    {"expanded", CBE_ERR_FORMAT, "more elements than the file has bytes"},
    {"ext1", CBE_ERR_FORMAT, "refused: opcode EXT1 "},
    {"ext2", CBE_ERR_FORMAT, "refused: opcode EXT2 "},
    {"ext4", CBE_ERR_FORMAT, "refused: opcode EXT4 "},
    {"float", CBE_ERR_FORMAT, "refused: opcode BINFLOAT "},
    {"frame_too_long", CBE_ERR_FORMAT, "truncated: a frame is longer than the pickle"},
    {"frozenset", CBE_ERR_FORMAT, "refused: opcode FROZENSET "},
    {"get", CBE_ERR_FORMAT, "refused: opcode GET "},
    {"git_lfs", CBE_ERR_FORMAT,
     "is a Git LFS pointer, not the data: run 'git lfs pull' in its folder"},
    {"global_without_end", CBE_ERR_FORMAT, "truncated: the pickle ends inside an opcode"},
    {"id_is_text", CBE_ERR_FORMAT,
     "a persistent id is not ('storage', type, key, device, number of elements)"},
    {"id_of_a_function", CBE_ERR_FORMAT,
     "a persistent id is not ('storage', type, key, device, number of elements)"},
    {"id_of_a_number", CBE_ERR_FORMAT,
     "a persistent id is not ('storage', type, key, device, number of elements)"},
    {"id_of_another_tag", CBE_ERR_FORMAT,
     "a persistent id is not ('storage', type, key, device, number of elements)"},
    {"id_too_short", CBE_ERR_FORMAT,
     "a persistent id is not ('storage', type, key, device, number of elements)"},
    {"importlib", CBE_ERR_FORMAT, "refused: the pickle names 'importlib.import_module'"},
    {"inst", CBE_ERR_FORMAT, "refused: opcode INST "},
    {"items_of_a_tuple", CBE_ERR_FORMAT, "items are set of something that is no dict"},
    {"key_alone", CBE_ERR_FORMAT, "a key without a value"},
    {"key_is_a_number", CBE_ERR_FORMAT,
     "a key of its pickle is not a string of 1 to 256 characters without blanks"},
    {"key_with_a_zero", CBE_ERR_FORMAT,
     "a key of its pickle is not a string of 1 to 256 characters without blanks"},
    {"larger_than_its_file", CBE_ERR_FORMAT,
     "entries of the archive overlap, or are larger than the file"},
    {"legacy", CBE_ERR_UNSUPPORTED,
     "format from before 1.6; save it again with a newer one: torch.save(torch.load("},
    {"list", CBE_ERR_FORMAT, "refused: opcode EMPTY_LIST "},
    {"long4", CBE_ERR_FORMAT, "refused: opcode LONG4 "},
    {"long_of_9_bytes", CBE_ERR_FORMAT, "an integer of more than 64 bits"},
    {"long_unicode", CBE_ERR_FORMAT, "refused: opcode BINUNICODE8 "},
    {"many_marks", CBE_ERR_FORMAT, "the pickle does not end with one value"},
    {"memo_empty", CBE_ERR_FORMAT, "nothing was put where the memo is read"},
    {"memo_huge", CBE_ERR_FORMAT, "an index of the memo is larger than the pickle"},
    {"memo_of_nothing", CBE_ERR_FORMAT, "an opcode takes a value from an empty stack"},
    {"nested_dicts", CBE_ERR_FORMAT, "entry '0.weight' is a dict, a state dict holds tensors only"},
    {"nested_tuples", CBE_ERR_FORMAT, "holds a tuple, not a state dict of tensors"},
    {"newobj", CBE_ERR_FORMAT, "refused: opcode NEWOBJ "},
    {"newobj_ex", CBE_ERR_FORMAT, "refused: opcode NEWOBJ_EX "},
    {"no_dict", CBE_ERR_FORMAT, "holds a tensor, not a state dict of tensors"},
    {"no_mark", CBE_ERR_FORMAT, "an opcode needs a mark, and there is none"},
    {"no_pickle", CBE_ERR_FORMAT, "has no data.pkl: not a file that torch.save wrote"},
    {"no_stop", CBE_ERR_FORMAT, "truncated: the pickle ends inside an opcode"},
    {"no_value", CBE_ERR_FORMAT, "the pickle does not end with one value"},
    {"not_zip", CBE_ERR_FORMAT, "is not a zip archive, as torch.save writes"},
    {"numpy_reconstruct", CBE_ERR_FORMAT,
     "refused: the pickle names 'numpy.core.multiarray._reconstruct'"},
    {"obj", CBE_ERR_FORMAT, "refused: opcode OBJ "},
    {"offset_huge", CBE_ERR_FORMAT,
     "tensor '0.weight' leaves its storage: its last element is number 9223372036854775807 + 8, "
     "the storage has 9"},
    {"offset_negative", CBE_ERR_FORMAT,
     "tensor '0.weight': a negative offset or length of its storage"},
    {"offset_out", CBE_ERR_FORMAT,
     "tensor '0.weight' leaves its storage: its last element is number 1 + 8, the storage has 9"},
    {"open_mark", CBE_ERR_FORMAT, "the pickle does not end with one value"},
    {"ordered_dict_of_items", CBE_ERR_FORMAT, "OrderedDict with arguments"},
    {"os_system", CBE_ERR_FORMAT, "refused: the pickle names 'os.system'"},
    {"overlapping", CBE_ERR_FORMAT, "entries of the archive overlap, or are larger than the file"},
    {"parameter_of_a_string", CBE_ERR_FORMAT, "_rebuild_parameter with wrong arguments"},
    {"persid", CBE_ERR_FORMAT, "refused: opcode PERSID "},
    {"pickle_damaged", CBE_ERR_FORMAT, "'data.pkl' is truncated or damaged"},
    {"pop", CBE_ERR_FORMAT, "refused: opcode POP "},
    {"pop_mark", CBE_ERR_FORMAT, "refused: opcode POP_MARK "},
    {"posix_system", CBE_ERR_FORMAT, "refused: the pickle names 'posix.system'"},
    {"protocol_0", CBE_ERR_FORMAT, "not a pickle of protocol 2 or later"},
    {"protocol_6", CBE_ERR_FORMAT, "the pickle's protocol is not one of 2 to 5"},
    {"protocol_later", CBE_ERR_FORMAT, "PROTO stands elsewhere than at the start"},
    {"python2_builtin", CBE_ERR_FORMAT, "refused: the pickle names '__builtin__.eval'"},
    {"rebuild_from_type", CBE_ERR_FORMAT,
     "refused: the pickle names 'torch._tensor._rebuild_from_type_v2'"},
    {"rebuild_tensor_v3", CBE_ERR_FORMAT,
     "refused: the pickle names 'torch._utils._rebuild_tensor_v3'"},
    {"reduce_no_tuple", CBE_ERR_FORMAT, "REDUCE without a tuple of arguments"},
    {"reduce_storage", CBE_ERR_FORMAT, "refused: REDUCE calls torch.FloatStorage"},
    {"reduce_string", CBE_ERR_FORMAT, "refused: REDUCE calls a string"},
    {"reduce_tensor", CBE_ERR_FORMAT, "refused: REDUCE calls a tensor"},
    {"runpy", CBE_ERR_FORMAT, "refused: the pickle names 'runpy._run_code'"},
    {"set", CBE_ERR_FORMAT, "refused: opcode EMPTY_SET "},
    {"shared_by_many", CBE_ERR_FORMAT, "more elements than the file has bytes"},
    {"size_negative", CBE_ERR_FORMAT,
     "tensor '0.weight': a size or stride that is negative or no integer"},
    {"size_of_text", CBE_ERR_FORMAT,
     "tensor '0.weight': a size or stride that is negative or no integer"},
    {"size_overflows", CBE_ERR_FORMAT, "tensor '0.weight': its size or strides overflow"},
    {"spread", CBE_ERR_FORMAT,
     "tensor '0.weight' is spread over 2000 elements of its storage: save it with .contiguous()"},
    {"stack_global_of_numbers", CBE_ERR_FORMAT, "STACK_GLOBAL needs two strings"},
    {"storage_huge", CBE_ERR_FORMAT,
     "tensor '0.weight': its storage has 36 bytes, its pickle says 4611686018427387904 elements of "
     "4"},
    {"storage_missing", CBE_ERR_FORMAT, "has no entry 'archive/data/1'"},
    {"storage_negative", CBE_ERR_FORMAT,
     "tensor '0.weight': a negative offset or length of its storage"},
    {"storage_of_another_folder", CBE_ERR_FORMAT,
     "tensor '0.weight': '../data.pkl' cannot be the key of a storage"},
    {"storage_of_doubles_too_short", CBE_ERR_FORMAT,
     "tensor '0.weight': its storage has 36 bytes, its pickle says 9 elements of 8"},
    {"storage_of_integers", CBE_ERR_UNSUPPORTED,
     "tensor '0.weight' is a LongStorage: convert it to float32, float64, float16 or bfloat16"},
    {"storage_too_short", CBE_ERR_FORMAT,
     "tensor '0.weight': its storage has 35 bytes, its pickle says 9 elements of 4"},
    {"storage_untyped", CBE_ERR_UNSUPPORTED,
     "tensor '0.weight' is a UntypedStorage: convert it to float32, float64, float16 or bfloat16"},
    {"stride_negative", CBE_ERR_FORMAT,
     "tensor '0.weight': a size or stride that is negative or no integer"},
    {"stride_out", CBE_ERR_FORMAT,
     "tensor '0.weight' leaves its storage: its last element is number 0 + 10, the storage has 9"},
    {"stride_overflows", CBE_ERR_FORMAT, "tensor '0.weight': its size or strides overflow"},
    {"strides_too_few", CBE_ERR_FORMAT, "tensor '0.weight': 2 dimensions and 1 strides"},
    {"subprocess_popen", CBE_ERR_FORMAT, "refused: the pickle names 'subprocess.Popen'"},
    {"tar", CBE_ERR_UNSUPPORTED,
     "format from before 1.6; save it again with a newer one: torch.save(torch.load("},
    {"tensor_of_a_tuple", CBE_ERR_FORMAT, "_rebuild_tensor_v2: the storage is a tuple"},
    {"tensor_with_hooks", CBE_ERR_FORMAT,
     "_rebuild_tensor_v2: a tensor with hooks or metadata cannot be read"},
    {"tensor_with_metadata", CBE_ERR_FORMAT,
     "_rebuild_tensor_v2: a tensor with hooks or metadata cannot be read"},
    {"tensor_without_arguments", CBE_ERR_FORMAT,
     "_rebuild_tensor_v2 with a wrong number of arguments"},
    {"text_float", CBE_ERR_FORMAT, "refused: opcode FLOAT "},
    {"text_integer", CBE_ERR_FORMAT, "refused: opcode INT "},
    {"text_one_too_long", CBE_ERR_FORMAT, "truncated: the pickle ends inside an opcode"},
    {"text_string", CBE_ERR_FORMAT, "refused: opcode STRING "},
    {"text_too_long", CBE_ERR_FORMAT, "truncated: the pickle ends inside an opcode"},
    {"too_many_dimensions", CBE_ERR_FORMAT, "tensor '0.weight': 9 dimensions and 9 strides"},
    {"torch_hub", CBE_ERR_FORMAT, "refused: the pickle names 'torch.hub.load'"},
    {"torch_load", CBE_ERR_FORMAT, "refused: the pickle names 'torch.serialization.load'"},
    {"twice", CBE_ERR_FORMAT, "tensor '0.weight' is there twice"},
    {"two_pickles", CBE_ERR_FORMAT, "has more than one data.pkl"},
    {"two_values", CBE_ERR_FORMAT, "the pickle does not end with one value"},
    {"under_the_mark", CBE_ERR_FORMAT, "an opcode takes a value from an empty stack"},
    {"underflow", CBE_ERR_FORMAT, "an opcode takes a value from an empty stack"},
    {"underflow_tuple", CBE_ERR_FORMAT, "an opcode takes a value from an empty stack"},
    {"unknown_opcode", CBE_ERR_FORMAT, "0xff is no opcode of a pickle"},
    {"zip_half", CBE_ERR_FORMAT, "cannot be read as a zip archive"},
    {"zip_truncated", CBE_ERR_FORMAT, "cannot be read as a zip archive"},
};

static cbe_safetensors *open_expected(void)
{
    cbe_safetensors *file = NULL;
    char *path = cbe_golden_path("torch/expected.safetensors");
    cbe_assert_ok(cbe_safetensors_open(&file, path, &err), &err);
    free(path);
    return file;
}

static void assert_as_expected(const char *path, const char *name)
{
    cbe_safetensors *expected = open_expected();
    cbe_torch_zip *file = NULL;
    if (cbe_torch_zip_open(&file, path, &err) != CBE_OK) fail_msg("%s", err.message);
    assert_int_equal(cbe_torch_zip_count(file), cbe_safetensors_count(expected));
    for (size_t i = 0; i < cbe_torch_zip_count(file); i++) {
        const cbe_tensor t = cbe_torch_zip_tensor(file, i);
        cbe_tensor wanted;
        cbe_assert_ok(cbe_safetensors_get(expected, t.name, &wanted, &err), &err);
        cbe_assert_ok(cbe_tensor_expect(&t, path, wanted.n_dims, wanted.dims, &err), &err);
        float *x = malloc(t.n_elements * sizeof *x);
        cbe_assert_ok(cbe_torch_zip_read(file, i, x, &err), &err);
        if (memcmp(x, wanted.data, wanted.n_bytes) != 0) fail_msg("%s: %s differs", name, t.name);
        free(x);
    }
    cbe_torch_zip_close(file);
    cbe_safetensors_close(expected);
}

static void every_file_of_torch_save__is_read_exactly(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char *path = cbe_golden_path("torch/good/%s.pt", good[i]);
        assert_as_expected(path, good[i]);
        free(path);
    }
}

static cbe_status read_all(const char *path)
{
    cbe_torch_zip *file = NULL;
    cbe_status st = cbe_torch_zip_open(&file, path, &err);
    for (size_t i = 0; st == CBE_OK && i < cbe_torch_zip_count(file); i++) {
        float *x = malloc(cbe_torch_zip_tensor(file, i).n_elements * sizeof *x);
        st = cbe_torch_zip_read(file, i, x, &err);
        free(x);
    }
    cbe_torch_zip_close(file);
    return st;
}

static void every_bad_file__is_refused_with_its_reason_and_runs_nothing(void **state)
{
    (void)state;
    enum { N_BAD = sizeof bad / sizeof *bad };
    assert_true(N_BAD >= 130);
    for (size_t i = 0; i < N_BAD; i++) {
        char *path = cbe_golden_path("torch/bad/%s.pt", bad[i].name);
        const cbe_status st = read_all(path);
        if (st != bad[i].status || !strstr(err.message, bad[i].message) ||
            strncmp(err.message, path, strlen(path)) != 0 || strchr(err.message, '\n'))
            fail_msg("%s: %s: %s", bad[i].name, cbe_status_name(st),
                     st == CBE_OK ? "read" : err.message);
        free(path);
        assert_int_not_equal(access("cbe-was-executed", F_OK), 0);
    }
}

/* data.pkl of a good file. */
static unsigned char *read_pickle(const char *name, size_t *size)
{
    char *path = cbe_golden_path("torch/good/%s.pt", name);
    zip_t *zip = zip_open(path, ZIP_RDONLY, NULL);
    zip_stat_t info;
    assert_non_null(zip);
    assert_int_equal(zip_stat(zip, "archive/data.pkl", 0, &info), 0);
    unsigned char *data = malloc(info.size);
    zip_file_t *stream = zip_fopen_index(zip, info.index, 0);
    assert_int_equal(zip_fread(stream, data, info.size), info.size);
    zip_fclose(stream);
    zip_discard(zip);
    free(path);
    *size = info.size;
    return data;
}

/* In a copy of exactly its size, so that a byte read past its end is found by the address
 * sanitizer. */
static void read_damaged(const unsigned char *data, size_t size)
{
    cbe_pickle_tensors tensors = {0};
    unsigned char *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    const cbe_status st = cbe_pickle_tensors_read(&tensors, copy, size, "file", &err);
    assert_true(st == CBE_OK || st == CBE_ERR_FORMAT || st == CBE_ERR_UNSUPPORTED);
    for (size_t i = 0; i < tensors.n; i++) {
        const cbe_pickle_tensor *t = &tensors.tensors[i];
        assert_true(t->extent <= t->storage_elements &&
                    t->offset <= t->storage_elements - t->extent);
    }
    cbe_pickle_tensors_free(&tensors);
    free(copy);
}

static void damaged_pickles__never_read_outside(void **state)
{
    (void)state;
    static const char *const names[] = {"plain", "protocol4"};
    for (size_t n = 0; n < 2; n++) {
        size_t size;
        unsigned char *data = read_pickle(names[n], &size);
        for (size_t length = 0; length < size; length++) read_damaged(data, length);
        for (size_t i = 0; i < size; i++) {
            const unsigned char byte = data[i];
            for (unsigned value = 0; value < 256; value += 1 + value % 3) {
                data[i] = (unsigned char)value;
                read_damaged(data, size);
            }
            data[i] = byte;
        }
        free(data);
    }
}

static void truncated_archives__are_refused(void **state)
{
    char *path = cbe_golden_path("torch/good/plain.pt");
    const char *part = temp_path(state, "part.pt");
    size_t size;
    unsigned char *data = cbe_read_file(path, &size);
    for (size_t length = 0; length < size; length += length < 50 ? 7 : 97) {
        temp_write(part, data, length);
        assert_int_equal(read_all(part), CBE_ERR_FORMAT);
    }
    free(data);
    free(path);
}

static void every_failing_allocation__is_an_error(void **state)
{
    (void)state;
    char *path = cbe_golden_path("torch/good/transposed.pt");
    cbe_status st = CBE_ERR_NOMEM;
    long n = 0;
    for (; st == CBE_ERR_NOMEM; n++) {
        cbe_memory_fail_after(n);
        st = read_all(path);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
    }
    assert_true(n > 10);
    free(path);
}

static uint64_t number(const unsigned char *data, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = bytes; i-- > 0;) value = value << 8 | data[i];
    return value;
}

/* Every local header follows the data before it, without gap; data at a multiple of 64, stored, its
 * CRC-32 right; then the directory. Returns the number of entries. */
static size_t check_entries(const unsigned char *data, size_t size)
{
    size_t at = 0, n = 0;
    while (at + 30 <= size && memcmp(data + at, "PK\3\4", 4) == 0) {
        assert_int_equal(number(data + at + 8, 2), 0);
        const size_t length = number(data + at + 22, 4),
                     start = at + 30 + number(data + at + 26, 2) + number(data + at + 28, 2);
        assert_int_equal(number(data + at + 18, 4), length);
        assert_int_equal(start % 64, 0);
        assert_true(start + length <= size);
        assert_int_equal(number(data + at + 14, 4),
                         crc32_z(crc32(0, NULL, 0), data + start, length));
        at = start + length;
        n++;
    }
    assert_memory_equal(data + at, "PK\1\2", 4);
    assert_memory_equal(data + size - 22, "PK\5\6", 4);
    assert_int_equal(number(data + size - 22 + 10, 2), n);
    assert_int_equal(number(data + size - 22 + 16, 4), at);
    return n;
}

static void what_is_written__is_an_aligned_zip_and_read_back(void **state)
{
    cbe_safetensors *expected = open_expected();
    const size_t n = cbe_safetensors_count(expected);
    cbe_torch_tensor tensors[8];
    for (size_t i = 0; i < n; i++) {
        cbe_tensor t;
        size_t count;
        const char *name = cbe_safetensors_name(expected, i);
        cbe_assert_ok(cbe_safetensors_get(expected, name, &t, &err), &err);
        tensors[i] = (cbe_torch_tensor){name,
                                        t.n_dims,
                                        {t.dims[0], t.n_dims > 1 ? t.dims[1] : 0},
                                        cbe_golden_floats(expected, name, &count)};
    }
    const char *path = temp_path(state, "params.pt");
    cbe_assert_ok(cbe_torch_zip_save(path, n, tensors, &err), &err);
    assert_as_expected(path, "written");
    size_t size;
    unsigned char *data = (unsigned char *)temp_read(path, &size);
    assert_int_equal(check_entries(data, size), n + 3);
    zip_t *zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, NULL);
    assert_non_null(zip);
    assert_int_equal(zip_get_num_entries(zip, 0), n + 3);
    /* PyTorch takes the folder from the first */
    assert_string_equal(zip_get_name(zip, 0, 0), "archive/data.pkl");
    assert_true(zip_name_locate(zip, "archive/version", 0) >= 0);
    zip_discard(zip);
    free(data);
    for (long fails = 0;; fails++) {
        cbe_memory_fail_after(fails);
        const cbe_status st = cbe_torch_zip_save(path, n, tensors, &err);
        cbe_memory_fail_after(-1);
        if (st == CBE_OK) break;
        assert_int_equal(st, CBE_ERR_NOMEM);
    }
    assert_int_equal(temp_count(state, ".tmp"), 0);
    for (size_t i = 0; i < n; i++) free((void *)(uintptr_t)tensors[i].data);
    cbe_safetensors_close(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_of_torch_save__is_read_exactly),
        cmocka_unit_test(every_bad_file__is_refused_with_its_reason_and_runs_nothing),
        cmocka_unit_test(damaged_pickles__never_read_outside),
        cmocka_unit_test(truncated_archives__are_refused),
        cmocka_unit_test(every_failing_allocation__is_an_error),
        cmocka_unit_test(what_is_written__is_an_aligned_zip_and_read_back),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
