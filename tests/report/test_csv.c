/* Rows of comma-separated values: quotes, and numbers that are none. */
#include "report/csv.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "support/assert_close.h"

static cbe_error err;

static void row__quotes_text_and_leaves_out_what_is_not_finite(void **state)
{
    (void)state;
    cbe_byte_buffer csv = {0};
    cbe_assert_ok(cbe_csv_print(&csv, &err, "%zu,", (size_t)7), &err);
    cbe_assert_ok(cbe_csv_text(&csv, "a \"b\",\nc", &err), &err);
    cbe_assert_ok(cbe_csv_number(&csv, 0.1, &err), &err);
    cbe_assert_ok(cbe_csv_number(&csv, NAN, &err), &err);
    cbe_assert_ok(cbe_csv_number(&csv, -INFINITY, &err), &err);
    cbe_assert_ok(cbe_csv_number(&csv, -123456.789, &err), &err);
    static const char want[] = "7,\"a \"\"b\"\",\nc\",0.1,,,-123456.789";
    assert_int_equal(csv.size, strlen(want));
    assert_memory_equal(csv.bytes, want, csv.size);
    cbe_free(csv.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row__quotes_text_and_leaves_out_what_is_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
