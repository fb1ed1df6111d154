/* test_array_file.c - arrays as NumPy saves them (tests/golden/npy), and damaged ones. Serves
 * formats/npy.c too. */
#include "support/assert_close.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "formats/array_file.h"
#include "formats/npy.h"
#include "support/bytes.h"
#include "support/golden.h"
#include "support/temp_folder.h"

enum { N = 60 };

static cbe_array_file *open_golden(const char *name)
{
    cbe_error err;
    cbe_array_file *file = NULL;
    char *path = cbe_golden_path("npy/%s", name);
    cbe_assert_ok(cbe_array_file_open(&file, path, "single", &err), &err);
    free(path);
    return file;
}

static void arrays__of_numpy_hold_what_was_saved(void **state)
{
    (void)state;
    static const struct {
        const char *file, *name;
        size_t n_arrays;
        cbe_dtype dtype;
    } cases[] = {
        {"states.npz", "hidden_states.2", 3, CBE_F32},
        {"compressed.npz", "hidden_states.2", 4, CBE_F16},
        {"masked.npz", "hidden_states.2", 4, CBE_F64},
        {"hidden_states.2.npy", "single", 1, CBE_F32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float part[N];
        cbe_error err;
        cbe_tensor t;
        cbe_array_file *file = open_golden(cases[i].file);
        assert_int_equal(cbe_array_file_count(file), cases[i].n_arrays);
        cbe_assert_ok(cbe_array_file_describe(file, cases[i].name, &t, &err), &err);
        assert_int_equal(t.dtype, cases[i].dtype);
        assert_int_equal(t.n_elements, N);
        assert_int_equal(t.dims[t.n_dims - 1], 5);
        for (size_t skip = 0; skip < N; skip += 7) {
            cbe_array_reader *reader = NULL;
            cbe_assert_ok(cbe_array_reader_open(&reader, file, cases[i].name, &err), &err);
            cbe_assert_ok(cbe_array_reader_next(reader, skip, NULL, &err), &err);
            cbe_assert_ok(cbe_array_reader_next(reader, 3, part, &err), &err);
            cbe_assert_ok(cbe_array_reader_next(reader, N - skip - 3, part + 3, &err), &err);
            for (size_t k = 0; k < N - skip; k++) assert_true(part[k] == (float)(skip + k + 1));
            assert_int_equal(cbe_array_reader_next(reader, 1, part, &err), CBE_ERR_ARG);
            cbe_array_reader_close(reader);
        }
        cbe_array_file_close(file);
    }
}

static void integers__of_every_width(void **state)
{
    (void)state;
    static const struct {
        const char *file, *name;
        bool mask;
    } cases[] = {{"states.npz", "input_ids", false},
                 {"compressed.npz", "input_ids", false},
                 {"ids.npy", "single", false},
                 {"states.npz", "attention_mask", true},
                 {"masked.npz", "mask", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err;
        cbe_tensor t;
        int64_t *values = NULL;
        cbe_array_file *file = open_golden(cases[i].file);
        cbe_assert_ok(cbe_array_file_integers(file, cases[i].name, &t, &values, &err), &err);
        assert_int_equal(t.n_dims, 2);
        for (int64_t n = 0; n < 12; n++)
            assert_int_equal(values[n], cases[i].mask ? n != 3 && n != 4 && n != 9 : n + 100);
        cbe_free(values);
        values = NULL;
        if (cbe_array_file_has(file, "hidden_states.2"))
            assert_int_equal(cbe_array_file_integers(file, "hidden_states.2", &t, &values, &err),
                             CBE_ERR_SHAPE);
        cbe_array_file_close(file);
    }
}

static void arrays__that_are_not_read_are_named(void **state)
{
    (void)state;
    cbe_error err = {0};
    cbe_tensor t;
    cbe_array_file *file = open_golden("compressed.npz");
    assert_true(cbe_array_file_has(file, "other"));
    assert_int_equal(cbe_array_file_describe(file, "other", &t, &err), CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'<U4'"));
    assert_int_equal(cbe_array_file_describe(file, "nothing", &t, &err), CBE_ERR_FORMAT);
    assert_non_null(strstr(err.message, "'nothing'"));
    cbe_array_file_close(file);
    file = NULL;
    char *path = cbe_golden_path("npy/fortran.npy");
    assert_int_equal(cbe_array_file_open(&file, path, "x", &err), CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "ascontiguousarray"));
    free(path);
    path = cbe_golden_path("npy/big-endian.npy");
    assert_int_equal(cbe_array_file_open(&file, path, "x", &err), CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'>f4'"));
    free(path);
}

/* A head with this literal, and `data` bytes of numbers. */
static size_t put_npy(unsigned char *out, int major, const char *literal, size_t data)
{
    const size_t length = strlen(literal), begin = major == 1 ? 10 : 12;
    memset(out, 0, begin);
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (unsigned char)major;
    out[8] = (unsigned char)length;
    memcpy(out + begin, literal, length);
    memset(out + begin + length, 0, data);
    return begin + length + data;
}

static void npy__literals_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *literal;
        size_t n_dims, n_elements;
    } good[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", 2, 6},
        {"{\"shape\":(5,),\"descr\":\"<f4\",\"fortran_order\":True}", 1, 5},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 0, 1},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0), }", 2, 0},
        {" { 'descr' : '<f4' , 'fortran_order' : False , 'shape' : ( 2 , ) } ", 1, 2},
    };
    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "[]",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': [2]}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
        "{'descr': <f4, 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (7,)}", /* more than is there */
        "{'descr': '<\\'f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr' '<f4', 'fortran_order': False, 'shape': (2,)}",
    };
    unsigned char data[512];
    for (int major = 0; major <= 4; major++)
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
            cbe_error err = {0};
            cbe_tensor t = {0};
            size_t head = 0, size = put_npy(data, major, good[i].literal, 24);
            const cbe_status st = cbe_npy_read_head(data, size, size, "a.npy", &t, &head, &err);
            assert_int_equal(st, major >= 1 && major <= 3 ? CBE_OK : CBE_ERR_UNSUPPORTED);
            if (st != CBE_OK) continue;
            assert_int_equal(t.n_dims, good[i].n_dims);
            assert_int_equal(t.n_elements, good[i].n_elements);
            assert_int_equal(t.n_bytes, 4 * good[i].n_elements);
            assert_int_equal(head, size - 24);
        }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cbe_error err = {0};
        cbe_tensor t;
        size_t head, size = put_npy(data, 1, bad[i], 24);
        const cbe_status st = cbe_npy_read_head(data, size, size, "a.npy", &t, &head, &err);
        if (st != CBE_ERR_FORMAT) fail_msg("'%s': %s", bad[i], cbe_status_name(st));
        assert_non_null(strstr(err.message, "a.npy"));
    }
}

/* Reads all that there is. */
static void visit(const char *path)
{
    cbe_error err = {0};
    cbe_array_file *file = NULL;
    if (cbe_array_file_open(&file, path, "single", &err) != CBE_OK) {
        assert_true(strstr(err.message, path) != NULL);
        return;
    }
    for (size_t i = 0; i < cbe_array_file_count(file); i++) {
        cbe_array_reader *reader = NULL;
        cbe_tensor t;
        float values[64];
        if (cbe_array_reader_open(&reader, file, cbe_array_file_name(file, i), &err) != CBE_OK)
            continue;
        cbe_assert_ok(cbe_array_file_describe(file, cbe_array_file_name(file, i), &t, &err), &err);
        for (size_t at = 0, n; at < t.n_elements; at += n) {
            n = t.n_elements - at < 64 ? t.n_elements - at : 64;
            if (cbe_array_reader_next(reader, n, values, &err) != CBE_OK) break;
        }
        cbe_array_reader_close(reader);
    }
    cbe_array_file_close(file);
}

static void arrays__no_damage_is_fatal(void **state)
{
    static const char *const names[] = {"states.npz", "compressed.npz", "hidden_states.2.npy"};
    static bytes b;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t size;
        char *from = cbe_golden_path("npy/%s", names[i]);
        unsigned char *data = cbe_read_file(from, &size);
        const char *path = temp_path(state, "damaged");
        b.size = 0;
        bytes_put(&b, data, size);
        bytes_visit_random(&b, path, size, 4000, visit);
        for (size_t cut = 0; cut < size; cut++) {
            temp_write(path, data, cut);
            visit(path);
        }
        free(data);
        free(from);
    }
}

static void arrays__damaged_numbers_of_an_archive_are_noticed(void **state)
{
    size_t size, i = 0;
    float values[N];
    cbe_error err;
    cbe_array_file *file = NULL;
    cbe_array_reader *reader = NULL;
    char *from = cbe_golden_path("npy/states.npz");
    unsigned char *data = cbe_read_file(from, &size);
    const float first = 1;
    while (memcmp(data + i, &first, sizeof first) != 0) i++;
    data[i] ^= 1;
    const char *path = temp_path(state, "damaged.npz");
    temp_write(path, data, size);
    cbe_assert_ok(cbe_array_file_open(&file, path, "", &err), &err);
    cbe_assert_ok(cbe_array_reader_open(&reader, file, "hidden_states.2", &err), &err);
    assert_int_equal(cbe_array_reader_next(reader, N, values, &err),
                     CBE_ERR_FORMAT); /* its checksum */
    assert_non_null(strstr(err.message, path));
    cbe_array_reader_close(reader);
    cbe_array_file_close(file);
    free(data);
    free(from);
}

static void arrays__every_failing_allocation_is_reported(void **state)
{
    (void)state;
    static const char *const names[] = {"compressed.npz", "ids.npy"};
    for (size_t i = 0; i < 2; i++) {
        char *path = cbe_golden_path("npy/%s", names[i]);
        cbe_status st = CBE_ERR_NOMEM;
        for (long n = 0; st == CBE_ERR_NOMEM; n++) {
            cbe_error err = {0};
            cbe_tensor t;
            cbe_array_file *file = NULL;
            int64_t *values = NULL;
            assert_true(n < 100);
            cbe_memory_fail_after(n);
            st = cbe_array_file_open(&file, path, "input_ids", &err);
            if (st == CBE_OK) st = cbe_array_file_integers(file, "input_ids", &t, &values, &err);
            cbe_memory_fail_after(-1);
            assert_int_equal(st, err.code);
            cbe_free(values);
            cbe_array_file_close(file);
        }
        assert_int_equal(st, CBE_OK);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays__of_numpy_hold_what_was_saved),
        cmocka_unit_test(integers__of_every_width),
        cmocka_unit_test(arrays__that_are_not_read_are_named),
        cmocka_unit_test(npy__literals_are_read_strictly),
        cmocka_unit_test(arrays__no_damage_is_fatal),
        cmocka_unit_test(arrays__damaged_numbers_of_an_archive_are_noticed),
        cmocka_unit_test(arrays__every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
