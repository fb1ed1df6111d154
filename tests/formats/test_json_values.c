/* Values of JSON files: what JSON has no word for, and what is built when memory is short. */
#include "formats/json_values.h"

#include <math.h>

#include "core/memory.h"
#include "support/assert_close.h"

static void values__have_a_word_for_everything(void **state)
{
    (void)state;
    json_t *list = json_array();
    list = cbe_json_append(list, cbe_json_of_number(1.5));
    list = cbe_json_append(list, cbe_json_of_number(NAN));
    list = cbe_json_append(list, cbe_json_of_number(INFINITY));
    list = cbe_json_append(list, cbe_json_of_text("odd\xff"));
    list = cbe_json_append(list, cbe_json_of_text(NULL));
    assert_int_equal(json_array_size(list), 5);
    assert_true(json_real_value(json_array_get(list, 0)) == 1.5);
    assert_true(json_is_null(json_array_get(list, 1)) && json_is_null(json_array_get(list, 2)));
    assert_string_equal(json_string_value(json_array_get(list, 3)), "odd\xef\xbf\xbd");
    assert_true(json_is_null(json_array_get(list, 4)));
    json_decref(list);
}

static void append__keeps_what_is_built_whole_or_null(void **state)
{
    (void)state;
    cbe_memory_fail_after(0);
    json_t *text = cbe_json_of_text("text");
    cbe_memory_fail_after(-1);
    assert_null(text);
    assert_null(cbe_json_append(json_array(), text));
    assert_null(cbe_json_append(NULL, json_true()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values__have_a_word_for_everything),
        cmocka_unit_test(append__keeps_what_is_built_whole_or_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
