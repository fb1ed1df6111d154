/*
 * unigram.c - see unigram.h.
 *
 * Viterbi over the bytes of a word: best[i] is the best way to write its first i bytes. Tokens that
 * begin at a place are found in a sorted list; each byte read narrows the range of tokens.
 * Neighbouring unknown characters are one unknown token.
 */
#include "tokenizer/unigram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/utf8.h"
#include "tokenizer/sorted_texts.h"

enum { N_BYTES = 256 };
/* distance below the lowest score, as in SentencePiece */
static const double unknown_penalty = 10.0;

typedef struct {
    cbe_span text; /* the first member */
    uint32_t id;
} entry;

struct cbe_unigram {
    const cbe_vocabulary *vocabulary;
    size_t n_entries;
    entry *entries;            /* sorted by text */
    size_t first[N_BYTES + 1]; /* index of the first entry that begins with each byte */
    double *scores;            /* scores by id */
    bool *scored;              /* whether an id takes part */
    double unknown_score;
    int64_t unknown;
    int64_t fallback_ids[N_BYTES]; /* tokens "<0x00>" to "<0xFF>"; -1: none */
};

/* The best way to write the bytes before a place: its last token and the place where the token
 * begins. */
typedef struct {
    double score;
    size_t begin;
    int64_t id;  /* -1: no way yet */
    size_t next; /* on the best way to write the word: the end of the token that begins here */
} best_way;

static int compare_entries(const void *a, const void *b)
{
    const cbe_span x = ((const entry *)a)->text, y = ((const entry *)b)->text;
    const int order = memcmp(x.data, y.data, x.length < y.length ? x.length : y.length);
    return order ? order : (x.length > y.length) - (x.length < y.length);
}

cbe_status cbe_unigram_create(cbe_unigram **out, const cbe_vocabulary *vocabulary,
                              const double *scores, const int64_t *kinds, int64_t unknown,
                              bool byte_fallback, cbe_error *err)
{
    const size_t n = cbe_vocabulary_size(vocabulary);
    cbe_unigram *made = cbe_alloc_zero(1, sizeof *made, "scores", err);
    if (!made) return CBE_ERR_NOMEM;
    made->vocabulary = vocabulary;
    made->unknown = unknown;
    made->entries = cbe_alloc(n, sizeof *made->entries, "scores", err);
    made->scores = cbe_alloc(n, sizeof *made->scores, "scores", err);
    made->scored = cbe_alloc_zero(n, sizeof *made->scored, "scores", err);
    if (!made->entries || !made->scores || !made->scored) {
        cbe_unigram_free(made);
        return CBE_ERR_NOMEM;
    }
    if (n) memcpy(made->scores, scores, n * sizeof *scores);
    double lowest = 0;
    bool any = false;
    for (size_t id = 0; id < n; id++) {
        const cbe_span text = cbe_vocabulary_bytes(vocabulary, id);
        if (kinds && kinds[id] == CBE_TOKEN_UNUSED) continue;
        if (!any || scores[id] < lowest) lowest = scores[id];
        any = true;
        made->scored[id] = true;
        if (text.length && cbe_vocabulary_find(vocabulary, text.data, text.length) == (int64_t)id)
            made->entries[made->n_entries++] = (entry){text, (uint32_t)id};
    }
    made->unknown_score = lowest - unknown_penalty;
    if (made->n_entries)
        qsort(made->entries, made->n_entries, sizeof *made->entries, compare_entries);
    for (size_t byte = 0, i = 0; byte <= N_BYTES; byte++) {
        while (i < made->n_entries && (unsigned char)made->entries[i].text.data[0] < byte) i++;
        made->first[byte] = i;
    }
    for (unsigned byte = 0; byte < N_BYTES; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        made->fallback_ids[byte] = byte_fallback ? cbe_vocabulary_find(vocabulary, text, 6) : -1;
    }
    *out = made;
    return CBE_OK;
}

void cbe_unigram_free(cbe_unigram *unigram)
{
    if (!unigram) return;
    cbe_free(unigram->entries);
    cbe_free(unigram->scores);
    cbe_free(unigram->scored);
    cbe_free(unigram);
}

static void offer(best_way *way, double score, size_t begin, int64_t id)
{
    if (way->id < 0 || score > way->score) *way = (best_way){score, begin, id, 0};
}

/* Offers every token that begins at `at`. Returns whether one of them is the first character
 * alone. */
static bool offer_tokens(const cbe_unigram *u, const char *word, size_t length, size_t at,
                         size_t size, best_way *best)
{
    const unsigned byte = (unsigned char)word[at];
    size_t low = u->first[byte], high = u->first[byte + 1];
    bool single = false;
    for (size_t depth = 1; low < high; depth++) {
        if (u->entries[low].text.length == depth) {
            const uint32_t id = u->entries[low++].id;
            offer(&best[at + depth], best[at].score + u->scores[id], at, id);
            single = single || depth == size;
        }
        if (at + depth == length) break;
        const unsigned next = (unsigned char)word[at + depth];
        low = cbe_first_not_below(u->entries, sizeof(entry), low, high, depth, next);
        high = cbe_first_not_below(u->entries, sizeof(entry), low, high, depth, next + 1);
    }
    return single;
}

/* Appends the tokens of unknown text: the token that it is as a whole, or those of its bytes if all
 * bytes have one, else the unknown token. */
static cbe_status push_unknown(const cbe_unigram *u, const char *text, size_t length,
                               cbe_id_list *ids, cbe_error *err)
{
    cbe_status st = CBE_OK;
    bool bytes = true;
    const int64_t whole = cbe_vocabulary_find(u->vocabulary, text, length);
    if (whole >= 0 && u->scored[whole]) return cbe_id_list_push(ids, whole, err);
    for (size_t i = 0; i < length && bytes; i++)
        bytes = u->fallback_ids[(unsigned char)text[i]] >= 0;
    if (!bytes) return cbe_id_list_push(ids, u->unknown, err);
    for (size_t i = 0; i < length && st == CBE_OK; i++)
        st = cbe_id_list_push(ids, u->fallback_ids[(unsigned char)text[i]], err);
    return st;
}

cbe_status cbe_unigram_encode(const cbe_unigram *unigram, const char *word, size_t length,
                              cbe_id_list *ids, cbe_error *err)
{
    const cbe_unigram *u = unigram;
    cbe_status st = CBE_OK;
    best_way *best = cbe_alloc(length + 1, sizeof *best, "word", err);
    if (!best) return CBE_ERR_NOMEM;
    for (size_t i = 0; i <= length; i++) best[i] = (best_way){0, 0, -1, 0};
    for (size_t at = 0, size; at < length; at += size) {
        size = cbe_utf8_size(word[at]);
        if (size > length - at) size = length - at;
        if (offer_tokens(u, word, length, at, size, best)) continue;
        if (u->unknown < 0 && best[at + size].id < 0) {
            st = cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                          "'%.*s' has no token, and the tokenizer names none for what is unknown",
                          (int)size, word + at);
            goto done;
        }
        if (u->unknown >= 0)
            offer(&best[at + size], best[at].score + u->unknown_score, at, u->unknown);
    }
    for (size_t end = length; end > 0; end = best[end].begin) best[best[end].begin].next = end;
    for (size_t begin = 0, end; begin < length && st == CBE_OK; begin = end) {
        end = best[begin].next;
        const int64_t id = best[end].id;
        if (id != u->unknown) {
            st = cbe_id_list_push(ids, id, err);
            continue;
        }
        while (end < length && best[best[end].next].id == u->unknown) end = best[end].next;
        st = push_unknown(u, word + begin, end - begin, ids, err);
    }
done:
    cbe_free(best);
    return st;
}
