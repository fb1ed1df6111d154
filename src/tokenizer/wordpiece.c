/* wordpiece.c - see wordpiece.h. */
#include "tokenizer/wordpiece.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/utf8.h"

struct cbe_wordpiece {
    const cbe_vocabulary *vocabulary;
    size_t prefix_length, longest_word, longest_token;
    int64_t unknown;
    char *prefix;
};

cbe_status cbe_wordpiece_create(cbe_wordpiece **out, const cbe_vocabulary *vocabulary,
                                cbe_span prefix, size_t longest, int64_t unknown, cbe_error *err)
{
    cbe_wordpiece *made = cbe_alloc_zero(1, sizeof *made, "word pieces", err);
    if (!made) return CBE_ERR_NOMEM;
    *made = (cbe_wordpiece){.vocabulary = vocabulary,
                            .prefix_length = prefix.length,
                            .longest_word = longest,
                            .unknown = unknown};
    if (!(made->prefix = cbe_copy_string(prefix.data, prefix.length, err))) {
        cbe_free(made);
        return CBE_ERR_NOMEM;
    }
    made->longest_token = cbe_vocabulary_longest(vocabulary);
    *out = made;
    return CBE_OK;
}

void cbe_wordpiece_free(cbe_wordpiece *wordpiece)
{
    if (!wordpiece) return;
    cbe_free(wordpiece->prefix);
    cbe_free(wordpiece);
}

/* The longest token that begins word[begin, length); *end is where it ends. buffer has room for the
 * prefix and the longest token. -1: there is none. */
static int64_t longest_at(const cbe_wordpiece *w, const char *word, size_t begin, size_t length,
                          char *buffer, size_t *end)
{
    const size_t before = begin ? w->prefix_length : 0;
    if (before > w->longest_token) return -1;
    size_t size = length - begin;
    if (size > w->longest_token - before) size = w->longest_token - before;
    memcpy(buffer, w->prefix, before);
    memcpy(buffer + before, word + begin, size);
    for (; size > 0; size--) {
        const size_t at = begin + size;
        if (at < length && ((unsigned char)word[at] & 0xc0) == 0x80) continue;
        const int64_t id = cbe_vocabulary_find(w->vocabulary, buffer, before + size);
        if (id < 0) continue;
        *end = at;
        return id;
    }
    return -1;
}

static cbe_status push_unknown(const cbe_wordpiece *w, const char *word, size_t length,
                               cbe_id_list *ids, cbe_error *err)
{
    if (w->unknown >= 0) return cbe_id_list_push(ids, w->unknown, err);
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "the word '%.*s' has no tokens, and the tokenizer's unknown token is not in "
                    "its model's vocabulary; give token ids with " CBE_OPTION(
                        "tokens") " IDS.safetensors instead",
                    CBE_SHOWN_SPAN(((cbe_span){word, length})));
}

cbe_status cbe_wordpiece_encode(const cbe_wordpiece *wordpiece, const char *word, size_t length,
                                cbe_id_list *ids, cbe_error *err)
{
    const cbe_wordpiece *w = wordpiece;
    const size_t count = ids->count;
    size_t n_characters = 0;
    for (size_t i = 0; i < length; i++) n_characters += ((unsigned char)word[i] & 0xc0) != 0x80;
    if (n_characters > w->longest_word) return push_unknown(w, word, length, ids, err);
    char *buffer = cbe_alloc(w->longest_token, 1, "word", err);
    cbe_status st = buffer ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t begin = 0, end = 0; begin < length && st == CBE_OK; begin = end) {
        const int64_t id = longest_at(w, word, begin, length, buffer, &end);
        if (id >= 0) {
            st = cbe_id_list_push(ids, id, err);
            continue;
        }
        ids->count = count;
        st = push_unknown(w, word, length, ids, err);
        break;
    }
    cbe_free(buffer);
    return st;
}
