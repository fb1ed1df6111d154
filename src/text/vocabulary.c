/*
 * vocabulary.c - see vocabulary.h. One hash table with linear probing, at most half full: bytes ->
 * id.
 */
#include "text/vocabulary.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "text/byte_characters.h"

#define NO_ID   UINT32_MAX
#define LAST_ID ((size_t)INT32_MAX)

struct cbe_vocabulary {
    bool byte_level;
    size_t n_tokens;
    char *bytes;     /* bytes of all tokens, one after the other */
    size_t *offsets; /* (n_tokens + 1) */
    uint32_t *slots; /* id; NO_ID: the slot is empty */
    size_t slot_mask;
};

size_t cbe_table_size(size_t count)
{
    size_t size = 2;
    while (size / 2 < count) size *= 2;
    return size;
}

static uint64_t hash_bytes(const char *bytes, size_t length)
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

/* Slot of these bytes, or the empty slot where they belong. */
static uint32_t *find_slot(const cbe_vocabulary *v, const char *bytes, size_t length)
{
    size_t at = (size_t)hash_bytes(bytes, length) & v->slot_mask;
    for (; v->slots[at] != NO_ID; at = (at + 1) & v->slot_mask) {
        const cbe_span token = cbe_vocabulary_bytes(v, v->slots[at]);
        if (token.length == length && memcmp(token.data, bytes, length) == 0) break;
    }
    return &v->slots[at];
}

size_t cbe_vocabulary_size(const cbe_vocabulary *vocabulary)
{
    return vocabulary->n_tokens;
}

bool cbe_vocabulary_is_byte_level(const cbe_vocabulary *vocabulary)
{
    return vocabulary->byte_level;
}

cbe_span cbe_vocabulary_bytes(const cbe_vocabulary *vocabulary, size_t id)
{
    return (cbe_span){vocabulary->bytes + vocabulary->offsets[id],
                      vocabulary->offsets[id + 1] - vocabulary->offsets[id]};
}

int64_t cbe_vocabulary_find(const cbe_vocabulary *vocabulary, const char *bytes, size_t length)
{
    const uint32_t id = *find_slot(vocabulary, bytes, length);
    return id == NO_ID ? -1 : (int64_t)id;
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

/* Enters all tokens into the table, over an equal token before. Added tokens come last: if one has
 * the bytes of another token, the other token is found. */
static cbe_status index_tokens(cbe_vocabulary *v, const char *path, const cbe_span *tokens,
                               const int64_t *kinds, const bool *reachable, cbe_remarks *remarks,
                               cbe_error *err)
{
    size_t n_equal = 0, first = 0, second = 0; /* of the first two tokens that are the same */
    const size_t size = cbe_table_size(v->n_tokens);
    v->slots = cbe_alloc(size, sizeof *v->slots, "vocabulary's table", err);
    if (!v->slots) return CBE_ERR_NOMEM;
    memset(v->slots, 0xff, size * sizeof *v->slots);
    v->slot_mask = size - 1;
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

cbe_status cbe_vocabulary_create(cbe_vocabulary **out, const char *path, size_t n_tokens,
                                 const cbe_span *tokens, const int64_t *kinds, bool byte_level,
                                 cbe_remarks *remarks, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    bool *reachable = NULL;
    cbe_vocabulary *made = NULL;
    if (n_tokens == 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: the tokenizer's vocabulary is empty: damaged, download it again",
                        path);
    if (n_tokens > LAST_ID)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1, "%s: %zu tokens; %zu can be read", path,
                        n_tokens, LAST_ID);
    if (!(made = cbe_alloc_zero(1, sizeof *made, "vocabulary", err))) goto done;
    made->n_tokens = n_tokens;
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

void cbe_vocabulary_free(cbe_vocabulary *vocabulary)
{
    if (!vocabulary) return;
    cbe_free(vocabulary->bytes);
    cbe_free(vocabulary->offsets);
    cbe_free(vocabulary->slots);
    cbe_free(vocabulary);
}
