/*
 * bpe.c - see bpe.h.
 *
 * Of the adjacent pairs that have a merge, the one with the lowest rank is merged, the leftmost of
 * equals, until none is left (Sennrich et al. 2016, arXiv:1508.07909; on bytes, Radford et al.
 * 2019).
 *
 * A hash table with linear probing, at most half full: (left id, right id) -> (rank, merged id). An
 * id fits 31 bits, so a pair is one 64-bit key.
 */
#include "tokenizer/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "tokenizer/byte_characters.h"
#include "core/utf8.h"

enum { N_BYTES = 256 };

#define NO_ID   UINT32_MAX
#define NO_RANK UINT32_MAX
#define NO_PAIR UINT64_MAX
#define NO_NODE UINT32_MAX
#define LAST    ((size_t)INT32_MAX)

typedef struct {
    uint64_t pair; /* left << 32 | right; NO_PAIR: empty */
    uint32_t rank, merged;
} merge_slot;

struct cbe_bpe {
    const cbe_vocabulary *vocabulary;
    cbe_bpe_options options;
    merge_slot *merges;
    size_t merge_mask;
    uint32_t byte_ids[N_BYTES];     /* tokens of single bytes; NO_ID: the vocabulary has none */
    uint32_t fallback_ids[N_BYTES]; /* tokens "<0x00>" to "<0xFF>" */
    char prefix[CBE_BPE_AFFIX], suffix[CBE_BPE_AFFIX]; /* of the options */
};

static uint64_t pair_of(uint32_t left, uint32_t right)
{
    return (uint64_t)left << 32 | right;
}

/* Slot of a pair, or the empty slot where it belongs. */
static merge_slot *find_merge(const cbe_bpe *bpe, uint32_t left, uint32_t right)
{
    const uint64_t pair = pair_of(left, right);
    size_t at = (size_t)cbe_mix(pair) & bpe->merge_mask;
    while (bpe->merges[at].pair != NO_PAIR && bpe->merges[at].pair != pair)
        at = (at + 1) & bpe->merge_mask;
    return &bpe->merges[at];
}

static uint32_t find_id(const cbe_vocabulary *vocabulary, const char *bytes, size_t length)
{
    const int64_t id = cbe_vocabulary_find(vocabulary, bytes, length);
    return id < 0 ? NO_ID : (uint32_t)id;
}

static void copy_affix(cbe_span *affix, char *copy)
{
    if (affix->length) memcpy(copy, affix->data, affix->length);
    affix->data = copy;
}

/* Creates an encoder without merges, with room for n_merges. */
static cbe_status create_empty(cbe_bpe **out, const cbe_vocabulary *vocabulary,
                               const cbe_bpe_options *options, size_t n_merges, cbe_error *err)
{
    cbe_bpe *made = cbe_alloc_zero(1, sizeof *made, "merges", err);
    if (!made) return CBE_ERR_NOMEM;
    const size_t size = cbe_table_size(n_merges);
    if (!(made->merges = cbe_alloc(size, sizeof *made->merges, "merges", err))) {
        cbe_free(made);
        return CBE_ERR_NOMEM;
    }
    for (size_t i = 0; i < size; i++) made->merges[i].pair = NO_PAIR;
    made->merge_mask = size - 1;
    made->vocabulary = vocabulary;
    made->options = options ? *options : (cbe_bpe_options){.unknown = -1};
    copy_affix(&made->options.prefix, made->prefix);
    copy_affix(&made->options.suffix, made->suffix);
    const unsigned n_single = cbe_vocabulary_is_byte_level(vocabulary) ? N_BYTES : 0x80;
    for (unsigned byte = 0; byte < N_BYTES; byte++) {
        const char text = (char)byte;
        char fallback[8];
        snprintf(fallback, sizeof fallback, "<0x%02X>", byte);
        made->byte_ids[byte] = byte < n_single ? find_id(vocabulary, &text, 1) : NO_ID;
        made->fallback_ids[byte] =
            made->options.byte_fallback ? find_id(vocabulary, fallback, 6) : NO_ID;
    }
    *out = made;
    return CBE_OK;
}

/* Writes the bytes of left and right of a merge to buffer, one after the other; false if either
 * stands for no bytes, or the right side is shorter than what it has in front. */
static bool merge_bytes(const cbe_bpe *bpe, const cbe_span merge[2], char *buffer,
                        size_t lengths[2])
{
    size_t end = 0;
    for (int side = 0; side < 2; side++) {
        if (!cbe_vocabulary_is_byte_level(bpe->vocabulary)) {
            lengths[side] = merge[side].length;
            if (lengths[side]) memcpy(buffer + end, merge[side].data, lengths[side]);
        } else if (!cbe_bytes_of_characters(merge[side], buffer + end, &lengths[side])) {
            return false;
        }
        end += lengths[side];
    }
    return lengths[1] >= bpe->options.prefix.length;
}

static cbe_status add_merge(cbe_bpe *bpe, const char *path, size_t rank, const cbe_span merge[2],
                            char *buffer, cbe_error *err)
{
    size_t lengths[2];
    uint32_t ids[3] = {NO_ID, NO_ID, NO_ID}; /* left, right, both */
    if (merge_bytes(bpe, merge, buffer, lengths)) {
        const size_t cut = bpe->options.prefix.length; /* the right side loses it in the middle */
        ids[0] = find_id(bpe->vocabulary, buffer, lengths[0]);
        ids[1] = find_id(bpe->vocabulary, buffer + lengths[0], lengths[1]);
        memmove(buffer + lengths[0], buffer + lengths[0] + cut, lengths[1] - cut);
        ids[2] = find_id(bpe->vocabulary, buffer, lengths[0] + lengths[1] - cut);
    }
    if (ids[0] == NO_ID || ids[1] == NO_ID || ids[2] == NO_ID)
        return cbe_fail(
            err, CBE_ERR_FORMAT, -1,
            "%s: merge %zu, '%.*s %.*s', does not join two tokens of the vocabulary to a "
            "third; the file is damaged or was converted wrongly",
            path, rank, CBE_SHOWN_SPAN(merge[0]), CBE_SHOWN_SPAN(merge[1]));
    merge_slot *slot = find_merge(bpe, ids[0], ids[1]);
    /* Of merges given twice the last counts in the library tokenizers, the first in llama.cpp. */
    if (slot->pair != NO_PAIR && cbe_vocabulary_is_byte_level(bpe->vocabulary)) return CBE_OK;
    *slot = (merge_slot){pair_of(ids[0], ids[1]), (uint32_t)rank, ids[2]};
    return CBE_OK;
}

cbe_status cbe_bpe_create(cbe_bpe **out, const char *path, const cbe_vocabulary *vocabulary,
                          const cbe_bpe_options *options, size_t n_merges,
                          const cbe_span (*merges)[2], cbe_error *err)
{
    cbe_bpe *made = NULL;
    size_t longest = 0;
    if (n_merges > LAST)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s: %zu merges; %zu can be read", path,
                        n_merges, LAST);
    for (size_t i = 0; i < n_merges; i++) {
        const size_t length = merges[i][0].length + merges[i][1].length;
        if (length > longest) longest = length;
    }
    char *buffer = cbe_alloc(longest, 1, "merge", err);
    cbe_status st =
        buffer ? create_empty(&made, vocabulary, options, n_merges, err) : CBE_ERR_NOMEM;
    for (size_t rank = 0; rank < n_merges && st == CBE_OK; rank++)
        st = add_merge(made, path, rank, merges[rank], buffer, err);
    cbe_free(buffer);
    if (st == CBE_OK)
        *out = made;
    else
        cbe_bpe_free(made);
    return st;
}

/* A token that merges may lead to, for sorting by score. */
typedef struct {
    float score;
    uint32_t id;
} scored;

static int compare_scores(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool takes_part(const int64_t *kinds, size_t id)
{
    return !kinds || kinds[id] == CBE_TOKEN_NORMAL || kinds[id] == CBE_TOKEN_USER_DEFINED ||
           kinds[id] == CBE_TOKEN_UNDEFINED;
}

/* Finds every way to cut a token into two tokens; *n counts them, and they are added to bpe unless
 * it is NULL. */
static void visit_cuts(const cbe_vocabulary *vocabulary, const int64_t *kinds, uint32_t id,
                       uint32_t rank, cbe_bpe *bpe, size_t *n)
{
    const cbe_span text = cbe_vocabulary_bytes(vocabulary, id);
    for (size_t cut = 1; cut < text.length; cut++) {
        if (((unsigned char)text.data[cut] & 0xc0) == 0x80) continue; /* a cut inside a character */
        const uint32_t left = find_id(vocabulary, text.data, cut);
        if (left == NO_ID || !takes_part(kinds, left)) continue;
        const uint32_t right = find_id(vocabulary, text.data + cut, text.length - cut);
        if (right == NO_ID || !takes_part(kinds, right)) continue;
        ++*n;
        if (bpe) *find_merge(bpe, left, right) = (merge_slot){pair_of(left, right), rank, id};
    }
}

cbe_status cbe_bpe_create_scored(cbe_bpe **out, const cbe_vocabulary *vocabulary,
                                 const cbe_bpe_options *options, const float *scores,
                                 const int64_t *kinds, cbe_error *err)
{
    const size_t n_tokens = cbe_vocabulary_size(vocabulary);
    size_t n = 0, n_merges = 0;
    scored *tokens = cbe_alloc(n_tokens, sizeof *tokens, "scores", err);
    if (!tokens) return CBE_ERR_NOMEM;
    for (size_t id = 0; id < n_tokens; id++) {
        const cbe_span text = cbe_vocabulary_bytes(vocabulary, id);
        if (takes_part(kinds, id) && find_id(vocabulary, text.data, text.length) == id)
            tokens[n++] = (scored){scores[id], (uint32_t)id};
    }
    if (n) qsort(tokens, n, sizeof *tokens, compare_scores);
    for (size_t i = 0; i < n; i++) visit_cuts(vocabulary, kinds, tokens[i].id, 0, NULL, &n_merges);
    cbe_bpe *made = NULL;
    cbe_status st = n_merges <= LAST ? create_empty(&made, vocabulary, options, n_merges, err)
                                     : cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                                                "%zu merges; %zu can be made", n_merges, LAST);
    uint32_t rank = 0;
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        /* Equal scores have one rank, so among merges of one score the leftmost is done first. */
        if (i > 0 && tokens[i].score != tokens[i - 1].score) rank++;
        visit_cuts(vocabulary, kinds, tokens[i].id, rank, made, &n_merges);
    }
    cbe_free(tokens);
    if (st == CBE_OK) *out = made;
    return st;
}

void cbe_bpe_free(cbe_bpe *bpe)
{
    if (!bpe) return;
    cbe_free(bpe->merges);
    cbe_free(bpe);
}

/* Writes the tokens of a character's bytes to symbols; false if a byte has none. */
static bool fall_back(const cbe_bpe *bpe, const char *character, size_t length, uint32_t *symbols)
{
    for (size_t i = 0; i < length; i++)
        if ((symbols[i] = bpe->fallback_ids[(unsigned char)character[i]]) == NO_ID) return false;
    return true;
}

/* Writes the symbols of a word of characters, and the place of an error through *unknown. An
 * unknown token waits for the next character that has a token, as in the library tokenizers. */
static size_t begin_characters(const cbe_bpe *bpe, const char *word, size_t length,
                               uint32_t *symbols, size_t *unknown)
{
    const cbe_bpe_options *o = &bpe->options;
    char text[2 * CBE_BPE_AFFIX + 4];
    size_t n = 0;
    bool waiting = false;
    for (size_t i = 0, size; i < length; i += size) {
        const char *symbol = word + i;
        size = cbe_utf8_size(word[i]);
        if (size > length - i) size = length - i;
        size_t symbol_size = size;
        const size_t before = i > 0 ? o->prefix.length : 0,
                     behind = i + size == length ? o->suffix.length : 0;
        if (before || behind) {
            memcpy(text, o->prefix.data, before);
            memcpy(text + before, symbol, size);
            memcpy(text + before + size, o->suffix.data, behind);
            symbol = text;
            symbol_size += before + behind;
        }
        const uint32_t id = symbol_size == 1 ? bpe->byte_ids[(unsigned char)*symbol]
                                             : find_id(bpe->vocabulary, symbol, symbol_size);
        if (id != NO_ID) {
            if (waiting) symbols[n++] = (uint32_t)o->unknown;
            waiting = false;
            symbols[n++] = id;
        } else if (fall_back(bpe, symbol, symbol_size, symbols + n)) {
            n += symbol_size;
        } else if (o->unknown_lacks) {
            *unknown = i;
            return 0;
        } else if (o->unknown >= 0) {
            if (waiting && !o->fuse_unknown) symbols[n++] = (uint32_t)o->unknown;
            waiting = true;
        }
    }
    if (waiting) symbols[n++] = (uint32_t)o->unknown;
    return n;
}

/* Most symbols that a word of length bytes begins with. */
static size_t most_symbols(const cbe_bpe *bpe, size_t length)
{
    return length * (1 + bpe->options.prefix.length) + bpe->options.suffix.length;
}

/* Writes a word's first symbols, at most most_symbols of them, and their number to *n. */
static cbe_status begin_word(const cbe_bpe *bpe, const char *word, size_t length, uint32_t *symbols,
                             size_t *n, cbe_error *err)
{
    size_t unknown = length;
    *n = 0;
    if (!cbe_vocabulary_is_byte_level(bpe->vocabulary)) {
        *n = begin_characters(bpe, word, length, symbols, &unknown);
        return unknown == length
                   ? CBE_OK
                   : cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                              "'%.*s' has no token, and the tokenizer's unknown token is not in "
                              "its model's vocabulary; give token ids with " CBE_OPTION(
                                  "tokens") " IDS.safetensors instead",
                              (int)cbe_utf8_size(word[unknown]), word + unknown);
    }
    for (size_t i = 0; i < length; i++) {
        const uint32_t id = bpe->byte_ids[(unsigned char)word[i]];
        if (id != NO_ID) symbols[(*n)++] = id;
    }
    return CBE_OK;
}

cbe_status cbe_bpe_encode_short(const cbe_bpe *bpe, const char *word, size_t length,
                                cbe_id_list *ids, cbe_error *err)
{
    uint32_t symbols[CBE_BPE_SHORT];
    merge_slot pairs[CBE_BPE_SHORT]; /* pairs[i]: merge of symbols i and i + 1 */
    size_t n;
    const cbe_status st = begin_word(bpe, word, length, symbols, &n, err);
    if (st != CBE_OK) return st;
    for (size_t i = 0; i + 1 < n; i++) pairs[i] = *find_merge(bpe, symbols[i], symbols[i + 1]);
    for (;;) {
        size_t best = n;
        uint32_t best_rank = NO_RANK;
        for (size_t i = 0; i + 1 < n; i++)
            if (pairs[i].pair != NO_PAIR && pairs[i].rank < best_rank) {
                best = i;
                best_rank = pairs[i].rank;
            }
        if (best == n) break;
        symbols[best] = pairs[best].merged;
        n--;
        for (size_t i = best + 1; i < n; i++) symbols[i] = symbols[i + 1];
        for (size_t i = best + 1; i + 1 < n; i++) pairs[i] = pairs[i + 1];
        if (best > 0) pairs[best - 1] = *find_merge(bpe, symbols[best - 1], symbols[best]);
        if (best + 1 < n) pairs[best] = *find_merge(bpe, symbols[best], symbols[best + 1]);
    }
    for (size_t i = 0; i < n; i++)
        if (cbe_id_list_push(ids, symbols[i], err) != CBE_OK) return CBE_ERR_NOMEM;
    return CBE_OK;
}

/* A symbol of a long word in a doubly linked list, which the right symbol of a merge leaves. */
typedef struct {
    uint32_t id, previous, next; /* previous, next: NO_NODE at the ends; id NO_ID: merged away */
} node;

/* An entry of the heap is rank << 32 | place of the left symbol, so that the smallest is the merge
 * to do. Merges make entries stale; a stale entry is dropped when it is popped. */
static void heap_push(uint64_t *heap, size_t *n, uint64_t entry)
{
    size_t at = (*n)++;
    for (; at > 0 && heap[(at - 1) / 2] > entry; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = entry;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    const uint64_t top = heap[0], entry = heap[--*n];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < *n; at = child) {
        if (child + 1 < *n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= entry) break;
        heap[at] = heap[child];
    }
    heap[at] = entry;
    return top;
}

static void push_pair(const cbe_bpe *bpe, const node *nodes, uint32_t left, uint64_t *heap,
                      size_t *n)
{
    if (left == NO_NODE || nodes[left].next == NO_NODE) return;
    const merge_slot *merge = find_merge(bpe, nodes[left].id, nodes[nodes[left].next].id);
    if (merge->pair != NO_PAIR) heap_push(heap, n, (uint64_t)merge->rank << 32 | left);
}

cbe_status cbe_bpe_encode_long(const cbe_bpe *bpe, const char *word, size_t length,
                               cbe_id_list *ids, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    uint64_t *heap = NULL;
    node *nodes = NULL;
    uint32_t *symbols = NULL;
    size_t n_symbols;
    if (length >= NO_NODE / (1 + CBE_BPE_AFFIX))
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "the text has a word of %zu bytes; %u can be tokenised", length,
                        NO_NODE / (1 + CBE_BPE_AFFIX) - 1);
    const size_t most = most_symbols(bpe, length);
    /* The heap begins with n - 1 entries, and each of n - 1 merges takes one and adds at most
     * two. */
    if (!(heap = cbe_alloc(2 * most, sizeof *heap, "pairs of a long word", err))) goto done;
    if (!(nodes = cbe_alloc(most, sizeof *nodes, "symbols of a long word", err))) goto done;
    if (!(symbols = cbe_alloc(most, sizeof *symbols, "symbols of a long word", err))) goto done;
    if ((st = begin_word(bpe, word, length, symbols, &n_symbols, err)) != CBE_OK) goto done;
    const uint32_t n = (uint32_t)n_symbols;
    for (uint32_t i = 0; i < n; i++)
        nodes[i] = (node){symbols[i], i > 0 ? i - 1 : NO_NODE, i + 1 < n ? i + 1 : NO_NODE};
    size_t n_heap = 0;
    for (uint32_t i = 0; i < n; i++) push_pair(bpe, nodes, i, heap, &n_heap);
    while (n_heap > 0) {
        const uint64_t entry = heap_pop(heap, &n_heap);
        node *left = &nodes[(uint32_t)entry];
        if (left->id == NO_ID || left->next == NO_NODE) continue;
        node *right = &nodes[left->next];
        const merge_slot *merge = find_merge(bpe, left->id, right->id);
        if (merge->pair == NO_PAIR || merge->rank != entry >> 32) continue;
        left->id = merge->merged;
        left->next = right->next;
        right->id = NO_ID;
        if (left->next != NO_NODE) nodes[left->next].previous = (uint32_t)entry;
        push_pair(bpe, nodes, left->previous, heap, &n_heap);
        push_pair(bpe, nodes, (uint32_t)entry, heap, &n_heap);
    }
    st = CBE_OK;
    for (uint32_t i = 0; i < n && st == CBE_OK; i = nodes[i].next)
        st = cbe_id_list_push(ids, nodes[i].id, err);
done:
    cbe_free(heap);
    cbe_free(nodes);
    cbe_free(symbols);
    return st;
}

cbe_status cbe_bpe_encode(const cbe_bpe *bpe, const char *word, size_t length, cbe_id_list *ids,
                          cbe_error *err)
{
    return most_symbols(bpe, length) <= CBE_BPE_SHORT
               ? cbe_bpe_encode_short(bpe, word, length, ids, err)
               : cbe_bpe_encode_long(bpe, word, length, ids, err);
}
