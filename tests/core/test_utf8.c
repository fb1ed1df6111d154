/* test_utf8.c - against Unicode's own examples, utf8proc, and every place a fault can have. */
#include "support/assert_close.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

#include "core/memory.h"
#include "core/utf8.h"
#include "core/utf8_replace.h"

#define R "\xef\xbf\xbd"

static void utf8__replaces_each_maximal_subpart_by_one_character(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
        size_t n_replaced;
    } cases[] = {
        {"", "", 0},
        {"plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x91\x8d",
         "plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x91\x8d", 0},
        /* The Unicode Standard 15, tables 3-8 to 3-11. */
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", R R R R R R R R "A", 8},
        {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", R R R R R R R R "A", 8},
        {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", R R R R R "A" R R "B", 7},
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", R R R R "A", 4},
        /* Cut off at the end. */
        {"a\xf0\x9f\x91", "a" R, 1},
        {"a\xe2", "a" R, 1},
        {"\x80", R, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err;
        char *got;
        size_t length, n_replaced;
        cbe_assert_ok(cbe_utf8_replace(&got, cases[i].text, strlen(cases[i].text), &length,
                                       &n_replaced, &err),
                      &err);
        assert_string_equal(got, cases[i].want);
        assert_int_equal(length, strlen(cases[i].want));
        assert_int_equal(n_replaced, cases[i].n_replaced);
        cbe_free(got);
    }
}

static void utf8__agrees_with_utf8proc_on_every_short_sequence(void **state)
{
    (void)state;
    unsigned char text[4];
    for (unsigned first = 0; first < 256; first++)
        for (unsigned rest = 0; rest < 1u << 16; rest++) {
            /* The last byte of four matters only as a continuation or not. */
            text[0] = (unsigned char)first;
            text[1] = (unsigned char)(rest >> 8);
            text[2] = (unsigned char)rest;
            text[3] = rest & 1 ? 0x80 : 0x41;
            utf8proc_int32_t character;
            const utf8proc_ssize_t want = utf8proc_iterate(text, 4, &character);
            const size_t got = cbe_utf8_valid_length((const char *)text, 4);
            if ((want > 0 ? (size_t)want : 0) > got || (want <= 0 && got > 0))
                fail_msg("%02x %02x %02x %02x: %zu valid", text[0], text[1], text[2], text[3], got);
        }
}

static void utf8__finds_a_fault_at_every_place(void **state)
{
    (void)state;
    char text[40];
    for (size_t length = 1; length <= sizeof text; length++)
        for (size_t at = 0; at < length; at++) {
            memset(text, 'x', sizeof text);
            assert_int_equal(cbe_utf8_valid_length(text, length), length);
            text[at] = (char)0xff;
            assert_int_equal(cbe_utf8_valid_length(text, length), at);
        }
}

static void utf8__keeps_zero_bytes(void **state)
{
    (void)state;
    cbe_error err;
    char *got;
    size_t length;
    cbe_assert_ok(cbe_utf8_replace(&got, "a\0b\xff\0", 5, &length, NULL, &err), &err);
    assert_int_equal(length, 7);
    assert_memory_equal(got, "a\0b" R "\0", 8);
    cbe_free(got);
}

static void utf8__reports_lack_of_memory(void **state)
{
    (void)state;
    cbe_error err;
    char *got = NULL;
    size_t length;
    cbe_memory_fail_after(0);
    const cbe_status st = cbe_utf8_replace(&got, "\xff", 1, &length, NULL, &err);
    cbe_memory_fail_after(-1);
    assert_int_equal(st, CBE_ERR_NOMEM);
    assert_null(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8__replaces_each_maximal_subpart_by_one_character),
        cmocka_unit_test(utf8__agrees_with_utf8proc_on_every_short_sequence),
        cmocka_unit_test(utf8__finds_a_fault_at_every_place),
        cmocka_unit_test(utf8__keeps_zero_bytes),
        cmocka_unit_test(utf8__reports_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
