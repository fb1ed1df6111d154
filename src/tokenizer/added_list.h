/*
 * added_list.h - the added tokens of a tokenizer.json and of the files beside it, while a tokenizer
 * is made, and the ids that they get.
 *
 * The ids are those that the library tokenizers gives, whatever ids the files list: a token that
 * the model's vocabulary has keeps its id, and the others are numbered from the size of the model's
 * vocabulary, or from the highest id of an added token, whichever is higher.
 */
#ifndef CBE_TOKENIZER_ADDED_LIST_H
#define CBE_TOKENIZER_ADDED_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "tokenizer/vocabulary.h"

typedef struct {
    cbe_span content; /* borrowed */
    int64_t id;
    bool single_word, lstrip, rstrip; /* as in cbe_added_token */
    bool normalised;                  /* is looked for in the normalised text */
    bool special;
    size_t order; /* when it was added last; of two tokens with one id the later one counts */
} cbe_added_entry;

/** Begins as zeros; the caller frees it with cbe_added_list_free. */
typedef struct {
    cbe_added_entry *entries; /* each content once */
    size_t n, capacity, n_added;
    uint32_t *slots; /* index of an entry by its content */
    size_t slot_mask;
    int64_t next_id, highest_id;
} cbe_added_list;

void cbe_added_list_free(cbe_added_list *list);

/** Begins a batch: its new tokens are numbered on from here.
 * @param model_size  entries of the model's vocabulary */
void cbe_added_list_begin(cbe_added_list *list, size_t model_size);
/** Adds a token, or changes what is known of it; entry.id and entry.order do not count. A token
 * without content is left out. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_added_list_add(cbe_added_list *list, const cbe_vocabulary *vocabulary,
                              cbe_added_entry entry, cbe_error *err);
/** The token of this content; NULL: there is none. */
const cbe_added_entry *cbe_added_list_find(const cbe_added_list *list, cbe_span content);
/** Whether both have the same content and the same traits. */
bool cbe_added_entries_equal(const cbe_added_entry *a, const cbe_added_entry *b);

#endif
