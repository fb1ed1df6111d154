/* JSON texts built: what JSON has no word for, and what is built when memory is short. */
#include "formats/json_writer.h"

#include <jansson.h>
#include <math.h>

#include "core/memory.h"
#include "support/assert_close.h"

static char *build(void)
{
    cbe_json_writer w = cbe_json_start();
    yyjson_mut_val *root = cbe_json_new_object(&w), *list = cbe_json_new_list(&w);
    cbe_json_append(&w, list, cbe_json_new_number(&w, 0.1));
    cbe_json_append(&w, list, cbe_json_new_number(&w, NAN));
    cbe_json_append(&w, list, cbe_json_new_number(&w, INFINITY));
    cbe_json_append(&w, list, cbe_json_new_string(&w, "odd\xff"));
    cbe_json_append(&w, list, cbe_json_new_string(&w, NULL));
    cbe_json_append(&w, list, cbe_json_new_count(&w, UINT64_MAX));
    cbe_json_put_string(&w, root, "first", "\"quoted\"\n\x01");
    cbe_json_put(&w, root, "list", list);
    cbe_json_put_flag(&w, root, "flag", true);
    cbe_json_put_count(&w, root, "first", 3);
    cbe_json_put_number(&w, root, "whole", 2);
    return cbe_json_finish(&w, root, false);
}

static void values__have_a_word_for_everything(void **state)
{
    (void)state;
    char *text = build();
    assert_string_equal(text, "{\"first\":3,\"list\":[0.1,null,null,\"odd\xef\xbf\xbd\",null,"
                              "18446744073709551615],\"flag\":true,\"whole\":2.0}");
    cbe_free(text);
}

static void short_memory__gives_no_text(void **state)
{
    char *text = NULL;
    (void)state;
    for (long n = 0; !text; n++) {
        cbe_memory_fail_after(n);
        text = build();
        cbe_memory_fail_after(-1);
    }
    cbe_free(text);
}

/* Every double comes back as it was, by another reader. */
static void numbers__are_exact(void **state)
{
    static const double numbers[] = {
        0.1, 1e22, 1e-300, 5e-324, 1.7976931348623157e308, 1 / 3.0, -0.0, 123456789012345680.0};
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        json_error_t problem;
        cbe_json_writer w = cbe_json_start();
        yyjson_mut_val *root = cbe_json_new_list(&w);
        cbe_json_append(&w, root, cbe_json_new_number(&w, numbers[i]));
        char *text = cbe_json_finish(&w, root, true);
        json_t *read = json_loads(text, 0, &problem);
        assert_true(json_is_real(json_array_get(read, 0)));
        const double got = json_real_value(json_array_get(read, 0));
        assert_memory_equal(&got, &numbers[i], sizeof got);
        json_decref(read);
        cbe_free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values__have_a_word_for_everything),
        cmocka_unit_test(short_memory__gives_no_text),
        cmocka_unit_test(numbers__are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
