/* Foreign text made fit for a terminal: every character that is hidden, every byte outside
 * UTF-8. */
#include "core/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "cli/print.h"
#include "support/assert_close.h"
#include "support/temp_folder.h"
#include "support/terminal.h"

static size_t encode(uint32_t c, char out[5])
{
    const size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = size; i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(first[size] | c);
    out[size] = 0;
    return size;
}

static void printable__hides_what_a_terminal_acts_on_and_nothing_else(void **state)
{
    (void)state;
    static const uint32_t without_width[] = {0xad, 0x180e, 0xfff9, 0xfffa, 0xfffb};
    for (uint32_t c = 1; c < 0x110000; c++) {
        char in[5], out[5];
        if (c >= 0xd800 && c < 0xe000) continue;
        const size_t size = encode(c, in);
        bool hidden = c == '\n' || c == '\t' || terminal_acts_on(in, size);
        for (size_t i = 0; i < sizeof without_width / sizeof *without_width; i++)
            hidden |= c == without_width[i];
        const size_t n = cbe_printable(out, sizeof out, in, size);
        if (strcmp(out, hidden ? "?" : in) != 0 || n != strlen(out))
            fail_msg("U+%04X becomes '%s'", c, out);
    }
}

static void printable__has_one_mark_for_each_character_and_each_part_that_is_none(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"plain caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x91\x8d",
         "plain caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x91\x8d"},
        {"a\033[31mb\x9b"
         "31mc\xc2\x9b"
         "d",
         "a?[31mb?31mc?d"},
        {"\xe2\x80\xaegnp.exe", "?gnp.exe"},
        {"\xff\xfe", "??"},
        {"\xe2\x80", "?"},
        {"x\xf3\xa0\x81\x81y", "x?y"},
        {"\xed\xa0\x80", "???"},
        {"\r\n\t\x7f", "????"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64], same[64];
        const size_t length = strlen(cases[i].text);
        cbe_printable(out, sizeof out, cases[i].text, length);
        assert_string_equal(out, cases[i].want);
        memcpy(same, cases[i].text, length);
        assert_int_equal(cbe_printable(same, sizeof same, same, length),
                         strlen(cases[i].want)); /* in place */
        assert_string_equal(same, cases[i].want);
    }
    char out[8];
    assert_int_equal(cbe_printable(out, sizeof out, "a\0b", 3), 3);
    assert_string_equal(out, "a?b");
}

static void printable__is_cut_between_characters(void **state)
{
    (void)state;
    static const char text[] = "\xc3\xa9\xe2\x82\xac\xf0\x9f\x91\x8d!"; /* 2, 3, 4 and 1 bytes */
    static const size_t want[] = {0, 0, 2, 2, 2, 5, 5, 5, 5, 9, 10, 10};
    for (size_t room = 0; room < sizeof want / sizeof *want; room++) {
        char out[16];
        memset(out, 'x', sizeof out);
        assert_int_equal(cbe_printable(out, room + 1, text, sizeof text - 1), want[room]);
        assert_int_equal(out[want[room]], 0);
        assert_int_equal(out[room + 1], 'x');
        if (room < sizeof text) assert_int_equal(cbe_whole_characters(text, room), want[room]);
    }
    assert_int_equal(cbe_whole_characters("\x80\x80\x80\x80", 4), 4); /* no character to be cut */
    assert_int_equal(cbe_whole_characters("\xff", 1), 0);             /* may begin one */
}

/* What cli_text or cli_line wrote. */
static const char *written(void **state, const char *text, size_t length, bool line)
{
    static char got[8192];
    const char *path = temp_path(state, "written");
    FILE *file = fopen(path, "w+");
    assert_non_null(file);
    if (line)
        cli_line(file, "%s", text);
    else
        cli_text(file, text, length);
    rewind(file);
    got[fread(got, 1, sizeof got - 1, file)] = 0;
    fclose(file);
    return got;
}

static void text__keeps_its_lines_and_tabs(void **state)
{
    assert_string_equal(written(state,
                                "a\tb\n\033c\r\n\n\xc2\x85"
                                "d",
                                12, false),
                        "a\tb\n?c?\n\n?d");
    char many
        [3000]; /* more than is made printable at once, with characters at every place of a cut */
    for (size_t shift = 0; shift < 3; shift++) {
        memset(many, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof many; i += 3) memcpy(many + i, "\xe2\x82\xac", 4);
        assert_string_equal(written(state, many, strlen(many), false), many);
    }
    memset(many, 0x80, sizeof many); /* nothing but continuations */
    const char *got = written(state, many, sizeof many, false);
    assert_int_equal(strlen(got), sizeof many);
    assert_int_equal(strspn(got, "?"), sizeof many);
}

static void line__is_one_line_however_long(void **state)
{
    char many[5000];
    assert_string_equal(written(state, "a\nb", 0, true), "a?b\n");
    for (size_t length = 1000; length < sizeof many; length += 999) {
        memset(many, 'y', length);
        many[length / 2] = '\n';
        many[length] = 0;
        const char *got = written(state, many, 0, true);
        assert_int_equal(strlen(got), length + 1);
        assert_int_equal(got[length], '\n');
        assert_int_equal(got[length / 2], '?');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printable__hides_what_a_terminal_acts_on_and_nothing_else),
        cmocka_unit_test(printable__has_one_mark_for_each_character_and_each_part_that_is_none),
        cmocka_unit_test(printable__is_cut_between_characters),
        cmocka_unit_test(text__keeps_its_lines_and_tabs),
        cmocka_unit_test(line__is_one_line_however_long),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
