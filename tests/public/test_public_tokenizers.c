/*
 * test_public_tokenizers.c - what people have reported of tokenizers in folders, as small inputs:
 * tests/public/tokenizers.json, made by tests/tools/make_public_tokenizers.py with the ids of the
 * library tokenizers and of transformers. Where transformers gives other ids, or leaves a key to a
 * warning, `remarked` says what the remark has to say.
 */
#include "support/assert_close.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support/temp_folder.h"
#include "tokenizer/tokenizer.h"

/* Reports in which a remark is right, and the ids of transformers are not expected. */
static const struct {
    const char *name, *says;
    bool other_ids;
} remarked[] = {
    {"added tokens are numbered from the vocabulary, whatever ids the file lists",
     "the added token '<|x|>' is listed with id 32000, but gets 99", false},
    {"an added token that the vocabulary has keeps its id",
     "the added token 'ab' is listed with id 9, but gets 99", false},
    {"added tokens that the normalizer makes alike",
     "the normalizer makes '<a>' of several added tokens, of which the library tokenizers finds "
     "one by chance; that of the highest id is taken",
     false},
    {"folders whose class cuts texts otherwise in transformers 5",
     "those of tokenizer_class GPT2Tokenizer", true},
};

static void write_files(void **state, const char *folder, json_t *files)
{
    static const char *const names[] = {"tokenizer", "tokenizer_config", "special_tokens_map",
                                        "added_tokens", "config"};
    char name[600];
    mkdir(folder, 0700);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *file = json_object_get(files, names[i]);
        const char *base = strrchr(folder, '/') + 1;
        snprintf(name, sizeof name, "%s/%s.json", base, names[i]);
        const char *path = temp_path(state, name);
        remove(path);
        if (!file) continue;
        temp_write(path, json_string_value(file), json_string_length(file));
    }
}

static void expect_ids(const char *name, const cbe_tokenizer *tokenizer, json_t *text, bool special,
                       json_t *want)
{
    cbe_error err;
    int64_t *ids = NULL;
    size_t n;
    cbe_assert_ok(cbe_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text),
                                       special, &ids, &n, NULL, &err),
                  &err);
    if (n != json_array_size(want))
        fail_msg("%s: '%s': %zu tokens, not %zu", name, json_string_value(text), n,
                 json_array_size(want));
    for (size_t i = 0; i < n; i++)
        if (ids[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("%s: '%s': token %zu is %lld", name, json_string_value(text), i,
                     (long long)ids[i]);
    cbe_tokenizer_free_ids(ids);
}

static void reports__have_the_ids_of_the_reference_or_a_remark(void **state)
{
    json_error_t why;
    json_t *reports = json_load_file(CBE_TEST_DATA "/public/tokenizers.json", JSON_ALLOW_NUL, &why);
    if (!reports) fail_msg("%s", why.text);
    assert_true(json_array_size(reports) >= 30);
    size_t i, k, n_remarked = 0;
    json_t *report, *text;
    json_array_foreach(reports, i, report)
    {
        const char *name = json_string_value(json_object_get(report, "name"));
        const char *folder = temp_path(state, "m");
        const char *says = NULL;
        bool other_ids = false;
        cbe_error err;
        cbe_tokenizer *tokenizer = NULL;
        cbe_remarks remarks = {0};
        for (k = 0; k < sizeof remarked / sizeof *remarked; k++)
            if (strcmp(name, remarked[k].name) == 0) {
                says = remarked[k].says;
                other_ids = remarked[k].other_ids;
                n_remarked++;
            }
        write_files(state, folder, json_object_get(report, "files"));
        const cbe_status st = cbe_tokenizer_from_folder(&tokenizer, folder, NULL, &remarks, &err);
        if (st != CBE_OK) fail_msg("%s: %s", name, err.message);
        if (remarks.n != (says ? 1 : 0))
            fail_msg("%s: %zu remarks: %s", name, remarks.n, remarks.n ? remarks.lines[0] : "");
        if (says && !strstr(remarks.lines[0], says))
            fail_msg("%s: '%s' does not say '%s'", name, remarks.lines[0], says);
        json_array_foreach(json_object_get(report, "texts"), k, text)
        {
            if (other_ids) break;
            json_t *bytes = json_object_get(text, "text");
            expect_ids(name, tokenizer, bytes, false, json_object_get(text, "ids"));
            expect_ids(name, tokenizer, bytes, true, json_object_get(text, "ids_with_special"));
        }
        cbe_remarks_free(&remarks);
        cbe_tokenizer_free(tokenizer);
    }
    assert_int_equal(n_remarked, sizeof remarked / sizeof *remarked);
    json_decref(reports);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports__have_the_ids_of_the_reference_or_a_remark),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
