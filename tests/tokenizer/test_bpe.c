/* test_bpe.c - merging on small vocabularies; vocabularies that contradict themselves. */
#include "support/assert_close.h"

#include <stdbool.h>
#include <string.h>

#include "core/memory.h"
#include "support/vocabulary.h"
#include "tokenizer/bpe.h"

static cbe_test_vocabulary vocabulary;

/* A tokenizer's two parts: the merges borrow the vocabulary. */
typedef struct {
    cbe_vocabulary *words;
    cbe_bpe *bpe;
} model;

static void destroy(model *m)
{
    cbe_bpe_free(m->bpe);
    cbe_vocabulary_free(m->words);
    *m = (model){0};
}

static cbe_status create(model *out, cbe_error *err)
{
    static cbe_span tokens[CBE_TEST_MAX_TOKENS], merges[CBE_TEST_MAX_TOKENS],
        pairs[CBE_TEST_MAX_TOKENS][2];
    cbe_test_spans(tokens, vocabulary.tokens, vocabulary.n_tokens);
    cbe_test_spans(merges, vocabulary.merges, vocabulary.n_merges);
    for (size_t i = 0; i < vocabulary.n_merges; i++) {
        const size_t cut = strcspn(merges[i].data, " "), length = merges[i].length;
        pairs[i][0] = (cbe_span){merges[i].data, cut};
        pairs[i][1] = cut < length ? (cbe_span){merges[i].data + cut + 1, length - cut - 1}
                                   : (cbe_span){"", 0};
    }
    *out = (model){0};
    cbe_status st = cbe_vocabulary_create(&out->words, "m.gguf", vocabulary.n_tokens, tokens,
                                          vocabulary.kinds, true, NULL, err);
    if (st == CBE_OK)
        st = cbe_bpe_create(&out->bpe, "m.gguf", out->words, NULL, vocabulary.n_merges,
                            (const cbe_span(*)[2])pairs, err);
    if (st != CBE_OK) destroy(out);
    return st;
}

static model create_good(void)
{
    cbe_error err;
    model m;
    cbe_assert_ok(create(&m, &err), &err);
    return m;
}

static void expect_word(model m, const char *word, size_t n, const int64_t *want)
{
    cbe_error err;
    cbe_id_list ids = {0};
    cbe_assert_ok(cbe_bpe_encode(m.bpe, word, strlen(word), &ids, &err), &err);
    assert_int_equal(ids.count, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(ids.ids[i], want[i]);
    cbe_free(ids.ids);
}

/* create fails with this code and names all of these. */
static void expect_refused(cbe_status code, const char *a, const char *b)
{
    cbe_error err;
    model m;
    assert_int_equal(create(&m, &err), code);
    assert_null(m.bpe);
    if (!strstr(err.message, "m.gguf") || !strstr(err.message, a) || !strstr(err.message, b))
        fail_msg("the message lacks m.gguf, '%s' or '%s': %s", a, b, err.message);
}

static void bpe__every_byte_is_the_character_of_gpt2s_table(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    model m = create_good();
    for (size_t byte = 0; byte < 256; byte++) {
        const char text = (char)byte;
        assert_int_equal(cbe_vocabulary_find(m.words, &text, 1), byte);
        assert_int_equal(cbe_vocabulary_bytes(m.words, byte).length, 1);
        assert_int_equal((unsigned char)cbe_vocabulary_bytes(m.words, byte).data[0], byte);
    }
    assert_int_equal(cbe_vocabulary_find(m.words, "ab", 2), -1);
    destroy(&m);
}

static void bpe__merges_the_lowest_rank_first_and_the_leftmost_of_equals(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    const int64_t bc = (int64_t)cbe_test_add_merge(&vocabulary, "b", "c");
    const int64_t ab = (int64_t)cbe_test_add_merge(&vocabulary, "a", "b");
    const int64_t aa = (int64_t)cbe_test_add_merge(&vocabulary, "a", "a");
    const int64_t space_a = (int64_t)cbe_test_add_merge(&vocabulary, "\xc4\xa0", "a");
    const int64_t abbc = (int64_t)cbe_test_add_merge(&vocabulary, "ab", "bc");
    model m = create_good();
    expect_word(m, "", 0, NULL);
    expect_word(m, "abc", 2, (int64_t[]){'a', bc});
    expect_word(m, "abd", 2, (int64_t[]){ab, 'd'});
    expect_word(m, "aaa", 2, (int64_t[]){aa, 'a'});
    expect_word(m, "aaaa", 2, (int64_t[]){aa, aa});
    expect_word(m, " a", 1, (int64_t[]){space_a});
    expect_word(m, "abbc", 1, (int64_t[]){abbc});
    destroy(&m);
}

static void bpe__leaves_out_bytes_that_have_no_token(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    const int64_t ab = (int64_t)cbe_test_add_merge(&vocabulary, "a", "b");
    vocabulary.kinds[1] = CBE_TOKEN_UNUSED;
    model m = create_good();
    expect_word(m,
                "a\x01"
                "b\x02",
                2, (int64_t[]){ab, 2});
    expect_word(m, "\x01", 0, NULL);
    destroy(&m);
}

static unsigned next_random(unsigned *random)
{
    *random = *random * 1664525u + 1013904223u;
    return *random >> 8;
}

static void bpe__long_and_short_ways_agree(void **state)
{
    (void)state;
    unsigned random = 1;
    for (int round = 0; round < 40; round++) {
        cbe_test_vocabulary_init(&vocabulary);
        static cbe_span pieces[CBE_TEST_MAX_TOKENS];
        /* Merges of random pieces over three letters, whose products are new. */
        for (int tries = 0; tries < 150; tries++) {
            const size_t n = 3 + vocabulary.n_merges;
            cbe_test_spans(pieces, vocabulary.tokens + 'a', 3);
            cbe_test_spans(pieces + 3, vocabulary.tokens + 256, vocabulary.n_merges);
            const cbe_span left = pieces[next_random(&random) % n],
                           right = pieces[next_random(&random) % n];
            char both[2 * CBE_TEST_TOKEN_SIZE];
            if (left.length + right.length > 8) continue;
            strcat(strcpy(both, left.data), right.data);
            bool known = false;
            for (size_t i = 0; i < n; i++) known = known || strcmp(pieces[i].data, both) == 0;
            if (!known) cbe_test_add_merge(&vocabulary, left.data, right.data);
        }
        model m = create_good();
        for (int word_number = 0; word_number < 200; word_number++) {
            cbe_error err;
            char word[CBE_BPE_SHORT];
            const size_t length = next_random(&random) % (CBE_BPE_SHORT + 1);
            for (size_t i = 0; i < length; i++) word[i] = (char)('a' + next_random(&random) % 3);
            cbe_id_list plain = {0}, heap = {0};
            cbe_assert_ok(cbe_bpe_encode_short(m.bpe, word, length, &plain, &err), &err);
            cbe_assert_ok(cbe_bpe_encode_long(m.bpe, word, length, &heap, &err), &err);
            assert_int_equal(plain.count, heap.count);
            if (plain.count)
                assert_memory_equal(plain.ids, heap.ids, plain.count * sizeof *plain.ids);
            cbe_free(plain.ids);
            cbe_free(heap.ids);
        }
        destroy(&m);
    }
}

/* A merge a word: quadratic time would be hours. */
static void bpe__one_word_of_a_megabyte_is_done_at_once(void **state)
{
    (void)state;
    enum { LENGTH = 1 << 20 };
    char piece[CBE_TEST_TOKEN_SIZE] = "a";
    cbe_error err;
    cbe_id_list ids = {0};
    cbe_test_vocabulary_init(&vocabulary);
    for (int doubling = 0; doubling < 6; doubling++) {
        cbe_test_add_merge(&vocabulary, piece, piece);
        memset(piece, 'a', 2u << doubling);
    }
    model m = create_good();
    char *word = cbe_alloc(LENGTH, 1, "word", &err);
    assert_non_null(word);
    memset(word, 'a', LENGTH);
    cbe_assert_ok(cbe_bpe_encode(m.bpe, word, LENGTH, &ids, &err), &err);
    assert_int_equal(ids.count, LENGTH / 64);
    for (size_t i = 0; i < ids.count; i++) assert_int_equal(ids.ids[i], vocabulary.n_tokens - 1);
    cbe_free(ids.ids);
    cbe_free(word);
    destroy(&m);
}

static void bpe__keeps_added_tokens_apart(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    /* Written like a token of the merges, and like a byte: the merges mean the plain ones. */
    const size_t control = cbe_test_add_token(&vocabulary, "ab", CBE_TOKEN_CONTROL);
    const size_t letter = cbe_test_add_token(&vocabulary, "\xc3\xa9", CBE_TOKEN_USER_DEFINED);
    const int64_t ab = (int64_t)cbe_test_add_merge(&vocabulary, "a", "b");
    model m = create_good();
    expect_word(m, "ab", 1, &ab);
    assert_int_equal(cbe_vocabulary_bytes(m.words, control).length, 2);
    assert_int_equal(cbe_vocabulary_bytes(m.words, letter).length,
                     2); /* as it is written, not byte 0xe9 */
    destroy(&m);
}

static void bpe__refuses_vocabularies_that_contradict_themselves(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    static const char *const merges[] = {"a zz", "zz a", "a b", "ab", "", " ", "a ", " a", "a b c"};
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        cbe_test_vocabulary_init(&vocabulary);
        cbe_test_add_merge(&vocabulary, "c", "d");
        strcpy(vocabulary.merges[vocabulary.n_merges++], merges[i]);
        expect_refused(CBE_ERR_FORMAT, "merge 1", merges[i]);
    }

    cbe_test_vocabulary_init(&vocabulary);
    cbe_test_add_merge(&vocabulary, "a", "b");
}

static void bpe__merges_make_the_last_of_equal_tokens(void **state)
{
    (void)state;
    cbe_error err;
    cbe_span spans[3] = {{"a", 1}, {"twin", 4}, {"twin", 4}};
    cbe_vocabulary *words = NULL;
    cbe_remarks remarks = {0};
    cbe_assert_ok(cbe_vocabulary_create(&words, "m.gguf", 3, spans, NULL, true, &remarks, &err),
                  &err);
    assert_int_equal(cbe_vocabulary_find(words, "twin", 4), 2);
    assert_int_equal(remarks.n, 1);
    assert_non_null(strstr(remarks.lines[0], "m.gguf: tokens 1 and 2"));
    assert_non_null(strstr(remarks.lines[0], "'twin'; "));
    cbe_remarks_free(&remarks);
    cbe_vocabulary_free(words);

    cbe_test_vocabulary_init(&vocabulary);
    cbe_test_add_merge(&vocabulary, "a", "b");
    cbe_test_add_token(&vocabulary, "ab", CBE_TOKEN_NORMAL);
    const int64_t last = (int64_t)cbe_test_add_token(&vocabulary, "ab", CBE_TOKEN_NORMAL);
    model m = create_good();
    expect_word(m, "ab", 1, &last);
    destroy(&m);
}

static void bpe__takes_tokens_that_are_not_utf8_as_they_are(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    const size_t id = cbe_test_add_token(&vocabulary, "\xff\xfe", CBE_TOKEN_NORMAL);
    const size_t far = cbe_test_add_token(&vocabulary, "\xf0\x9f\x91\x8d", CBE_TOKEN_NORMAL);
    const size_t empty = cbe_test_add_token(&vocabulary, "", CBE_TOKEN_NORMAL);
    model m = create_good();
    assert_int_equal(cbe_vocabulary_bytes(m.words, id).length, 2);
    assert_int_equal(cbe_vocabulary_bytes(m.words, far).length, 4);
    assert_int_equal(cbe_vocabulary_bytes(m.words, empty).length, 0);
    destroy(&m);
}

/* A model of characters. */
static const char *const characters[] = {"<unk>",
                                         "a",
                                         "b",
                                         "\xc3\xa9",
                                         "ab",
                                         "\xc3\xa9"
                                         "a",
                                         "<0xC3>",
                                         "<0xA8>",
                                         "abab"};
enum { UNK, A, B, E_ACUTE, AB, EA, BYTE_C3, BYTE_A8, ABAB, N_CHARACTERS };

static model create_characters(const cbe_bpe_options *options, const float *scores)
{
    static const cbe_span merges[][2] = {
        {{"a", 1}, {"b", 1}}, {{"\xc3\xa9", 2}, {"a", 1}}, {{"ab", 2}, {"ab", 2}}};
    static const int64_t kinds[] = {CBE_TOKEN_UNKNOWN, 1, 1, 1, 1, 1, CBE_TOKEN_BYTE,
                                    CBE_TOKEN_BYTE,    1};
    cbe_span tokens[N_CHARACTERS];
    cbe_error err;
    model m = {0};
    for (size_t i = 0; i < N_CHARACTERS; i++)
        tokens[i] = (cbe_span){characters[i], strlen(characters[i])};
    cbe_assert_ok(
        cbe_vocabulary_create(&m.words, "c.json", N_CHARACTERS, tokens, kinds, false, NULL, &err),
        &err);
    cbe_assert_ok(scores ? cbe_bpe_create_scored(&m.bpe, m.words, options, scores, kinds, &err)
                         : cbe_bpe_create(&m.bpe, "c.json", m.words, options, 3, merges, &err),
                  &err);
    return m;
}

static void bpe__characters_without_a_token_fall_back_to_bytes_or_are_unknown(void **state)
{
    (void)state;
    static const struct {
        cbe_bpe_options options;
        const char *text;
        size_t n;
        int64_t want[8];
    } cases[] = {
        {{.byte_fallback = true, .unknown = UNK},
         "ab\xc3\xa8 \xc3\xa9",
         5,
         {AB, BYTE_C3, BYTE_A8, UNK, E_ACUTE}},
        {{.unknown = UNK}, "xy\xc3\xa8", 3, {UNK, UNK, UNK}},
        {{.unknown = UNK, .fuse_unknown = true}, "xya\xc3\xa8", 3, {UNK, A, UNK}},
        {{.unknown = -1},
         "xa\xc3\xa8"
         "b",
         1,
         {AB}},
        {{.unknown = -1},
         "\xc3\xa9"
         "abab",
         2,
         {E_ACUTE, ABAB}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model m = create_characters(&cases[i].options, NULL);
        expect_word(m, cases[i].text, cases[i].n, cases[i].want);
        destroy(&m);
    }
}

/* Ranks come from scores; equal scores are merged from the left. */
static void bpe__scores_decide_where_no_merges_are_listed(void **state)
{
    (void)state;
    const cbe_bpe_options options = {.byte_fallback = true, .unknown = UNK};
    float scores[N_CHARACTERS] = {[AB] = -1, [EA] = -2, [ABAB] = -3};
    model m = create_characters(&options, scores);
    expect_word(m,
                "\xc3\xa9"
                "ab",
                2, (int64_t[]){E_ACUTE, AB});
    expect_word(m, "ababab", 2, (int64_t[]){ABAB, AB});
    destroy(&m);
    scores[EA] = -0.5f;
    m = create_characters(&options, scores);
    expect_word(m,
                "\xc3\xa9"
                "ab",
                2, (int64_t[]){EA, B});
    destroy(&m);
    scores[EA] = scores[AB];
    m = create_characters(&options, scores);
    expect_word(m,
                "\xc3\xa9"
                "ab",
                2, (int64_t[]){EA, B});
    expect_word(m, "<0xC3>", 6,
                (int64_t[]){UNK, UNK, UNK, UNK, UNK, UNK}); /* not the byte's token */
    destroy(&m);
}

static void bpe__survives_every_failing_allocation(void **state)
{
    (void)state;
    cbe_status st = CBE_ERR_NOMEM;
    long n_failed = 0;
    char word[100];
    memset(word, 'a', sizeof word);
    cbe_test_vocabulary_init(&vocabulary);
    cbe_test_add_merge(&vocabulary, "a", "a");
    for (; st != CBE_OK; n_failed++) {
        cbe_error err = {0};
        model m;
        cbe_id_list ids = {0};
        assert_true(n_failed < 1000);
        cbe_memory_fail_after(n_failed);
        st = create(&m, &err);
        if (st == CBE_OK) st = cbe_bpe_encode(m.bpe, word, 5, &ids, &err);
        if (st == CBE_OK) st = cbe_bpe_encode(m.bpe, word, sizeof word, &ids, &err);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
        assert_int_equal(st, err.code);
        cbe_free(ids.ids);
        destroy(&m);
    }
    assert_true(n_failed > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe__every_byte_is_the_character_of_gpt2s_table),
        cmocka_unit_test(bpe__merges_the_lowest_rank_first_and_the_leftmost_of_equals),
        cmocka_unit_test(bpe__leaves_out_bytes_that_have_no_token),
        cmocka_unit_test(bpe__long_and_short_ways_agree),
        cmocka_unit_test(bpe__one_word_of_a_megabyte_is_done_at_once),
        cmocka_unit_test(bpe__keeps_added_tokens_apart),
        cmocka_unit_test(bpe__refuses_vocabularies_that_contradict_themselves),
        cmocka_unit_test(bpe__merges_make_the_last_of_equal_tokens),
        cmocka_unit_test(bpe__takes_tokens_that_are_not_utf8_as_they_are),
        cmocka_unit_test(bpe__characters_without_a_token_fall_back_to_bytes_or_are_unknown),
        cmocka_unit_test(bpe__scores_decide_where_no_merges_are_listed),
        cmocka_unit_test(bpe__survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
