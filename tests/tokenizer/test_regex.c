/* test_regex.c - patterns read as Oniguruma reads them; expected matches were made with Hugging
 * Face's tokenizers. */
#include "support/assert_close.h"

#include <string.h>

#include "core/memory.h"
#include "tokenizer/regex.h"

/* All matches of a pattern, each ended by '|'. */
static cbe_status find_all(const char *pattern, const char *text, char *out, cbe_error *err)
{
    cbe_regex *regex = NULL;
    cbe_regex_search *search = NULL;
    const size_t length = strlen(text);
    *out = 0;
    cbe_status st = cbe_regex_create(&regex, pattern, strlen(pattern), "t.json", err);
    if (st == CBE_OK) st = cbe_regex_search_create(&search, regex, length, err);
    cbe_regex_place place = {0};
    for (bool found = true; found && st == CBE_OK;) {
        size_t begin, end;
        st = cbe_regex_find(search, text, length, &place, &found, &begin, &end, err);
        if (st != CBE_OK || !found) break;
        strncat(out, text + begin, end - begin);
        strcat(out, "|");
    }
    cbe_regex_search_free(search);
    cbe_regex_free(regex);
    return st;
}

static void regex__patterns_mean_what_they_mean_in_oniguruma(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text, *want;
    } cases[] = {
        {"\\s", "a\xe1\xa0\x8e\xc2\x85z\xe3\x80\x80",
         "\xc2\x85|\xe3\x80\x80|"}, /* U+180E is none */
        {"\\w+", "caf\xc3\xa9_1 \xd9\xa3\xc2\xbd-x\xe2\x81\xb4",
         "caf\xc3\xa9_1|\xd9\xa3\xc2\xbd|x|"},
        {"\\d+", "12\xd9\xa3\xe2\x85\xa7", "12\xd9\xa3|"},
        {"\\h+", "xfF09g", "fF09|"},
        {"[\\h_]+", "a_g", "a_|"},
        {"\\W", "a\xc2\xbd\xe2\x81\xb4", "\xe2\x81\xb4|"},
        {"[^\\S\\n]+", "a \t\nb", " \t|"},
        {"\\p{N}{1,3}+", "12345678", "12345678|"}, /* a repeat of a repeat */
        {"(?:ab){2}+", "ababababab", "abababab|"},
        {"a{,2}", "aaa", "aa|a|"},
        {"a{2}", "aaa", "aa|"},
        {"x{1,2}?", "xx", "x|x|"},
        {"a++b", "aab", "aab|"},
        {"a{", "a{", "a{|"},
        {"[^(\\s|[.,])]+", "a(b|c).d", "a|b|c|d|"}, /* a class in a class */
        {"[a[b-c]d]+", "xabcdx", "abcd|"},
        {"[]a]+", "a]b", "a]|"},
        {"(?x) [a-z]+ # a word (of [letters\n | \\d {2}", "ab12c", "ab|12|c|"},
        {"(?x: a # b\n c) #", "ac #c", "ac #|"},
        {"(?x)a\xc2\xa0\xe3\x80\x80 +", "aab", "aa|"},
        {"(?x)(?-x: a)# c", "a a", " a|"},
        {"[[:alpha:]]+", "ab1", "ab|"},
        {"\\p{Alpha}+", "a\xcd\xa3-", "a\xcd\xa3|"}, /* U+0363 became alphabetic later */
        {"[[:alpha:]]+|[\\p{Alphabetic}-]", "a\xcd\xa3-", "a\xcd\xa3|-|"},
        {"\\P{Alpha}+", "a\xcd\xa3-", "-|"},
        {"\\p{Han}+", "\xe4\xb8\x96\xe7\x95\x8c!\xe3\x80\x82", "\xe4\xb8\x96\xe7\x95\x8c|"},
        {"\\p{Script=Cyrillic}+|\\p{^L}",
         "\xd0\x9f"
         "a1",
         "\xd0\x9f|1|"},
        {"\\p{Letter}\\P{Letter}", "a1b2", "a1|b2|"},
        {"\\u00e9", "e\xc3\xa9", "\xc3\xa9|"},
        {"^a|b$", "a\nab\n", "a|a|b|"}, /* ends of lines */
        {"(?i:'s)", "'S's'\xc5\xbf", "'S|'s|'\xc5\xbf|"},
        {".+", "a\r\nb", "a\r|b|"},
        {"\\.\\[\\{", ".[{", ".[{|"},
        /* Bounds of words, whose marks belong to them. */
        {"\\b\\w+\\b",
         "e\xcc\x81"
         "a \xe0\xa4\xb9\xe0\xa4\xbf, x_1",
         "e\xcc\x81"
         "a|\xe0\xa4\xb9\xe0\xa4\xbf|x_1|"},
        {".\\B", "a\xe0\xa5\x87 b", "a|"},
        /* Classes that intersect, and negated classes in classes. */
        {"[a-z&&[^aeiou]]+", "hello", "h|ll|"},
        {"[^a&&b]+", "abc", "abc|"},
        {"[\\w&&[^\\d_]]+", "a1_b2\xc3\xa9", "a|b|\xc3\xa9|"},
        {"[a[^b-z]]+", "abAZz", "a|AZ|"},
        {"[\\W]+", "a ,b", " ,|"},
        {"[^\\W]+", "a ,\xc3\xa9", "a|\xc3\xa9|"},
        {"[x\\W]+", "ax, b", "x, |"},
        {"[[a-c]&&[b-d]&&[^b]]", "abcd", "c|"},
        {"[a-c&&]", "abc", ""},
        {"[&&a]", "a&", ""},
        {"a&&b", "a&&b", "a&&b|"},
        {"[^\\p{L}\\p{N}&&[^\\s]]+", "a !? b", " !? |"},
        {"[\\h&&\\d]+", "0af9", "0|9|"},
        {"[^[a-c]]", "ad", "d|"},
        {"[^]]", "a]", "a|"},
        {"[[:^digit:]]+",
         "a12\xd9\xa3"
         "b",
         "a|b|"},
        {"[[:punct:]]+",
         "a$+!\xc2\xa7\xc2\xb0\xe2\x82\xac"
         "b",
         "$+!\xc2\xa7\xc2\xb0\xe2\x82\xac|"},
        {"[[:alpha:]]+",
         "a\xc3\xa9"
         "1\xe0\xa4\x83",
         "a\xc3\xa9|\xe0\xa4\x83|"},
        /* Options, which hold past a bar. */
        {"a(?i)b|c", "aBCcC", "aB|"},
        {"(?m:a.b)", "a\nb", "a\nb|"},
        {"a.b", "a\nb", ""},
        {"(?i-m:A)", "aA", "a|A|"},
        {"(?#c)a", "ba", "a|"},
        {"\\v", "a\x0b\x0c\nb", "\x0b|"},
        /* Empty matches, but not at the end of a match. */
        {"(?=[A-Z])", "aBcD", "||"},
        {"(?=(\\d{3})+(?!\\d))", "1234567", "||"},
        {"x*", "axxb", "|xx||"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got[256];
        cbe_error err;
        cbe_assert_ok(find_all(cases[i].pattern, cases[i].text, got, &err), &err);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("'%s' in '%s' finds '%s', not '%s'", cases[i].pattern, cases[i].text, got,
                     cases[i].want);
    }
}

static void regex__what_cannot_be_translated_is_shown(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "[a&&",  "[a[^b]",  "[a",          "\\",           "(",    ")",        "[\\W",   "\\p{L",
        "\\u12", "\\Qa\\E", "a**b[",       "\\p{Nothing}", "(?<n", "[[:no:]]", "(?s:a)", "\\pL",
        "(?~a)", "(?i",     "[[:^graph:]]"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char got[64];
        cbe_error err = {0};
        const cbe_status st = find_all(patterns[i], "", got, &err);
        if (st != CBE_ERR_UNSUPPORTED) fail_msg("'%s': %s", patterns[i], cbe_status_name(st));
        assert_true(strstr(err.message, patterns[i]) && strstr(err.message, "t.json") &&
                    strstr(err.message, "with tokens"));
    }
    char deep[200] = "";
    for (int i = 0; i < 60; i++) strcat(deep, "(");
    char got[64];
    cbe_error err = {0};
    assert_int_equal(find_all(deep, "", got, &err), CBE_ERR_UNSUPPORTED);
}

static void regex__literals_have_no_special_characters(void **state)
{
    (void)state;
    cbe_error err;
    cbe_regex *regex = NULL;
    cbe_regex_search *search = NULL;
    cbe_regex_place place = {0};
    bool found;
    size_t begin, end;
    cbe_assert_ok(cbe_regex_create_literal(&regex, ".*", 2, &err), &err);
    cbe_assert_ok(cbe_regex_search_create(&search, regex, 5, &err), &err);
    cbe_assert_ok(cbe_regex_find(search, "ab.*c", 5, &place, &found, &begin, &end, &err), &err);
    assert_true(found && begin == 2 && end == 4);
    cbe_assert_ok(cbe_regex_find(search, "ab.*c", 5, &place, &found, &begin, &end, &err), &err);
    assert_true(!found && begin == 5 && end == 5);
    cbe_regex_search_free(search);
    cbe_regex_free(regex);
}

/* All ways to cut the text would take years. */
static void regex__endless_backtracking_is_an_error(void **state)
{
    (void)state;
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!";
    char got[64];
    cbe_error err = {0};
    assert_int_equal(find_all("(a|aa)+$", text, got, &err), CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "too many steps"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regex__patterns_mean_what_they_mean_in_oniguruma),
        cmocka_unit_test(regex__what_cannot_be_translated_is_shown),
        cmocka_unit_test(regex__literals_have_no_special_characters),
        cmocka_unit_test(regex__endless_backtracking_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
