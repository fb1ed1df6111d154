/* jansson's allocator, which is one for the process: watched while the library reads or builds
 * JSON, and as it was before and after. */
#include "formats/json_memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lens/tuned_lens.h"
#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/temp_folder.h"

/* An allocator whose blocks begin behind 16 bytes of its own: free() of one ends the process. */
enum { OWN = 16 };

static void *callers_malloc(size_t size)
{
    char *block = malloc(OWN + size);
    return block ? block + OWN : NULL;
}

static void callers_free(void *block)
{
    if (block) free((char *)block - OWN);
}

static void *others_malloc(size_t size)
{
    return malloc(size);
}

static void others_free(void *block)
{
    free(block);
}

static bool has_allocator(json_malloc_t make, json_free_t drop)
{
    json_malloc_t m;
    json_free_t f;
    json_get_alloc_funcs(&m, &f);
    return m == make && f == drop;
}

static int set_allocator(void **state)
{
    (void)state;
    json_set_alloc_funcs(callers_malloc, callers_free);
    return 0;
}

static void parse(const char *text, cbe_status want)
{
    json_t *root = NULL;
    json_error_t problem;
    cbe_error err;
    assert_int_equal(cbe_json_parse(&root, text, strlen(text), 0, "text", &problem, &err), want);
    json_decref(root);
}

static void parsing__gives_the_allocator_back(void **state)
{
    (void)state;
    parse("{\"a\": [1, 2.5, \"text\"]}", CBE_OK);
    assert_true(has_allocator(callers_malloc, callers_free));
    parse("{\"a\": [1, 2.5, \"te", CBE_ERR_FORMAT);
    assert_true(has_allocator(callers_malloc, callers_free));
}

static void building__gives_the_allocator_back_when_the_last_has_ended(void **state)
{
    (void)state;
    cbe_json_begin();
    assert_false(has_allocator(callers_malloc, callers_free));
    json_t *value = json_pack("{s:i, s:[f, s]}", "n", 3, "list", 0.25, "text");
    parse("[1]", CBE_OK);
    assert_false(has_allocator(callers_malloc, callers_free)); /* one is inside */
    char *text = cbe_json_end(value, JSON_COMPACT);
    assert_true(has_allocator(callers_malloc, callers_free));
    assert_string_equal(text, "{\"n\":3,\"list\":[0.25,\"text\"]}");
    free(text); /* it is of malloc, whatever the caller's allocator */
    cbe_json_begin();
    assert_null(cbe_json_end(NULL, 0));
    assert_true(has_allocator(callers_malloc, callers_free));
}

static void an_allocator_set_meanwhile__stays(void **state)
{
    (void)state;
    cbe_json_begin();
    json_set_alloc_funcs(others_malloc, others_free);
    assert_null(cbe_json_end(NULL, 0));
    assert_true(has_allocator(others_malloc, others_free));
}

/* As another library would that does the same: ours must not come to call itself. */
static void our_allocator_set_again__calls_the_one_before(void **state)
{
    (void)state;
    json_malloc_t make;
    json_free_t drop;
    cbe_json_begin();
    json_get_alloc_funcs(&make, &drop);
    assert_null(cbe_json_end(NULL, 0));
    json_set_alloc_funcs(make, drop);
    parse("[\"text\"]", CBE_OK);
    assert_true(has_allocator(callers_malloc, callers_free));
}

/* Everything that builds JSON, also when it refuses. */
static void writers__give_the_allocator_back(void **state)
{
    cbe_error err;
    cbe_tuned_lens_config *config = NULL;
    assert_int_equal(cbe_tuned_lens_config_create(&config, "model", NULL, &err), CBE_OK);
    assert_true(has_allocator(callers_malloc, callers_free));
    assert_int_equal(cbe_tuned_lens_config_set(config, "key", "value", &err), CBE_OK);
    assert_true(has_allocator(callers_malloc, callers_free));
    assert_int_equal(cbe_tuned_lens_config_set(config, "key", "\xff", &err), CBE_ERR_ARG);
    assert_true(has_allocator(callers_malloc, callers_free));
    cbe_tuned_lens_config_free(config);

    const cbe_tensor_spec twice[] = {{.name = "x", .dtype = CBE_F32, .n_dims = 1, .dims = {2}},
                                     {.name = "x", .dtype = CBE_F32, .n_dims = 1, .dims = {2}}};
    cbe_safetensors_writer *writer = NULL;
    const char *path = temp_path(state, "twice.safetensors");
    assert_int_equal(cbe_safetensors_writer_create(&writer, path, 2, twice, 0, NULL, &err),
                     CBE_ERR_ARG);
    assert_true(has_allocator(callers_malloc, callers_free));
    assert_int_equal(cbe_safetensors_writer_create(&writer, path, 1, twice, 0, NULL, &err), CBE_OK);
    assert_true(has_allocator(callers_malloc, callers_free));
    cbe_safetensors_writer_abandon(writer);
}

enum { N_THREADS = 4, ROUNDS = 2000 };

static void *parse_often(void *failures)
{
    for (int i = 0; i < ROUNDS; i++) {
        static const char text[] = "{\"a\": [1, 2.5, \"text\"], \"b\": {\"c\": null}}";
        json_t *root = NULL;
        json_error_t problem;
        cbe_json_begin();
        json_t *value = json_pack("[i, s]", i, "text");
        *(int *)failures +=
            cbe_json_parse(&root, text, sizeof text - 1, 0, "text", &problem, NULL) != CBE_OK;
        char *made = cbe_json_end(value, JSON_COMPACT);
        *(int *)failures += !made;
        json_decref(root); /* outside, where the allocator may be either */
        free(made);
    }
    return NULL;
}

static void threads__give_the_allocator_back_once(void **state)
{
    (void)state;
    pthread_t threads[N_THREADS];
    int failures[N_THREADS] = {0};
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, parse_often, &failures[i]), 0);
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(failures[i], 0);
    }
    assert_true(has_allocator(callers_malloc, callers_free));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(parsing__gives_the_allocator_back, set_allocator),
        cmocka_unit_test_setup(building__gives_the_allocator_back_when_the_last_has_ended,
                               set_allocator),
        cmocka_unit_test_setup(an_allocator_set_meanwhile__stays, set_allocator),
        cmocka_unit_test_setup(our_allocator_set_again__calls_the_one_before, set_allocator),
        cmocka_unit_test_setup(writers__give_the_allocator_back, set_allocator),
        cmocka_unit_test_setup(threads__give_the_allocator_back_once, set_allocator),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
