/* JSON texts read as Python's json and Rust's serde_json read them, and refused where they are. */
#include "formats/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "formats/json_keys.h"
#include "support/assert_close.h"

/* A text and its length, which may hold NUL. */
#define TEXT(literal) literal, sizeof(literal) - 1

static yyjson_doc *read_text(const char *text, size_t length)
{
    cbe_error err = {0};
    yyjson_doc *doc = NULL;
    if (cbe_json_read(&doc, text, length, "a.json", &err) != CBE_OK) fail_msg("%s", err.message);
    return doc;
}

static void strings__are_pythons(void **state)
{
    static const struct {
        const char *text;
        size_t length;
        const char *want;
        size_t want_length;
    } rows[] = {
        {TEXT("\"plain\""), TEXT("plain")},
        {TEXT("\"a\\u0000b\""), TEXT("a\0b")},
        {TEXT("\"\\ud83d\\ude00\""), TEXT("\xf0\x9f\x98\x80")},
        {TEXT("\"x\\ud83dy\""), TEXT("x\xef\xbf\xbdy")},
        {TEXT("\"x\\uDE00y\""), TEXT("x\xef\xbf\xbdy")},
        {TEXT("\"\\ud83d\\ud83d\\ude00\""), TEXT("\xef\xbf\xbd\xf0\x9f\x98\x80")},
        {TEXT("\"\\\\ud83d\""), TEXT("\\ud83d")},
        {TEXT("\"\\\\\\ud83d\""), TEXT("\\\xef\xbf\xbd")},
        {TEXT("\"\\u00e9\\/\\b\\f\\n\\r\\t\""), TEXT("\xc3\xa9/\b\f\n\r\t")},
        {TEXT("\xef\xbb\xbf\"behind a mark\""), TEXT("behind a mark")},
        {TEXT("\"\x7f\xc2\x80\xef\xbf\xbf\""), TEXT("\x7f\xc2\x80\xef\xbf\xbf")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        yyjson_doc *doc = read_text(rows[i].text, rows[i].length);
        yyjson_val *root = yyjson_doc_get_root(doc);
        assert_int_equal(yyjson_get_len(root), rows[i].want_length);
        assert_memory_equal(yyjson_get_str(root), rows[i].want, rows[i].want_length);
        yyjson_doc_free(doc);
    }
}

static void numbers__are_pythons(void **state)
{
    static const struct {
        const char *text;
        double want;
        bool integer;
    } rows[] = {
        {"0", 0, true},
        {"-0", 0, true},
        {"9223372036854775807", 9223372036854775807.0, true},
        {"18446744073709551615", 18446744073709551615.0, true},
        {"1000000000000000019884624838656", 1e30, false},
        {"-1000000000000000019884624838656", -1e30, false},
        {"1E400", INFINITY, false},
        {"-1e999", -INFINITY, false},
        {"1e-999", 0, false},
        {"Infinity", INFINITY, false},
        {"-Infinity", -INFINITY, false},
        {"0.1", 0.1, false},
        {"1.0", 1, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        yyjson_doc *doc = read_text(rows[i].text, strlen(rows[i].text));
        yyjson_val *root = yyjson_doc_get_root(doc);
        assert_true(yyjson_get_num(root) == rows[i].want);
        assert_int_equal(yyjson_is_int(root), rows[i].integer);
        yyjson_doc_free(doc);
    }
    yyjson_doc *doc = read_text(TEXT("[NaN, 2]"));
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_true(isnan(yyjson_get_num(yyjson_arr_get_first(root))));
    yyjson_doc_free(doc);
}

static void equal_keys__the_last_counts(void **state)
{
    (void)state;
    yyjson_doc *doc = read_text(TEXT("{\"a\": 1, \"b\": null, \"a\\u0000\": 3, \"a\": \"two\"}"));
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_string_equal(cbe_json_text(root, "a"), "two");
    assert_true(yyjson_is_null(cbe_json_at(root, "b")));
    assert_null(cbe_json_get(root, "b"));
    assert_null(cbe_json_at(root, "c"));
    assert_null(cbe_json_at(NULL, "a"));
    assert_null(cbe_json_at(cbe_json_at(root, "a"), "a"));
    yyjson_doc_free(doc);
}

static void wrong_texts__are_refused_with_line_and_byte(void **state)
{
    static const struct {
        const char *text;
        size_t length;
        const char *want;
    } rows[] = {
        {TEXT(""), "line 1"},
        {TEXT(" \n "), "empty"},
        {TEXT("{\"a\": 1,}"), "(byte 7)"},
        {TEXT("{\"a\": 1}\n\n x"), "line 3"},
        {TEXT("[1 2]"), "(byte 3)"},
        {TEXT("['a']"), "(byte 1)"},
        {TEXT("[01]"), "(byte 1)"},
        {TEXT("[1.]"), "not JSON"},
        {TEXT("[+1]"), "not JSON"},
        {TEXT("\"a\nb\""), "not JSON"},
        {TEXT("\"\\x41\""), "not JSON"},
        {TEXT("\"\\u12\""), "not JSON"},
        {TEXT("\"open"), "not JSON"},
        {TEXT("\"\xe9\""), "not JSON"},
        {TEXT("\"\\ud83d\xe9\""), "not JSON"},
        {TEXT("[1] // note"), "not JSON"},
        {TEXT("\"a\0b\""), "not JSON"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cbe_error err = {0};
        yyjson_doc *doc = NULL;
        assert_int_equal(cbe_json_read(&doc, rows[i].text, rows[i].length, "a.json", &err),
                         CBE_ERR_FORMAT);
        if (!strstr(err.message, rows[i].want) || strncmp(err.message, "a.json: line ", 13) != 0)
            fail_msg("'%s' lacks '%s'", err.message, rows[i].want);
        assert_null(doc);
    }
}

static void ill_formed_bytes__become_u_fffd_and_are_counted(void **state)
{
    cbe_error err;
    cbe_json_problem problem;
    yyjson_doc *doc = NULL;
    size_t n = 9;
    (void)state;
    assert_int_equal(cbe_json_parse(&doc, TEXT("{\"t\": \"caf\xe9 \\ud83d \xf0\x9f\"}"), &n, "a",
                                    &problem, &err),
                     CBE_OK);
    assert_int_equal(n, 2);
    assert_string_equal(cbe_json_text(yyjson_doc_get_root(doc), "t"),
                        "caf\xef\xbf\xbd \xef\xbf\xbd \xef\xbf\xbd");
    yyjson_doc_free(doc);
    assert_int_equal(cbe_json_parse(&doc, TEXT("{\"t\": \"caf\"}"), &n, "a", &problem, &err),
                     CBE_OK);
    assert_int_equal(n, 0);
    yyjson_doc_free(doc);
    doc = NULL;
    assert_int_equal(cbe_json_parse(&doc, TEXT("{\"t\": \"caf\xe9\""), &n, "a", &problem, &err),
                     CBE_ERR_FORMAT);
    assert_null(doc);
}

static void deep_nesting__is_read(void **state)
{
    enum { DEPTH = 100000 };
    (void)state;
    char *text = cbe_alloc(2, DEPTH, "text", NULL);
    memset(text, '[', DEPTH);
    memset(text + DEPTH, ']', DEPTH);
    yyjson_doc *doc = read_text(text, (size_t)2 * DEPTH);
    yyjson_doc_free(doc);
    doc = NULL;
    cbe_error err;
    assert_int_equal(cbe_json_read(&doc, text, DEPTH, "a.json", &err), CBE_ERR_FORMAT);
    cbe_free(text);
}

static void short_memory__is_told(void **state)
{
    static const char text[] = "{\"a\": [1, 2.5, \"\\ud83d\", {\"b\": null}]}";
    bool read = false;
    (void)state;
    for (long n = 0; !read; n++) {
        cbe_error err = {0};
        yyjson_doc *doc = NULL;
        cbe_memory_fail_after(n);
        const cbe_status st = cbe_json_read(&doc, TEXT(text), "a.json", &err);
        cbe_memory_fail_after(-1);
        read = st == CBE_OK;
        assert_true(read || st == CBE_ERR_NOMEM);
        assert_true(read == (doc != NULL));
        yyjson_doc_free(doc);
    }
}

static void typed_keys__are_checked(void **state)
{
    cbe_error err;
    size_t size = 7, count = 0;
    double number = 0.5, numbers[2];
    (void)state;
    yyjson_doc *doc = read_text(TEXT(
        "{\"n\": 3, \"big\": 18446744073709551615, \"huge\": 1e30, \"minus\": -1, \"null\": null,"
        " \"list\": [1, 2.5], \"three\": [1, 2, 3], \"text\": \"x\"}"));
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_int_equal(cbe_json_size(root, "n", 10, "a.json", &size, &err), CBE_OK);
    assert_int_equal(size, 3);
    assert_int_equal(cbe_json_size(root, "null", 10, "a.json", &size, &err), CBE_OK);
    assert_int_equal(size, 3);
    static const char *const wrong[] = {"big", "huge", "minus", "text", "list"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(cbe_json_size(root, wrong[i], 10, "a.json", &size, &err), CBE_ERR_FORMAT);
    assert_int_equal(cbe_json_double(root, "huge", "a.json", &number, &err), CBE_OK);
    assert_true(number == 1e30);
    assert_int_equal(cbe_json_doubles(root, "list", 2, "a.json", numbers, &count, &err), CBE_OK);
    assert_true(count == 2 && numbers[0] == 1 && numbers[1] == 2.5);
    assert_int_equal(cbe_json_doubles(root, "three", 2, "a.json", numbers, &count, &err),
                     CBE_ERR_FORMAT);
    yyjson_doc_free(doc);
}

static void truth__is_pythons(void **state)
{
    static const char *const are_true[] = {"true",          "1",  "-0.5", "\"0\"", "[0]",
                                           "{\"a\": null}", "NaN"},
                             *const are_false[] = {"false", "0",  "-0.0", "\"\"",
                                                   "[]",    "{}", "null"};
    (void)state;
    for (size_t i = 0; i < sizeof are_true / sizeof *are_true; i++) {
        yyjson_doc *yes = read_text(are_true[i], strlen(are_true[i])),
                   *no = read_text(are_false[i], strlen(are_false[i]));
        assert_true(cbe_json_is_true(yyjson_doc_get_root(yes)));
        assert_false(cbe_json_is_true(yyjson_doc_get_root(no)));
        yyjson_doc_free(yes);
        yyjson_doc_free(no);
    }
    assert_false(cbe_json_is_true(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings__are_pythons),
        cmocka_unit_test(numbers__are_pythons),
        cmocka_unit_test(equal_keys__the_last_counts),
        cmocka_unit_test(wrong_texts__are_refused_with_line_and_byte),
        cmocka_unit_test(ill_formed_bytes__become_u_fffd_and_are_counted),
        cmocka_unit_test(deep_nesting__is_read),
        cmocka_unit_test(short_memory__is_told),
        cmocka_unit_test(typed_keys__are_checked),
        cmocka_unit_test(truth__is_pythons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
