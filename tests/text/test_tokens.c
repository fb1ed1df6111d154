/* test_tokens.c - cutting texts into sequences, and reading ids made elsewhere. */
#include "support/assert_close.h"

#include <stdio.h>
#include <string.h>

#include "formats/safetensors.h"
#include "text/tokens.h"
#include "core/memory.h"
#include "support/vocabulary.h"
#include "tokenizer/bpe.h"

enum { MAX_TEXTS = 3, EOS = 256 };

/* One token a byte; with end of text where asked. */
static cbe_tokenizer *make_tokenizer(bool with_eos)
{
    static cbe_test_vocabulary vocabulary;
    cbe_error err;
    cbe_gguf *file = NULL;
    cbe_tokenizer *made = NULL;
    cbe_test_vocabulary_init(&vocabulary);
    cbe_test_add_token(&vocabulary, "<|end|>", CBE_TOKEN_CONTROL);
    if (with_eos) vocabulary.eos = EOS;
    const char *path = cbe_test_temporary("vocabulary.gguf");
    cbe_test_write_vocabulary(path, &vocabulary);
    cbe_assert_ok(cbe_gguf_open(&file, path, &err), &err);
    cbe_assert_ok(cbe_tokenizer_from_gguf(&made, file, NULL, &err), &err);
    cbe_gguf_close(file);
    cbe_test_remove(path);
    return made;
}

/* Texts as files; paths and their strings are static. */
static const char *const *write_texts(size_t n, const char *const *texts)
{
    static char paths[MAX_TEXTS][4096];
    static const char *list[MAX_TEXTS];
    assert_true(n <= MAX_TEXTS);
    for (size_t i = 0; i < n; i++) {
        list[i] = strcpy(paths[i], cbe_test_temporary("text.txt"));
        cbe_test_write(list[i], texts[i], strlen(texts[i]));
    }
    return list;
}

static void remove_texts(size_t n, const char *const *paths)
{
    for (size_t i = 0; i < n; i++) cbe_test_remove(paths[i]);
}

static void tokens__texts_are_joined_and_cut(void **state)
{
    (void)state;
    static const struct {
        size_t n_texts;
        const char *texts[MAX_TEXTS];
        size_t context_length, max_tokens;
        size_t n_sequences, length, n_unused; /* wanted; then the ids, EOS written as '|' */
        const char *ids;
    } cases[] = {
        {1, {"abcdefg"}, 3, 0, 2, 3, 1, "abcdef"},
        {1, {"abcdef"}, 3, 0, 2, 3, 0, "abcdef"},
        {1, {"abcdefg"}, 3, 5, 1, 3, 4, "abc"},
        {1, {"abcdefg"}, 3, 6, 2, 3, 1, "abcdef"},
        {1, {"abcdefg"}, 3, 100, 2, 3, 1, "abcdef"},
        {1, {"abcdefg"}, 3, 2, 1, 2, 5, "ab"}, /* less than one sequence: a shorter one */
        {1, {"ab"}, 3, 0, 1, 2, 0, "ab"},
        {1, {"a"}, 1, 1, 1, 1, 0, "a"},
        {1, {" a \n"}, 4, 0, 1, 4, 0, " a \n"}, /* nothing trimmed */
        {2, {"abc", "de"}, 2, 0, 3, 2, 0, "abc|de"},
        {3, {"a", "\n", "b"}, 2, 0, 2, 2, 1, "a|\n|"},
        {3, {"abc", "de", "f"}, 2, 4, 2, 2, 2, "abc|"}, /* the last is not read */
        {1, {"a<|end|>b"}, 9, 0, 1, 3, 0, "a|b"},
        {3, {"", "ab", "c"}, 2, 0, 2, 2, 0, "ab|c"}, /* an empty document has no end */
        {3, {"ab", "", "c"}, 2, 0, 2, 2, 0, "ab|c"},
        {3, {"ab", "c", ""}, 2, 0, 2, 2, 0, "ab|c"},
        {3, {"", "", "c"}, 2, 0, 1, 1, 0, "c"},
    };
    cbe_tokenizer *tokenizer = make_tokenizer(true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err;
        cbe_tokens got;
        const char *const *paths = write_texts(cases[i].n_texts, cases[i].texts);
        cbe_assert_ok(cbe_tokens_from_texts(&got, tokenizer, cases[i].n_texts, paths, NULL,
                                            cases[i].context_length, cases[i].max_tokens, &err),
                      &err);
        assert_int_equal(got.n_sequences, cases[i].n_sequences);
        assert_int_equal(got.context_length, cases[i].length);
        assert_int_equal(got.n_unused, cases[i].n_unused);
        size_t n_empty = 0;
        for (size_t t = 0; t < cases[i].n_texts; t++) n_empty += cases[i].texts[t][0] == 0;
        assert_int_equal(got.n_left_out, n_empty);
        assert_int_equal(got.n_documents,
                         cases[i].max_tokens == 4 ? 2 : cases[i].n_texts - n_empty);
        assert_int_equal(got.n_tokens, cases[i].n_sequences * cases[i].length + cases[i].n_unused);
        assert_int_equal(got.n_replaced, 0);
        assert_null(got.derangement);
        assert_int_equal(strlen(cases[i].ids), cases[i].n_sequences * cases[i].length);
        for (size_t t = 0; cases[i].ids[t]; t++)
            assert_int_equal(got.ids[t], cases[i].ids[t] == '|' ? EOS : cases[i].ids[t]);
        cbe_tokens_free(&got);
        remove_texts(cases[i].n_texts, paths);
    }
    cbe_tokenizer_free(tokenizer);
}

static void tokens__texts_are_not_parted_without_an_end_token(void **state)
{
    (void)state;
    cbe_error err;
    cbe_tokens got;
    cbe_tokenizer *tokenizer = make_tokenizer(false);
    const char *const *paths = write_texts(2, (const char *[]){"ab\xff", "c\xff"});
    cbe_assert_ok(cbe_tokens_from_texts(&got, tokenizer, 2, paths, NULL, 9, 0, &err), &err);
    assert_int_equal(got.context_length, 9);
    assert_int_equal(got.n_replaced, 2);
    assert_int_equal(got.ids[5], 'c');
    cbe_tokens_free(&got);
    cbe_tokens_free(&got);
    remove_texts(2, paths);
    cbe_tokenizer_free(tokenizer);
}

static void tokens__texts_that_cannot_be_used_are_refused(void **state)
{
    (void)state;
    cbe_error err;
    cbe_tokens got = {.n_sequences = 77};
    cbe_tokenizer *tokenizer = make_tokenizer(true);
    char first[4096];
    const char *paths[] = {first, first};
    strcpy(first, cbe_test_temporary("empty.txt"));
    cbe_test_write(first, "", 0);
    assert_int_equal(cbe_tokens_from_texts(&got, tokenizer, 2, paths, NULL, 4, 0, &err),
                     CBE_ERR_ARG);
    assert_non_null(strstr(err.message, paths[0]));
    assert_non_null(strstr(err.message, "no documents but empty ones, nor in the other texts"));
    assert_int_equal(cbe_tokens_from_texts(&got, tokenizer, 1, paths, NULL, 0, 0, &err),
                     CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "context length"));
    assert_int_equal(cbe_tokens_from_texts(&got, tokenizer, 0, NULL, NULL, 4, 0, &err),
                     CBE_ERR_ARG);
    assert_int_equal(cbe_tokens_from_texts(&got, tokenizer, 1, (const char *[]){"no/such.txt"},
                                           NULL, 4, 0, &err),
                     CBE_ERR_IO);
    assert_non_null(strstr(err.message, "no/such.txt"));
    const char *const *texts = write_texts(2, (const char *[]){"ab", ""});
    assert_int_equal(cbe_tokens_from_texts(&got, tokenizer, 2,
                                           (const char *[]){texts[0], "no/such.txt"}, NULL, 4, 1,
                                           &err),
                     CBE_ERR_IO); /* though it would not be read */
    assert_int_equal(got.n_sequences, 77);
    remove_texts(2, texts);
    cbe_test_remove(first);
    cbe_tokenizer_free(tokenizer);
}

/* A safetensors file with these tensors; NULL data: the tensor is left out. */
static const char *write_ids(cbe_dtype dtype, size_t n_dims, const size_t *dims, const void *ids,
                             size_t n_derangement, const int64_t *derangement)
{
    cbe_error err;
    cbe_safetensors_writer *writer = NULL;
    cbe_tensor_spec specs[2] = {
        {.name = ids ? "input_ids" : "other", .dtype = dtype, .n_dims = n_dims},
        {.name = "derangement", .dtype = CBE_I64, .n_dims = 1, .dims = {n_derangement}},
    };
    size_t n = 1;
    for (size_t i = 0; i < n_dims; i++) n *= specs[0].dims[i] = dims[i];
    static const int64_t nothing[16];
    const char *path = cbe_test_temporary("ids.safetensors");
    cbe_assert_ok(
        cbe_safetensors_writer_create(&writer, path, derangement ? 2 : 1, specs, 0, NULL, &err),
        &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, n, ids ? ids : nothing, &err), &err);
    if (derangement)
        cbe_assert_ok(cbe_safetensors_writer_put(writer, 1, 0, n_derangement, derangement, &err),
                      &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    return path;
}

static void tokens__ids_are_used_as_they_are(void **state)
{
    (void)state;
    cbe_error err;
    cbe_tokens got;
    const int64_t ids[] = {5, 0, 9, 7, 7, INT64_MAX}, derangement[] = {1, 2, 0, 5, 3, 4};
    const char *path = write_ids(CBE_I64, 2, (size_t[]){2, 3}, ids, 6, derangement);
    cbe_assert_ok(cbe_tokens_load(&got, path, NULL, &err), &err);
    assert_int_equal(got.n_sequences, 2);
    assert_int_equal(got.context_length, 3);
    assert_int_equal(got.n_documents + got.n_unused + got.n_replaced, 0);
    assert_memory_equal(got.ids, ids, sizeof ids);
    assert_memory_equal(got.derangement, derangement, sizeof derangement);
    cbe_tokens_free(&got);
    cbe_test_remove(path);

    path = write_ids(CBE_I64, 1, (size_t[]){6}, ids, 0, NULL);
    cbe_assert_ok(cbe_tokens_load(&got, path, NULL, &err), &err);
    assert_int_equal(got.n_sequences, 1);
    assert_int_equal(got.context_length, 6);
    assert_null(got.derangement);
    cbe_tokens_free(&got);
    cbe_test_remove(path);
}

/* In NumPy's and in safetensors' files. */
static void tokens__ids_may_be_integers_of_any_width(void **state)
{
    (void)state;
    static const struct {
        cbe_dtype dtype;
        const char *descr;
        size_t size;
    } types[] = {{CBE_U8, "|u1", 1},  {CBE_I16, "<i2", 2}, {CBE_U16, "<u2", 2}, {CBE_I32, "<i4", 4},
                 {CBE_U32, "<u4", 4}, {CBE_I64, "<i8", 8}, {CBE_U64, "<u8", 8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        unsigned char ids[6 * 8], file[200];
        int64_t want[6];
        char head[100];
        cbe_error err;
        cbe_tokens got;
        for (size_t t = 0; t < 6; t++) {
            /* the largest id that the type has room for, in int64 */
            want[t] = t < 5 ? (int64_t)(10 * t)
                      : types[i].size == 8
                          ? INT64_MAX
                          : (INT64_C(1) << (8 * types[i].size - (types[i].descr[1] == 'i'))) - 1;
            memcpy(ids + t * types[i].size, &want[t], types[i].size);
        }
        const char *path = write_ids(types[i].dtype, 2, (size_t[]){2, 3}, ids, 0, NULL);
        cbe_assert_ok(cbe_tokens_load(&got, path, NULL, &err), &err);
        assert_memory_equal(got.ids, want, sizeof want);
        cbe_tokens_free(&got);
        cbe_test_remove(path);

        const int n = snprintf(head, sizeof head,
                               "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }\n",
                               types[i].descr);
        memcpy(file, "\x93NUMPY\1\0", 8);
        file[8] = (unsigned char)n, file[9] = 0;
        memcpy(file + 10, head, (size_t)n);
        memcpy(file + 10 + n, ids, 6 * types[i].size);
        path = cbe_test_temporary("ids.npy");
        cbe_test_write(path, file, 10 + (size_t)n + 6 * types[i].size);
        cbe_assert_ok(cbe_tokens_load(&got, path, NULL, &err), &err);
        assert_int_equal(got.n_sequences, 2);
        assert_memory_equal(got.ids, want, sizeof want);
        cbe_tokens_free(&got);
        cbe_test_remove(path);
    }
    /* What int64 has no room for is no id of any vocabulary. */
    cbe_error err;
    cbe_tokens got;
    const uint64_t beyond[] = {1, UINT64_MAX};
    const char *path = write_ids(CBE_U64, 1, (size_t[]){2}, beyond, 0, NULL);
    cbe_assert_ok(cbe_tokens_load(&got, path, NULL, &err), &err);
    assert_int_equal(got.ids[1], INT64_MAX);
    assert_int_equal(cbe_tokens_check(&got, SIZE_MAX / 4, &err), CBE_ERR_ARG);
    cbe_tokens_free(&got);
    cbe_test_remove(path);
}

static void expect_refused(const char *path, cbe_status code, const char *named)
{
    cbe_error err;
    cbe_tokens got = {.n_sequences = 77};
    const cbe_status st = cbe_tokens_load(&got, path, NULL, &err);
    if (st != code) fail_msg("%s where %s: %s", cbe_status_name(st), cbe_status_name(code), named);
    if (!strstr(err.message, path) || !strstr(err.message, named))
        fail_msg("the message lacks the file or '%s': %s", named, err.message);
    assert_int_equal(got.n_sequences, 77);
    cbe_test_remove(path);
}

static void tokens__ids_of_another_form_are_refused(void **state)
{
    (void)state;
    const int64_t ids[] = {1, 2, 3, -4};
    const float floats[] = {1, 2};
    expect_refused(write_ids(CBE_I64, 2, (size_t[]){1, 2}, NULL, 0, NULL), CBE_ERR_FORMAT,
                   "input_ids");
    expect_refused(write_ids(CBE_F32, 1, (size_t[]){2}, floats, 0, NULL), CBE_ERR_SHAPE, "F32");
    expect_refused(write_ids(CBE_I64, 0, NULL, ids, 0, NULL), CBE_ERR_SHAPE, "0 dimensions");
    expect_refused(write_ids(CBE_I64, 3, (size_t[]){1, 1, 2}, ids, 0, NULL), CBE_ERR_SHAPE,
                   "3 dimensions");
    expect_refused(write_ids(CBE_I64, 2, (size_t[]){2, 2}, ids, 0, NULL), CBE_ERR_ARG,
                   "input_ids[1][1] = -4");
    expect_refused(write_ids(CBE_I64, 2, (size_t[]){0, 2}, ids, 0, NULL), CBE_ERR_SHAPE,
                   "no token");
}

static void tokens__derangements_leave_nothing_in_place(void **state)
{
    (void)state;
    static const struct {
        int64_t derangement[4];
        const char *named;
    } cases[] = {
        {{1, 0, 2, 3}, "derangement[2] = 2 is the token itself"},
        {{1, 0, 1, 2}, "derangement[2] = 1 comes twice"},
        {{1, 4, 0, 2}, "derangement[1] = 4 is not one"},
        {{1, -1, 0, 2}, "derangement[1] = -1 is not one"},
    };
    const int64_t ids[] = {1, 2, 3, 4};
    const size_t dims[] = {2, 2};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refused(write_ids(CBE_I64, 2, dims, ids, 4, cases[i].derangement), CBE_ERR_ARG,
                       cases[i].named);
    expect_refused(write_ids(CBE_I64, 2, dims, ids, 3, (int64_t[]){1, 2, 0}), CBE_ERR_SHAPE,
                   "3 entries for 4 tokens");
}

static void tokens__ids_are_checked_against_the_vocabulary(void **state)
{
    (void)state;
    cbe_error err;
    int64_t ids[] = {1, 2, 3, 9, 5, 6};
    const cbe_tokens tokens = {.n_sequences = 2, .context_length = 3, .ids = ids};
    cbe_assert_ok(cbe_tokens_check(&tokens, 10, &err), &err);
    assert_int_equal(cbe_tokens_check(&tokens, 9, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "token 0 of sequence 1 is 9"));
    ids[5] = -1;
    assert_int_equal(cbe_tokens_check(&tokens, 10, &err), CBE_ERR_ARG);
    assert_non_null(strstr(err.message, "token 2 of sequence 1 is -1"));
}

static void tokens__survive_every_failing_allocation(void **state)
{
    (void)state;
    cbe_tokenizer *tokenizer = make_tokenizer(true);
    const char *const *texts = write_texts(2, (const char *[]){"some text \xff", "more of it"});
    const int64_t ids[] = {1, 2}, derangement[] = {1, 0};
    const char *path = write_ids(CBE_I64, 1, (size_t[]){2}, ids, 2, derangement);
    for (int loading = 0; loading < 2; loading++) {
        cbe_status st = CBE_ERR_NOMEM;
        long n_failed = 0;
        for (; st != CBE_OK; n_failed++) {
            cbe_error err = {0};
            cbe_tokens got = {0};
            assert_true(n_failed < 1000);
            cbe_memory_fail_after(n_failed);
            st = loading ? cbe_tokens_load(&got, path, NULL, &err)
                         : cbe_tokens_from_texts(&got, tokenizer, 2, texts, NULL, 4, 0, &err);
            cbe_memory_fail_after(-1);
            assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
            assert_int_equal(st, err.code);
            cbe_tokens_free(&got);
        }
        assert_true(n_failed > 3);
    }
    remove_texts(2, texts);
    cbe_test_remove(path);
    cbe_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens__texts_are_joined_and_cut),
        cmocka_unit_test(tokens__texts_are_not_parted_without_an_end_token),
        cmocka_unit_test(tokens__texts_that_cannot_be_used_are_refused),
        cmocka_unit_test(tokens__ids_are_used_as_they_are),
        cmocka_unit_test(tokens__ids_may_be_integers_of_any_width),
        cmocka_unit_test(tokens__ids_of_another_form_are_refused),
        cmocka_unit_test(tokens__derangements_leave_nothing_in_place),
        cmocka_unit_test(tokens__ids_are_checked_against_the_vocabulary),
        cmocka_unit_test(tokens__survive_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
