/* What a text's name and its beginning say of its documents, however few bytes are there at
 * once. */
#include "text/documents_kind.h"

#include <string.h>

#include "support/assert_close.h"

static void name__counts_in_any_case_and_before_a_compression(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        cbe_documents_name want;
    } cases[] = {
        {"a.jsonl", CBE_NAMED_JSON_LINES},
        {"a.JSONL.GZ", CBE_NAMED_JSON_LINES},
        {"a.ndjson.zst", CBE_NAMED_JSON_LINES},
        {"a.jsonlines.zstd", CBE_NAMED_JSON_LINES},
        {"a.jl.gzip", CBE_NAMED_JSON_LINES},
        {"d/a.json", CBE_NAMED_JSON},
        {"a.json.gz", CBE_NAMED_JSON},
        {"a.txt.gz", CBE_NAMED_TEXT},
        {"a.md", CBE_NAMED_TEXT},
        {"a.CSV.gz", CBE_NAMED_TABLE},
        {"a.tsv", CBE_NAMED_TABLE},
        {"a.jsonl.txt", CBE_NAMED_TEXT},
        {".jsonl", CBE_NAMED_OTHERWISE},
        {"a", CBE_NAMED_OTHERWISE},
        {"", CBE_NAMED_OTHERWISE},
        {"-", CBE_NAMED_OTHERWISE},
        {"a.json.bak", CBE_NAMED_OTHERWISE},
        {"jsonl.gz", CBE_NAMED_OTHERWISE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (cbe_documents_name_of(cases[i].path) != cases[i].want) fail_msg("%s", cases[i].path);
}

static void beginning__is_told_as_soon_as_it_is_there(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        cbe_documents_beginning want;
        size_t told_at, line, length; /* bytes that tell it; 0: the end tells */
    } cases[] = {
        {"", CBE_BEGINS_OTHERWISE, 0, 0, 0},
        {" \n\t\r\n", CBE_BEGINS_OTHERWISE, 0, 0, 0},
        {"  words", CBE_BEGINS_OTHERWISE, 3, 2, 0},
        {"{\"a\": 1}\n{}", CBE_BEGINS_LINE, 9, 0, 8},
        {"\n {\"a\": 1}\r\n", CBE_BEGINS_LINE, 12, 2, 9},
        {"{\"a\": 1}", CBE_BEGINS_LINE, 0, 0, 8},
        {"{}", CBE_BEGINS_LINE, 0, 0, 2},
        {"{\"a", CBE_BEGINS_LINE, 0, 0, 3},
        {"{", CBE_BEGINS_BRACE, 0, 0, 0},
        {"{a", CBE_BEGINS_BRACE, 2, 0, 0},
        {"{\n\n \"a\": 1\n}", CBE_BEGINS_OBJECT, 5, 0, 1},
        {"{\"a\":\n1}", CBE_BEGINS_OBJECT, 6, 0, 5},
        {"{\"a\": 1,\n", CBE_BEGINS_OBJECT, 9, 0, 8},
        {"[", CBE_BEGINS_BRACKET, 0, 0, 0},
        {"[1", CBE_BEGINS_BRACKET, 2, 0, 0},
        {"[ \n {", CBE_BEGINS_ARRAY, 5, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t size = strlen(cases[i].text);
        cbe_documents_look look = {0}, whole = {0};
        cbe_documents_beginning got = CBE_BEGINS_UNKNOWN;
        size_t n = 0, length = 0;
        assert_int_equal(cbe_documents_look_at(&whole, cases[i].text, size, true, &length),
                         cases[i].want);
        for (; n <= size && got == CBE_BEGINS_UNKNOWN; n++)
            got = cbe_documents_look_at(&look, cases[i].text, n, false, &length);
        if (cases[i].told_at == 0) {
            assert_int_equal(got, CBE_BEGINS_UNKNOWN);
            got = cbe_documents_look_at(&look, cases[i].text, size, true, &length);
        } else {
            assert_int_equal(n - 1, cases[i].told_at);
        }
        assert_int_equal(got, cases[i].want);
        assert_int_equal(look.line, cases[i].line);
        if (got == CBE_BEGINS_LINE || got == CBE_BEGINS_OBJECT)
            assert_int_equal(length, cases[i].length);
    }
}

static void line__may_be_the_first_of_a_layout(void **state)
{
    (void)state;
    assert_true(cbe_documents_is_laid_out("{", 1));
    assert_true(cbe_documents_is_laid_out(" { \"a\": [ \r", 11));
    assert_true(cbe_documents_is_laid_out("[{\"a\": 1}]", 10));
    assert_true(cbe_documents_is_laid_out("{\"a\": 1},", 9));
    assert_false(cbe_documents_is_laid_out("{\"a\": 1}", 8));
    assert_false(cbe_documents_is_laid_out("\"a\": {", 6));
    assert_false(cbe_documents_is_laid_out("", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name__counts_in_any_case_and_before_a_compression),
        cmocka_unit_test(beginning__is_told_as_soon_as_it_is_there),
        cmocka_unit_test(line__may_be_the_first_of_a_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
