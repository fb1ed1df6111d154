/*
 * bpe.c - see bpe.h.
 *
 * Of the adjacent pairs that have a merge, the one with the lowest rank is merged, the leftmost of
 * equals, until none is left (Sennrich et al. 2016, arXiv:1508.07909; on bytes, Radford et al. 2019).
 *
 * Two hash tables with linear probing, at most half full: bytes -> id, and (left id, right id) ->
 * (rank, merged id). An id fits 31 bits, so a pair is one 64-bit key.
 */
#include "text/bpe.h"

#include <string.h>
#include <utf8proc.h>

#include "core/fail.h"
#include "core/memory.h"

enum { N_BYTES = 256, N_BYTE_CHARACTERS = 0x144, SHOWN = 48 };

#define NO_ID   UINT32_MAX
#define NO_RANK UINT32_MAX
#define NO_PAIR UINT64_MAX
#define NO_NODE UINT32_MAX
#define LAST_ID ((size_t)INT32_MAX)

typedef struct {
    uint64_t pair; /* left << 32 | right; NO_PAIR: empty */
    uint32_t rank, merged;
} merge_slot;

struct cbe_bpe {
    size_t n_tokens;
    char *bytes;     /* of all tokens, one after the other */
    size_t *offsets; /* n_tokens + 1 */
    uint32_t *slots; /* id, or NO_ID: empty */
    size_t slot_mask;
    merge_slot *merges;
    size_t merge_mask;
    uint32_t byte_ids[N_BYTES]; /* NO_ID: the vocabulary has none */
};

/* Printing a part of a file in a message: not too much of it. */
#define SPAN_ARGS(span) (int)((span).length < SHOWN ? (span).length : SHOWN), (span).data

/* The character that files write for a byte. */
static int32_t byte_character(unsigned byte)
{
    if ((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)
        return (int32_t)byte;
    const unsigned before = byte < 0x21 ? byte : byte < 0xa1 ? byte - 0x7f + 0x21 : 0x43;
    return (int32_t)(0x100 + before);
}

/* Byte of each character that files write for one, -1 for the others. */
static void fill_character_bytes(int bytes[N_BYTE_CHARACTERS])
{
    for (size_t i = 0; i < N_BYTE_CHARACTERS; i++) bytes[i] = -1;
    for (unsigned byte = 0; byte < N_BYTES; byte++) bytes[byte_character(byte)] = (int)byte;
}

/* Bytes that text stands for, at most its length of them; false when it stands for none. */
static bool to_bytes(const int character_bytes[N_BYTE_CHARACTERS], cbe_span text, char *out,
                     size_t *length)
{
    size_t n = 0;
    for (size_t i = 0; i < text.length;) {
        utf8proc_int32_t character;
        const utf8proc_ssize_t read =
            utf8proc_iterate((const utf8proc_uint8_t *)text.data + i,
                             (utf8proc_ssize_t)(text.length - i), &character);
        if (read <= 0 || character >= N_BYTE_CHARACTERS || character_bytes[character] < 0)
            return false;
        out[n++] = (char)character_bytes[character];
        i += (size_t)read;
    }
    *length = n;
    return n > 0;
}

static uint64_t mix(uint64_t value)
{
    value *= UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio, odd */
    return value ^ value >> 32;
}

static uint64_t hash_bytes(const char *bytes, size_t length)
{
    uint64_t hash = length, word;
    for (; length >= sizeof word; bytes += sizeof word, length -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        hash = mix(hash ^ word);
    }
    word = 0;
    if (length) memcpy(&word, bytes, length);
    return mix(hash ^ word);
}

/* A power of two with room for twice as many; count is LAST_ID at most. */
static size_t table_size(size_t count)
{
    size_t size = 2;
    while (size / 2 < count) size *= 2;
    return size;
}

/* Slot of these bytes, or the empty one where they belong. */
static uint32_t *find_slot(const cbe_bpe *bpe, const char *bytes, size_t length)
{
    size_t at = (size_t)hash_bytes(bytes, length) & bpe->slot_mask;
    for (; bpe->slots[at] != NO_ID; at = (at + 1) & bpe->slot_mask) {
        const cbe_span token = cbe_bpe_bytes(bpe, bpe->slots[at]);
        if (token.length == length && memcmp(token.data, bytes, length) == 0) break;
    }
    return &bpe->slots[at];
}

static uint64_t pair_of(uint32_t left, uint32_t right)
{
    return (uint64_t)left << 32 | right;
}

/* Slot of this pair, or the empty one where it belongs. */
static merge_slot *find_merge(const cbe_bpe *bpe, uint32_t left, uint32_t right)
{
    const uint64_t pair = pair_of(left, right);
    size_t at = (size_t)mix(pair) & bpe->merge_mask;
    while (bpe->merges[at].pair != NO_PAIR && bpe->merges[at].pair != pair)
        at = (at + 1) & bpe->merge_mask;
    return &bpe->merges[at];
}

cbe_span cbe_bpe_bytes(const cbe_bpe *bpe, size_t id)
{
    return (cbe_span){bpe->bytes + bpe->offsets[id], bpe->offsets[id + 1] - bpe->offsets[id]};
}

int64_t cbe_bpe_find(const cbe_bpe *bpe, const char *bytes, size_t length)
{
    const uint32_t id = *find_slot(bpe, bytes, length);
    return id == NO_ID ? -1 : (int64_t)id;
}

static bool is_added(const int64_t *kinds, size_t id)
{
    return kinds && (kinds[id] == CBE_TOKEN_CONTROL || kinds[id] == CBE_TOKEN_USER_DEFINED);
}

/* Fills bytes and offsets; reachable[id]: the token stands for bytes and BPE may come to it. */
static cbe_status store_tokens(cbe_bpe *bpe, const int *character_bytes, const cbe_span *tokens,
                               const int64_t *kinds, bool *reachable, cbe_error *err)
{
    size_t total = 0;
    for (size_t id = 0; id < bpe->n_tokens; id++)
        if (!cbe_add_size(total, tokens[id].length, &total))
            return cbe_fail(err, CBE_ERR_NOMEM, -1, "vocabulary: its size does not fit a size_t");
    bpe->bytes = cbe_alloc(total, 1, "vocabulary", err);
    bpe->offsets = cbe_alloc(bpe->n_tokens + 1, sizeof *bpe->offsets, "vocabulary", err);
    if (!bpe->bytes || !bpe->offsets) return CBE_ERR_NOMEM;
    size_t end = 0;
    for (size_t id = 0; id < bpe->n_tokens; id++) {
        size_t length = 0;
        bpe->offsets[id] = end;
        const bool mapped = to_bytes(character_bytes, tokens[id], bpe->bytes + end, &length);
        reachable[id] = mapped && !(kinds && kinds[id] == CBE_TOKEN_UNUSED);
        if (is_added(kinds, id) || !mapped) {
            length = tokens[id].length;
            if (length) memcpy(bpe->bytes + end, tokens[id].data, length);
        }
        end += length;
    }
    bpe->offsets[bpe->n_tokens] = end;
    return CBE_OK;
}

/* Added tokens come last: where one is written like a token of BPE's own, BPE means the latter. */
static cbe_status index_tokens(cbe_bpe *bpe, const char *path, const cbe_span *tokens,
                               const int64_t *kinds, const bool *reachable, cbe_error *err)
{
    const size_t size = table_size(bpe->n_tokens);
    bpe->slots = cbe_alloc(size, sizeof *bpe->slots, "vocabulary's table", err);
    if (!bpe->slots) return CBE_ERR_NOMEM;
    memset(bpe->slots, 0xff, size * sizeof *bpe->slots);
    bpe->slot_mask = size - 1;
    for (int added = 0; added < 2; added++)
        for (size_t id = 0; id < bpe->n_tokens; id++) {
            if (!reachable[id] || is_added(kinds, id) != (added == 1)) continue;
            const cbe_span bytes = cbe_bpe_bytes(bpe, id);
            uint32_t *slot = find_slot(bpe, bytes.data, bytes.length);
            if (*slot == NO_ID)
                *slot = (uint32_t)id;
            else if (is_added(kinds, *slot) == is_added(kinds, id))
                return cbe_fail(err, CBE_ERR_FORMAT, -1,
                                "%s: tokens %u and %zu of the vocabulary are the same, '%.*s'; the "
                                "file is damaged or was converted wrongly",
                                path, *slot, id, SPAN_ARGS(tokens[id]));
        }
    for (unsigned byte = 0; byte < N_BYTES; byte++) {
        const char text = (char)byte;
        bpe->byte_ids[byte] = *find_slot(bpe, &text, 1);
        if (bpe->byte_ids[byte] == NO_ID && byte >= 0x20 && byte < 0x7f)
            return cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: the vocabulary has no token for byte 0x%02x, so it is not one of "
                            "byte-level BPE",
                            path, byte);
    }
    return CBE_OK;
}

/* buffer has room for the longest merge. */
static cbe_status index_merges(cbe_bpe *bpe, const char *path, const int *character_bytes,
                               size_t n_merges, const cbe_span *merges, char *buffer,
                               cbe_error *err)
{
    const size_t size = table_size(n_merges);
    bpe->merges = cbe_alloc(size, sizeof *bpe->merges, "merges", err);
    if (!bpe->merges) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < size; i++) bpe->merges[i].pair = NO_PAIR;
    bpe->merge_mask = size - 1;
    for (size_t rank = 0; rank < n_merges; rank++) {
        const cbe_span text = merges[rank];
        const char *space = text.length ? memchr(text.data, ' ', text.length) : NULL;
        const size_t cut = space ? (size_t)(space - text.data) : text.length;
        size_t left = 0, right = 0;
        uint32_t ids[3] = {NO_ID, NO_ID, NO_ID}; /* left, right, both */
        if (space && to_bytes(character_bytes, (cbe_span){text.data, cut}, buffer, &left) &&
            to_bytes(character_bytes, (cbe_span){space + 1, text.length - cut - 1}, buffer + left,
                     &right)) {
            ids[0] = *find_slot(bpe, buffer, left);
            ids[1] = *find_slot(bpe, buffer + left, right);
            ids[2] = *find_slot(bpe, buffer, left + right);
        }
        if (ids[0] == NO_ID || ids[1] == NO_ID || ids[2] == NO_ID)
            return cbe_fail(
                err, CBE_ERR_FORMAT, -1,
                "%s: merge %zu, '%.*s', does not join two tokens of the vocabulary to a "
                "third; the file is damaged or was converted wrongly",
                path, rank, SPAN_ARGS(text));
        merge_slot *slot = find_merge(bpe, ids[0], ids[1]);
        if (slot->pair != NO_PAIR)
            return cbe_fail(
                err, CBE_ERR_FORMAT, -1,
                "%s: merges %u and %zu are the same, '%.*s'; the file is damaged or was "
                "converted wrongly",
                path, slot->rank, rank, SPAN_ARGS(text));
        *slot = (merge_slot){pair_of(ids[0], ids[1]), (uint32_t)rank, ids[2]};
    }
    return CBE_OK;
}

cbe_status cbe_bpe_create(cbe_bpe **out, const char *path, size_t n_tokens, const cbe_span *tokens,
                          const int64_t *kinds, size_t n_merges, const cbe_span *merges,
                          cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    int character_bytes[N_BYTE_CHARACTERS];
    bool *reachable = NULL;
    char *buffer = NULL;
    cbe_bpe *made = NULL;
    if (n_tokens > LAST_ID || n_merges > LAST_ID)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: %zu tokens and %zu merges; %zu can be read", path, n_tokens, n_merges,
                        LAST_ID);
    fill_character_bytes(character_bytes);
    size_t longest = 0;
    for (size_t i = 0; i < n_merges; i++)
        if (merges[i].length > longest) longest = merges[i].length;
    if (!(made = cbe_alloc_zero(1, sizeof *made, "vocabulary", err))) goto done;
    made->n_tokens = n_tokens;
    if (!(reachable = cbe_alloc(n_tokens, sizeof *reachable, "vocabulary", err))) goto done;
    if (!(buffer = cbe_alloc(longest, 1, "merge", err))) goto done;
    if ((st = store_tokens(made, character_bytes, tokens, kinds, reachable, err)) != CBE_OK)
        goto done;
    if ((st = index_tokens(made, path, tokens, kinds, reachable, err)) != CBE_OK) goto done;
    if ((st = index_merges(made, path, character_bytes, n_merges, merges, buffer, err)) != CBE_OK)
        goto done;
    *out = made;
    made = NULL;
done:
    cbe_free(reachable);
    cbe_free(buffer);
    cbe_bpe_free(made);
    return st;
}

void cbe_bpe_free(cbe_bpe *bpe)
{
    if (!bpe) return;
    cbe_free(bpe->bytes);
    cbe_free(bpe->offsets);
    cbe_free(bpe->slots);
    cbe_free(bpe->merges);
    cbe_free(bpe);
}

cbe_status cbe_id_list_push(cbe_id_list *list, int64_t id, cbe_error *err)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 256;
        int64_t *grown = cbe_alloc(capacity, sizeof *grown, "token ids", err);
        if (!grown) return CBE_ERR_NOMEM;
        if (list->count) memcpy(grown, list->ids, list->count * sizeof *grown);
        cbe_free(list->ids);
        list->ids = grown;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return CBE_OK;
}

cbe_status cbe_bpe_encode_short(const cbe_bpe *bpe, const char *word, size_t length,
                                cbe_id_list *ids, cbe_error *err)
{
    uint32_t symbols[CBE_BPE_SHORT];
    merge_slot pairs[CBE_BPE_SHORT]; /* pairs[i]: merge of symbols i and i + 1 */
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        const uint32_t id = bpe->byte_ids[(unsigned char)word[i]];
        if (id == NO_ID) continue;
        if (n > 0) pairs[n - 1] = *find_merge(bpe, symbols[n - 1], id);
        symbols[n++] = id;
    }
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

/* A symbol of a long word in a doubly linked list; what a merge swallows leaves it. */
typedef struct {
    uint32_t id, previous, next; /* next and previous: NO_NODE at the ends; id NO_ID: swallowed */
} node;

/* The heap's entries are rank << 32 | place of the left symbol, so that the smallest is the merge to
 * do. Merges make entries stale; they are found out when they come up. */
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
    if (length >= NO_NODE)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "the text has a word of %zu bytes; %u can be tokenised", length,
                        NO_NODE - 1);
    /* A merge takes one entry and adds two at most: n - 1 at first and n - 1 more. */
    if (!(heap = cbe_alloc(2 * length, sizeof *heap, "pairs of a long word", err))) goto done;
    if (!(nodes = cbe_alloc(length, sizeof *nodes, "symbols of a long word", err))) goto done;
    uint32_t n = 0;
    for (size_t i = 0; i < length; i++) {
        const uint32_t id = bpe->byte_ids[(unsigned char)word[i]];
        if (id == NO_ID) continue;
        nodes[n] = (node){id, n > 0 ? n - 1 : NO_NODE, NO_NODE};
        if (n > 0) nodes[n - 1].next = n;
        n++;
    }
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
    return st;
}

cbe_status cbe_bpe_encode(const cbe_bpe *bpe, const char *word, size_t length, cbe_id_list *ids,
                          cbe_error *err)
{
    return length <= CBE_BPE_SHORT ? cbe_bpe_encode_short(bpe, word, length, ids, err)
                                   : cbe_bpe_encode_long(bpe, word, length, ids, err);
}
