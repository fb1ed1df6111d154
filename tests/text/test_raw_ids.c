/* Token ids without a shape, as programs for training write them. */
#include "text/raw_ids.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "files/sha256.h"
#include "support/assert_close.h"
#include "support/bytes.h"
#include "support/temp_folder.h"

enum { MOST = 400 };

static void put_ids(bytes *b, size_t size, size_t n, const uint64_t *ids)
{
    for (size_t i = 0; i < n; i++) bytes_put(b, &ids[i], size);
}

static cbe_status read_ids(void **state, const char *name, const bytes *file, size_t vocab_size,
                           size_t most, size_t memory, cbe_inputs *inputs, cbe_raw_ids *out,
                           cbe_error *err)
{
    const char *path = temp_path(state, name);
    temp_write(path, file->data, file->size);
    return cbe_raw_ids_read(out, path, vocab_size, most, memory, inputs, err);
}

static const uint64_t some[] = {464, 2068, 7586, 21831, 11687, 625, 262, 16931, 3290, 50256};
enum { N_SOME = sizeof some / sizeof *some };

static void ids__have_the_widest_type_that_fits_the_vocabulary(void **state)
{
    static const struct {
        size_t size, vocab_size;
        const char *type;
    } cases[] = {{2, 50257, "uint16"}, {4, 50257, "uint32"},  {8, 50257, "int64"},
                 {2, 65536, "uint16"}, {4, 128256, "uint32"}, {8, 128256, "int64"}};
    static const char *const names[] = {"train.bin", "train.BIN", "00000_shuffled.ds",
                                        "part-00-00000.npy"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < 4; k++) {
            cbe_error err;
            cbe_raw_ids got;
            bytes file = {0};
            cbe_inputs inputs = {.digests = true};
            char digest[CBE_SHA256_TEXT];
            put_ids(&file, cases[i].size, N_SOME, some);
            cbe_assert_ok(
                read_ids(state, names[k], &file, cases[i].vocab_size, 7, 0, &inputs, &got, &err),
                &err);
            assert_true(cbe_raw_ids_named(temp_path(state, names[k])));
            assert_string_equal(got.type, cases[i].type);
            assert_int_equal(got.n, 7);
            assert_int_equal(got.n_left, 3);
            for (size_t t = 0; t < got.n; t++) assert_int_equal(got.ids[t], some[t]);
            cbe_sha256_bytes(file.data, 7 * cases[i].size, digest);
            assert_int_equal(inputs.n, 1);
            assert_int_equal(inputs.files[0].n_bytes, 7 * cases[i].size);
            assert_string_equal(inputs.files[0].sha256, digest);
            cbe_inputs_free(&inputs);
            cbe_free(got.ids);
        }
}

/* Small vocabularies, of characters and of letters of DNA. */
static void ids__of_small_vocabularies(void **state)
{
    uint64_t ids[MOST];
    for (size_t size = 2; size <= 8; size *= 2)
        for (size_t vocab_size = 2; vocab_size <= 65; vocab_size += 21) {
            cbe_error err;
            cbe_raw_ids got;
            bytes file = {0};
            for (size_t i = 0; i < MOST; i++) ids[i] = 1 + i * i % (vocab_size - 1);
            put_ids(&file, size, MOST, ids);
            cbe_assert_ok(read_ids(state, "c.bin", &file, vocab_size, 0, 0, NULL, &got, &err),
                          &err);
            assert_int_equal(got.n, MOST);
            for (size_t i = 0; i < MOST; i++) assert_int_equal(got.ids[i], ids[i]);
            cbe_free(got.ids);
        }
}

static void llmc__heads_say_the_type(void **state)
{
    static const struct {
        uint32_t magic, version, n;
        size_t size, extra;
        const char *type, *says;
    } cases[] = {
        {20240520, 1, N_SOME, 2, 0, "uint16", NULL},
        {20240801, 7, N_SOME, 4, 0, "uint32", NULL},
        {20240520, 1, N_SOME + 1, 2, 0, NULL, "the head says 11 ids, 10 are there"},
        {20240520, 1, N_SOME, 2, 1, NULL, "the head says 10 ids, 10 are there"},
        {20240520, 1, 0, 0, 0, NULL, "holds no token behind its head"},
        {20240522, 1, N_SOME, 2, 0, NULL, "llm.c's examples of an evaluation"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err;
        cbe_raw_ids got;
        bytes file = {0};
        bytes_u32(&file, cases[i].magic), bytes_u32(&file, cases[i].version);
        bytes_u32(&file, cases[i].n), bytes_zeros(&file, 1024 - 12);
        if (cases[i].size) put_ids(&file, cases[i].size, N_SOME, some);
        bytes_zeros(&file, cases[i].extra);
        const cbe_status st =
            read_ids(state, "fineweb_val_000000.bin", &file, 50257, 0, 0, NULL, &got, &err);
        if (cases[i].says) {
            assert_true(st == CBE_ERR_FORMAT || st == CBE_ERR_UNSUPPORTED || st == CBE_ERR_SHAPE);
            if (!strstr(err.message, cases[i].says)) fail_msg("%s", err.message);
        } else {
            cbe_assert_ok(st, &err);
            assert_string_equal(got.type, cases[i].type);
            assert_int_equal(got.n, N_SOME);
            for (size_t t = 0; t < N_SOME; t++) assert_int_equal(got.ids[t], some[t]);
            cbe_free(got.ids);
        }
    }
}

static void megatron__indexes_say_the_type(void **state)
{
    static const struct {
        unsigned char code;
        size_t size;
        const char *type; /* NULL: refused */
    } cases[] = {{1, 1, "uint8"}, {2, 1, "int8"},   {3, 2, "int16"}, {4, 4, "int32"},
                 {5, 8, "int64"}, {8, 2, "uint16"}, {6, 8, NULL},    {7, 4, NULL},
                 {0, 4, NULL},    {9, 4, NULL},     {255, 4, NULL}};
    static const uint64_t small[] = {100, 7, 0, 127, 5, 64};
    enum { N_SMALL = sizeof small / sizeof *small };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err;
        cbe_raw_ids got;
        bytes file = {0}, index = {0};
        bytes_put(&index, "MMIDIDX\0\0", 9), bytes_u64(&index, 1);
        bytes_put(&index, &cases[i].code, 1), bytes_zeros(&index, 16);
        temp_write(temp_path(state, "text_document.idx"), index.data, index.size);
        put_ids(&file, cases[i].size, N_SMALL, small);
        const cbe_status st =
            read_ids(state, "text_document.bin", &file, 1000, 0, 0, NULL, &got, &err);
        if (!cases[i].type) {
            assert_int_equal(st, CBE_ERR_FORMAT);
            assert_non_null(strstr(err.message, "text_document.idx: names type"));
        } else {
            cbe_assert_ok(st, &err);
            assert_string_equal(got.type, cases[i].type);
            assert_int_equal(got.n, N_SMALL);
            for (size_t t = 0; t < N_SMALL; t++) assert_int_equal(got.ids[t], small[t]);
            cbe_free(got.ids);
        }
    }
    /* Negative ids are told as such, later. */
    cbe_error err;
    cbe_raw_ids got;
    bytes file = {0}, index = {0};
    bytes_put(&index, "MMIDIDX\0\0", 9), bytes_u64(&index, 1), bytes_put(&index, "\x04", 1);
    temp_write(temp_path(state, "text_document.idx"), index.data, index.size);
    bytes_u32(&file, 0xfffffff9);
    cbe_assert_ok(read_ids(state, "text_document.bin", &file, 1000, 0, 0, NULL, &got, &err), &err);
    assert_int_equal(got.ids[0], -7);
    cbe_free(got.ids);
}

static void files__of_something_else_are_named(void **state)
{
    static const struct {
        const char *content;
        size_t size, vocab_size, memory;
        cbe_status status;
        const char *says;
    } cases[] = {
        {"", 0, 50257, 0, CBE_ERR_SHAPE, "is empty, and holds no token"},
        {"\1\0\2", 3, 50257, 0, CBE_ERR_FORMAT, "3 bytes are no whole number of ids of uint16"},
        {"\1\0\2\0\3\0", 6, 128256, 0, CBE_ERR_FORMAT,
         "6 bytes are no whole number of ids of uint32"},
        {"\1\0\xff\xff", 4, 50257, 0, CBE_ERR_ARG,
         "read as uint16, id 1 is 65535, but the vocabulary has 50257 tokens"},
        {"\1\0\2\0", 4, 128256, 0, CBE_ERR_ARG,
         "read as uint32, id 0 is 131073, but the vocabulary has 128256 tokens"},
        {"PK\3\4\24\0\0\0", 8, 50257, 0, CBE_ERR_UNSUPPORTED,
         "is a zip archive, no list of token ids"},
        {"GGUF\3\0\0\0", 8, 50257, 0, CBE_ERR_UNSUPPORTED, "is a GGUF model, no list of token ids"},
        {"MMIDIDX\0\0\1\0\0", 12, 50257, 0, CBE_ERR_UNSUPPORTED, "is an index of token ids"},
        {"A text that is called .bin.", 28, 50257, 0, CBE_ERR_FORMAT, "is a text, no list"},
        {"\1\0\2\0\3\0\4\0", 8, 50257, 24, CBE_ERR_ARG, "give fewer with max-tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        cbe_raw_ids got = {.n = 77};
        bytes file = {0};
        bytes_put(&file, cases[i].content, cases[i].size - (cases[i].size == 28));
        const cbe_status st = read_ids(state, "other.bin", &file, cases[i].vocab_size, 0,
                                       cases[i].memory, NULL, &got, &err);
        if (st != cases[i].status || !strstr(err.message, cases[i].says))
            fail_msg("'%s' (%s) does not say '%s'", err.message, cbe_status_name(st),
                     cases[i].says);
        assert_int_equal(got.n, 77);
    }
}

/* Of another tokenizer's ids of 32 bits the halves would pass for ids of 16 bits. */
static void ids__are_not_taken_for_halves(void **state)
{
    uint64_t ids[MOST];
    cbe_error err;
    cbe_raw_ids got;
    bytes file = {0};
    for (size_t i = 0; i < MOST; i++) ids[i] = 65536 * (i % 2) + 1000 + i;
    put_ids(&file, 4, MOST, ids);
    assert_int_equal(read_ids(state, "llama3.bin", &file, 50257, 0, 0, NULL, &got, &err),
                     CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "looks like ids of uint32"));
}

/* What is left of wider ids would pass for narrower ones, most of them 0. */
static void ids__cut_off_are_not_taken_for_narrower_ones(void **state)
{
    static const struct {
        size_t size, cut;
        const char *says;
    } cases[] = {{4, 2, "looks like ids of uint32, but was cut off"},
                 {8, 4, "looks like ids of int64, but was cut off"},
                 {8, 2, "looks like ids of int64, but was cut off"},
                 {8, 6, "looks like ids of int64, but was cut off"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err;
        cbe_raw_ids got;
        bytes file = {0};
        put_ids(&file, cases[i].size, N_SOME, some);
        file.size -= cases[i].cut;
        assert_int_equal(read_ids(state, "cut.bin", &file, 50257, 0, 0, NULL, &got, &err),
                         CBE_ERR_FORMAT);
        assert_non_null(strstr(err.message, cases[i].says));
    }
}

static void names__say_what_is_raw(void **state)
{
    temp_write(temp_path(state, "true.npy"), "\x93NUMPY\1\0", 8);
    temp_write(temp_path(state, "short.npy"), "abc", 3);
    assert_false(cbe_raw_ids_named(temp_path(state, "true.npy")));
    assert_false(cbe_raw_ids_named(temp_path(state, "short.npy")));
    assert_false(cbe_raw_ids_named(temp_path(state, "absent.npy")));
    assert_false(cbe_raw_ids_named("ids.safetensors"));
    assert_false(cbe_raw_ids_named("bin"));
    assert_true(cbe_raw_ids_named("absent.bin"));
    cbe_error err;
    cbe_raw_ids got;
    assert_int_equal(cbe_raw_ids_read(&got, temp_path(state, "absent.bin"), 9, 0, 0, NULL, &err),
                     CBE_ERR_IO);
}

static void reading__survives_every_failing_allocation(void **state)
{
    bytes file = {0};
    cbe_status st = CBE_ERR_NOMEM;
    put_ids(&file, 2, N_SOME, some);
    for (long n = 0; st != CBE_OK; n++) {
        cbe_error err = {0};
        cbe_raw_ids got;
        cbe_inputs inputs = {.digests = true};
        assert_true(n < 50);
        temp_write(temp_path(state, "train.bin"), file.data, file.size);
        const char *path = temp_path(state, "train.bin");
        cbe_memory_fail_after(n);
        st = cbe_raw_ids_read(&got, path, 50257, 0, 0, &inputs, &err);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
        if (st == CBE_OK) cbe_free(got.ids);
        cbe_inputs_free(&inputs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids__have_the_widest_type_that_fits_the_vocabulary),
        cmocka_unit_test(ids__of_small_vocabularies),
        cmocka_unit_test(llmc__heads_say_the_type),
        cmocka_unit_test(megatron__indexes_say_the_type),
        cmocka_unit_test(files__of_something_else_are_named),
        cmocka_unit_test(ids__are_not_taken_for_halves),
        cmocka_unit_test(ids__cut_off_are_not_taken_for_narrower_ones),
        cmocka_unit_test(names__say_what_is_raw),
        cmocka_unit_test(reading__survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
