/*
 * tokenizer_json_post.c - the post_processor of a tokenizer.json: the ids that a text has at its
 * ends.
 *
 * As in the library tokenizers, a processor works on a list of parts, at first the text alone. A
 * template makes a part of each of its pieces, and a template behind it takes two parts for a pair
 * of texts, whatever they are.
 */
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "tokenizer/tokenizer_json.h"

enum { MAX_DEPTH = 64, MAX_PARTS = 64, TEXT = -1 /* stands for the text's ids */ };

typedef struct {
    size_t n;
    cbe_id_list parts[MAX_PARTS];
} part_list;

static void free_parts(part_list *list)
{
    for (size_t i = 0; i < list->n; i++) cbe_free(list->parts[i].ids);
    list->n = 0;
}

static cbe_status too_many(const char *path, cbe_error *err)
{
    return cbe_json_not_read(path, "post_processor with so many parts of a template", "Sequence",
                             err);
}

static cbe_status push_id(const cbe_tokenizer *made, int64_t id, cbe_id_list *list,
                          const char *path, const char *where, cbe_error *err)
{
    if (id < 0 || (size_t)id >= cbe_tokenizer_vocab_size(made)) {
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: %s names an id that is not in the vocabulary; save the tokenizer "
                        "again with tokenizers or transformers",
                        path, where);
    }
    return cbe_id_list_push(list, id, err);
}

/* Appends the ids of a special token that a template names. */
static cbe_status push_special(const cbe_tokenizer *made, const char *path, yyjson_val *processor,
                               yyjson_val *item, cbe_id_list *list, cbe_error *err)
{
    const char *name = cbe_json_text(item, "id");
    yyjson_val *listed = cbe_json_at(processor, "special_tokens"), *value;
    yyjson_val *ids = cbe_json_at(name ? cbe_json_at(listed, name) : NULL, "ids");
    size_t i, n;
    if (!yyjson_is_arr(ids))
        return cbe_json_wrong(path, "the template names a special token that it does not list",
                              err);
    yyjson_arr_foreach(ids, i, n, value)
    {
        const cbe_status st = push_id(made, cbe_json_id(value), list, path, "the template", err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

static cbe_status read_template(const cbe_tokenizer *made, const char *path, yyjson_val *processor,
                                part_list *list, cbe_error *err)
{
    static const char *const names[] = {"A", "B"};
    yyjson_val *pieces = cbe_json_at(processor, list->n == 2 ? "pair" : "single"), *item;
    part_list made_parts = {0};
    cbe_status st = list->n > 2 ? too_many(path, err) : CBE_OK;
    size_t i, n;
    yyjson_arr_foreach(pieces, i, n, item)
    {
        if (st != CBE_OK) break;
        yyjson_val *special = cbe_json_get(item, "SpecialToken");
        const char *name = cbe_json_text(cbe_json_get(item, "Sequence"), "id");
        const size_t which = name && strcmp(name, names[1]) == 0;
        if (made_parts.n == MAX_PARTS) {
            st = too_many(path, err);
        } else if (special) {
            st = push_special(made, path, processor, special, &made_parts.parts[made_parts.n++],
                              err);
        } else if (name && strcmp(name, names[which]) == 0 && which < list->n) {
            const cbe_id_list *part = &list->parts[which];
            st = cbe_id_list_append(&made_parts.parts[made_parts.n++], part->ids, part->count, err);
        } else {
            st = cbe_json_wrong(path, "the template has not one sequence and special tokens", err);
        }
    }
    free_parts(list);
    *list = made_parts;
    return st;
}

/* BertProcessing and RobertaProcessing: "cls" and "sep" are ["TOKEN", id]. */
static cbe_status read_pair_ids(const cbe_tokenizer *made, const char *path, yyjson_val *value,
                                bool roberta, part_list *list, cbe_error *err)
{
    static const char where[] = "the post_processor";
    const int64_t cls = cbe_json_id(yyjson_arr_get(cbe_json_at(value, "cls"), 1)),
                  sep = cbe_json_id(yyjson_arr_get(cbe_json_at(value, "sep"), 1));
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < list->n && st == CBE_OK; i++) {
        cbe_id_list ends = {0}, *part = &list->parts[i];
        if (i == 0 || roberta) st = push_id(made, i == 0 ? cls : sep, &ends, path, where, err);
        if (st == CBE_OK) st = cbe_id_list_append(&ends, part->ids, part->count, err);
        if (st == CBE_OK) st = push_id(made, sep, &ends, path, where, err);
        cbe_free(part->ids);
        *part = ends;
    }
    return st;
}

static cbe_status read_processor(const cbe_tokenizer *made, yyjson_val *value, const char *path,
                                 int depth, part_list *list, cbe_error *err)
{
    const char *type = cbe_json_type(value);
    if (!value || yyjson_is_null(value) || strcmp(type, "ByteLevel") == 0)
        return CBE_OK; /* ByteLevel's processor changes offsets only */
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(made, path, value, list, err);
    const bool roberta = strcmp(type, "RobertaProcessing") == 0;
    if (roberta || strcmp(type, "BertProcessing") == 0)
        return read_pair_ids(made, path, value, roberta, list, err);
    if (strcmp(type, "Sequence") != 0 || depth == MAX_DEPTH)
        return cbe_json_not_read(path, "post_processor", type, err);
    yyjson_val *inner;
    size_t i, n;
    yyjson_arr_foreach(cbe_json_at(value, "processors"), i, n, inner)
    {
        const cbe_status st = read_processor(made, inner, path, depth + 1, list, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

/* Puts the ids in front of the text and behind it into *made. */
static cbe_status take_ends(cbe_tokenizer *made, const part_list *list, const char *path,
                            cbe_error *err)
{
    cbe_id_list *end = &made->before;
    for (size_t i = 0; i < list->n; i++)
        for (size_t k = 0; k < list->parts[i].count; k++) {
            const int64_t id = list->parts[i].ids[k];
            if (id == TEXT && end == &made->after)
                return cbe_json_not_read(path, "post_processor with the text twice, of type",
                                         "TemplateProcessing", err);
            if (id == TEXT)
                end = &made->after;
            else if (cbe_id_list_push(end, id, err) != CBE_OK)
                return CBE_ERR_NOMEM;
        }
    return end == &made->after
               ? CBE_OK
               : cbe_json_wrong(path, "the template has not one sequence and special tokens", err);
}

cbe_status cbe_json_processor(cbe_tokenizer *made, yyjson_val *value, const char *path,
                              cbe_error *err)
{
    part_list list = {.n = 1};
    cbe_status st = cbe_id_list_push(&list.parts[0], TEXT, err);
    if (st == CBE_OK) st = read_processor(made, value, path, 0, &list, err);
    if (st == CBE_OK) st = take_ends(made, &list, path, err);
    free_parts(&list);
    return st;
}
