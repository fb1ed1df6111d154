/*
 * tokenizer.c - see cbe/tokenizer.h.
 *
 *   text -> invalid bytes replaced -> added tokens | the text between -> NFC -> words -> BPE -> ids
 *
 * NFC only where the model's tokenizer has it. Cost: linear in the text but for words of more than
 * CBE_BPE_SHORT bytes (n log n).
 */
#include "cbe/tokenizer.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/nfc.h"
#include "text/pretokenize.h"
#include "text/utf8.h"

struct cbe_tokenizer {
    size_t n_tokens;
    int64_t bos, eos; /* -1: none */
    bool add_bos, add_eos;
    cbe_split_traits traits;
    cbe_pretokenizer *pretokenizer;
    cbe_bpe *bpe;
    cbe_added_tokens added; /* texts are the bpe's */
};

static cbe_status check_model(const cbe_gguf *file, cbe_error *err)
{
    static const char known[] = "gpt2";
    cbe_span model;
    cbe_status st = cbe_gguf_string(file, "tokenizer.ggml.model", &model, err);
    if (st != CBE_OK) return st;
    if (model.length == sizeof known - 1 && memcmp(model.data, known, model.length) == 0)
        return CBE_OK;
    return cbe_fail(
        err, CBE_ERR_UNSUPPORTED, -1,
        "%s: a tokenizer of kind '%.*s' (tokenizer.ggml.model) cannot be read, only '%s' "
        "(byte-level BPE); give token ids with --tokens instead",
        cbe_gguf_path(file), (int)(model.length < 64 ? model.length : 64), model.data, known);
}

/* Files of before tokenizer.ggml.pre was known have GPT-2's split, as their writers did. */
static cbe_status read_split(const cbe_gguf *file, cbe_split *split, cbe_error *err)
{
    cbe_span name;
    *split = CBE_SPLIT_GPT2;
    if (!cbe_gguf_has(file, "tokenizer.ggml.pre")) return CBE_OK;
    cbe_status st = cbe_gguf_string(file, "tokenizer.ggml.pre", &name, err);
    if (st != CBE_OK) return st;
    return cbe_split_find(split, name.data, name.length, cbe_gguf_path(file), err);
}

/* *id is -1 when the file has no such key. */
static cbe_status read_id(const cbe_gguf *file, const char *key, size_t n_tokens, int64_t *id,
                          cbe_error *err)
{
    uint64_t value;
    *id = -1;
    if (!cbe_gguf_has(file, key)) return CBE_OK;
    cbe_status st = cbe_gguf_uint(file, key, &value, err);
    if (st != CBE_OK) return st;
    if (value >= n_tokens)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: %s is %llu, but the vocabulary has %zu tokens; the file is damaged or "
                        "was converted wrongly",
                        cbe_gguf_path(file), key, (unsigned long long)value, n_tokens);
    *id = (int64_t)value;
    return CBE_OK;
}

/* Whether a token (named by id_key) is put at an end of the text; only where there is one. */
static cbe_status read_flag(const cbe_gguf *file, const char *key, const char *id_key, int64_t id,
                            bool otherwise, bool *flag, cbe_error *err)
{
    *flag = otherwise && id >= 0;
    if (!cbe_gguf_has(file, key)) return CBE_OK;
    cbe_status st = cbe_gguf_bool(file, key, flag, err);
    if (st == CBE_OK && *flag && id < 0)
        st = cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s is set, but %s is missing",
                      cbe_gguf_path(file), key, id_key);
    return st;
}

static cbe_status read_ends(cbe_tokenizer *made, const cbe_gguf *file, cbe_error *err)
{
    static const char bos_key[] = "tokenizer.ggml.bos_token_id";
    static const char eos_key[] = "tokenizer.ggml.eos_token_id";
    cbe_status st;
    if ((st = read_id(file, bos_key, made->n_tokens, &made->bos, err)) != CBE_OK) return st;
    if ((st = read_id(file, eos_key, made->n_tokens, &made->eos, err)) != CBE_OK) return st;
    st = read_flag(file, "tokenizer.ggml.add_bos_token", bos_key, made->bos, made->traits.add_bos,
                   &made->add_bos, err);
    if (st != CBE_OK) return st;
    return read_flag(file, "tokenizer.ggml.add_eos_token", eos_key, made->eos, false,
                     &made->add_eos, err);
}

/* *kinds is NULL when the file has none. */
static cbe_status read_kinds(const cbe_gguf *file, size_t n_tokens, int64_t **kinds, cbe_error *err)
{
    static const char key[] = "tokenizer.ggml.token_type";
    size_t n;
    if (!cbe_gguf_has(file, key)) return CBE_OK;
    cbe_status st = cbe_gguf_ints(file, key, kinds, &n, err);
    if (st != CBE_OK) return st;
    if (n != n_tokens)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s has %zu entries for %zu tokens",
                        cbe_gguf_path(file), key, n, n_tokens);
    for (size_t id = 0; id < n; id++)
        if ((*kinds)[id] < 0 || (*kinds)[id] >= CBE_N_TOKEN_KINDS)
            return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: %s of token %zu is %lld, not 0 to %d",
                            cbe_gguf_path(file), key, id, (long long)(*kinds)[id],
                            CBE_N_TOKEN_KINDS - 1);
    return CBE_OK;
}

static cbe_status collect_added(cbe_tokenizer *made, const int64_t *kinds, cbe_error *err)
{
    size_t n = 0;
    if (!kinds) return CBE_OK;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 &&
            !(made->added.tokens = cbe_alloc(n, sizeof *made->added.tokens, "added tokens", err)))
            return CBE_ERR_NOMEM;
        n = 0;
        for (size_t id = 0; id < made->n_tokens; id++) {
            const cbe_span text = cbe_bpe_bytes(made->bpe, id);
            if ((kinds[id] != CBE_TOKEN_CONTROL && kinds[id] != CBE_TOKEN_USER_DEFINED) ||
                text.length == 0)
                continue;
            if (pass == 1) made->added.tokens[n] = (cbe_added_token){text, (int64_t)id};
            n++;
        }
    }
    cbe_added_tokens_init(&made->added, made->added.tokens, n);
    return CBE_OK;
}

cbe_status cbe_tokenizer_from_gguf(cbe_tokenizer **out, const cbe_gguf *file, cbe_error *err)
{
    cbe_status st;
    cbe_split split;
    cbe_span *tokens = NULL, *merges = NULL;
    int64_t *kinds = NULL;
    size_t n_merges = 0;
    cbe_tokenizer *made = cbe_alloc_zero(1, sizeof *made, "tokenizer", err);
    if (!made) return CBE_ERR_NOMEM;
    if ((st = check_model(file, err)) != CBE_OK) goto done;
    if ((st = read_split(file, &split, err)) != CBE_OK) goto done;
    made->traits = *cbe_split_get(split);
    st = cbe_gguf_strings(file, "tokenizer.ggml.tokens", &tokens, &made->n_tokens, err);
    if (st != CBE_OK) goto done;
    if ((st = read_kinds(file, made->n_tokens, &kinds, err)) != CBE_OK) goto done;
    st = cbe_gguf_strings(file, "tokenizer.ggml.merges", &merges, &n_merges, err);
    if (st != CBE_OK) goto done;
    if ((st = read_ends(made, file, err)) != CBE_OK) goto done;
    st = cbe_bpe_create(&made->bpe, cbe_gguf_path(file), made->n_tokens, tokens, kinds, n_merges,
                        merges, err);
    if (st != CBE_OK) goto done;
    if ((st = collect_added(made, kinds, err)) != CBE_OK) goto done;
    if ((st = cbe_pretokenizer_create(&made->pretokenizer, split, err)) != CBE_OK) goto done;
    *out = made;
    made = NULL;
done:
    cbe_gguf_free_array(tokens);
    cbe_gguf_free_array(merges);
    cbe_gguf_free_array(kinds);
    cbe_tokenizer_free(made);
    return st;
}

void cbe_tokenizer_free(cbe_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    cbe_pretokenizer_free(tokenizer->pretokenizer);
    cbe_added_tokens_free(&tokenizer->added);
    cbe_bpe_free(tokenizer->bpe);
    cbe_free(tokenizer);
}

size_t cbe_tokenizer_vocab_size(const cbe_tokenizer *tokenizer)
{
    return tokenizer->n_tokens;
}

int64_t cbe_tokenizer_bos(const cbe_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int64_t cbe_tokenizer_eos(const cbe_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

/* One call of cbe_tokenizer_encode. */
typedef struct {
    const cbe_tokenizer *tokenizer;
    cbe_id_list ids;
} encoding;

static cbe_status encode_word(void *user, const char *word, size_t length, cbe_error *err)
{
    encoding *run = user;
    if (run->tokenizer->traits.ignore_merges) {
        const int64_t id = cbe_bpe_find(run->tokenizer->bpe, word, length);
        if (id >= 0) return cbe_id_list_push(&run->ids, id, err);
    }
    return cbe_bpe_encode(run->tokenizer->bpe, word, length, &run->ids, err);
}

/* text holds no added token. */
static cbe_status encode_plain(encoding *run, const char *text, size_t length, cbe_error *err)
{
    char *normal = NULL;
    cbe_status st = CBE_OK;
    if (length == 0) return CBE_OK;
    if (run->tokenizer->traits.nfc) st = cbe_nfc(&normal, text, length, &length, err);
    if (st == CBE_OK)
        st = cbe_pretokenize(run->tokenizer->pretokenizer, normal ? normal : text, length,
                             encode_word, run, err);
    cbe_free(normal);
    return st;
}

cbe_status cbe_tokenizer_encode(const cbe_tokenizer *tokenizer, const char *text, size_t length,
                                bool add_special, int64_t **ids, size_t *n_ids, size_t *n_replaced,
                                cbe_error *err)
{
    cbe_status st;
    encoding run = {.tokenizer = tokenizer};
    char *repaired = NULL;
    size_t replaced = 0;
    if (cbe_utf8_valid_length(text, length) < length) {
        st = cbe_utf8_replace(&repaired, text, length, &length, &replaced, err);
        if (st != CBE_OK) goto done;
        text = repaired;
    }
    if (add_special && tokenizer->add_bos)
        if ((st = cbe_id_list_push(&run.ids, tokenizer->bos, err)) != CBE_OK) goto done;
    for (size_t at = 0; at < length;) {
        const cbe_added_token *found;
        const size_t end = cbe_added_tokens_find(&tokenizer->added, text, length, at, &found);
        if ((st = encode_plain(&run, text + at, end - at, err)) != CBE_OK) goto done;
        if (found && (st = cbe_id_list_push(&run.ids, found->id, err)) != CBE_OK) goto done;
        at = found ? end + found->text.length : length;
    }
    if (add_special && tokenizer->add_eos)
        if ((st = cbe_id_list_push(&run.ids, tokenizer->eos, err)) != CBE_OK) goto done;
    if (!run.ids.ids && !(run.ids.ids = cbe_alloc(0, sizeof *run.ids.ids, "token ids", err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    *ids = run.ids.ids;
    *n_ids = run.ids.count;
    if (n_replaced) *n_replaced = replaced;
    run.ids.ids = NULL;
    st = CBE_OK;
done:
    cbe_free(repaired);
    cbe_free(run.ids.ids);
    return st;
}

void cbe_tokenizer_free_ids(int64_t *ids)
{
    cbe_free(ids);
}

cbe_status cbe_tokenizer_decode(const cbe_tokenizer *tokenizer, const int64_t *ids, size_t n_ids,
                                char **text, size_t *length, cbe_error *err)
{
    size_t size = 0;
    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] < 0 || (uint64_t)ids[i] >= tokenizer->n_tokens)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "token %zu is %lld, but the vocabulary has %zu tokens", i,
                            (long long)ids[i], tokenizer->n_tokens);
        if (!cbe_add_size(size, cbe_bpe_bytes(tokenizer->bpe, (size_t)ids[i]).length, &size))
            return cbe_fail(err, CBE_ERR_NOMEM, -1, "the text of %zu tokens does not fit a size_t",
                            n_ids);
    }
    char *bytes = cbe_alloc(size, 1, "text", err);
    if (!bytes) return CBE_ERR_NOMEM;
    size_t end = 0;
    for (size_t i = 0; i < n_ids; i++) {
        const cbe_span token = cbe_bpe_bytes(tokenizer->bpe, (size_t)ids[i]);
        memcpy(bytes + end, token.data, token.length);
        end += token.length;
    }
    cbe_status st = cbe_utf8_replace(text, bytes, size, length, NULL, err);
    cbe_free(bytes);
    return st;
}

void cbe_tokenizer_free_text(char *text)
{
    cbe_free(text);
}
