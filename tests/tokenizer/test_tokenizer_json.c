/*
 * test_tokenizer_json.c - which files of a folder say what, parts that are not read, and damaged
 * files.
 *
 * What each part does is in the golden cases of test_tokenizer.c.
 */
#include "support/assert_close.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tokenizer/tokenizer.h"
#include "core/memory.h"
#include "support/bytes.h"
#include "support/temp_folder.h"

/* A small one, into which a test puts other parts. */
typedef struct {
    const char *normalizer, *pre_tokenizer, *post_processor, *decoder, *model, *added;
} parts;

#define BPE                                                                                        \
    "{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"<unk>\": 3}, \"merges\": "   \
    "[[\"a\", \"b\"]]}"
#define ADDED "[{\"id\": 4, \"content\": \"<s>\", \"special\": true}]"

static const char *write_parts(void **state, parts p)
{
    static char text[8192];
    const char *path = temp_path(state, "tokenizer.json");
    const int n = snprintf(
        text, sizeof text,
        "{\"added_tokens\": %s, \"normalizer\": %s, \"pre_tokenizer\": %s, \"post_processor\": %s, "
        "\"decoder\": %s, \"model\": %s}",
        p.added ? p.added : ADDED, p.normalizer ? p.normalizer : "null",
        p.pre_tokenizer ? p.pre_tokenizer : "null", p.post_processor ? p.post_processor : "null",
        p.decoder ? p.decoder : "{\"type\": \"Fuse\"}", p.model ? p.model : BPE);
    temp_write(path, text, (size_t)n);
    return path;
}

static void json__parts_that_are_not_read_are_named(void **state)
{
    static const struct {
        parts p;
        cbe_status status;
        const char *what;
    } cases[] = {
        {{.normalizer = "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AA\"}"},
         CBE_ERR_FORMAT,
         "precompiled_charsmap, a table of normalisation, is cut off"},
        {{.normalizer = "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"A?\"}"},
         CBE_ERR_FORMAT,
         "is not base64"},
        {{.normalizer = "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Other\"}]}"},
         CBE_ERR_UNSUPPORTED,
         "normalizer 'Other'"},
        {{.normalizer = "{\"type\": \"Sequence\"}"}, CBE_ERR_FORMAT, "normalizers"},
        {{.normalizer =
              "{\"type\": \"Replace\", \"content\": \"\", \"pattern\": {\"Regex\": \"(a\"}}"},
         CBE_ERR_UNSUPPORTED,
         "'(a'"},
        {{.normalizer = "{\"type\": \"Replace\", \"content\": \"\", \"pattern\": 3}"},
         CBE_ERR_FORMAT,
         "pattern"},
        {{.normalizer = "[]"}, CBE_ERR_UNSUPPORTED, "normalizer ''"},
        {{.pre_tokenizer = "{\"type\": \"UnicodeScripts\"}"},
         CBE_ERR_UNSUPPORTED,
         "'UnicodeScripts'"},
        {{.pre_tokenizer =
              "{\"type\": \"Split\", \"pattern\": {\"String\": \"-\"}, \"behavior\": \"Gone\"}"},
         CBE_ERR_UNSUPPORTED,
         "'Gone'"},
        {{.pre_tokenizer = "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(?~a)\"}}"},
         CBE_ERR_UNSUPPORTED,
         "a group of another kind"},
        {{.pre_tokenizer = "{\"type\": \"FixedLength\", \"length\": 0}"},
         CBE_ERR_FORMAT,
         "FixedLength"},
        {{.pre_tokenizer = "{\"type\": \"CharDelimiterSplit\"}"}, CBE_ERR_FORMAT, "delimiter"},
        {{.pre_tokenizer = "{\"type\": \"Metaspace\"}"}, CBE_ERR_FORMAT, "replacement"},
        {{.pre_tokenizer =
              "{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"last\"}"},
         CBE_ERR_UNSUPPORTED,
         "'last'"},
        {{.post_processor = "{\"type\": \"Other\"}"}, CBE_ERR_UNSUPPORTED, "'Other'"},
        {{.post_processor = "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
                            "{\"id\": \"x\"}}], \"special_tokens\": {}}"},
         CBE_ERR_FORMAT,
         "template"},
        {{.post_processor = "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
                            "{\"id\": \"x\"}}], \"special_tokens\": {\"x\": {\"ids\": [5]}}}"},
         CBE_ERR_FORMAT,
         "not in the vocabulary"},
        {{.post_processor =
              "{\"type\": \"BertProcessing\", \"sep\": [\"x\", 9], \"cls\": [\"x\", 0]}"},
         CBE_ERR_FORMAT,
         "not in the vocabulary"},
        {{.model = "{\"type\": \"Neural\", \"vocab\": {}}"}, CBE_ERR_UNSUPPORTED, "'Neural'"},
        {{.post_processor = "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": "
                            "{\"id\": \"A\"}}, {\"Sequence\": {\"id\": \"A\"}}]}"},
         CBE_ERR_UNSUPPORTED,
         "the text twice"},
        {{.post_processor = "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": "
                            "{\"id\": \"B\"}}]}"},
         CBE_ERR_FORMAT,
         "template"},
        {{.model = "null"}, CBE_ERR_FORMAT, "no object 'model'"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}", .added = "[]"},
         CBE_ERR_FORMAT,
         "vocabulary is empty"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 270000}, \"merges\": []}"},
         CBE_ERR_FORMAT,
         "ids up to 270000"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": [], \"merges\": []}"},
         CBE_ERR_FORMAT,
         "model.vocab"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}}"}, CBE_ERR_FORMAT, "model.merges"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"ab\"]}"},
         CBE_ERR_FORMAT,
         "pair of tokens"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [[\"a\", 3]]}"},
         CBE_ERR_FORMAT,
         "pair of tokens"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a c\"]}"},
         CBE_ERR_FORMAT,
         "merge 0, 'a c'"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}"},
         CBE_ERR_FORMAT,
         "'a'"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 1.5}, \"merges\": []}"},
         CBE_ERR_FORMAT,
         "'a'"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 2000000000}, \"merges\": []}"},
         CBE_ERR_FORMAT,
         "ids up to 2000000000"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 9999999999}, \"merges\": []}"},
         CBE_ERR_FORMAT,
         "'a'"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a b c\"]}"},
         CBE_ERR_FORMAT,
         "pair of tokens"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"dropout\": 0.1}"},
         CBE_ERR_UNSUPPORTED,
         "dropout"},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], "
                   "\"end_of_word_suffix\": "
                   "\"0123456789012345678901234567890123456789012345678901234567890123x\"}"},
         CBE_ERR_UNSUPPORTED,
         "end_of_word_suffix '0123"},
        {{.model = "{\"type\": \"Unigram\", \"vocab\": {}}"}, CBE_ERR_FORMAT, "model.vocab"},
        {{.model = "{\"type\": \"Unigram\", \"vocab\": [[1, 2]]}"}, CBE_ERR_FORMAT, "not a string"},
        {{.model = "{\"type\": \"Unigram\", \"vocab\": [[\"a\", null]]}"},
         CBE_ERR_FORMAT,
         "no score"},
        {{.model = "{\"type\": \"Unigram\", \"vocab\": [[\"a\", -1]], \"unk_id\": 99}"},
         CBE_ERR_FORMAT,
         "unknown token"},
        {{.added = "[{\"id\": 4}]"}, CBE_ERR_FORMAT, "content"},
        {{.added = "[{\"content\": \"x\"}]"}, CBE_OK, NULL},
        {{.added = "[{\"id\": 0, \"content\": \"x\"}]"}, CBE_OK, NULL},
        {{.model = "{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}"},
         CBE_OK,
         NULL},
        {{.added = "[{\"id\": 9, \"content\": \"a\"}, {\"id\": 9, \"content\": \"a\"}]"},
         CBE_OK,
         NULL},
        {{0}, CBE_OK, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        cbe_tokenizer *tokenizer = NULL;
        const char *path = write_parts(state, cases[i].p);
        const cbe_status st = cbe_tokenizer_from_json(&tokenizer, path, NULL, NULL, &err);
        if (st != cases[i].status)
            fail_msg("case %zu: %s: %s", i, cbe_status_name(st), err.message);
        if (st != CBE_OK && (!strstr(err.message, cases[i].what) || !strstr(err.message, path)))
            fail_msg("case %zu: '%s' does not say '%s'", i, err.message, cases[i].what);
        if (st == CBE_ERR_UNSUPPORTED)
            assert_non_null(strstr(err.message, "tokens IDS.safetensors"));
        assert_true((tokenizer != NULL) == (st == CBE_OK));
        cbe_tokenizer_free(tokenizer);
    }
}

/* A decoder is needed by decoding alone. */
static void json__decoder_that_is_not_read_is_named_when_it_is_needed(void **state)
{
    cbe_error err;
    cbe_tokenizer *tokenizer = NULL;
    int64_t *ids = NULL;
    char *text = NULL;
    size_t n, length;
    const char *path = write_parts(state, (parts){.decoder = "{\"type\": \"CTC\"}"});
    cbe_assert_ok(cbe_tokenizer_from_json(&tokenizer, path, NULL, NULL, &err), &err);
    cbe_assert_ok(cbe_tokenizer_encode(tokenizer, "ab<s>", 5, false, &ids, &n, NULL, &err), &err);
    assert_int_equal(n, 2);
    assert_int_equal(ids[0], 2);
    assert_int_equal(ids[1], 4);
    assert_int_equal(cbe_tokenizer_decode(tokenizer, ids, n, &text, &length, &err),
                     CBE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'CTC'"));
    cbe_tokenizer_free_ids(ids);
    cbe_tokenizer_free(tokenizer);
}

static void folder__the_first_file_that_names_the_ends_is_believed(void **state)
{
    static const struct {
        const char *tokenizer_config, *map, *config;
        int64_t bos, eos;
    } cases[] = {
        {NULL, NULL, NULL, -1, -1},
        {NULL, NULL, "{\"bos_token_id\": 1, \"eos_token_id\": [2, 3]}", 1, 2},
        {NULL, NULL, "{\"bos_token_id\": null, \"eos_token_id\": 99}", -1, -1},
        {NULL, "{\"eos_token\": {\"content\": \"<s>\"}}", "{\"eos_token_id\": 2}", -1, 4},
        /* The map counts before a configuration that lists no added tokens. */
        {"{\"eos_token\": \"ab\", \"bos_token\": \"<s>\"}", "{\"eos_token\": \"<s>\"}", "{}", 4, 4},
        {"{\"eos_token\": \"ab\", \"added_tokens_decoder\": {}}",
         "{\"eos_token\": \"<s>\", \"bos_token\": \"<s>\"}", "{}", 4, 2},
        {"{\"eos_token\": null}", NULL, "{\"eos_token_id\": 0}", -1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const texts[] = {cases[i].tokenizer_config, cases[i].map, cases[i].config};
        static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                            "config.json"};
        const char *path = write_parts(state, (parts){0});
        char folder[600];
        cbe_error err;
        cbe_tokenizer *tokenizer = NULL;
        snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
        for (size_t k = 0; k < 3; k++) {
            remove(temp_path(state, names[k]));
            if (texts[k]) temp_write(temp_path(state, names[k]), texts[k], strlen(texts[k]));
        }
        cbe_assert_ok(cbe_tokenizer_from_folder(&tokenizer, folder, NULL, NULL, &err), &err);
        assert_int_equal(cbe_tokenizer_vocab_size(tokenizer), 5);
        assert_int_equal(cbe_tokenizer_bos(tokenizer), cases[i].bos);
        assert_int_equal(cbe_tokenizer_eos(tokenizer), cases[i].eos);
        cbe_tokenizer_free(tokenizer);
    }
}

static void folder__without_a_tokenizer_says_what_to_do(void **state)
{
    cbe_error err;
    cbe_tokenizer *tokenizer = NULL;
    const char *folder = temp_path(state, "empty");
    mkdir(folder, 0700);
    assert_int_equal(cbe_tokenizer_from_folder(&tokenizer, folder, NULL, NULL, &err), CBE_ERR_IO);
    assert_non_null(strstr(err.message, "empty/tokenizer.json"));
    assert_non_null(strstr(err.message, "tokens IDS.safetensors"));
}

static void visit(const char *path)
{
    cbe_error err = {0};
    cbe_tokenizer *tokenizer = NULL;
    const cbe_status st = cbe_tokenizer_from_json(&tokenizer, path, NULL, NULL, &err);
    assert_true((st == CBE_OK) == (tokenizer != NULL));
    if (st == CBE_OK) {
        int64_t *ids = NULL;
        char *text = NULL;
        size_t n, length;
        if (cbe_tokenizer_encode(tokenizer, "ab \xc3\xa9<s> 12 c", 13, true, &ids, &n, NULL,
                                 &err) == CBE_OK &&
            cbe_tokenizer_decode(tokenizer, ids, n, &text, &length, &err) == CBE_OK)
            cbe_tokenizer_free_text(text);
        cbe_tokenizer_free_ids(ids);
    } else {
        assert_true(strstr(err.message, path) && !strchr(err.message, '\n'));
    }
    cbe_tokenizer_free(tokenizer);
}

/* A table of normalisation that turns a into b. */
#define CHARSMAP                                                                                   \
    "AAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABhFQAA"     \
    "AAAAAAAAAAAAAACAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABiAA=="

/* Files with one of everything. */
static const parts full[] = {
    {.normalizer =
         "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKC\"}, {\"type\": "
         "\"Lowercase\"}, "
         "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \"_\"}]}",
     .pre_tokenizer =
         "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
         "{\"Regex\": "
         "\"[^\\\\p{L}[0-9]]{1,3}+\"}, \"behavior\": \"Contiguous\", \"invert\": true}, {\"type\": "
         "\"Metaspace\", \"replacement\": \"_\"}]}",
     .post_processor =
         "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, "
         "{\"Sequence\": {\"id\": \"A\"}}], \"special_tokens\": {\"<s>\": {\"ids\": [4]}}}",
     .decoder = "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteFallback\"}, {\"type\": "
                "\"Strip\", "
                "\"content\": \" \", \"start\": 1, \"stop\": 1}, {\"type\": \"Metaspace\", "
                "\"replacement\": \"_\"}]}"},
    {.model = "{\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [[\"<unk>\", 0], [\"a\", -1], "
              "[\"ab\", -2.5]]}",
     .pre_tokenizer = "{\"type\": \"Digits\"}"},
    {.model = "{\"type\": \"WordPiece\", \"vocab\": {\"u\": 0, \"b\": 1, \"##b\": 2, \"1\": 3}, "
              "\"unk_token\": \"u\", \"continuing_subword_prefix\": \"##\", "
              "\"max_input_chars_per_word\": 9}",
     .normalizer = "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Precompiled\", "
                   "\"precompiled_charsmap\": \"" CHARSMAP
                   "\"}, {\"type\": \"Nmt\"}, {\"type\": \"BertNormalizer\"}]}",
     .pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\"}, "
                      "{\"type\": \"FixedLength\", \"length\": 3}]}",
     .post_processor = "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}, "
                       "{\"type\": \"BertProcessing\", \"sep\": [\"b\", 1], \"cls\": [\"u\", 0]}]}",
     .decoder = "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"ByteLevel\"}, {\"type\": "
                "\"WordPiece\", \"prefix\": \"##\", \"cleanup\": true}]}",
     .added = "[{\"id\": 9, \"content\": \"<s>\", \"special\": true}, {\"id\": 5, \"content\": "
              "\"Ab\", \"normalized\": true, \"lstrip\": true, \"single_word\": true}]"},
};

static void json__no_damage_is_fatal(void **state)
{
    static bytes b;
    for (size_t i = 0; i < sizeof full / sizeof *full; i++) {
        size_t size;
        char *text = temp_read(write_parts(state, full[i]), &size);
        b.size = 0;
        bytes_put(&b, text, size);
        free(text);
        visit(temp_path(state, "tokenizer.json"));
        bytes_visit_random(&b, temp_path(state, "damaged.json"), size, 20000, visit);
        for (size_t cut = 0; cut < size; cut += 3) {
            temp_write(temp_path(state, "damaged.json"), b.data, cut);
            visit(temp_path(state, "damaged.json"));
        }
    }
}

/* Arrays in arrays until a parser that calls itself would have no stack left. */
static void json__nesting_is_bounded(void **state)
{
    enum { DEPTH = 200000 };
    static char text[DEPTH];
    memset(text, '[', sizeof text);
    const char *path = temp_path(state, "deep.json");
    temp_write(path, text, sizeof text);
    visit(path);
}

static void json__every_failing_allocation_is_reported(void **state)
{
    for (size_t i = 0; i < sizeof full / sizeof *full; i++) {
        static const char config[] =
            "{\"added_tokens_decoder\": {\"7\": {\"content\": \"<x>\"}}, \"bos_token\": \"<b>\", "
            "\"extra_special_tokens\": [\"<y>\"], \"tokenizer_class\": \"BertTokenizer\"}";
        const char *path = write_parts(state, full[i]);
        temp_write(temp_path(state, "tokenizer_config.json"), config, sizeof config - 1);
        char folder[600];
        snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
        cbe_status st = CBE_ERR_NOMEM;
        long n_failed = 0;
        for (; st != CBE_OK; n_failed++) {
            cbe_error err = {0};
            cbe_tokenizer *tokenizer = NULL;
            cbe_remarks remarks = {0};
            int64_t *ids = NULL;
            char *text = NULL;
            size_t n, length;
            assert_true(n_failed < 2000);
            cbe_memory_fail_after(n_failed);
            st = cbe_tokenizer_from_folder(&tokenizer, folder, NULL, &remarks, &err);
            if (st == CBE_OK)
                st = cbe_tokenizer_encode(tokenizer, "ab <s> \xef\xac\x81 1", 12, true, &ids, &n,
                                          NULL, &err);
            if (st == CBE_OK) st = cbe_tokenizer_decode(tokenizer, ids, n, &text, &length, &err);
            cbe_memory_fail_after(-1);
            cbe_remarks_free(&remarks);
            if (st != CBE_OK && st != CBE_ERR_NOMEM)
                fail_msg("after %ld: %s", n_failed, err.message);
            assert_int_equal(st, err.code);
            cbe_tokenizer_free_text(text);
            cbe_tokenizer_free_ids(ids);
            cbe_tokenizer_free(tokenizer);
        }
        assert_true(n_failed > 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json__parts_that_are_not_read_are_named),
        cmocka_unit_test(json__decoder_that_is_not_read_is_named_when_it_is_needed),
        cmocka_unit_test(folder__the_first_file_that_names_the_ends_is_believed),
        cmocka_unit_test(folder__without_a_tokenizer_says_what_to_do),
        cmocka_unit_test(json__no_damage_is_fatal),
        cmocka_unit_test(json__nesting_is_bounded),
        cmocka_unit_test(json__every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
