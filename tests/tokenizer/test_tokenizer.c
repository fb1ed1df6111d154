/*
 * test_tokenizer.c - golden cases of tokenizers, from both kinds of files, special tokens, hostile
 * vocabularies.
 *
 * The golden cases were made by Hugging Face's tokenizers; tests/tools/make_tokenizer_gguf.py made
 * the small GGUF files. SmolLM2's cases need its own file, see support/smollm2.h.
 */
#include "support/assert_close.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"
#include "core/memory.h"
#include "support/smollm2.h"
#include "support/vocabulary.h"
#include "tokenizer/bpe.h"

#define GOLDEN(name) CBE_TEST_DATA "/golden/tokenizers/" name

static cbe_test_vocabulary vocabulary;

static cbe_status load(cbe_tokenizer **out, const char *path, cbe_error *err)
{
    cbe_gguf *file = NULL;
    cbe_status st = cbe_gguf_open(&file, path, err);
    if (st == CBE_OK) st = cbe_tokenizer_from_gguf(out, file, NULL, err);
    cbe_gguf_close(file);
    return st;
}

static cbe_tokenizer *load_good(const char *path)
{
    cbe_error err;
    cbe_tokenizer *made = NULL;
    cbe_assert_ok(load(&made, path, &err), &err);
    return made;
}

/* The tokenizer of `vocabulary`, by way of a file. */
static cbe_status load_vocabulary(cbe_tokenizer **out, cbe_error *err)
{
    const char *path = cbe_test_temporary("vocabulary.gguf");
    cbe_test_write_vocabulary(path, &vocabulary);
    cbe_status st = load(out, path, err);
    cbe_test_remove(path);
    return st;
}

static cbe_tokenizer *load_good_vocabulary(void)
{
    cbe_error err;
    cbe_tokenizer *made = NULL;
    cbe_assert_ok(load_vocabulary(&made, &err), &err);
    return made;
}

static void expect_ids(const cbe_tokenizer *tokenizer, const char *text, size_t length,
                       bool add_special, size_t n, const int64_t *want)
{
    cbe_error err;
    int64_t *ids;
    size_t n_ids;
    cbe_assert_ok(
        cbe_tokenizer_encode(tokenizer, text, length, add_special, &ids, &n_ids, NULL, &err), &err);
    for (size_t i = 0; i < n && i < n_ids; i++)
        if (ids[i] != want[i])
            fail_msg("'%s': token %zu is %lld, not %lld", text, i, (long long)ids[i],
                     (long long)want[i]);
    if (n_ids != n) fail_msg("'%s': %zu tokens, not %zu", text, n_ids, n);
    cbe_tokenizer_free_ids(ids);
}

static void expect_text(const cbe_tokenizer *tokenizer, size_t n, const int64_t *ids,
                        const char *want, size_t want_length)
{
    cbe_error err;
    char *text;
    size_t length;
    cbe_assert_ok(cbe_tokenizer_decode(tokenizer, ids, n, &text, &length, &err), &err);
    if (length != want_length || memcmp(text, want, length + 1) != 0)
        fail_msg("decoded '%s', not '%s'", text, want);
    cbe_tokenizer_free_text(text);
}

static size_t read_ids(const json_t *list, int64_t *ids, size_t room)
{
    const size_t n = json_array_size(list);
    assert_true(n <= room);
    for (size_t i = 0; i < n; i++) ids[i] = json_integer_value(json_array_get(list, i));
    return n;
}

/* Every case of a golden.json. */
static void expect_golden(const char *model_path, const char *golden_path, size_t n_cases)
{
    static int64_t ids[4096];
    json_error_t why;
    cbe_error err;
    cbe_tokenizer *tokenizer = NULL;
    if (strstr(model_path, ".json"))
        cbe_assert_ok(cbe_tokenizer_from_json(&tokenizer, model_path, NULL, NULL, &err), &err);
    else
        tokenizer = load_good(model_path);
    json_t *cases = json_load_file(golden_path, JSON_ALLOW_NUL, &why);
    if (!cases) fail_msg("%s: %s", golden_path, why.text);
    assert_int_equal(json_array_size(cases), n_cases);
    size_t i;
    json_t *golden;
    json_array_foreach(cases, i, golden)
    {
        const json_t *text = json_object_get(golden, "text"),
                     *decoded = json_object_get(golden, "decoded"),
                     *with_special = json_object_get(golden, "ids_with_special");
        const char *bytes = json_string_value(text);
        const size_t length = json_string_length(text);
        const size_t n = read_ids(json_object_get(golden, "ids"), ids, 4096);
        expect_ids(tokenizer, bytes, length, false, n, ids);
        expect_text(tokenizer, n, ids, json_string_value(decoded), json_string_length(decoded));
        const size_t n_special = with_special ? read_ids(with_special, ids, 4096) : n;
        expect_ids(tokenizer, bytes, length, true, n_special, ids);
    }
    json_decref(cases);
    cbe_tokenizer_free(tokenizer);
}

/* A tokenizer.json; in_gguf: the same in a GGUF file beside it. lossless: every text comes back as
 * it was. */
static const struct {
    const char *name;
    size_t n_cases;
    bool in_gguf, lossless;
} goldens[] = {
    {"gpt2", 84, true, true},
    {"llama3", 84, true, true},
    {"qwen2", 84, true, false},    /* NFC */
    {"llama2", 84, true, false},   /* a space is put behind an added token */
    {"mistral", 84, false, false}, /* a space after an added token is lost */
    {"gemma", 84, true, true},
    {"made-gpt2", 24, false, true},
    {"made-opt", 24, false, false}, /* a space is put in front */
    {"made-gpt_neox", 24, false, false},
    {"made-bloom", 24, true, true},
    {"made-gpt4o", 24, true, true},
    {"made-smollm", 24, true, true},
    {"made-olmo2", 24, true, true},
    {"made-cl100k", 24, false, true},
    {"made-deepseek", 24, false, true},
    {"made-phi", 24, false, true},
    {"made-flags", 24, false, false}, /* NFKC and others, as below */
    {"made-llama2", 24, false, false},
    {"made-mistral", 24, false, false},
    {"made-gemma", 24, false, true},
    {"made-metaspace", 24, false, false},
    {"made-unigram", 24, false, false},
    {"made-unigram-bytes", 24, true, true},
    {"made-steps", 24, false, false},
    {"made-words", 24, false, false},
};

static void tokenizer__meets_every_golden_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        char model[600], golden[600];
        snprintf(golden, sizeof golden, GOLDEN("%s/golden.json"), goldens[i].name);
        snprintf(model, sizeof model, GOLDEN("%s/tokenizer.json"), goldens[i].name);
        expect_golden(model, golden, goldens[i].n_cases);
        if (!goldens[i].in_gguf) continue;
        snprintf(model, sizeof model, GOLDEN("%s/tokenizer.gguf"), goldens[i].name);
        expect_golden(model, golden, goldens[i].n_cases);
    }
}

static void tokenizer__of_a_model_is_the_same_in_both_kinds_of_files(void **state)
{
    (void)state;
    expect_golden(CBE_TEST_DATA "/golden/gguf/tiny-llama/tokenizer.json",
                  CBE_TEST_DATA "/golden/gguf/tiny-llama/golden.json", 23);
    expect_golden(CBE_TEST_DATA "/golden/gguf/tiny-llama/llama-f32.gguf",
                  CBE_TEST_DATA "/golden/gguf/tiny-llama/golden.json", 23);
    expect_golden(CBE_TEST_DATA "/golden/gguf/tiny-llama3/tokenizer.json",
                  CBE_TEST_DATA "/golden/gguf/tiny-llama3/golden.json", 23);
    expect_golden(CBE_TEST_DATA "/golden/gguf/tiny-llama3/llama-f32.gguf",
                  CBE_TEST_DATA "/golden/gguf/tiny-llama3/golden.json", 23);
}

static void tokenizer__lossless_ones_give_every_text_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        char model[600], path[600];
        json_error_t why;
        cbe_error err;
        cbe_tokenizer *tokenizer = NULL;
        size_t k;
        json_t *golden;
        if (!goldens[i].lossless) continue;
        snprintf(model, sizeof model, GOLDEN("%s/tokenizer.json"), goldens[i].name);
        cbe_assert_ok(cbe_tokenizer_from_json(&tokenizer, model, NULL, NULL, &err), &err);
        /* Texts of all tokenizers, which hold added tokens of others too. */
        for (size_t j = 0; j < sizeof goldens / sizeof *goldens; j++) {
            snprintf(path, sizeof path, GOLDEN("%s/golden.json"), goldens[j].name);
            json_t *cases = json_load_file(path, JSON_ALLOW_NUL, &why);
            json_array_foreach(cases, k, golden)
            {
                const json_t *text = json_object_get(golden, "text");
                int64_t *ids = NULL;
                size_t n_ids;
                cbe_assert_ok(cbe_tokenizer_encode(tokenizer, json_string_value(text),
                                                   json_string_length(text), false, &ids, &n_ids,
                                                   NULL, &err),
                              &err);
                expect_text(tokenizer, n_ids, ids, json_string_value(text),
                            json_string_length(text));
                cbe_tokenizer_free_ids(ids);
            }
            json_decref(cases);
        }
        cbe_tokenizer_free(tokenizer);
    }
}

static void tokenizer__meets_smollm2s_golden_cases(void **state)
{
    (void)state;
    const char *path = cbe_test_smollm2_path();
    if (!path) skip();
    expect_golden(path, GOLDEN("smollm2/golden.json"), 120);
}

/* The sample that users are shown: long enough for 4,608 tokens, and no token is lost. */
static void tokenizer__sample_text_is_long_enough_and_comes_back(void **state)
{
    (void)state;
    const char *path = cbe_test_smollm2_path();
    if (!path) skip();
    cbe_error err;
    int64_t *ids;
    size_t n_ids, n_replaced;
    static char text[1 << 17];
    FILE *file = fopen(CBE_TEST_DATA "/../data/sample.txt", "rb");
    assert_non_null(file);
    const size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    cbe_tokenizer *tokenizer = load_good(path);
    cbe_assert_ok(
        cbe_tokenizer_encode(tokenizer, text, length, false, &ids, &n_ids, &n_replaced, &err),
        &err);
    assert_in_range(n_ids, 4608, sizeof text);
    assert_int_equal(n_replaced, 0);
    expect_text(tokenizer, n_ids, ids, text, length);
    cbe_tokenizer_free_ids(ids);
    cbe_tokenizer_free(tokenizer);
}

static void tokenizer__tells_what_the_file_says(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    cbe_tokenizer *tokenizer = load_good_vocabulary();
    assert_int_equal(cbe_tokenizer_vocab_size(tokenizer), 256);
    assert_int_equal(cbe_tokenizer_bos(tokenizer), -1);
    assert_int_equal(cbe_tokenizer_eos(tokenizer), -1);
    cbe_tokenizer_free(tokenizer);
    vocabulary.bos = 3;
    vocabulary.eos = 255;
    tokenizer = load_good_vocabulary();
    assert_int_equal(cbe_tokenizer_bos(tokenizer), 3);
    assert_int_equal(cbe_tokenizer_eos(tokenizer), 255);
    cbe_tokenizer_free(tokenizer);
}

static void tokenizer__adds_the_ends_only_when_asked_and_the_file_says_so(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    vocabulary.bos = (int64_t)cbe_test_add_token(&vocabulary, "<s>", CBE_TOKEN_CONTROL);
    vocabulary.eos = (int64_t)cbe_test_add_token(&vocabulary, "</s>", CBE_TOKEN_CONTROL);
    const int64_t both[] = {vocabulary.bos, 'a', vocabulary.eos};
    for (int add_bos = -1; add_bos <= 1; add_bos++)
        for (int add_eos = -1; add_eos <= 1; add_eos++) {
            vocabulary.add_bos = add_bos;
            vocabulary.add_eos = add_eos;
            cbe_tokenizer *tokenizer = load_good_vocabulary();
            const bool begins = add_bos > 0, ends = add_eos > 0;
            expect_ids(tokenizer, "a", 1, true, 1u + begins + ends, both + !begins);
            expect_ids(tokenizer, "a", 1, false, 1, both + 1);
            cbe_tokenizer_free(tokenizer);
        }
    /* Llama 3's files begin a text unless they say otherwise. */
    vocabulary.pre = "llama-bpe";
    vocabulary.add_bos = vocabulary.add_eos = -1;
    cbe_tokenizer *tokenizer = load_good_vocabulary();
    expect_ids(tokenizer, "a", 1, true, 2, both);
    cbe_tokenizer_free(tokenizer);
}

static void tokenizer__finds_the_longest_added_token_at_the_leftmost_place(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    const int64_t x = (int64_t)cbe_test_add_token(&vocabulary, "<x>", CBE_TOKEN_CONTROL);
    const int64_t xx = (int64_t)cbe_test_add_token(&vocabulary, "<x><x>", CBE_TOKEN_USER_DEFINED);
    const int64_t gt = (int64_t)cbe_test_add_token(&vocabulary, "><", CBE_TOKEN_USER_DEFINED);
    const int64_t thumb =
        (int64_t)cbe_test_add_token(&vocabulary, "\xf0\x9f\x91\x8d up", CBE_TOKEN_USER_DEFINED);
    cbe_test_add_token(&vocabulary, "", CBE_TOKEN_CONTROL);
    cbe_test_add_token(&vocabulary, "<unused>", CBE_TOKEN_UNUSED);
    cbe_tokenizer *tokenizer = load_good_vocabulary();
    expect_ids(tokenizer, "<x>", 3, false, 1, &x);
    expect_ids(tokenizer, "<x><x><x>", 9, false, 2, (int64_t[]){xx, x});
    expect_ids(tokenizer, "<x><y", 5, false, 3, (int64_t[]){x, '<', 'y'});
    expect_ids(tokenizer, "<<x>", 4, false, 2, (int64_t[]){'<', x});
    expect_ids(tokenizer, "a><x>", 5, false, 4, (int64_t[]){'a', gt, 'x', '>'});
    expect_ids(tokenizer, "<x", 2, false, 2, (int64_t[]){'<', 'x'});
    expect_ids(tokenizer, "\xf0\x9f\x91\x8d up!", 8, false, 2, (int64_t[]){thumb, '!'});
    expect_ids(tokenizer, "<un", 3, false, 3, (int64_t[]){'<', 'u', 'n'});
    expect_text(tokenizer, 3, (int64_t[]){thumb, x, 'a'}, "\xf0\x9f\x91\x8d up<x>a", 11);
    cbe_tokenizer_free(tokenizer);
}

static void tokenizer__counts_what_is_not_utf8(void **state)
{
    (void)state;
    cbe_error err;
    int64_t *ids;
    size_t n_ids, n_replaced;
    cbe_test_vocabulary_init(&vocabulary);
    cbe_tokenizer *tokenizer = load_good_vocabulary();
    cbe_assert_ok(cbe_tokenizer_encode(tokenizer, "a\xf0\x9f\xff\0z", 6, false, &ids, &n_ids,
                                       &n_replaced, &err),
                  &err);
    assert_int_equal(n_replaced, 2);
    assert_int_equal(n_ids, 9);
    expect_text(tokenizer, n_ids, ids, "a\xef\xbf\xbd\xef\xbf\xbd\0z", 9);
    cbe_tokenizer_free_ids(ids);
    cbe_assert_ok(cbe_tokenizer_encode(tokenizer, "", 0, true, &ids, &n_ids, &n_replaced, &err),
                  &err);
    assert_int_equal(n_ids, 0);
    assert_int_equal(n_replaced, 0);
    cbe_tokenizer_free_ids(ids);
    /* Half a character, as a model may well produce. */
    expect_text(tokenizer, 2, (int64_t[]){0xc3, 'x'}, "\xef\xbf\xbdx", 4);
    expect_text(tokenizer, 0, NULL, "", 0);
    cbe_tokenizer_free(tokenizer);
}

static void tokenizer__decode_refuses_ids_out_of_range(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    cbe_tokenizer *tokenizer = load_good_vocabulary();
    static const int64_t bad[] = {-1, 256, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cbe_error err;
        char *text = NULL;
        size_t length;
        const int64_t ids[] = {'a', bad[i]};
        assert_int_equal(cbe_tokenizer_decode(tokenizer, ids, 2, &text, &length, &err),
                         CBE_ERR_ARG);
        assert_null(text);
        assert_non_null(strstr(err.message, "token 1"));
    }
    cbe_tokenizer_free(tokenizer);
}

/* Loading fails with this code and names this. */
static void expect_refused(cbe_status code, const char *named)
{
    cbe_error err;
    cbe_tokenizer *tokenizer = NULL;
    const cbe_status st = load_vocabulary(&tokenizer, &err);
    if (st != code) fail_msg("%s where %s: %s", cbe_status_name(st), cbe_status_name(code), named);
    assert_null(tokenizer);
    if (!strstr(err.message, named) || !strstr(err.message, "vocabulary.gguf"))
        fail_msg("the message lacks the file or '%s': %s", named, err.message);
}

static void tokenizer__refuses_files_that_it_cannot_follow(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    vocabulary.model = "bert";
    expect_refused(CBE_ERR_UNSUPPORTED, "'bert' (tokenizer.ggml.model)");
    vocabulary.model = NULL;
    expect_refused(CBE_ERR_FORMAT, "tokenizer.ggml.model");

    cbe_test_vocabulary_init(&vocabulary);
    vocabulary.pre = "kimi-k2";
    expect_refused(CBE_ERR_UNSUPPORTED, "'kimi-k2'");

    cbe_test_vocabulary_init(&vocabulary);
    vocabulary.add_bos = 1;
    expect_refused(CBE_ERR_FORMAT, "tokenizer.ggml.bos_token_id is missing");
    cbe_test_vocabulary_init(&vocabulary);
    vocabulary.add_eos = 1;
    expect_refused(CBE_ERR_FORMAT, "tokenizer.ggml.eos_token_id is missing");

    cbe_test_vocabulary_init(&vocabulary);
    vocabulary.n_kinds--;
    expect_refused(CBE_ERR_FORMAT, "255 entries for 256 tokens");

    cbe_test_vocabulary_init(&vocabulary);
    strcpy(vocabulary.merges[vocabulary.n_merges++], "a bc");
    expect_refused(CBE_ERR_FORMAT, "merge 0, 'a bc'");
    cbe_test_vocabulary_init(&vocabulary);
    vocabulary.n_tokens = vocabulary.n_kinds = 0x20;
    expect_refused(CBE_ERR_FORMAT, "byte 0x20");
    vocabulary.n_tokens = vocabulary.n_kinds = 0;
    expect_refused(CBE_ERR_FORMAT, "vocabulary is empty");
}

static void tokenizer__files_without_a_split_have_the_formats_default(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    vocabulary.pre = NULL;
    const int64_t twelve = (int64_t)cbe_test_add_merge(&vocabulary, "1", "2");
    cbe_tokenizer *tokenizer = load_good_vocabulary();
    expect_ids(tokenizer, "12", 2, false, 1, &twelve); /* SmolLM2's would cut between */
    expect_ids(tokenizer, " 123", 4, false, 3, (int64_t[]){' ', twelve, '3'});
    expect_ids(tokenizer, "312", 3, false, 2, (int64_t[]){'3', twelve});
    expect_ids(tokenizer, "3412", 4, false, 4, (int64_t[]){'3', '4', '1', '2'});
    cbe_tokenizer_free(tokenizer);
}

/* Ten seconds are far more than any machine needs, and far less than quadratic time would take. */
static void tokenizer__a_megabyte_of_one_letter_is_done_at_once(void **state)
{
    (void)state;
    enum { LENGTH = 1 << 20 };
    cbe_error err;
    cbe_test_vocabulary_init(&vocabulary);
    cbe_test_add_merge(&vocabulary, "a", "a");
    cbe_test_add_merge(&vocabulary, "aa", "aa");
    cbe_tokenizer *tokenizer = load_good_vocabulary();
    char *text = cbe_alloc(LENGTH, 1, "text", &err);
    assert_non_null(text);
    memset(text, 'a', LENGTH);
    int64_t *ids;
    size_t n_ids;
    cbe_assert_ok(cbe_tokenizer_encode(tokenizer, text, LENGTH, false, &ids, &n_ids, NULL, &err),
                  &err);
    assert_int_equal(n_ids, LENGTH / 4);
    cbe_tokenizer_free_ids(ids);
    cbe_free(text);
    cbe_tokenizer_free(tokenizer);
}

static void tokenizer__survives_every_failing_allocation(void **state)
{
    (void)state;
    static const char text[] =
        "caf\xc3\xa9 e\xcc\x81 12 <x> \xff one-very-long-word-of-forty-letters-at-least";
    cbe_test_vocabulary_init(&vocabulary);
    vocabulary.pre = "qwen2"; /* with NFC, the longest way */
    cbe_test_add_token(&vocabulary, "<x>", CBE_TOKEN_CONTROL);
    const char *path = cbe_test_temporary("vocabulary.gguf");
    cbe_test_write_vocabulary(path, &vocabulary);
    cbe_status st = CBE_ERR_NOMEM;
    long n_failed = 0;
    for (; st != CBE_OK; n_failed++) {
        cbe_error err = {0};
        cbe_tokenizer *tokenizer = NULL;
        int64_t *ids = NULL;
        char *decoded = NULL;
        size_t n_ids, length;
        assert_true(n_failed < 1000);
        cbe_memory_fail_after(n_failed);
        st = load(&tokenizer, path, &err);
        if (st == CBE_OK)
            st = cbe_tokenizer_encode(tokenizer, text, sizeof text - 1, true, &ids, &n_ids, NULL,
                                      &err);
        if (st == CBE_OK) st = cbe_tokenizer_decode(tokenizer, ids, n_ids, &decoded, &length, &err);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
        assert_int_equal(st, err.code);
        cbe_tokenizer_free_text(decoded);
        cbe_tokenizer_free_ids(ids);
        cbe_tokenizer_free(tokenizer);
    }
    assert_true(n_failed > 20);
    cbe_test_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer__meets_every_golden_case),
        cmocka_unit_test(tokenizer__of_a_model_is_the_same_in_both_kinds_of_files),
        cmocka_unit_test(tokenizer__lossless_ones_give_every_text_back),
        cmocka_unit_test(tokenizer__meets_smollm2s_golden_cases),
        cmocka_unit_test(tokenizer__sample_text_is_long_enough_and_comes_back),
        cmocka_unit_test(tokenizer__tells_what_the_file_says),
        cmocka_unit_test(tokenizer__adds_the_ends_only_when_asked_and_the_file_says_so),
        cmocka_unit_test(tokenizer__finds_the_longest_added_token_at_the_leftmost_place),
        cmocka_unit_test(tokenizer__counts_what_is_not_utf8),
        cmocka_unit_test(tokenizer__decode_refuses_ids_out_of_range),
        cmocka_unit_test(tokenizer__refuses_files_that_it_cannot_follow),
        cmocka_unit_test(tokenizer__files_without_a_split_have_the_formats_default),
        cmocka_unit_test(tokenizer__a_megabyte_of_one_letter_is_done_at_once),
        cmocka_unit_test(tokenizer__survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
