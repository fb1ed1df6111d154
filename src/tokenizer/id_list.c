/* id_list.c - see id_list.h. */
#include "tokenizer/id_list.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

enum { FIRST_CAPACITY = 256 };

/* Makes room for `more` further ids. The capacity doubles, so appending costs constant time a
 * token. */
static cbe_status reserve(cbe_id_list *list, size_t more, cbe_error *err)
{
    if (more <= list->capacity - list->count) return CBE_OK;
    size_t needed, capacity = list->capacity ? list->capacity : FIRST_CAPACITY;
    if (!cbe_add_size(list->count, more, &needed) || needed > SIZE_MAX / 2 / sizeof *list->ids)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "token ids do not fit the address space");
    while (capacity < needed) capacity *= 2;
    int64_t *grown = cbe_alloc(capacity, sizeof *grown, "token ids", err);
    if (!grown) return CBE_ERR_NOMEM;
    if (list->count) memcpy(grown, list->ids, list->count * sizeof *grown);
    cbe_free(list->ids);
    list->ids = grown;
    list->capacity = capacity;
    return CBE_OK;
}

cbe_status cbe_id_list_push(cbe_id_list *list, int64_t id, cbe_error *err)
{
    return cbe_id_list_append(list, &id, 1, err);
}

cbe_status cbe_id_list_append(cbe_id_list *list, const int64_t *ids, size_t count, cbe_error *err)
{
    const cbe_status st = reserve(list, count, err);
    if (st != CBE_OK || count == 0) return st;
    memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
    return CBE_OK;
}
