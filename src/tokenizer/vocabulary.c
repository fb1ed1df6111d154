/*
 * vocabulary.c - see vocabulary.h. One hash table with linear probing, at most half full: bytes ->
 * id.
 */
#include "tokenizer/vocabulary.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "tokenizer/byte_characters.h"

#define NO_ID   UINT32_MAX
#define LAST_ID ((size_t)INT32_MAX)

struct cbe_vocabulary {
    bool byte_level;
    size_t n_tokens, n_entries;
    char *bytes;          /* bytes of all entries, one after the other */
    size_t *offsets;      /* (entries + 1) */
    uint32_t *ids;        /* id of each entry; NULL: entries are the tokens in their order */
    uint32_t *entries_of; /* (n_tokens) entry of each id; NO_ID: the id has none; as ids */
    uint32_t *slots;      /* entry; NO_ID: the slot is empty */
    size_t slot_mask;
};

size_t cbe_table_size(size_t count)
{
    size_t size = 2;
    while (size / 2 < count) size *= 2;
    return size;
}

uint64_t cbe_hash_bytes(const char *bytes, size_t length)
{
    uint64_t hash = length, word;
    for (; length >= sizeof word; bytes += sizeof word, length -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        hash = cbe_mix(hash ^ word);
    }
    word = 0;
    if (length) memcpy(&word, bytes, length);
    return cbe_mix(hash ^ word);
}

static cbe_span entry_bytes(const cbe_vocabulary *v, size_t entry)
{
    return (cbe_span){v->bytes + v->offsets[entry], v->offsets[entry + 1] - v->offsets[entry]};
}

/* Slot of these bytes, or the empty slot where they belong. */
static uint32_t *find_slot(const cbe_vocabulary *v, const char *bytes, size_t length)
{
    size_t at = (size_t)cbe_hash_bytes(bytes, length) & v->slot_mask;
    for (; v->slots[at] != NO_ID; at = (at + 1) & v->slot_mask) {
        const cbe_span token = entry_bytes(v, v->slots[at]);
        if (token.length == length && memcmp(token.data, bytes, length) == 0) break;
    }
    return &v->slots[at];
}

size_t cbe_vocabulary_size(const cbe_vocabulary *vocabulary)
{
    return vocabulary->n_tokens;
}

size_t cbe_vocabulary_n_texts(const cbe_vocabulary *vocabulary)
{
    size_t n = 0;
    for (size_t i = 0; i <= vocabulary->slot_mask; i++) n += vocabulary->slots[i] != NO_ID;
    return n;
}

size_t cbe_vocabulary_longest(const cbe_vocabulary *vocabulary)
{
    size_t longest = 0;
    for (size_t i = 0; i < vocabulary->n_entries; i++) {
        const size_t length = vocabulary->offsets[i + 1] - vocabulary->offsets[i];
        if (length > longest) longest = length;
    }
    return longest;
}

bool cbe_vocabulary_is_byte_level(const cbe_vocabulary *vocabulary)
{
    return vocabulary->byte_level;
}

cbe_span cbe_vocabulary_bytes(const cbe_vocabulary *vocabulary, size_t id)
{
    if (!vocabulary->entries_of) return entry_bytes(vocabulary, id);
    const uint32_t entry = vocabulary->entries_of[id];
    return entry == NO_ID ? (cbe_span){"", 0} : entry_bytes(vocabulary, entry);
}

int64_t cbe_vocabulary_find(const cbe_vocabulary *vocabulary, const char *bytes, size_t length)
{
    const uint32_t entry = *find_slot(vocabulary, bytes, length);
    if (entry == NO_ID) return -1;
    return vocabulary->ids ? (int64_t)vocabulary->ids[entry] : (int64_t)entry;
}

static bool is_added(const int64_t *kinds, size_t id)
{
    return kinds && (kinds[id] == CBE_TOKEN_CONTROL || kinds[id] == CBE_TOKEN_USER_DEFINED);
}

/* Fills v->bytes and v->offsets; reachable[id]: the token stands for bytes that a text may hold. */
static cbe_status store_tokens(cbe_vocabulary *v, const cbe_span *tokens, const int64_t *kinds,
                               bool *reachable, cbe_error *err)
{
    size_t total = 0;
    for (size_t id = 0; id < v->n_tokens; id++)
        if (!cbe_add_size(total, tokens[id].length, &total))
            return cbe_fail(err, CBE_ERR_NOMEM, -1, "vocabulary: its size does not fit a size_t");
    v->bytes = cbe_alloc(total, 1, "vocabulary", err);
    v->offsets = cbe_alloc(v->n_tokens + 1, sizeof *v->offsets, "vocabulary", err);
    if (!v->bytes || !v->offsets) return CBE_ERR_NOMEM;
    size_t end = 0;
    for (size_t id = 0; id < v->n_tokens; id++) {
        size_t length = 0;
        v->offsets[id] = end;
        const bool mapped = v->byte_level
                                ? cbe_bytes_of_characters(tokens[id], v->bytes + end, &length)
                                : tokens[id].length > 0;
        reachable[id] =
            mapped && tokens[id].length > 0 && !(kinds && kinds[id] == CBE_TOKEN_UNUSED);
        if (!v->byte_level || is_added(kinds, id) || !mapped) {
            length = tokens[id].length;
            if (length) memcpy(v->bytes + end, tokens[id].data, length);
        }
        end += length;
    }
    v->offsets[v->n_tokens] = end;
    return CBE_OK;
}

/* Makes an empty table with room for n entries. */
static cbe_status make_table(cbe_vocabulary *v, size_t n, cbe_error *err)
{
    const size_t size = cbe_table_size(n);
    v->slots = cbe_alloc(size, sizeof *v->slots, "vocabulary's table", err);
    if (!v->slots) return CBE_ERR_NOMEM;
    memset(v->slots, 0xff, size * sizeof *v->slots);
    v->slot_mask = size - 1;
    return CBE_OK;
}

/* Enters all tokens into the table, over an equal token before. Added tokens come last: if one has
 * the bytes of another token, the other token is found. */
static cbe_status index_tokens(cbe_vocabulary *v, const char *path, const cbe_span *tokens,
                               const int64_t *kinds, const bool *reachable, cbe_remarks *remarks,
                               cbe_error *err)
{
    size_t n_equal = 0, first = 0, second = 0; /* of the first two tokens that are the same */
    if (make_table(v, v->n_tokens, err) != CBE_OK) return CBE_ERR_NOMEM;
    for (int added = 0; added < 2; added++)
        for (size_t id = 0; id < v->n_tokens; id++) {
            if (!reachable[id] || is_added(kinds, id) != (added == 1)) continue;
            const cbe_span bytes = cbe_vocabulary_bytes(v, id);
            uint32_t *slot = find_slot(v, bytes.data, bytes.length);
            if (*slot != NO_ID && is_added(kinds, *slot) != is_added(kinds, id)) continue;
            if (*slot != NO_ID && n_equal++ == 0) {
                first = *slot;
                second = id;
            }
            *slot = (uint32_t)id;
        }
    if (n_equal == 0) return CBE_OK;
    return cbe_remark(
        remarks, err,
        "%s: tokens %zu and %zu of the vocabulary are the same, '%.*s'%s; texts become "
        "the last of equal tokens",
        path, first, second, CBE_SHOWN_SPAN(tokens[second]),
        n_equal > 1 ? ", and so are others" : "");
}

cbe_status cbe_vocabulary_is_empty(const char *path, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: the tokenizer's vocabulary is empty: damaged, download it again", path);
}

static cbe_status check_size(const char *path, size_t n, cbe_error *err)
{
    if (n == 0) return cbe_vocabulary_is_empty(path, err);
    if (n > LAST_ID)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s: %zu tokens; %zu can be read", path, n,
                        LAST_ID);
    return CBE_OK;
}

cbe_status cbe_vocabulary_create(cbe_vocabulary **out, const char *path, size_t n_tokens,
                                 const cbe_span *tokens, const int64_t *kinds, bool byte_level,
                                 cbe_remarks *remarks, cbe_error *err)
{
    cbe_status st;
    bool *reachable = NULL;
    cbe_vocabulary *made = NULL;
    if ((st = check_size(path, n_tokens, err)) != CBE_OK) return st;
    st = CBE_ERR_NOMEM;
    if (!(made = cbe_alloc_zero(1, sizeof *made, "vocabulary", err))) goto done;
    made->n_tokens = made->n_entries = n_tokens;
    made->byte_level = byte_level;
    if (!(reachable = cbe_alloc(n_tokens, sizeof *reachable, "vocabulary", err))) goto done;
    if ((st = store_tokens(made, tokens, kinds, reachable, err)) != CBE_OK) goto done;
    st = index_tokens(made, path, tokens, kinds, reachable, remarks, err);
    if (st != CBE_OK) goto done;
    *out = made;
    made = NULL;
done:
    cbe_free(reachable);
    cbe_vocabulary_free(made);
    return st;
}

/* Copies the texts of entries, and enters those that are found into the table. */
static cbe_status store_entries(cbe_vocabulary *v, size_t n, const cbe_vocabulary_entry *entries,
                                cbe_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        if (!cbe_add_size(total, entries[i].text.length, &total))
            return cbe_fail(err, CBE_ERR_NOMEM, -1, "vocabulary: its size does not fit a size_t");
    v->bytes = cbe_alloc(total, 1, "vocabulary", err);
    v->offsets = cbe_alloc(n + 1, sizeof *v->offsets, "vocabulary", err);
    v->ids = cbe_alloc(n, sizeof *v->ids, "vocabulary", err);
    v->entries_of = cbe_alloc(v->n_tokens, sizeof *v->entries_of, "vocabulary", err);
    if (!v->bytes || !v->offsets || !v->ids || !v->entries_of) return CBE_ERR_NOMEM;
    if (make_table(v, n, err) != CBE_OK) return CBE_ERR_NOMEM;
    memset(v->entries_of, 0xff, v->n_tokens * sizeof *v->entries_of);
    v->offsets[0] = 0;
    for (size_t i = 0; i < n; i++) {
        const cbe_span text = entries[i].text;
        if (text.length) memcpy(v->bytes + v->offsets[i], text.data, text.length);
        v->offsets[i + 1] = v->offsets[i] + text.length;
        v->ids[i] = (uint32_t)entries[i].id;
        v->entries_of[entries[i].id] = (uint32_t)i;
        if (text.length) *find_slot(v, text.data, text.length) = (uint32_t)i;
    }
    return CBE_OK;
}

cbe_status cbe_vocabulary_create_listed(cbe_vocabulary **out, const char *path, size_t n_tokens,
                                        size_t n_entries, const cbe_vocabulary_entry *entries,
                                        cbe_error *err)
{
    const size_t most = n_entries > n_tokens ? n_entries : n_tokens;
    cbe_status st = most ? check_size(path, most, err) : CBE_OK;
    if (st != CBE_OK) return st;
    cbe_vocabulary *made = cbe_alloc_zero(1, sizeof *made, "vocabulary", err);
    if (!made) return CBE_ERR_NOMEM;
    made->n_tokens = n_tokens;
    made->n_entries = n_entries;
    st = store_entries(made, n_entries, entries, err);
    if (st == CBE_OK)
        *out = made;
    else
        cbe_vocabulary_free(made);
    return st;
}

void cbe_vocabulary_free(cbe_vocabulary *vocabulary)
{
    if (!vocabulary) return;
    cbe_free(vocabulary->bytes);
    cbe_free(vocabulary->offsets);
    cbe_free(vocabulary->ids);
    cbe_free(vocabulary->entries_of);
    cbe_free(vocabulary->slots);
    cbe_free(vocabulary);
}
