/* test_pretokenize.c - what each split makes of texts that tell them apart. */
#include "support/assert_close.h"

#include <stdbool.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "tokenizer/splits.h"

/* Words of a text, each ended by '|'. */
typedef struct {
    char text[512];
    size_t length;
} joined;

static cbe_status join(void *user, const char *word, size_t length, cbe_error *err)
{
    joined *out = user;
    assert_true(length > 0 && out->length + length + 2 <= sizeof out->text);
    memcpy(out->text + out->length, word, length);
    out->length += length;
    out->text[out->length++] = '|';
    out->text[out->length] = 0;
    (void)err;
    return CBE_OK;
}

static cbe_status count(void *user, const char *word, size_t length, cbe_error *err)
{
    size_t *n = user;
    (void)word, (void)err;
    *n += length;
    return CBE_OK;
}

static cbe_pretokenizer create(cbe_split split)
{
    cbe_error err;
    cbe_pretokenizer made = {0};
    cbe_assert_ok(cbe_pretokenizer_add_named(&made, split, &err), &err);
    return made;
}

static void pretokenize__cuts_as_the_models_do(void **state)
{
    (void)state;
    static const struct {
        cbe_split split;
        const char *text, *want;
    } cases[] = {
        {CBE_SPLIT_GPT2, "Hello world's  end", "Hello| world|'s| | end|"},
        {CBE_SPLIT_GPT2, "IT'S 1234 x1!?", "IT|'|S| 1234| x|1|!?|"},
        {CBE_SPLIT_GPT2, "a  \n b   ", "a|  \n| b|   |"},
        {CBE_SPLIT_GPT2, "a\xc2\x85\xc2\xa0z", "a|\xc2\x85|\xc2\xa0|z|"},
        /* U+180E is not white space; U+FEFF neither. */
        {CBE_SPLIT_GPT2, "a\xe1\xa0\x8e z\xef\xbb\xbf", "a|\xe1\xa0\x8e| z|\xef\xbb\xbf|"},
        {CBE_SPLIT_SMOLLM,
         "v 12  3\xc2\xbd"
         "b",
         "v| |1|2|  |3|\xc2\xbd|b|"},
        {CBE_SPLIT_SMOLLM, "sum:   42", "sum|:|   |4|2|"},
        {CBE_SPLIT_LLAMA3, "IT'S 12345 (x)\r\n\n y", "IT|'S| |123|45| (|x|)\r\n\n| y|"},
        {CBE_SPLIT_LLAMA3, "tail  \n  \nword", "tail|  \n  \n|word|"},
        {CBE_SPLIT_LLAMA3, "!word'\xc5\xbf", "!word|'\xc5\xbf|"}, /* long s, a kind of s */
        {CBE_SPLIT_QWEN2, "x 123's", "x| |1|2|3|'s|"},
        {CBE_SPLIT_DBRX, "x 12345'S", "x| |123|45|'S|"},
        {CBE_SPLIT_GPT4O, "helloWorld HTTPServer's 1234/\n",
         "hello|World| HTTPServer's| |123|4|/\n|"},
        {CBE_SPLIT_BLOOM, "so, (a|b) c!  d", "so|, (|a|||b|)| c|! | d|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err;
        joined got = {.length = 0};
        cbe_pretokenizer pretokenizer = create(cases[i].split);
        cbe_assert_ok(cbe_pretokenize(&pretokenizer, cases[i].text, strlen(cases[i].text), true,
                                      join, &got, &err),
                      &err);
        assert_string_equal(got.text, cases[i].want);
        cbe_pretokenizer_free(&pretokenizer);
    }
}

/* What becomes of the matches of a pattern. */
static void split__behaviours_are_those_of_tokenizers(void **state)
{
    (void)state;
    static const struct {
        cbe_split_behaviour behaviour;
        bool invert;
        const char *want;
    } cases[] = {
        {CBE_SPLIT_REMOVED, false, "the|final|countdown|"},
        {CBE_SPLIT_ISOLATED, false, "the|-|final|-|-|countdown|-|"},
        {CBE_SPLIT_MERGED_WITH_PREVIOUS, false, "the-|final-|-|countdown-|"},
        {CBE_SPLIT_MERGED_WITH_NEXT, false, "the|-final|-|-countdown|-|"},
        {CBE_SPLIT_CONTIGUOUS, false, "the|-|final|--|countdown|-|"},
        {CBE_SPLIT_REMOVED, true, "-|-|-|-|"},
        {CBE_SPLIT_MERGED_WITH_PREVIOUS, true, "the|-final|-|-countdown|-|"},
        {CBE_SPLIT_MERGED_WITH_NEXT, true, "the-|final-|-|countdown-|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const char text[] = "the-final--countdown-";
        cbe_error err;
        cbe_regex *regex = NULL;
        cbe_pretokenizer pretokenizer = {0};
        joined got = {.length = 0};
        cbe_assert_ok(cbe_regex_create_literal(&regex, "-", 1, &err), &err);
        cbe_assert_ok(cbe_pretokenizer_add_split(&pretokenizer, regex, cases[i].behaviour,
                                                 cases[i].invert, &err),
                      &err);
        cbe_assert_ok(cbe_pretokenize(&pretokenizer, text, sizeof text - 1, true, join, &got, &err),
                      &err);
        assert_string_equal(got.text, cases[i].want);
        cbe_pretokenizer_free(&pretokenizer);
    }
}

static void metaspace__prepends_as_its_scheme_says(void **state)
{
    (void)state;
    static const struct {
        cbe_prepend_scheme scheme;
        bool first;
        const char *text, *want;
    } cases[] = {
        {CBE_PREPEND_NEVER, true, "a b", "a_b|"},  {CBE_PREPEND_FIRST, true, "a  b", "_a__b|"},
        {CBE_PREPEND_FIRST, false, "a b", "a_b|"}, {CBE_PREPEND_ALWAYS, false, "a ", "_a_|"},
        {CBE_PREPEND_ALWAYS, true, " a", "_a|"},   {CBE_PREPEND_ALWAYS, true, "_a", "_a|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err;
        cbe_pretokenizer pretokenizer = {0};
        joined got = {.length = 0};
        cbe_assert_ok(cbe_pretokenizer_add_metaspace(&pretokenizer, "_", 1, cases[i].scheme, &err),
                      &err);
        cbe_assert_ok(cbe_pretokenize(&pretokenizer, cases[i].text, strlen(cases[i].text),
                                      cases[i].first, join, &got, &err),
                      &err);
        assert_string_equal(got.text, cases[i].want);
        cbe_pretokenizer_free(&pretokenizer);
    }
}

static void pretokenize__keeps_zero_bytes_and_takes_nothing(void **state)
{
    (void)state;
    cbe_error err;
    joined got = {.length = 0};
    cbe_pretokenizer pretokenizer = create(CBE_SPLIT_GPT2);
    cbe_assert_ok(cbe_pretokenize(&pretokenizer, "", 0, true, join, &got, &err), &err);
    assert_int_equal(got.length, 0);
    cbe_assert_ok(cbe_pretokenize(&pretokenizer, "a\0b", 3, true, join, &got, &err), &err);
    assert_int_equal(got.length, 6);
    assert_memory_equal(got.text, "a|\0|b|", 6);
    cbe_pretokenizer_free(&pretokenizer);
}

/* Texts on which a pattern that backtracks would take hours or stop at a limit. */
static void pretokenize__is_linear_on_long_runs(void **state)
{
    (void)state;
    enum { LENGTH = 400000 };
    static const char *const units[] = {" ", "a", "1", "\n", " \n ", "'", "\xcc\x81", "a ", "\t1"};
    cbe_error err;
    char *text = cbe_alloc(LENGTH, 1, "text", &err);
    assert_non_null(text);
    for (size_t unit = 0; unit < sizeof units / sizeof *units; unit++) {
        const size_t step = strlen(units[unit]), length = LENGTH / step * step;
        for (size_t i = 0; i < length; i++) text[i] = units[unit][i % step];
        for (int split = 0; split < CBE_N_SPLITS; split++) {
            size_t n = 0;
            cbe_pretokenizer pretokenizer = create((cbe_split)split);
            cbe_assert_ok(cbe_pretokenize(&pretokenizer, text, length, true, count, &n, &err),
                          &err);
            assert_int_equal(n, length);
            cbe_pretokenizer_free(&pretokenizer);
        }
    }
    cbe_free(text);
}

static void pretokenize__finds_splits_by_the_names_in_files(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        cbe_split split;
    } cases[] = {
        {"gpt-2", CBE_SPLIT_GPT2},    {"default", CBE_SPLIT_DEFAULT},
        {"smollm", CBE_SPLIT_SMOLLM}, {"llama-bpe", CBE_SPLIT_LLAMA3},
        {"llama3", CBE_SPLIT_LLAMA3}, {"qwen2", CBE_SPLIT_QWEN2},
    };
    cbe_error err;
    cbe_split split;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_assert_ok(cbe_split_find(&split, cases[i].name, strlen(cases[i].name), "m.gguf", &err),
                      &err);
        assert_int_equal(split, cases[i].split);
    }
    assert_true(cbe_split_get(CBE_SPLIT_LLAMA3)->ignore_merges);
    assert_true(cbe_split_get(CBE_SPLIT_QWEN2)->nfc);
    static const char *const unknown[] = {"", "gpt", "gpt-2 ", "kimi-k2", "afmoe", "superbpe"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        const cbe_status st =
            cbe_split_find(&split, unknown[i], strlen(unknown[i]), "m.gguf", &err);
        assert_int_equal(st, CBE_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, "m.gguf"));
        assert_non_null(strstr(err.message, unknown[i]));
        assert_non_null(strstr(err.message, "with tokens"));
    }
}

static cbe_status refuse(void *user, const char *word, size_t length, cbe_error *err)
{
    (void)user;
    return cbe_fail(err, CBE_ERR_CANCELLED, -1, "at %.*s", (int)length, word);
}

static void pretokenize__hands_on_the_visitors_error(void **state)
{
    (void)state;
    cbe_error err;
    cbe_pretokenizer pretokenizer = create(CBE_SPLIT_SMOLLM);
    assert_int_equal(cbe_pretokenize(&pretokenizer, "one two", 7, true, refuse, NULL, &err),
                     CBE_ERR_CANCELLED);
    assert_string_equal(err.message, "at one");
    cbe_pretokenizer_free(&pretokenizer);
}

static void pretokenize__survives_every_failing_allocation(void **state)
{
    (void)state;
    cbe_status st = CBE_ERR_NOMEM;
    long n_failed = 0;
    for (; st != CBE_OK; n_failed++) {
        cbe_error err = {0};
        cbe_pretokenizer pretokenizer = {0};
        size_t n = 0;
        assert_true(n_failed < 1000);
        cbe_memory_fail_after(n_failed);
        st = cbe_pretokenizer_add_named(&pretokenizer, CBE_SPLIT_SMOLLM, &err);
        if (st == CBE_OK)
            st = cbe_pretokenize(&pretokenizer, "one 2 three", 11, true, count, &n, &err);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
        assert_int_equal(st, err.code);
        cbe_pretokenizer_free(&pretokenizer);
    }
    assert_true(n_failed > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pretokenize__cuts_as_the_models_do),
        cmocka_unit_test(split__behaviours_are_those_of_tokenizers),
        cmocka_unit_test(metaspace__prepends_as_its_scheme_says),
        cmocka_unit_test(pretokenize__keeps_zero_bytes_and_takes_nothing),
        cmocka_unit_test(pretokenize__is_linear_on_long_runs),
        cmocka_unit_test(pretokenize__finds_splits_by_the_names_in_files),
        cmocka_unit_test(pretokenize__hands_on_the_visitors_error),
        cmocka_unit_test(pretokenize__survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
