/*
 * tokenizer.c - see text/tokenizer.h.
 *
 *   text -> invalid bytes replaced -> added tokens | the text between -> normalised
 *   -> added tokens that are looked
 *   for there | the text between -> words -> BPE or unigram -> ids
 *
 * Cost: linear in the text but for words of more than CBE_BPE_SHORT bytes (n log n).
 */
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "tokenizer/tokenizer_private.h"
#include "core/utf8.h"
#include "core/utf8_replace.h"

void cbe_tokenizer_free(cbe_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    cbe_remarks_free(&tokenizer->remarks);
    cbe_free(tokenizer->before.ids);
    cbe_free(tokenizer->after.ids);
    cbe_normaliser_free(&tokenizer->normaliser);
    cbe_pretokenizer_free(&tokenizer->pretokenizer);
    cbe_added_tokens_free(&tokenizer->added);
    cbe_added_tokens_free(&tokenizer->normalised);
    for (size_t i = 0; i < tokenizer->n_texts; i++) cbe_free(tokenizer->texts[i]);
    cbe_free(tokenizer->texts);
    cbe_free(tokenizer->added_texts);
    cbe_token_decoder_free(&tokenizer->decoder);
    cbe_bpe_free(tokenizer->bpe);
    cbe_unigram_free(tokenizer->unigram);
    cbe_wordpiece_free(tokenizer->wordpiece);
    cbe_vocabulary_free(tokenizer->vocabulary);
    cbe_free(tokenizer);
}

size_t cbe_tokenizer_vocab_size(const cbe_tokenizer *tokenizer)
{
    const size_t n = cbe_vocabulary_size(tokenizer->vocabulary), n_added = tokenizer->n_added_texts;
    const size_t added = n_added ? (size_t)tokenizer->added_texts[n_added - 1].id + 1 : 0;
    return added > n ? added : n;
}

int64_t cbe_tokenizer_bos(const cbe_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int64_t cbe_tokenizer_eos(const cbe_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

/* State of one call of cbe_tokenizer_encode. */
typedef struct {
    const cbe_tokenizer *tokenizer;
    cbe_id_list ids;
} encoding;

static cbe_status encode_word(void *user, const char *word, size_t length, cbe_error *err)
{
    encoding *run = user;
    const cbe_tokenizer *t = run->tokenizer;
    if (t->unigram) return cbe_unigram_encode(t->unigram, word, length, &run->ids, err);
    if (t->wordpiece) return cbe_wordpiece_encode(t->wordpiece, word, length, &run->ids, err);
    if (t->ignore_merges || !t->bpe) {
        const int64_t id = cbe_vocabulary_find(t->vocabulary, word, length);
        if (id >= 0) return cbe_id_list_push(&run->ids, id, err);
    }
    if (!t->bpe && t->unknown >= 0) return cbe_id_list_push(&run->ids, t->unknown, err);
    if (!t->bpe)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "the word '%.*s' is no token, and the tokenizer's unknown token is not in "
                        "its model's vocabulary; give token ids with " CBE_OPTION(
                            "tokens") " IDS.safetensors instead",
                        CBE_SHOWN_SPAN(((cbe_span){word, length})));
    return cbe_bpe_encode(t->bpe, word, length, &run->ids, err);
}

/* Encodes text that holds no added tokens but those found in normalised text.
 * @param first  whether text begins the document */
static cbe_status encode_plain(encoding *run, const char *text, size_t length, bool first,
                               cbe_error *err)
{
    const cbe_tokenizer *t = run->tokenizer;
    char *normal = NULL;
    if (length == 0) return CBE_OK;
    bool keeps_first = false;
    cbe_status st = cbe_normalise(&t->normaliser, text, length, &normal, &length,
                                  first ? &keeps_first : NULL, err);
    if (normal) text = normal;
    cbe_added_search search = {0};
    bool more = true;
    for (size_t at = 0; more && st == CBE_OK;) {
        const cbe_added_place place = cbe_added_tokens_find(&t->normalised, text, length, &search);
        more = place.token != NULL;
        if (at < place.begin)
            st = cbe_pretokenize(&t->pretokenizer, text + at, place.begin - at,
                                 first && keeps_first && at == 0, encode_word, run, err);
        if (st == CBE_OK && place.token) st = cbe_id_list_push(&run->ids, place.token->id, err);
        at = place.end;
    }
    cbe_free(normal);
    return st;
}

cbe_status cbe_tokenizer_encode(const cbe_tokenizer *tokenizer, const char *text, size_t length,
                                bool add_special, int64_t **ids, size_t *n_ids, size_t *n_replaced,
                                cbe_error *err)
{
    if (!tokenizer || (!text && length > 0) || !ids || !n_ids)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_tokenizer_encode: %s is NULL",
                        !tokenizer            ? "the tokenizer"
                        : !text && length > 0 ? "the text"
                                              : "an output");
    const cbe_id_list *before = &tokenizer->before, *after = &tokenizer->after;
    cbe_status st = CBE_OK;
    encoding run = {.tokenizer = tokenizer};
    char *repaired = NULL;
    size_t replaced = 0;
    if (cbe_utf8_valid_length(text, length) < length) {
        st = cbe_utf8_replace(&repaired, text, length, &length, &replaced, err);
        if (st != CBE_OK) goto done;
        text = repaired;
    }
    if (add_special) st = cbe_id_list_append(&run.ids, before->ids, before->count, err);
    cbe_added_search search = {0};
    bool more = true;
    for (size_t at = 0; more && st == CBE_OK;) {
        const cbe_added_place place =
            cbe_added_tokens_find(&tokenizer->added, text, length, &search);
        more = place.token != NULL;
        if (at < place.begin) st = encode_plain(&run, text + at, place.begin - at, at == 0, err);
        if (st == CBE_OK && place.token) st = cbe_id_list_push(&run.ids, place.token->id, err);
        at = place.end;
    }
    if (st == CBE_OK && add_special)
        st = cbe_id_list_append(&run.ids, after->ids, after->count, err);
    if (st != CBE_OK) goto done;
    if (!run.ids.ids && !(run.ids.ids = cbe_alloc(0, sizeof *run.ids.ids, "token ids", err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    *ids = run.ids.ids;
    *n_ids = run.ids.count;
    if (n_replaced) *n_replaced = replaced;
    run.ids.ids = NULL;
done:
    cbe_free(repaired);
    cbe_free(run.ids.ids);
    return st;
}

void cbe_tokenizer_free_ids(int64_t *ids)
{
    cbe_free(ids);
}

/* Joins the bytes that tokens of a byte-level vocabulary stand for. */
static cbe_status join_bytes(size_t n, const cbe_span *tokens, char **text, size_t *length,
                             cbe_error *err)
{
    size_t size = 0, end = 0;
    for (size_t i = 0; i < n; i++)
        if (!cbe_add_size(size, tokens[i].length, &size))
            return cbe_fail(err, CBE_ERR_NOMEM, -1, "the text of %zu tokens does not fit a size_t",
                            n);
    char *bytes = cbe_alloc(size, 1, "text", err);
    if (!bytes) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (tokens[i].length) memcpy(bytes + end, tokens[i].data, tokens[i].length);
        end += tokens[i].length;
    }
    const cbe_status st = cbe_utf8_replace(text, bytes, size, length, NULL, err);
    cbe_free(bytes);
    return st;
}

static cbe_span text_of(const cbe_tokenizer *t, int64_t id)
{
    size_t low = 0, high = t->n_added_texts;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (t->added_texts[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < t->n_added_texts && t->added_texts[low].id == id) return t->added_texts[low].text;
    return (size_t)id < cbe_vocabulary_size(t->vocabulary)
               ? cbe_vocabulary_bytes(t->vocabulary, (size_t)id)
               : (cbe_span){"", 0};
}

cbe_status cbe_tokenizer_decode(const cbe_tokenizer *tokenizer, const int64_t *ids, size_t n_ids,
                                char **text, size_t *length, cbe_error *err)
{
    if (!tokenizer || (!ids && n_ids > 0) || !text || !length)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_tokenizer_decode: %s is NULL",
                        !tokenizer          ? "the tokenizer"
                        : !ids && n_ids > 0 ? "ids"
                                            : "an output");
    const size_t n_tokens = cbe_tokenizer_vocab_size(tokenizer);
    cbe_span *tokens = cbe_alloc(n_ids, sizeof *tokens, "tokens", err);
    cbe_status st = tokens ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < n_ids && st == CBE_OK; i++) {
        if (ids[i] < 0 || (uint64_t)ids[i] >= n_tokens)
            st = cbe_fail(err, CBE_ERR_ARG, -1,
                          "token %zu is %lld, but the vocabulary has %zu tokens", i,
                          (long long)ids[i], n_tokens);
        else
            tokens[i] = text_of(tokenizer, ids[i]);
    }
    if (st == CBE_OK)
        st = cbe_vocabulary_is_byte_level(tokenizer->vocabulary) && !tokenizer->decoder.not_read
                 ? join_bytes(n_ids, tokens, text, length, err)
                 : cbe_token_decode(&tokenizer->decoder, n_ids, tokens, text, length, err);
    cbe_free(tokens);
    return st;
}

void cbe_tokenizer_free_text(char *text)
{
    cbe_free(text);
}
