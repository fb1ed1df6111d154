/* tokenizer_json_model.c - the model of a tokenizer.json: BPE, Unigram, WordPiece or WordLevel. */
#include <math.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "tokenizer/tokenizer_json.h"

/* Most gaps in the ids. Vocabularies padded to round sizes have gaps, but a small damaged file must
 * not cause large allocations. */
enum { MAX_GAPS = 1 << 18, LONGEST_WORD = 100 };

/* The model, while an encoder is made of it. */
typedef struct {
    const char *path;
    yyjson_val *model, *vocab;
    size_t n_entries, n_tokens;
    cbe_vocabulary_entry *entries;
} source;

static cbe_status check_id(const source *s, int64_t id, cbe_span token, cbe_error *err)
{
    return id >= 0 ? CBE_OK
                   : cbe_fail(err, CBE_ERR_FORMAT, -1,
                              "%s: the id of token '%.*s' is not one from 0 to 2147483646", s->path,
                              CBE_SHOWN_SPAN(token));
}

/* Fills the entries from an object of ids by token. */
static cbe_status gather_ids(source *s, cbe_error *err)
{
    size_t i, n;
    yyjson_val *token, *value;
    if (!yyjson_is_obj(s->vocab))
        return cbe_json_wrong(s->path, "model.vocab is not an object", err);
    yyjson_obj_foreach(s->vocab, i, n, token, value)
    {
        const int64_t id = cbe_json_id(value);
        const cbe_span text = {yyjson_get_str(token), yyjson_get_len(token)};
        const cbe_status st = check_id(s, id, text, err);
        if (st != CBE_OK) return st;
        s->entries[i] = (cbe_vocabulary_entry){text, id};
        if ((size_t)id >= s->n_tokens) s->n_tokens = (size_t)id + 1;
    }
    return CBE_OK;
}

/* Fills the entries from a list of tokens with their scores. */
static cbe_status gather_listed(source *s, cbe_error *err)
{
    size_t i, n;
    yyjson_val *entry;
    if (!yyjson_is_arr(s->vocab)) return cbe_json_wrong(s->path, "model.vocab is not a list", err);
    yyjson_arr_foreach(s->vocab, i, n, entry)
    {
        yyjson_val *text = yyjson_arr_get(entry, 0);
        if (!yyjson_is_str(text))
            return cbe_json_wrong(s->path, "a token of model.vocab is not a string", err);
        s->entries[i] =
            (cbe_vocabulary_entry){{yyjson_get_str(text), yyjson_get_len(text)}, (int64_t)i};
    }
    s->n_tokens = n;
    return CBE_OK;
}

static cbe_status make_vocabulary(cbe_tokenizer *made, source *s, bool listed, cbe_error *err)
{
    s->vocab = cbe_json_at(s->model, "vocab");
    s->n_entries = listed ? yyjson_arr_size(s->vocab) : yyjson_obj_size(s->vocab);
    s->entries = cbe_alloc(s->n_entries, sizeof *s->entries, "vocabulary", err);
    if (!s->entries) return CBE_ERR_NOMEM;
    const cbe_status st = listed ? gather_listed(s, err) : gather_ids(s, err);
    if (st != CBE_OK) return st;
    if (s->n_tokens > s->n_entries + MAX_GAPS)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: %zu tokens have ids up to %zu; at most %d ids without a token are "
                        "read",
                        s->path, s->n_entries, s->n_tokens - 1, MAX_GAPS);
    return cbe_vocabulary_create_listed(&made->vocabulary, s->path, s->n_tokens, s->n_entries,
                                        s->entries, err);
}

/* Id of the token that a key names; -1 if it names none, or one that the vocabulary lacks. */
static int64_t named_id(const cbe_tokenizer *made, const source *s, const char *key)
{
    cbe_span text;
    return cbe_json_span(s->model, key, &text)
               ? cbe_vocabulary_find(made->vocabulary, text.data, text.length)
               : -1;
}

/* Reads what is put in front of or behind a word's characters. */
static cbe_status read_affix(const source *s, const char *key, cbe_span *affix, cbe_error *err)
{
    *affix = (cbe_span){"", 0};
    cbe_json_span(s->model, key, affix);
    if (affix->length <= CBE_BPE_AFFIX) return CBE_OK;
    return cbe_json_not_read(s->path, key, affix->data, err);
}

/* Reads a merge: ["LEFT", "RIGHT"], or "LEFT RIGHT" in older files. */
static cbe_status read_merge(const source *s, yyjson_val *value, cbe_span merge[2], cbe_error *err)
{
    if (yyjson_is_str(value)) {
        const cbe_span text = {yyjson_get_str(value), yyjson_get_len(value)};
        const char *space = memchr(text.data, ' ', text.length);
        const size_t cut = space ? (size_t)(space - text.data) : text.length;
        if (space && !memchr(space + 1, ' ', text.length - cut - 1)) {
            merge[0] = (cbe_span){text.data, cut};
            merge[1] = (cbe_span){space + 1, text.length - cut - 1};
            return CBE_OK;
        }
    }
    for (size_t i = 0; i < 2 && yyjson_arr_size(value) == 2; i++) {
        yyjson_val *side = yyjson_arr_get(value, i);
        if (!yyjson_is_str(side)) break;
        merge[i] = (cbe_span){yyjson_get_str(side), yyjson_get_len(side)};
        if (i == 1) return CBE_OK;
    }
    return cbe_json_wrong(s->path, "a merge is not a pair of tokens", err);
}

/* Whether a merge of an older file is the first line of a merges.txt. */
static bool is_version_line(yyjson_val *value)
{
    return yyjson_is_str(value) && strncmp(yyjson_get_str(value), "#version", 8) == 0;
}

static cbe_status make_bpe(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    yyjson_val *list = cbe_json_at(s->model, "merges"), *value;
    cbe_bpe_options options = {.byte_fallback = cbe_json_flag(s->model, "byte_fallback", false),
                               .fuse_unknown = cbe_json_flag(s->model, "fuse_unk", false),
                               .unknown = named_id(made, s, "unk_token")};
    size_t i, size, n = 0;
    if (!yyjson_is_arr(list)) return cbe_json_wrong(s->path, "model.merges is not a list", err);
    if (yyjson_get_num(cbe_json_at(s->model, "dropout")) > 0)
        return cbe_json_not_read(s->path, "BPE with dropout, setting", "dropout", err);
    options.unknown_lacks = options.unknown < 0 && cbe_json_text(s->model, "unk_token");
    cbe_status st = read_affix(s, "continuing_subword_prefix", &options.prefix, err);
    if (st == CBE_OK) st = read_affix(s, "end_of_word_suffix", &options.suffix, err);
    if (st != CBE_OK) return st;
    made->ignore_merges = cbe_json_flag(s->model, "ignore_merges", false);
    cbe_span(*merges)[2] = cbe_alloc(yyjson_arr_size(list), sizeof *merges, "merges", err);
    if (!merges) return CBE_ERR_NOMEM;
    yyjson_arr_foreach(list, i, size, value)
    {
        if (is_version_line(value)) continue;
        if ((st = read_merge(s, value, merges[n++], err)) != CBE_OK) break;
    }
    if (st == CBE_OK)
        st = cbe_bpe_create(&made->bpe, s->path, made->vocabulary, &options, n,
                            (const cbe_span(*)[2])merges, err);
    cbe_free(merges);
    return st;
}

static cbe_status make_unigram(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    yyjson_val *unknown_id = cbe_json_get(s->model, "unk_id"), *entry;
    const int64_t unknown = cbe_json_id(unknown_id);
    size_t i, n;
    cbe_status st = CBE_OK;
    if (unknown_id && (unknown < 0 || (size_t)unknown >= s->n_tokens))
        return cbe_json_wrong(s->path, "the model's unknown token is not in its vocabulary", err);
    double *scores = cbe_alloc_zero(s->n_tokens, sizeof *scores, "scores", err);
    if (!scores) return CBE_ERR_NOMEM;
    yyjson_arr_foreach(s->vocab, i, n, entry)
    {
        yyjson_val *score = yyjson_arr_get(entry, 1);
        scores[i] = yyjson_get_num(score);
        if (!yyjson_is_num(score) || !isfinite(scores[i])) {
            st = cbe_json_wrong(s->path, "a token of model.vocab has no score", err);
            break;
        }
    }
    if (st == CBE_OK)
        st = cbe_unigram_create(&made->unigram, made->vocabulary, scores, NULL, unknown,
                                cbe_json_flag(s->model, "byte_fallback", false), err);
    cbe_free(scores);
    return st;
}

static cbe_status make_wordpiece(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    cbe_span prefix = {"##", 2};
    yyjson_val *longest = cbe_json_at(s->model, "max_input_chars_per_word");
    cbe_json_span(s->model, "continuing_subword_prefix", &prefix);
    return cbe_wordpiece_create(&made->wordpiece, made->vocabulary, prefix,
                                yyjson_is_uint(longest) ? (size_t)yyjson_get_uint(longest)
                                                        : LONGEST_WORD,
                                named_id(made, s, "unk_token"), err);
}

/* The kinds of models. Files older than the key "type" have the keys of their kind. */
static const struct {
    const char *type, *key;
    bool listed;
    cbe_status (*make)(cbe_tokenizer *made, const source *s, cbe_error *err);
} kinds[] = {
    {"BPE", "merges", false, make_bpe},
    {"WordPiece", "max_input_chars_per_word", false, make_wordpiece},
    {"Unigram", "unk_id", true, make_unigram},
    {"WordLevel", "unk_token", false, NULL},
};

cbe_status cbe_json_model(cbe_tokenizer *made, yyjson_val *model, const char *path,
                          size_t *model_size, cbe_error *err)
{
    source s = {.path = path, .model = model};
    const char *type = cbe_json_type(model);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (*type ? strcmp(type, kinds[i].type) != 0 : !cbe_json_at(model, kinds[i].key)) continue;
        cbe_status st = make_vocabulary(made, &s, kinds[i].listed, err);
        if (st == CBE_OK) {
            made->unknown = named_id(made, &s, "unk_token");
            if (kinds[i].make) st = kinds[i].make(made, &s, err);
        }
        if (st == CBE_OK)
            *model_size = kinds[i].listed ? s.n_tokens : cbe_vocabulary_n_texts(made->vocabulary);
        cbe_free(s.entries);
        return st;
    }
    return cbe_json_not_read(path, "a model of type", type, err);
}
