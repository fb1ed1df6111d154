/* test_bpe.c - merging on small vocabularies; vocabularies that contradict themselves. */
#include "support/assert_close.h"

#include <stdbool.h>
#include <string.h>

#include "core/memory.h"
#include "support/vocabulary.h"
#include "text/bpe.h"

static cbe_test_vocabulary vocabulary;

static cbe_status create(cbe_bpe **out, cbe_error *err)
{
    static cbe_span tokens[CBE_TEST_MAX_TOKENS], merges[CBE_TEST_MAX_TOKENS];
    cbe_test_spans(tokens, vocabulary.tokens, vocabulary.n_tokens);
    cbe_test_spans(merges, vocabulary.merges, vocabulary.n_merges);
    return cbe_bpe_create(out, "m.gguf", vocabulary.n_tokens, tokens, vocabulary.kinds,
                          vocabulary.n_merges, merges, err);
}

static cbe_bpe *create_good(void)
{
    cbe_error err;
    cbe_bpe *bpe = NULL;
    cbe_assert_ok(create(&bpe, &err), &err);
    return bpe;
}

static void expect_word(const cbe_bpe *bpe, const char *word, size_t n, const int64_t *want)
{
    cbe_error err;
    cbe_id_list ids = {0};
    cbe_assert_ok(cbe_bpe_encode(bpe, word, strlen(word), &ids, &err), &err);
    assert_int_equal(ids.count, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(ids.ids[i], want[i]);
    cbe_free(ids.ids);
}

/* create fails with this code and names all of these. */
static void expect_refused(cbe_status code, const char *a, const char *b)
{
    cbe_error err;
    cbe_bpe *bpe = NULL;
    assert_int_equal(create(&bpe, &err), code);
    assert_null(bpe);
    if (!strstr(err.message, "m.gguf") || !strstr(err.message, a) || !strstr(err.message, b))
        fail_msg("the message lacks m.gguf, '%s' or '%s': %s", a, b, err.message);
}

static void bpe__every_byte_is_the_character_of_gpt2s_table(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    cbe_bpe *bpe = create_good();
    for (size_t byte = 0; byte < 256; byte++) {
        const char text = (char)byte;
        assert_int_equal(cbe_bpe_find(bpe, &text, 1), byte);
        assert_int_equal(cbe_bpe_bytes(bpe, byte).length, 1);
        assert_int_equal((unsigned char)cbe_bpe_bytes(bpe, byte).data[0], byte);
    }
    assert_int_equal(cbe_bpe_find(bpe, "ab", 2), -1);
    cbe_bpe_free(bpe);
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
    cbe_bpe *bpe = create_good();
    expect_word(bpe, "", 0, NULL);
    expect_word(bpe, "abc", 2, (int64_t[]){'a', bc});
    expect_word(bpe, "abd", 2, (int64_t[]){ab, 'd'});
    expect_word(bpe, "aaa", 2, (int64_t[]){aa, 'a'});
    expect_word(bpe, "aaaa", 2, (int64_t[]){aa, aa});
    expect_word(bpe, " a", 1, (int64_t[]){space_a});
    expect_word(bpe, "abbc", 1, (int64_t[]){abbc});
    cbe_bpe_free(bpe);
}

static void bpe__leaves_out_bytes_that_have_no_token(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    const int64_t ab = (int64_t)cbe_test_add_merge(&vocabulary, "a", "b");
    vocabulary.kinds[1] = CBE_TOKEN_UNUSED;
    cbe_bpe *bpe = create_good();
    expect_word(bpe,
                "a\x01"
                "b\x02",
                2, (int64_t[]){ab, 2});
    expect_word(bpe, "\x01", 0, NULL);
    cbe_bpe_free(bpe);
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
        cbe_bpe *bpe = create_good();
        for (int word_number = 0; word_number < 200; word_number++) {
            cbe_error err;
            char word[CBE_BPE_SHORT];
            const size_t length = next_random(&random) % (CBE_BPE_SHORT + 1);
            for (size_t i = 0; i < length; i++) word[i] = (char)('a' + next_random(&random) % 3);
            cbe_id_list plain = {0}, heap = {0};
            cbe_assert_ok(cbe_bpe_encode_short(bpe, word, length, &plain, &err), &err);
            cbe_assert_ok(cbe_bpe_encode_long(bpe, word, length, &heap, &err), &err);
            assert_int_equal(plain.count, heap.count);
            if (plain.count)
                assert_memory_equal(plain.ids, heap.ids, plain.count * sizeof *plain.ids);
            cbe_free(plain.ids);
            cbe_free(heap.ids);
        }
        cbe_bpe_free(bpe);
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
    cbe_bpe *bpe = create_good();
    char *word = cbe_alloc(LENGTH, 1, "word", &err);
    assert_non_null(word);
    memset(word, 'a', LENGTH);
    cbe_assert_ok(cbe_bpe_encode(bpe, word, LENGTH, &ids, &err), &err);
    assert_int_equal(ids.count, LENGTH / 64);
    for (size_t i = 0; i < ids.count; i++) assert_int_equal(ids.ids[i], vocabulary.n_tokens - 1);
    cbe_free(ids.ids);
    cbe_free(word);
    cbe_bpe_free(bpe);
}

static void bpe__keeps_added_tokens_apart(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    /* Written like a token of the merges, and like a byte: the merges mean the plain ones. */
    const size_t control = cbe_test_add_token(&vocabulary, "ab", CBE_TOKEN_CONTROL);
    const size_t letter = cbe_test_add_token(&vocabulary, "\xc3\xa9", CBE_TOKEN_USER_DEFINED);
    const int64_t ab = (int64_t)cbe_test_add_merge(&vocabulary, "a", "b");
    cbe_bpe *bpe = create_good();
    expect_word(bpe, "ab", 1, &ab);
    assert_int_equal(cbe_bpe_bytes(bpe, control).length, 2);
    assert_int_equal(cbe_bpe_bytes(bpe, letter).length, 2); /* as it is written, not byte 0xe9 */
    cbe_bpe_free(bpe);
}

static void bpe__refuses_vocabularies_that_contradict_themselves(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    cbe_test_add_token(&vocabulary, "twin", CBE_TOKEN_NORMAL);
    cbe_test_add_token(&vocabulary, "twin", CBE_TOKEN_NORMAL);
    expect_refused(CBE_ERR_FORMAT, "256 and 257", "'twin'");

    cbe_test_vocabulary_init(&vocabulary);
    strcpy(vocabulary.tokens['q'], "qq");
    expect_refused(CBE_ERR_FORMAT, "byte 0x71", "byte-level");

    static const char *const merges[] = {"a zz", "zz a", "a b", "ab", "", " ", "a ", " a", "a b c"};
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        cbe_test_vocabulary_init(&vocabulary);
        cbe_test_add_merge(&vocabulary, "c", "d");
        strcpy(vocabulary.merges[vocabulary.n_merges++], merges[i]);
        expect_refused(CBE_ERR_FORMAT, "merge 1", merges[i]);
    }

    cbe_test_vocabulary_init(&vocabulary);
    cbe_test_add_merge(&vocabulary, "a", "b");
    strcpy(vocabulary.merges[vocabulary.n_merges++], "a b");
    expect_refused(CBE_ERR_FORMAT, "merges 0 and 1", "'a b'");

    vocabulary.n_tokens = vocabulary.n_merges = 0;
    expect_refused(CBE_ERR_FORMAT, "byte 0x20", "byte-level");
}

static void bpe__takes_tokens_that_are_not_utf8_as_they_are(void **state)
{
    (void)state;
    cbe_test_vocabulary_init(&vocabulary);
    const size_t id = cbe_test_add_token(&vocabulary, "\xff\xfe", CBE_TOKEN_NORMAL);
    const size_t far = cbe_test_add_token(&vocabulary, "\xf0\x9f\x91\x8d", CBE_TOKEN_NORMAL);
    const size_t empty = cbe_test_add_token(&vocabulary, "", CBE_TOKEN_NORMAL);
    cbe_bpe *bpe = create_good();
    assert_int_equal(cbe_bpe_bytes(bpe, id).length, 2);
    assert_int_equal(cbe_bpe_bytes(bpe, far).length, 4);
    assert_int_equal(cbe_bpe_bytes(bpe, empty).length, 0);
    cbe_bpe_free(bpe);
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
        cbe_bpe *bpe = NULL;
        cbe_id_list ids = {0};
        assert_true(n_failed < 1000);
        cbe_memory_fail_after(n_failed);
        st = create(&bpe, &err);
        if (st == CBE_OK) st = cbe_bpe_encode(bpe, word, 5, &ids, &err);
        if (st == CBE_OK) st = cbe_bpe_encode(bpe, word, sizeof word, &ids, &err);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK || st == CBE_ERR_NOMEM);
        assert_int_equal(st, err.code);
        cbe_free(ids.ids);
        cbe_bpe_free(bpe);
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
        cmocka_unit_test(bpe__takes_tokens_that_are_not_utf8_as_they_are),
        cmocka_unit_test(bpe__survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
