/* tokenizer_json.c - a tokenizer from a tokenizer.json. */
#include <math.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/input_list.h"
#include "formats/json_memory.h"
#include "files/mapped_file.h"
#include "text/tokenizer_json.h"

/* Most gaps in the ids. Vocabularies padded to round sizes have gaps, but a small damaged file must
 * not cause large allocations. */
enum { MAX_GAPS = 1 << 16 };

/* The file's parts, while a tokenizer is made of them. */
typedef struct {
    const char *path;
    const json_t *root, *model, *added;
    bool unigram, byte_level;
    size_t n_tokens;
    cbe_span *tokens; /* by id; an empty text for a gap in the numbering */
    int64_t *kinds;
} source;

cbe_status cbe_json_load(json_t **out, const char *path, cbe_inputs *inputs, cbe_error *err)
{
    cbe_mapped_file file = {0};
    cbe_status st = cbe_mapped_file_open(&file, path, err);
    if (st != CBE_OK) return st;
    json_error_t why;
    st = cbe_inputs_add(inputs, CBE_INPUT_MODEL_BESIDE, &file, err);
    if (st == CBE_OK)
        st = cbe_json_parse(out, (const char *)file.data, file.size,
                            JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, path, &why, err);
    if (st == CBE_ERR_FORMAT)
        cbe_fail(err, CBE_ERR_FORMAT, why.position, "%s: line %d: %s; download it again", path,
                 why.line, why.text);
    cbe_mapped_file_close(&file);
    return st;
}

int64_t cbe_json_id(const json_t *value)
{
    const json_int_t id = json_integer_value(value);
    return json_is_integer(value) && id >= 0 && id < INT32_MAX ? (int64_t)id : -1;
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
    const json_t *vocab = json_object_get(s->model, "vocab");
    cbe_status st = CBE_OK;
    size_t named = json_array_size(s->added);
    if (s->unigram) {
        if (!json_is_array(vocab)) return cbe_json_wrong(s->path, "model.vocab is not a list", err);
        s->n_tokens = json_array_size(vocab);
        named += s->n_tokens;
    } else {
        const char *token;
        json_t *id;
        if (!json_is_object(vocab))
            return cbe_json_wrong(s->path, "model.vocab is not an object", err);
        named += json_object_size(vocab);
        json_t *entries = json_object_get(s->model, "vocab");
        json_object_foreach(entries, token, id)
        {
            if ((st = raise_size(s, cbe_json_id(id), token, err)) != CBE_OK) return st;
        }
    }
    for (size_t i = 0; i < json_array_size(s->added) && st == CBE_OK; i++) {
        const json_t *token = json_array_get(s->added, i);
        const char *content = json_string_value(json_object_get(token, "content"));
        if (!content) return cbe_json_wrong(s->path, "an added token has no content", err);
        st = raise_size(s, cbe_json_id(json_object_get(token, "id")), content, err);
    }
    if (st == CBE_OK && s->n_tokens > named + MAX_GAPS)
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
    json_t *vocab = json_object_get(s->model, "vocab");
    s->tokens = cbe_alloc_zero(s->n_tokens, sizeof *s->tokens, "vocabulary", err);
    s->kinds = cbe_alloc(s->n_tokens, sizeof *s->kinds, "vocabulary", err);
    if (!s->tokens || !s->kinds) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < s->n_tokens; i++) s->kinds[i] = CBE_TOKEN_UNUSED;
    if (s->unigram) {
        for (size_t i = 0; i < json_array_size(vocab) && st == CBE_OK; i++) {
            const json_t *text = json_array_get(json_array_get(vocab, i), 0);
            if (!json_is_string(text))
                return cbe_json_wrong(s->path, "a token of model.vocab is not a string", err);
            const cbe_span span = {json_string_value(text), json_string_length(text)};
            st = put_token(s, (int64_t)i, span, CBE_TOKEN_NORMAL, err);
        }
    } else {
        const char *token;
        json_t *id;
        json_object_foreach(vocab, token, id)
        {
            st = put_token(s, cbe_json_id(id), (cbe_span){token, strlen(token)}, CBE_TOKEN_NORMAL,
                           err);
            if (st != CBE_OK) return st;
        }
    }
    for (size_t i = 0; i < json_array_size(s->added) && st == CBE_OK; i++) {
        const json_t *token = json_array_get(s->added, i);
        cbe_span content = {"", 0};
        cbe_json_span(token, "content", &content);
        const int64_t kind =
            cbe_json_flag(token, "special", false) ? CBE_TOKEN_CONTROL : CBE_TOKEN_USER_DEFINED;
        st = put_token(s, cbe_json_id(json_object_get(token, "id")), content, kind, err);
    }
    return st;
}

/* Reads the id of model.unk_token or model.unk_id; -1 if the model names none. */
static cbe_status read_unknown(const source *s, const cbe_vocabulary *vocabulary, int64_t *id,
                               cbe_error *err)
{
    const json_t *value = json_object_get(s->model, s->unigram ? "unk_id" : "unk_token");
    *id = -1;
    if (!value || json_is_null(value)) return CBE_OK;
    if (s->unigram) {
        *id = cbe_json_id(value);
        if (*id >= (int64_t)s->n_tokens) *id = -1;
    } else if (json_is_string(value)) {
        *id = cbe_vocabulary_find(vocabulary, json_string_value(value), json_string_length(value));
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
        const char *value = json_string_value(json_object_get(s->model, affixes[i]));
        if (value && *value) return cbe_json_not_read(s->path, affixes[i], value, err);
    }
    if (json_number_value(json_object_get(s->model, "dropout")) > 0)
        return cbe_json_not_read(s->path, "BPE with dropout, setting", "dropout", err);
    return CBE_OK;
}

/* Reads a merge: ["LEFT", "RIGHT"], or "LEFT RIGHT" in older files. */
static cbe_status read_merge(const source *s, const json_t *value, cbe_span merge[2],
                             cbe_error *err)
{
    if (json_is_string(value)) {
        const cbe_span text = {json_string_value(value), json_string_length(value)};
        const char *space = memchr(text.data, ' ', text.length);
        if (space) {
            const size_t cut = (size_t)(space - text.data);
            merge[0] = (cbe_span){text.data, cut};
            merge[1] = (cbe_span){space + 1, text.length - cut - 1};
            return CBE_OK;
        }
    }
    for (size_t i = 0; i < 2 && json_array_size(value) == 2; i++) {
        const json_t *side = json_array_get(value, i);
        if (!json_is_string(side)) break;
        merge[i] = (cbe_span){json_string_value(side), json_string_length(side)};
        if (i == 1) return CBE_OK;
    }
    return cbe_json_wrong(s->path, "a merge is not a pair of tokens", err);
}

static cbe_status make_bpe(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    const json_t *list = json_object_get(s->model, "merges");
    const size_t n = json_array_size(list);
    cbe_bpe_options options = {.byte_fallback = cbe_json_flag(s->model, "byte_fallback", false),
                               .fuse_unknown = cbe_json_flag(s->model, "fuse_unk", false)};
    if (!json_is_array(list)) return cbe_json_wrong(s->path, "model.merges is not a list", err);
    cbe_status st = check_bpe(s, err);
    if (st == CBE_OK && !s->byte_level)
        st = read_unknown(s, made->vocabulary, &options.unknown, err);
    if (st != CBE_OK) return st;
    made->ignore_merges = cbe_json_flag(s->model, "ignore_merges", false);
    cbe_span(*merges)[2] = cbe_alloc(n, sizeof *merges, "merges", err);
    if (!merges) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        st = read_merge(s, json_array_get(list, i), merges[i], err);
    if (st == CBE_OK)
        st = cbe_bpe_create(&made->bpe, s->path, made->vocabulary, s->byte_level ? NULL : &options,
                            n, (const cbe_span(*)[2])merges, err);
    cbe_free(merges);
    return st;
}

static cbe_status make_unigram(cbe_tokenizer *made, const source *s, cbe_error *err)
{
    const json_t *vocab = json_object_get(s->model, "vocab");
    int64_t unknown;
    cbe_status st = read_unknown(s, made->vocabulary, &unknown, err);
    if (st != CBE_OK) return st;
    double *scores = cbe_alloc_zero(s->n_tokens, sizeof *scores, "scores", err);
    if (!scores) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < json_array_size(vocab) && st == CBE_OK; i++) {
        const json_t *score = json_array_get(json_array_get(vocab, i), 1);
        scores[i] = json_number_value(score);
        if (!json_is_number(score) || !isfinite(scores[i]))
            st = cbe_json_wrong(s->path, "a token of model.vocab has no score", err);
    }
    if (st == CBE_OK) {
        /* Added tokens have no score; only the tokens of the list belong to the model. */
        for (size_t i = json_array_size(vocab); i < s->n_tokens; i++)
            s->kinds[i] = CBE_TOKEN_UNUSED;
        st = cbe_unigram_create(&made->unigram, made->vocabulary, scores, s->kinds, unknown,
                                cbe_json_flag(s->model, "byte_fallback", false), err);
    }
    cbe_free(scores);
    return st;
}

static cbe_status make_model(cbe_tokenizer *made, source *s, cbe_error *err)
{
    s->model = json_object_get(s->root, "model");
    const char *type = cbe_json_type(s->model);
    const bool untyped = *type == 0; /* older files have no type */
    s->unigram = strcmp(type, "Unigram") == 0 || (untyped && json_object_get(s->model, "unk_id"));
    if (!s->unigram && strcmp(type, "BPE") != 0 &&
        !(untyped && json_object_get(s->model, "merges")))
        return cbe_json_not_read(s->path, "a model of type", type, err);
    if (s->unigram && s->byte_level)
        return cbe_json_not_read(s->path, "with ByteLevel, a model of type", type, err);
    cbe_status st = count_tokens(s, err);
    if (st == CBE_OK) st = gather_tokens(s, err);
    if (st == CBE_OK)
        st = cbe_vocabulary_create(&made->vocabulary, s->path, s->n_tokens, s->tokens, s->kinds,
                                   s->byte_level, err);
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
    const size_t n = json_array_size(s->added);
    size_t n_raw = 0, n_normalised = 0;
    cbe_status st = CBE_OK;
    cbe_added_token *raw = cbe_alloc(n, sizeof *raw, "added tokens", err);
    cbe_added_token *normalised = cbe_alloc(n, sizeof *normalised, "added tokens", err);
    made->texts = cbe_alloc(n, sizeof *made->texts, "added tokens", err);
    if (!raw || !normalised || !made->texts) st = CBE_ERR_NOMEM;
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const json_t *value = json_array_get(s->added, i);
        const int64_t id = cbe_json_id(json_object_get(value, "id"));
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
static cbe_status push_special(const cbe_tokenizer *made, const source *s, const json_t *processor,
                               const json_t *item, cbe_id_list *list, cbe_error *err)
{
    const char *name = json_string_value(json_object_get(item, "id"));
    const json_t *ids = json_object_get(
        name ? json_object_get(json_object_get(processor, "special_tokens"), name) : NULL, "ids");
    cbe_status st = CBE_OK;
    if (!json_is_array(ids))
        return cbe_json_wrong(s->path, "the template names a special token that it does not list",
                              err);
    for (size_t i = 0; i < json_array_size(ids) && st == CBE_OK; i++) {
        const int64_t id = cbe_json_id(json_array_get(ids, i));
        if (id < 0 || (size_t)id >= cbe_vocabulary_size(made->vocabulary))
            return cbe_json_wrong(s->path, "the template names an id that is not in the vocabulary",
                                  err);
        st = cbe_id_list_push(list, id, err);
    }
    return st;
}

static cbe_status read_template(cbe_tokenizer *made, const source *s, const json_t *processor,
                                cbe_error *err)
{
    const json_t *single = json_object_get(processor, "single");
    cbe_id_list *list = &made->before;
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < json_array_size(single) && st == CBE_OK; i++) {
        const json_t *item = json_array_get(single, i),
                     *special = json_object_get(item, "SpecialToken");
        if (special)
            st = push_special(made, s, processor, special, list, err);
        else if (json_object_get(item, "Sequence") && list == &made->before)
            list = &made->after;
        else
            st = cbe_json_wrong(s->path, "the template has not one sequence and special tokens",
                                err);
    }
    return st;
}

/* Appends the id of ["TOKEN", id], in the processors of BERT and RoBERTa. */
static cbe_status push_pair(const cbe_tokenizer *made, const source *s, const json_t *pair,
                            cbe_id_list *list, cbe_error *err)
{
    const int64_t id = cbe_json_id(json_array_get(pair, 1));
    if (id < 0 || (size_t)id >= cbe_vocabulary_size(made->vocabulary))
        return cbe_json_wrong(s->path,
                              "the post_processor names an id that is not in the vocabulary", err);
    return cbe_id_list_push(list, id, err);
}

static cbe_status read_processor(cbe_tokenizer *made, const source *s, const json_t *value,
                                 int depth, cbe_error *err)
{
    cbe_status st = CBE_OK;
    const char *type = cbe_json_type(value);
    if (!value || json_is_null(value) || strcmp(type, "ByteLevel") == 0)
        return CBE_OK; /* ByteLevel's processor changes offsets only */
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(made, s, value, err);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        st = push_pair(made, s, json_object_get(value, "cls"), &made->before, err);
        return st == CBE_OK ? push_pair(made, s, json_object_get(value, "sep"), &made->after, err)
                            : st;
    }
    if (strcmp(type, "Sequence") != 0 || depth > 0)
        return cbe_json_not_read(s->path, "post_processor", type, err);
    const json_t *list = json_object_get(value, "processors");
    for (size_t i = 0; i < json_array_size(list) && st == CBE_OK; i++)
        st = read_processor(made, s, json_array_get(list, i), depth + 1, err);
    return st;
}

cbe_status cbe_tokenizer_from_json(cbe_tokenizer **out, const char *path, cbe_inputs *inputs,
                                   cbe_error *err)
{
    source s = {.path = path};
    json_t *root = NULL;
    cbe_tokenizer *made = NULL;
    cbe_status st = cbe_json_load(&root, path, inputs, err);
    if (st != CBE_OK) return st;
    if (!(made = cbe_alloc_zero(1, sizeof *made, "tokenizer", err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    if (!json_is_object(json_object_get(root, "model"))) {
        st = cbe_json_wrong(path, "there is no object 'model' in it: not a tokenizer.json", err);
        goto done;
    }
    s.root = root;
    s.added = json_object_get(root, "added_tokens");
    st = cbe_json_normaliser(json_object_get(root, "normalizer"), path, &made->normaliser, err);
    if (st != CBE_OK) goto done;
    st = cbe_json_pretokenizer(json_object_get(root, "pre_tokenizer"), path, &made->pretokenizer,
                               &s.byte_level, err);
    if (st != CBE_OK) goto done;
    if ((st = make_model(made, &s, err)) != CBE_OK) goto done;
    if ((st = make_added(made, &s, err)) != CBE_OK) goto done;
    if ((st = read_processor(made, &s, json_object_get(root, "post_processor"), 0, err)) != CBE_OK)
        goto done;
    if ((st = cbe_json_decoder(json_object_get(root, "decoder"), s.byte_level, &made->decoder,
                               err)) != CBE_OK)
        goto done;
    made->bos = made->before.count ? made->before.ids[0] : -1;
    made->eos = -1;
    *out = made;
    made = NULL;
done:
    cbe_tokenizer_free(made);
    cbe_free(s.tokens);
    cbe_free(s.kinds);
    json_decref(root);
    return st;
}
