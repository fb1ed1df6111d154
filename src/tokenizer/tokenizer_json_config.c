/*
 * tokenizer_json_config.c - tokens that only the files beside a tokenizer.json know, in the order
 * and with the ids of transformers 5.24 (TokenizersBackend):
 *
 * - the tokens of added_tokens_decoder in tokenizer_config.json, by their numbers; where it has no
 *   such key, those of added_tokens.json, and the keys of special_tokens_map.json count before
 *   those of tokenizer_config.json;
 * - then the named tokens (bos_token, ...), further keys that end in _token, and the list
 *   extra_special_tokens or additional_special_tokens, so far as no added token is written like
 *   them. A named token that the model's vocabulary has becomes an added token too. The tokens of
 *   model_specific_special_tokens count where no further key and no object of tokens by name takes
 *   their place.
 */
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "tokenizer/tokenizer_json_class.h"

/* A token that is to be added. */
typedef struct {
    cbe_added_entry entry;
    bool set_normalised; /* the file says whether the token is normalised */
    int64_t number;      /* in added_tokens_decoder */
} addition;

typedef struct {
    addition *items;
    size_t n, capacity;
} additions;

/* The files, while their tokens are gathered. */
typedef struct {
    yyjson_val *root, *config;
    yyjson_val *special_map; /* NULL where tokenizer_config.json lists added tokens */
    const cbe_added_list *list;
    additions wanted, named; /* named: all named tokens, whether known or not */
} gathering;

static cbe_status push(additions *list, addition item, cbe_error *err)
{
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 32;
        addition *grown = cbe_alloc(capacity, sizeof *grown, "added tokens", err);
        if (!grown) return CBE_ERR_NOMEM;
        if (list->n) memcpy(grown, list->items, list->n * sizeof *grown);
        cbe_free(list->items);
        list->items = grown;
        list->capacity = capacity;
    }
    list->items[list->n++] = item;
    return CBE_OK;
}

static bool has(const additions *list, cbe_span content)
{
    for (size_t i = 0; i < list->n; i++) {
        const cbe_span other = list->items[i].entry.content;
        if (other.length == content.length && memcmp(other.data, content.data, other.length) == 0)
            return true;
    }
    return false;
}

static int compare_numbers(const void *a, const void *b)
{
    const int64_t x = ((const addition *)a)->number, y = ((const addition *)b)->number;
    return (x > y) - (x < y);
}

/* Keeps a numbered token if the list does not have just this one. */
static cbe_status want_numbered(gathering *g, addition item, cbe_error *err)
{
    const cbe_added_entry *known = cbe_added_list_find(g->list, item.entry.content);
    if (known && cbe_added_entries_equal(known, &item.entry)) return CBE_OK;
    return item.entry.content.length ? push(&g->wanted, item, err) : CBE_OK;
}

/* Reads "added_tokens_decoder": tokens by their numbers, which are strings. */
static cbe_status read_decoder(gathering *g, yyjson_val *decoder, cbe_error *err)
{
    yyjson_val *number, *token;
    CBE_JSON_EACH(decoder, walk, number, token)
    {
        addition item = {.number = strtoll(yyjson_get_str(number), NULL, 10),
                         .set_normalised = cbe_json_at(token, "normalized") != NULL};
        if (!cbe_json_added_entry(token, false, &item.entry)) continue;
        const cbe_status st = want_numbered(g, item, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* Value of a key of special_tokens_map.json, else of tokenizer_config.json. */
static yyjson_val *value_of(const gathering *g, const char *key)
{
    yyjson_val *value = cbe_json_at(g->special_map, key);
    if (!value) value = cbe_json_at(g->config, key);
    return value && !yyjson_is_null(value) ? value : NULL;
}

/* The list, or object, of further special tokens. */
static yyjson_val *extra_tokens(yyjson_val *object)
{
    yyjson_val *extra = cbe_json_get(object, "extra_special_tokens");
    return extra && (yyjson_arr_size(extra) || yyjson_obj_size(extra))
               ? extra
               : cbe_json_get(object, "additional_special_tokens");
}

/* Whether a token of added_tokens.json is a named or a further special token. */
static bool is_special(const gathering *g, cbe_span content)
{
    cbe_added_entry entry;
    yyjson_val *token;
    size_t i, n;
    for (i = 0; i < CBE_N_NAMED_TOKENS; i++)
        if (cbe_json_added_entry(value_of(g, cbe_named_token_keys[i]), true, &entry) &&
            entry.content.length == content.length &&
            memcmp(entry.content.data, content.data, content.length) == 0)
            return true;
    yyjson_val *const lists[] = {extra_tokens(g->config), extra_tokens(g->special_map)};
    for (size_t k = 0; k < 2; k++) {
        yyjson_arr_foreach(lists[k], i, n, token)
        {
            if (cbe_json_added_entry(token, true, &entry) &&
                entry.content.length == content.length &&
                memcmp(entry.content.data, content.data, content.length) == 0)
                return true;
        }
    }
    return false;
}

/* Whether tokenizer.json lists an added token with this number, which then counts. */
static bool is_listed(yyjson_val *root, int64_t number)
{
    yyjson_val *token;
    size_t i, n;
    yyjson_arr_foreach(cbe_json_at(root, "added_tokens"), i, n, token)
    {
        if (cbe_json_id(cbe_json_at(token, "id")) == number) return true;
    }
    return false;
}

/* Reads added_tokens.json: numbers by token. */
static cbe_status read_added_file(gathering *g, yyjson_val *added, cbe_error *err)
{
    yyjson_val *token, *number;
    CBE_JSON_EACH(added, walk, token, number)
    {
        const cbe_span content = {yyjson_get_str(token), yyjson_get_len(token)};
        const bool special = is_special(g, content);
        const addition item = {
            .number = yyjson_get_sint(number),
            .set_normalised = true,
            .entry = {.content = content, .special = special, .normalised = !special}};
        if (is_listed(g->root, item.number)) continue;
        const cbe_status st = want_numbered(g, item, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* Adds a special token unless a token is written like it. */
static cbe_status want_special(gathering *g, yyjson_val *value, bool special, bool named,
                               cbe_error *err)
{
    addition item = {.set_normalised = cbe_json_at(value, "normalized") != NULL};
    cbe_status st = CBE_OK;
    if (!cbe_json_added_entry(value, special || yyjson_is_str(value), &item.entry) ||
        !item.entry.content.length)
        return CBE_OK;
    if (named) st = push(&g->named, item, err);
    if (st != CBE_OK || cbe_added_list_find(g->list, item.entry.content) ||
        has(&g->wanted, item.entry.content))
        return st;
    return push(&g->wanted, item, err);
}

static bool ends_in_token(yyjson_val *key)
{
    static const char end[] = "_token";
    const size_t length = yyjson_get_len(key), n = sizeof end - 1;
    const char *text = yyjson_get_str(key);
    for (size_t i = 0; i < CBE_N_NAMED_TOKENS; i++)
        if (strcmp(text, cbe_named_token_keys[i]) == 0) return false;
    return length >= n && memcmp(text + length - n, end, n) == 0;
}

/* Whether a value of tokenizer_config.json is a token: an object is one only where it says so. */
static bool is_marked(yyjson_val *value)
{
    const char *type = cbe_json_text(value, "__type");
    return type && strcmp(type, "AddedToken") == 0;
}

/* Adds the tokens of further keys that end in _token: objects first, then strings, as transformers
 * keeps them. */
static cbe_status want_further(gathering *g, yyjson_val *object, bool objects, cbe_error *err)
{
    yyjson_val *key, *value;
    CBE_JSON_EACH(object, walk, key, value)
    {
        if (!ends_in_token(key) || (objects ? !yyjson_is_obj(value) : !yyjson_is_str(value)))
            continue;
        if (objects && object == g->config && !is_marked(value)) continue;
        const cbe_status st = want_special(g, value, object == g->special_map, true, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* Adds the tokens of a list, or of an object of tokens by name. */
static cbe_status want_extra(gathering *g, yyjson_val *extra, bool special, cbe_error *err)
{
    yyjson_val *key, *value;
    size_t i, n;
    cbe_status st = CBE_OK;
    yyjson_arr_foreach(extra, i, n, value)
    {
        if ((st = want_special(g, value, special, false, err)) != CBE_OK) return st;
    }
    CBE_JSON_EACH(extra, walk, key, value)
    {
        if ((st = want_special(g, value, special, true, err)) != CBE_OK) return st;
    }
    return st;
}

/* Adds the named tokens; a class names some itself, and padding in tokenizer.json a pad token. */
static cbe_status want_named(gathering *g, const cbe_tokenizer_class *class, cbe_error *err)
{
    for (size_t i = 0; i < CBE_N_NAMED_TOKENS; i++) {
        const char *key = cbe_named_token_keys[i], *own = cbe_tokenizer_class_token(class, i);
        yyjson_val *value = value_of(g, key);
        cbe_status st = CBE_OK;
        if (!value && !cbe_json_at(g->config, key) && !cbe_json_at(g->special_map, key)) {
            yyjson_val *padding = cbe_json_get(g->root, "padding");
            if (strcmp(key, "pad_token") == 0 && padding)
                value = cbe_json_at(padding, "pad_token");
            else if (own && !cbe_added_list_find(g->list, (cbe_span){own, strlen(own)}) &&
                     !has(&g->wanted, (cbe_span){own, strlen(own)}))
                st = push(&g->wanted,
                          (addition){.entry = {.content = {own, strlen(own)}, .special = true}},
                          err);
        }
        if (st == CBE_OK && value)
            st = want_special(g, value, value == cbe_json_at(g->special_map, key), true, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* The tokens of model_specific_special_tokens, in whose place transformers puts those of further
 * keys, and of extra_special_tokens where it is an object. */
static yyjson_val *model_specific(const gathering *g)
{
    yyjson_val *key, *value;
    if (yyjson_is_obj(extra_tokens(g->config))) return NULL;
    CBE_JSON_EACH(g->config, walk, key, value)
    {
        if (ends_in_token(key) && yyjson_is_str(value)) return NULL;
    }
    yyjson_val *tokens = cbe_json_at(g->config, "model_specific_special_tokens");
    return yyjson_is_obj(tokens) ? tokens : NULL;
}

static cbe_status gather(gathering *g, const cbe_files_beside *beside,
                         const cbe_tokenizer_class *class, cbe_error *err)
{
    yyjson_val *decoder = cbe_json_at(g->config, "added_tokens_decoder");
    cbe_status st =
        decoder ? read_decoder(g, decoder, err) : read_added_file(g, beside->added, err);
    if (st != CBE_OK) return st;
    if (g->wanted.n) qsort(g->wanted.items, g->wanted.n, sizeof *g->wanted.items, compare_numbers);
    if ((st = want_named(g, class, err)) != CBE_OK) return st;
    if ((st = want_further(g, g->config, true, err)) != CBE_OK) return st;
    if ((st = want_further(g, g->special_map, true, err)) != CBE_OK) return st;
    if ((st = want_further(g, g->special_map, false, err)) != CBE_OK) return st;
    if ((st = want_further(g, g->config, false, err)) != CBE_OK) return st;
    yyjson_val *extra = extra_tokens(g->config), *of_map = extra_tokens(g->special_map);
    st = want_extra(g, model_specific(g), false, err);
    if (st == CBE_OK) st = want_extra(g, extra, false, err);
    if (st == CBE_OK && (!extra || cbe_json_get(g->special_map, "extra_special_tokens")))
        st = want_extra(g, of_map, true, err);
    return st;
}

/* Remarks on a token that tokenizer_config.json numbers otherwise than it is numbered. */
static cbe_status remark_numbers(const gathering *g, const cbe_files_beside *beside,
                                 cbe_remarks *remarks, cbe_error *err)
{
    yyjson_val *decoder = cbe_json_at(g->config, "added_tokens_decoder"), *number, *token;
    CBE_JSON_EACH(decoder, walk, number, token)
    {
        cbe_added_entry entry;
        const long long listed = strtoll(yyjson_get_str(number), NULL, 10);
        if (!cbe_json_added_entry(token, false, &entry)) continue;
        const cbe_added_entry *got = cbe_added_list_find(g->list, entry.content);
        if (!got || got->id == listed) continue;
        return cbe_remark(remarks, err,
                          "%s: the token '%.*s' is listed with id %lld, but gets %lld, as "
                          "transformers numbers added tokens",
                          beside->path, CBE_SHOWN_SPAN(entry.content), listed, (long long)got->id);
    }
    return CBE_OK;
}

cbe_status cbe_json_config(cbe_tokenizer *made, yyjson_val *root, const cbe_files_beside *beside,
                           size_t model_size, cbe_added_list *list, cbe_remarks *remarks,
                           cbe_error *err)
{
    const cbe_tokenizer_class *class = cbe_tokenizer_class_find(root, beside);
    const bool listed = cbe_json_at(beside->config, "added_tokens_decoder") != NULL;
    gathering g = {.root = root,
                   .config = beside->config,
                   .special_map = listed ? NULL : beside->special_map,
                   .list = list};
    cbe_status st = gather(&g, beside, class, err);
    cbe_added_list_begin(list, model_size);
    for (size_t i = 0; i < g.wanted.n && st == CBE_OK; i++) {
        addition *item = &g.wanted.items[i];
        if (!item->entry.special && has(&g.named, item->entry.content)) {
            item->entry.special = true;
            if (!item->set_normalised) item->entry.normalised = false;
        }
        st = cbe_added_list_add(list, made->vocabulary, item->entry, err);
    }
    if (st == CBE_OK) st = remark_numbers(&g, beside, remarks, err);
    if (st == CBE_OK && class) st = cbe_tokenizer_class_compare(class, root, beside, remarks, err);
    if (st == CBE_OK && cbe_json_is_true(cbe_json_at(beside->config, "fix_mistral_regex")))
        st = cbe_remark(remarks, err,
                        "%s: fix_mistral_regex, by which transformers changes the pre_tokenizer, "
                        "is not obeyed; save the tokenizer with transformers to have the change in "
                        "tokenizer.json",
                        beside->path);
    if (st == CBE_OK && yyjson_arr_size(cbe_json_at(beside->config, "fast_tokenizer_files")) > 0)
        st = cbe_remark(remarks, err,
                        "%s: fast_tokenizer_files, by which transformers may take another file, is "
                        "not obeyed; tokenizer.json is taken",
                        beside->path);
    made->split_special = cbe_json_is_true(cbe_json_at(beside->config, "split_special_tokens"));
    cbe_free(g.wanted.items);
    cbe_free(g.named.items);
    return st;
}
