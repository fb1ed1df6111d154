/* tokenizer_json.c - a tokenizer from a tokenizer.json. */
#include <math.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/input_list.h"
#include "formats/json.h"
#include "files/mapped_file.h"
#include "text/tokenizer_json.h"

/* Most gaps in the ids. Vocabularies padded to round sizes have gaps, but a small damaged file must
 * not cause large allocations. */
enum { MAX_GAPS = 1 << 16 };

/* The file's parts, while a tokenizer is made of them. */
typedef struct {
    const char *path;
    yyjson_val *root, *model, *added;
    bool unigram, byte_level;
    size_t n_tokens;
    cbe_span *tokens; /* by id; an empty text for a gap in the numbering */
    int64_t *kinds;
} source;

cbe_status cbe_json_load(yyjson_doc **out, const char *path, cbe_inputs *inputs, cbe_error *err)
{
    cbe_mapped_file file = {0};
    cbe_status st = cbe_mapped_file_open(&file, path, err);
    if (st != CBE_OK) return st;
    st = cbe_inputs_add(inputs, CBE_INPUT_MODEL_BESIDE, &file, err);
    if (st == CBE_OK) st = cbe_json_read(out, (const char *)file.data, file.size, path, err);
    cbe_mapped_file_close(&file);
    return st;
}

int64_t cbe_json_id(yyjson_val *value)
{
    const int64_t id = yyjson_get_sint(value);
    return yyjson_is_int(value) && id >= 0 && id < INT32_MAX ? id : -1;
}

static cbe_status raise_size(source *s, int64_t id, const char *token, cbe_error *err)
{
    if (id < 0)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: the id of token '%.60s' is not one from 0 to 2147483646", s->path,
                        token);
    if ((size_t)id >= s->n_tokens) s->n_tokens = (size_t)id + 1;
    return CBE_OK;
}

/* Sets n_tokens to the highest id plus 1. */
static cbe_status count_tokens(source *s, cbe_error *err)
{
    yyjson_val *vocab = cbe_json_at(s->model, "vocab"), *added;
    cbe_status st = CBE_OK;
    size_t i, n, named = yyjson_arr_size(s->added);
    if (s->unigram) {
        if (!yyjson_is_arr(vocab)) return cbe_json_wrong(s->path, "model.vocab is not a list", err);
        s->n_tokens = yyjson_arr_size(vocab);
        named += s->n_tokens;
    } else {
        yyjson_val *token, *id;
        if (!yyjson_is_obj(vocab))
            return cbe_json_wrong(s->path, "model.vocab is not an object", err);
        named += yyjson_obj_size(vocab);
        yyjson_obj_foreach(vocab, i, n, token, id)
        {
            st = raise_size(s, cbe_json_id(id), yyjson_get_str(token), err);
            if (st != CBE_OK) return st;
        }
    }
    yyjson_arr_foreach(s->added, i, n, added)
    {
        const char *content = cbe_json_text(added, "content");
        if (!content) return cbe_json_wrong(s->path, "an added token has no content", err);
        st = raise_size(s, cbe_json_id(cbe_json_at(added, "id")), content, err);
        if (st != CBE_OK) return st;
    }
    if (s->n_tokens > named + MAX_GAPS)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: %zu tokens have ids up to %zu: damaged, download it again", s->path,
                        named, s->n_tokens - 1);
    return st;
}

static cbe_status put_token(source *s, int64_t id, cbe_span text, int64_t kind, cbe_error *err)
{
    const cbe_span old = s->tokens[id];
    const bool known = s->kinds[id] != CBE_TOKEN_UNUSED;
    if (known && (old.length != text.length || memcmp(old.data, text.data, text.length) != 0))
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: tokens '%.*s' and '%.*s' have the same id %lld", s->path,
                        CBE_SHOWN_SPAN(old), CBE_SHOWN_SPAN(text), (long long)id);
    s->tokens[id] = text;
    s->kinds[id] = kind;
    return CBE_OK;
}

/* Fills s->tokens and s->kinds. */
static cbe_status gather_tokens(source *s, cbe_error *err)
{
    cbe_status st = CBE_OK;
    yyjson_val *vocab = cbe_json_at(s->model, "vocab"), *added, *entry;
    size_t i, n;
    s->tokens = cbe_alloc_zero(s->n_tokens, sizeof *s->tokens, "vocabulary", err);
    s->kinds = cbe_alloc(s->n_tokens, sizeof *s->kinds, "vocabulary", err);
    if (!s->tokens || !s->kinds) return CBE_ERR_NOMEM;
    for (i = 0; i < s->n_tokens; i++) s->kinds[i] = CBE_TOKEN_UNUSED;
    if (s->unigram) {
        yyjson_arr_foreach(vocab, i, n, entry)
        {
            yyjson_val *text = yyjson_arr_get(entry, 0);
            if (!yyjson_is_str(text))
                return cbe_json_wrong(s->path, "a token of model.vocab is not a string", err);
            const cbe_span span = {yyjson_get_str(text), yyjson_get_len(text)};
            st = put_token(s, (int64_t)i, span, CBE_TOKEN_NORMAL, err);
            if (st != CBE_OK) return st;
        }
    } else {
        yyjson_val *token, *id;
        yyjson_obj_foreach(vocab, i, n, token, id)
        {
            const cbe_span span = {yyjson_get_str(token), yyjson_get_len(token)};
            st = put_token(s, cbe_json_id(id), span, CBE_TOKEN_NORMAL, err);
            if (st != CBE_OK) return st;
        }
    }
    yyjson_arr_foreach(s->added, i, n, added)
    {
        cbe_span content = {"", 0};
        cbe_json_span(added, "content", &content);
        const int64_t kind =
            cbe_json_flag(added, "special", false) ? CBE_TOKEN_CONTROL : CBE_TOKEN_USER_DEFINED;
        st = put_token(s, cbe_json_id(cbe_json_at(added, "id")), content, kind, err);
        if (st != CBE_OK) return st;
    }
    return st;
}

/* Reads the id of model.unk_token or model.unk_id; -1 if the model names none. */
static cbe_status read_unknown(const source *s, const cbe_vocabulary *vocabulary, int64_t *id,
                               cbe_error *err)
{
    yyjson_val *value = cbe_json_at(s->model, s->unigram ? "unk_id" : "unk_token");
    *id = -1;
    if (!value || yyjson_is_null(value)) return CBE_OK;
    if (s->unigram) {
        *id = cbe_json_id(value);
        if (*id >= (int64_t)s->n_tokens) *id = -1;
    } else if (yyjson_is_str(value)) {
        *id = cbe_vocabulary_find(vocabulary, yyjson_get_str(value), yyjson_get_len(value));
    }
    return *id >= 0
               ? CBE_OK
               : cbe_json_wrong(s->path, "the model's unknown token is not in its vocabulary", err);
}

/* Refuses settings of BPE that change its result and that are not supported. */
static cbe_status check_bpe(const source *s, cbe_error *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const char *value = yyjson_get_str(cbe_json_at(s->model, affixes[i]));
        if (value && *value) return cbe_json_not_read(s->path, affixes[i], value, err);
    }
    if (yyjson_get_num(cbe_json_at(s->model, "dropout")) > 0)
        return cbe_json_not_read(s->path, "BPE with dropout, setting", "dropout", err);
    return CBE_OK;
}

/* Reads a merge: ["LEFT", "RIGHT"], or "LEFT RIGHT" in older files. */
static cbe_status read_merge(const source *s, yyjson_val *value, cbe_span merge[2], cbe_error *err)
{
    if (yyjson_is_str(value)) {
        const cbe_span text = {yyjson_get_str(value), yyjson_get_len(value)};
        const char *space = memchr(text.data, ' ', text.length);
        if (space) {
            const size_t cut = (size_t)(space - text.data);
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

static cbe_status make_bpe(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    yyjson_val *list = cbe_json_at(s->model, "merges");
    const size_t n = yyjson_arr_size(list);
    cbe_bpe_options options = {.byte_fallback = cbe_json_flag(s->model, "byte_fallback", false),
                               .fuse_unknown = cbe_json_flag(s->model, "fuse_unk", false)};
    if (!yyjson_is_arr(list)) return cbe_json_wrong(s->path, "model.merges is not a list", err);
    cbe_status st = check_bpe(s, err);
    if (st == CBE_OK && !s->byte_level)
        st = read_unknown(s, made->vocabulary, &options.unknown, err);
    if (st != CBE_OK) return st;
    made->ignore_merges = cbe_json_flag(s->model, "ignore_merges", false);
    cbe_span(*merges)[2] = cbe_alloc(n, sizeof *merges, "merges", err);
    if (!merges) return CBE_ERR_NOMEM;
    size_t i, size;
    yyjson_val *merge;
    yyjson_arr_foreach(list, i, size, merge)
    {
        if ((st = read_merge(s, merge, merges[i], err)) != CBE_OK) break;
    }
    if (st == CBE_OK)
        st = cbe_bpe_create(&made->bpe, s->path, made->vocabulary, s->byte_level ? NULL : &options,
                            n, (const cbe_span(*)[2])merges, err);
    cbe_free(merges);
    return st;
}

static cbe_status make_unigram(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    yyjson_val *vocab = cbe_json_at(s->model, "vocab");
    int64_t unknown;
    cbe_status st = read_unknown(s, made->vocabulary, &unknown, err);
    if (st != CBE_OK) return st;
    double *scores = cbe_alloc_zero(s->n_tokens, sizeof *scores, "scores", err);
    if (!scores) return CBE_ERR_NOMEM;
    size_t i, n;
    yyjson_val *entry;
    yyjson_arr_foreach(vocab, i, n, entry)
    {
        yyjson_val *score = yyjson_arr_get(entry, 1);
        scores[i] = yyjson_get_num(score);
        if (!yyjson_is_num(score) || !isfinite(scores[i]))
            st = cbe_json_wrong(s->path, "a token of model.vocab has no score", err);
    }
    if (st == CBE_OK) {
        /* Added tokens have no score; only the tokens of the list belong to the model. */
        for (i = yyjson_arr_size(vocab); i < s->n_tokens; i++) s->kinds[i] = CBE_TOKEN_UNUSED;
        st = cbe_unigram_create(&made->unigram, made->vocabulary, scores, s->kinds, unknown,
                                cbe_json_flag(s->model, "byte_fallback", false), err);
    }
    cbe_free(scores);
    return st;
}

static cbe_status make_model(cbe_tokenizer *made, source *s, cbe_error *err)
{
    s->model = cbe_json_at(s->root, "model");
    const char *type = cbe_json_type(s->model);
    const bool untyped = *type == 0; /* older files have no type */
    s->unigram = strcmp(type, "Unigram") == 0 || (untyped && cbe_json_at(s->model, "unk_id"));
    if (!s->unigram && strcmp(type, "BPE") != 0 && !(untyped && cbe_json_at(s->model, "merges")))
        return cbe_json_not_read(s->path, "a model of type", type, err);
    if (s->unigram && s->byte_level)
        return cbe_json_not_read(s->path, "with ByteLevel, a model of type", type, err);
    cbe_status st = count_tokens(s, err);
    if (st == CBE_OK) st = gather_tokens(s, err);
    if (st == CBE_OK)
        st = cbe_vocabulary_create(&made->vocabulary, s->path, s->n_tokens, s->tokens, s->kinds,
                                   s->byte_level, NULL, err);
    return st != CBE_OK ? st : s->unigram ? make_unigram(made, s, err) : make_bpe(made, s, err);
}

/* Replaces the text of an added token by its normalised text, which the tokenizer owns. */
static cbe_status normalise_token(cbe_tokenizer *made, cbe_added_token *token, cbe_error *err)
{
    char *text = NULL;
    size_t length;
    cbe_status st =
        cbe_normalise(&made->normaliser, token->text.data, token->text.length, &text, &length, err);
    if (st != CBE_OK || !text) return st;
    made->texts[made->n_texts++] = text;
    token->text = (cbe_span){text, length};
    return CBE_OK;
}

static cbe_status make_added(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    const size_t n = yyjson_arr_size(s->added);
    size_t n_raw = 0, n_normalised = 0;
    cbe_status st = CBE_OK;
    cbe_added_token *raw = cbe_alloc(n, sizeof *raw, "added tokens", err);
    cbe_added_token *normalised = cbe_alloc(n, sizeof *normalised, "added tokens", err);
    made->texts = cbe_alloc(n, sizeof *made->texts, "added tokens", err);
    if (!raw || !normalised || !made->texts) st = CBE_ERR_NOMEM;
    size_t i, size;
    yyjson_val *value;
    yyjson_arr_foreach(s->added, i, size, value)
    {
        if (st != CBE_OK) break;
        const int64_t id = cbe_json_id(cbe_json_at(value, "id"));
        cbe_added_token token = {
            .text = cbe_vocabulary_bytes(made->vocabulary, (size_t)id),
            .id = id,
            .single_word = cbe_json_flag(value, "single_word", false),
            .lstrip = cbe_json_flag(value, "lstrip", false),
            .rstrip = cbe_json_flag(value, "rstrip", false),
        };
        const bool special = cbe_json_flag(value, "special", false);
        if (!cbe_json_flag(value, "normalized", !special)) {
            if (token.text.length) raw[n_raw++] = token;
            continue;
        }
        st = normalise_token(made, &token, err);
        if (token.text.length) normalised[n_normalised++] = token;
    }
    if (st == CBE_OK) {
        cbe_added_tokens_init(&made->added, raw, n_raw);
        cbe_added_tokens_init(&made->normalised, normalised, n_normalised);
        return CBE_OK;
    }
    cbe_free(raw);
    cbe_free(normalised);
    return st;
}

/* Appends the ids of a special token that a template names. */
static cbe_status push_special(const cbe_tokenizer *made, const source *s, yyjson_val *processor,
                               yyjson_val *item, cbe_id_list *list, cbe_error *err)
{
    const char *name = yyjson_get_str(cbe_json_at(item, "id"));
    yyjson_val *ids = cbe_json_at(
        name ? cbe_json_at(cbe_json_at(processor, "special_tokens"), name) : NULL, "ids");
    cbe_status st = CBE_OK;
    if (!yyjson_is_arr(ids))
        return cbe_json_wrong(s->path, "the template names a special token that it does not list",
                              err);
    size_t i, n;
    yyjson_val *value;
    yyjson_arr_foreach(ids, i, n, value)
    {
        const int64_t id = cbe_json_id(value);
        if (id < 0 || (size_t)id >= cbe_vocabulary_size(made->vocabulary))
            return cbe_json_wrong(s->path, "the template names an id that is not in the vocabulary",
                                  err);
        if ((st = cbe_id_list_push(list, id, err)) != CBE_OK) return st;
    }
    return CBE_OK;
}

static cbe_status read_template(cbe_tokenizer *made, const source *s, yyjson_val *processor,
                                cbe_error *err)
{
    yyjson_val *single = cbe_json_at(processor, "single");
    cbe_id_list *list = &made->before;
    cbe_status st = CBE_OK;
    size_t i, n;
    yyjson_val *item;
    yyjson_arr_foreach(single, i, n, item)
    {
        yyjson_val *special = cbe_json_at(item, "SpecialToken");
        if (special)
            st = push_special(made, s, processor, special, list, err);
        else if (cbe_json_at(item, "Sequence") && list == &made->before)
            list = &made->after;
        else
            st = cbe_json_wrong(s->path, "the template has not one sequence and special tokens",
                                err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* Appends the id of ["TOKEN", id], in the processors of BERT and RoBERTa. */
static cbe_status push_pair(const cbe_tokenizer *made, const source *s, yyjson_val *pair,
                            cbe_id_list *list, cbe_error *err)
{
    const int64_t id = cbe_json_id(yyjson_arr_get(pair, 1));
    if (id < 0 || (size_t)id >= cbe_vocabulary_size(made->vocabulary))
        return cbe_json_wrong(s->path,
                              "the post_processor names an id that is not in the vocabulary", err);
    return cbe_id_list_push(list, id, err);
}

static cbe_status read_processor(cbe_tokenizer *made, const source *s, yyjson_val *value, int depth,
                                 cbe_error *err)
{
    cbe_status st = CBE_OK;
    const char *type = cbe_json_type(value);
    if (!value || yyjson_is_null(value) || strcmp(type, "ByteLevel") == 0)
        return CBE_OK; /* ByteLevel's processor changes offsets only */
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(made, s, value, err);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        st = push_pair(made, s, cbe_json_at(value, "cls"), &made->before, err);
        return st == CBE_OK ? push_pair(made, s, cbe_json_at(value, "sep"), &made->after, err) : st;
    }
    if (strcmp(type, "Sequence") != 0 || depth > 0)
        return cbe_json_not_read(s->path, "post_processor", type, err);
    size_t i, n;
    yyjson_val *item;
    yyjson_arr_foreach(cbe_json_at(value, "processors"), i, n, item)
    {
        if ((st = read_processor(made, s, item, depth + 1, err)) != CBE_OK) return st;
    }
    return CBE_OK;
}

cbe_status cbe_tokenizer_from_json(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                                   cbe_error *err)
{
    source s = {.path = path};
    yyjson_doc *doc = NULL;
    cbe_tokenizer *made = NULL;
    cbe_status st = cbe_json_load(&doc, path, inputs, err);
    if (st != CBE_OK) return st;
    if (!(made = cbe_alloc_zero(1, sizeof *made, "tokenizer", err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(cbe_json_at(root, "model"))) {
        st = cbe_json_wrong(path, "there is no object 'model' in it: not a tokenizer.json", err);
        goto done;
    }
    s.root = root;
    s.added = cbe_json_at(root, "added_tokens");
    st = cbe_json_normaliser(cbe_json_at(root, "normalizer"), path, &made->normaliser, err);
    if (st != CBE_OK) goto done;
    st = cbe_json_pretokenizer(cbe_json_at(root, "pre_tokenizer"), path, &made->pretokenizer,
                               &s.byte_level, err);
    if (st != CBE_OK) goto done;
    if ((st = make_model(made, &s, err)) != CBE_OK) goto done;
    if ((st = make_added(made, &s, err)) != CBE_OK) goto done;
    if ((st = read_processor(made, &s, cbe_json_at(root, "post_processor"), 0, err)) != CBE_OK)
        goto done;
    if ((st = cbe_json_decoder(cbe_json_at(root, "decoder"), s.byte_level, &made->decoder, err)) !=
        CBE_OK)
        goto done;
    made->bos = made->before.count ? made->before.ids[0] : -1;
    made->eos = -1;
    *out = made;
    made = NULL;
done:
    cbe_tokenizer_free(made);
    cbe_free(s.tokens);
    cbe_free(s.kinds);
    yyjson_doc_free(doc);
    return st;
}
