/* Remarks: lines in their order, until they are told. */
#include "core/remarks.h"

#include <string.h>

#include "core/memory.h"
#include "core/terms.h"
#include "support/assert_close.h"

static void remarks__are_kept_in_their_order(void **state)
{
    (void)state;
    cbe_error err = {0};
    cbe_remarks remarks = {0};
    for (int i = 0; i < 9; i++)
        cbe_assert_ok(cbe_remark(&remarks, &err, "line %d of '%s'", i, "x"), &err);
    assert_int_equal(remarks.n, 9);
    for (int i = 0; i < 9; i++) {
        const char want[] = {'l', 'i', 'n', 'e', ' ', (char)('0' + i), ' ', 'o', 'f', 0};
        assert_memory_equal(remarks.lines[i], want, sizeof want - 1);
    }
    cbe_remarks_free(&remarks);
    assert_true(remarks.n == 0 && remarks.lines == NULL);
    cbe_assert_ok(cbe_remark(NULL, &err, "nobody listens"), &err);
}

static void remarks__long_lines_are_cut(void **state)
{
    (void)state;
    char text[4 * CBE_MESSAGE_SIZE];
    cbe_error err = {0};
    cbe_remarks remarks = {0};
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    cbe_assert_ok(cbe_remark(&remarks, &err, "%s", text), &err);
    assert_int_equal(strlen(remarks.lines[0]), 2 * CBE_MESSAGE_SIZE - 1);
    cbe_remarks_free(&remarks);
}

static void remarks__are_given_to_callers_in_the_librarys_words(void **state)
{
    (void)state;
    cbe_error err = {0};
    cbe_remarks remarks = {0};
    cbe_assert_ok(cbe_remark(&remarks, &err, "give " CBE_OPTION("tokens") " for '%s'", "a\x1b"),
                  &err);
    cbe_remarks given = {0};
    cbe_remarks_give(&remarks, &given);
    assert_null(cbe_remarks_line(&remarks, 0));
    const char *line = cbe_remarks_line(&given, 0);
    assert_memory_equal(line, "give tokens for 'a", 18);
    assert_null(strchr(line, 0x1b));
    assert_null(cbe_remarks_line(&given, 1));
    cbe_remarks_free(&given);
}

static void remarks__without_memory_leave_the_lines_before(void **state)
{
    (void)state;
    cbe_remarks remarks = {0};
    cbe_error err = {0};
    cbe_assert_ok(cbe_remark(&remarks, &err, "first"), &err);
    cbe_memory_fail_after(0);
    const cbe_status st = cbe_remark(&remarks, &err, "second");
    cbe_memory_fail_after(-1);
    assert_int_equal(st, CBE_ERR_NOMEM);
    assert_int_equal(remarks.n, 1);
    assert_string_equal(remarks.lines[0], "first");
    cbe_remarks_free(&remarks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remarks__are_kept_in_their_order),
        cmocka_unit_test(remarks__long_lines_are_cut),
        cmocka_unit_test(remarks__are_given_to_callers_in_the_librarys_words),
        cmocka_unit_test(remarks__without_memory_leave_the_lines_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
