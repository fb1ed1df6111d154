/* id_list.h - a growing list of token ids. */
#ifndef CBE_TOKENIZER_ID_LIST_H
#define CBE_TOKENIZER_ID_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"

/** Begins as zeros; the caller frees `ids` with cbe_free. */
typedef struct {
    int64_t *ids;
    size_t count, capacity;
} cbe_id_list;

/** Appends one id. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_id_list_push(cbe_id_list *list, int64_t id, cbe_error *err);
/** Appends count ids.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_id_list_append(cbe_id_list *list, const int64_t *ids, size_t count, cbe_error *err);

#endif
