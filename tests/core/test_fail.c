/* Errors in one line, in a struct that the caller owns. */
#include "core/fail.h"
#include "core/terms.h"

#include <string.h>

#include "support/assert_close.h"

static void fail__stores_code_offset_and_message_and_returns_the_code(void **state)
{
    (void)state;
    cbe_error err = {0};
    assert_int_equal(cbe_fail(&err, CBE_ERR_FORMAT, 77, "tensor '%s': %d", "x", 5), CBE_ERR_FORMAT);
    assert_int_equal(err.code, CBE_ERR_FORMAT);
    assert_int_equal(err.offset, 77);
    assert_string_equal(err.message, "tensor 'x': 5");
}

static void fail__without_an_error_returns_the_code_alone(void **state)
{
    (void)state;
    assert_int_equal(cbe_fail(NULL, CBE_ERR_IO, -1, "%s", "lost"), CBE_ERR_IO);
}

/* A user's text may hold the bytes that stand around terms (core/terms.h). */
static void fail__shows_text_that_looks_like_a_term(void **state)
{
    (void)state;
    cbe_error err = {0};
    cbe_fail(&err, CBE_ERR_ARG, -1, "%s: not an option; give " CBE_OPTION("memory"),
             "--a\001\002b\001\004c\001\003d");
    assert_string_equal(err.message, "--a??b??c??d: not an option; give memory");
    assert_string_equal(err.command_line, "--a??b??c??d: not an option; give --memory");
    assert_string_equal(err.option, "memory");
}

static void fail__cuts_what_does_not_fit(void **state)
{
    (void)state;
    struct {
        cbe_error err;
        unsigned char after[8];
    } guarded;
    char text[2 * CBE_MESSAGE_SIZE];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 0;
    memset(&guarded, 0xee, sizeof guarded);
    cbe_fail(&guarded.err, CBE_ERR_ARG, -1, "%s", text);
    assert_int_equal(strlen(guarded.err.message), CBE_MESSAGE_SIZE - 1);
    for (size_t i = 0; i < sizeof guarded.after; i++) assert_int_equal(guarded.after[i], 0xee);
}

static void fail__is_one_line_whatever_a_file_name_holds(void **state)
{
    (void)state;
    cbe_error err;
    cbe_fail(&err, CBE_ERR_IO, -1, "a\nb\tc\rd\033[1me\177f \303\251");
    assert_string_equal(err.message, "a?b?c?d?[1me?f \303\251");
}

static void fail__is_cut_at_the_end_of_a_character(void **state)
{
    (void)state;
    char text[CBE_MESSAGE_SIZE + 40];
    /* characters of four bytes at every place of the cut */
    for (size_t before = 0; before < 4; before++) {
        cbe_error err;
        size_t n = before;
        memset(text, 'a', before);
        for (; n + 5 < sizeof text; n += 4) memcpy(text + n, "\xf0\x9f\x91\x8d", 5);
        cbe_fail(&err, CBE_ERR_IO, -1, "%s", text);
        const size_t length = strlen(err.message);
        assert_int_equal(length, CBE_MESSAGE_SIZE - 1 - (CBE_MESSAGE_SIZE - 1 - before) % 4);
        assert_memory_equal(err.message, text, length);
    }
}

static void fail__shows_no_character_that_a_terminal_acts_on(void **state)
{
    (void)state;
    cbe_error err;
    cbe_fail(&err, CBE_ERR_IO, -1,
             "%s: C1 \x9b \xc2\x9b, turned \xe2\x80\xae, hidden \xe2\x80\x8b\xef\xbb\xbf", "n\xff");
    assert_string_equal(err.message, "n?: C1 ? ?, turned ?, hidden ??");
}

static void status_name__is_the_name_in_the_source(void **state)
{
    (void)state;
    assert_string_equal(cbe_status_name(CBE_OK), "CBE_OK");
    assert_string_equal(cbe_status_name(CBE_ERR_SHAPE), "CBE_ERR_SHAPE");
    assert_string_equal(cbe_status_name(CBE_ERR_INTERNAL), "CBE_ERR_INTERNAL");
    assert_string_equal(cbe_status_name(CBE_N_STATUS), "?");
    assert_string_equal(cbe_status_name((cbe_status)-1), "?");
    for (int i = 0; i < CBE_N_STATUS; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(cbe_status_name((cbe_status)i), cbe_status_name((cbe_status)j));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail__stores_code_offset_and_message_and_returns_the_code),
        cmocka_unit_test(fail__without_an_error_returns_the_code_alone),
        cmocka_unit_test(fail__shows_text_that_looks_like_a_term),
        cmocka_unit_test(fail__cuts_what_does_not_fit),
        cmocka_unit_test(fail__is_one_line_whatever_a_file_name_holds),
        cmocka_unit_test(fail__is_cut_at_the_end_of_a_character),
        cmocka_unit_test(fail__shows_no_character_that_a_terminal_acts_on),
        cmocka_unit_test(status_name__is_the_name_in_the_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
