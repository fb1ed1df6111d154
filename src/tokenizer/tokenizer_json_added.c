/* tokenizer_json_added.c - the added tokens of a tokenizer.json. */
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "tokenizer/tokenizer_json.h"

bool cbe_json_added_entry(yyjson_val *value, bool special, cbe_added_entry *out)
{
    *out = (cbe_added_entry){.special = special, .normalised = !special};
    if (yyjson_is_str(value)) {
        out->content = (cbe_span){yyjson_get_str(value), yyjson_get_len(value)};
        return true;
    }
    if (!cbe_json_span(value, "content", &out->content)) return false;
    out->single_word = cbe_json_flag(value, "single_word", false);
    out->lstrip = cbe_json_flag(value, "lstrip", false);
    out->rstrip = cbe_json_flag(value, "rstrip", false);
    out->special = cbe_json_flag(value, "special", special);
    out->normalised = cbe_json_flag(value, "normalized", !out->special);
    return true;
}

cbe_status cbe_json_added(const cbe_tokenizer *made, yyjson_val *value, const char *path,
                          size_t model_size, cbe_added_list *list, cbe_remarks *remarks,
                          cbe_error *err)
{
    size_t i, n, n_moved = 0;
    yyjson_val *token;
    cbe_added_entry entry, moved = {.id = -1};
    int64_t listed = -1;
    cbe_added_list_begin(list, model_size);
    yyjson_arr_foreach(value, i, n, token)
    {
        if (!cbe_json_added_entry(token, false, &entry))
            return cbe_json_wrong(path, "an added token has no content", err);
        const cbe_status st = cbe_added_list_add(list, made->vocabulary, entry, err);
        if (st != CBE_OK) return st;
        const cbe_added_entry *got = cbe_added_list_find(list, entry.content);
        const int64_t id = cbe_json_id(cbe_json_at(token, "id"));
        if (!got || got->id == id) continue;
        if (n_moved++ > 0) continue;
        moved = *got;
        listed = id;
    }
    if (n_moved == 0) return CBE_OK;
    return cbe_remark(remarks, err,
                      "%s: the added token '%.*s' is listed with id %lld, but gets %lld, as the "
                      "library tokenizers numbers added tokens (%zu such tokens)",
                      path, CBE_SHOWN_SPAN(moved.content), (long long)listed, (long long)moved.id,
                      n_moved);
}

static int compare_ids(const void *a, const void *b)
{
    const cbe_added_entry *x = a, *y = b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Copies a text, which the tokenizer then owns. */
static cbe_status keep_text(cbe_tokenizer *made, cbe_span text, cbe_span *kept, cbe_error *err)
{
    char *copy = cbe_copy_string(text.data, text.length, err);
    if (!copy) return CBE_ERR_NOMEM;
    made->texts[made->n_texts++] = copy;
    *kept = (cbe_span){copy, text.length};
    return CBE_OK;
}

/* The text by which a token is found and decoded: its content, or what the normaliser makes of it
 * if it is looked for in normalised text. */
static cbe_status text_of(cbe_tokenizer *made, const cbe_added_entry *entry, cbe_span *text,
                          cbe_error *err)
{
    char *normal = NULL;
    size_t length = entry->content.length;
    if (entry->normalised) {
        const cbe_status st = cbe_normalise(&made->normaliser, entry->content.data, length, &normal,
                                            &length, NULL, err);
        if (st != CBE_OK) return st;
    }
    const cbe_status st =
        keep_text(made, normal ? (cbe_span){normal, length} : entry->content, text, err);
    cbe_free(normal);
    return st;
}

cbe_status cbe_json_take_added(cbe_tokenizer *made, const cbe_added_list *list, const char *path,
                               cbe_remarks *remarks, cbe_error *err)
{
    const size_t n = list->n;
    size_t n_raw = 0, n_normalised = 0;
    cbe_status st = CBE_OK;
    cbe_added_token *raw = cbe_alloc(n, sizeof *raw, "added tokens", err);
    cbe_added_token *normalised = cbe_alloc(n, sizeof *normalised, "added tokens", err);
    cbe_added_entry *sorted = cbe_alloc(n, sizeof *sorted, "added tokens", err);
    made->texts = cbe_alloc(n, sizeof *made->texts, "added tokens", err);
    made->added_texts = cbe_alloc(n, sizeof *made->added_texts, "added tokens", err);
    if (!raw || !normalised || !sorted || !made->texts || !made->added_texts) st = CBE_ERR_NOMEM;
    if (st == CBE_OK && n > 0) {
        memcpy(sorted, list->entries, n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, compare_ids);
    }
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const cbe_added_entry *entry = &sorted[i];
        cbe_span text;
        if (i + 1 < n && sorted[i + 1].id == entry->id) continue; /* a later one has its id */
        if ((st = text_of(made, entry, &text, err)) != CBE_OK) break;
        made->added_texts[made->n_added_texts++] = (cbe_added_text){entry->id, text};
        const cbe_added_token token = {.text = text,
                                       .id = entry->id,
                                       .single_word = entry->single_word,
                                       .lstrip = entry->lstrip,
                                       .rstrip = entry->rstrip,
                                       .special = entry->special};
        if (text.length && entry->normalised)
            normalised[n_normalised++] = token;
        else if (text.length)
            raw[n_raw++] = token;
        else
            st = cbe_remark(remarks, err,
                            "%s: the normalizer leaves nothing of the added token '%.*s', which is "
                            "never found therefore",
                            path, CBE_SHOWN_SPAN(entry->content));
    }
    cbe_free(sorted);
    if (st == CBE_OK) {
        cbe_added_token lost = {0};
        cbe_added_tokens_init(&made->added, raw, n_raw, NULL);
        cbe_added_tokens_init(&made->normalised, normalised, n_normalised, &lost);
        made->added.split_special = made->normalised.split_special = made->split_special;
        if (made->normalised.n_tokens == n_normalised) return CBE_OK;
        return cbe_remark(remarks, err,
                          "%s: the normalizer makes '%.*s' of several added tokens, of which the "
                          "library tokenizers finds one by chance; that of the highest id is taken "
                          "(%zu such tokens are never found, as that of id %lld)",
                          path, CBE_SHOWN_SPAN(lost.text), n_normalised - made->normalised.n_tokens,
                          (long long)lost.id);
    }
    cbe_free(raw);
    cbe_free(normalised);
    return st;
}
