/*
 * test_splits.c - the splits that GGUF files name, against the pieces of Hugging Face's tokenizers
 * (tests/tools/check_gguf_splits.py), and the names.
 */
#include "tokenizer/splits.h"

#include <jansson.h>
#include <string.h>

#include "support/assert_close.h"

/* A document's pieces that are still to come. */
typedef struct {
    const char *name, *text;
    const json_t *pieces;
    size_t n;
} expectation;

static cbe_status expect_piece(void *user, const char *word, size_t length, cbe_error *err)
{
    expectation *e = user;
    (void)err;
    const json_t *piece = json_array_get(e->pieces, e->n++);
    if (!piece || json_string_length(piece) != length ||
        memcmp(json_string_value(piece), word, length) != 0)
        fail_msg("%s of '%s': piece %zu is '%.*s', not '%s'", e->name, e->text, e->n - 1,
                 (int)length, word, piece ? json_string_value(piece) : "none");
    return CBE_OK;
}

static void splits__cut_as_the_library_does(void **state)
{
    (void)state;
    cbe_error err;
    json_error_t problem;
    const char *name;
    json_t *cases, *one;
    size_t i, n_splits = 0;
    json_t *root = json_load_file(CBE_TEST_DATA "/golden/tokenizers/splits.json", 0, &problem);
    assert_non_null(root);
    json_object_foreach(root, name, cases)
    {
        cbe_split split;
        cbe_pretokenizer pretokenizer = {0};
        cbe_assert_ok(cbe_split_find(&split, name, strlen(name), "m.gguf", &err), &err);
        cbe_assert_ok(cbe_pretokenizer_add_named(&pretokenizer, split, &err), &err);
        json_array_foreach(cases, i, one)
        {
            const json_t *text = json_array_get(one, 0);
            expectation e = {name, json_string_value(text), json_array_get(one, 1), 0};
            cbe_assert_ok(cbe_pretokenize(&pretokenizer, e.text, json_string_length(text), true,
                                          expect_piece, &e, &err),
                          &err);
            assert_int_equal(e.n, json_array_size(e.pieces));
        }
        cbe_pretokenizer_free(&pretokenizer);
        n_splits++;
    }
    assert_int_equal(n_splits, 27);
    json_decref(root);
}

static void splits__have_the_traits_of_their_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        cbe_split split;
        bool nfc, ignore_merges, add_bos;
    } cases[] = {
        {"tekken", CBE_SPLIT_TEKKEN, false, true, true},
        {"falcon3", CBE_SPLIT_LLAMA3, false, true, true},
        {"deepseek-r1-qwen", CBE_SPLIT_QWEN2, true, false, false},
        {"qwen35", CBE_SPLIT_QWEN35, true, false, false},
        {"exaone", CBE_SPLIT_SMOLLM, false, false, false},
        {"exaone4", CBE_SPLIT_GPT2, false, false, false},
        {"deepseek-v3", CBE_SPLIT_DEEPSEEK_V3, false, false, false},
        {"chameleon", CBE_SPLIT_CHAMELEON, false, false, true},
        {"youtu", CBE_SPLIT_YOUTU, false, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err;
        cbe_split split;
        cbe_assert_ok(cbe_split_find(&split, cases[i].name, strlen(cases[i].name), "m.gguf", &err),
                      &err);
        assert_int_equal(split, cases[i].split);
        const cbe_split_traits *traits = cbe_split_get(split);
        assert_true(traits->nfc == cases[i].nfc &&
                    traits->ignore_merges == cases[i].ignore_merges &&
                    traits->add_bos == cases[i].add_bos);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits__cut_as_the_library_does),
        cmocka_unit_test(splits__have_the_traits_of_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
