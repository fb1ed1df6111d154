/* added_list.c - see added_list.h. One hash table with linear probing, at most half full. */
#include "tokenizer/added_list.h"

#include <string.h>

#include "core/memory.h"

#define NONE UINT32_MAX
enum { FIRST_CAPACITY = 64 };

void cbe_added_list_free(cbe_added_list *list)
{
    cbe_free(list->entries);
    cbe_free(list->slots);
    *list = (cbe_added_list){0};
}

void cbe_added_list_begin(cbe_added_list *list, size_t model_size)
{
    const bool above = list->n > 0 && (list->highest_id >= (int64_t)model_size || model_size == 0);
    list->next_id = above ? list->highest_id + 1 : (int64_t)model_size;
}

static bool equal(cbe_span a, cbe_span b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

bool cbe_added_entries_equal(const cbe_added_entry *a, const cbe_added_entry *b)
{
    return equal(a->content, b->content) && a->single_word == b->single_word &&
           a->lstrip == b->lstrip && a->rstrip == b->rstrip && a->normalised == b->normalised &&
           a->special == b->special;
}

static uint32_t *find_slot(const cbe_added_list *list, cbe_span content)
{
    size_t at = (size_t)cbe_hash_bytes(content.data, content.length) & list->slot_mask;
    while (list->slots[at] != NONE && !equal(list->entries[list->slots[at]].content, content))
        at = (at + 1) & list->slot_mask;
    return &list->slots[at];
}

static cbe_status grow(cbe_added_list *list, cbe_error *err)
{
    const size_t capacity = list->capacity ? 2 * list->capacity : FIRST_CAPACITY,
                 n_slots = cbe_table_size(capacity);
    cbe_added_entry *entries = cbe_alloc(capacity, sizeof *entries, "added tokens", err);
    uint32_t *slots = cbe_alloc(n_slots, sizeof *slots, "added tokens", err);
    if (!entries || !slots) {
        cbe_free(entries);
        cbe_free(slots);
        return CBE_ERR_NOMEM;
    }
    if (list->n) memcpy(entries, list->entries, list->n * sizeof *entries);
    cbe_free(list->entries);
    cbe_free(list->slots);
    list->entries = entries;
    list->slots = slots;
    list->capacity = capacity;
    list->slot_mask = n_slots - 1;
    memset(slots, 0xff, n_slots * sizeof *slots);
    for (size_t i = 0; i < list->n; i++) *find_slot(list, entries[i].content) = (uint32_t)i;
    return CBE_OK;
}

cbe_status cbe_added_list_add(cbe_added_list *list, const cbe_vocabulary *vocabulary,
                              cbe_added_entry entry, cbe_error *err)
{
    if (entry.content.length == 0) return CBE_OK;
    if (list->n == list->capacity && grow(list, err) != CBE_OK) return CBE_ERR_NOMEM;
    uint32_t *slot = find_slot(list, entry.content);
    if (*slot != NONE) {
        entry.id = list->entries[*slot].id;
        if (cbe_added_entries_equal(&list->entries[*slot], &entry)) return CBE_OK;
    } else {
        entry.id = cbe_vocabulary_find(vocabulary, entry.content.data, entry.content.length);
        if (entry.id < 0) entry.id = list->next_id++;
        *slot = (uint32_t)list->n++;
    }
    entry.order = list->n_added++;
    list->entries[*slot] = entry;
    if (entry.id > list->highest_id) list->highest_id = entry.id;
    return CBE_OK;
}

const cbe_added_entry *cbe_added_list_find(const cbe_added_list *list, cbe_span content)
{
    if (list->n == 0) return NULL;
    const uint32_t at = *find_slot(list, content);
    return at == NONE ? NULL : &list->entries[at];
}
