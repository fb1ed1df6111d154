/* remarks.c - see remarks.h. */
#include "core/remarks.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/printable.h"
#include "core/terms.h"

/* Bytes of a line before its terms are chosen; a longer line is cut. */
enum { LINE = 2 * CBE_MESSAGE_SIZE };

static cbe_status reserve(cbe_remarks *remarks, cbe_error *err)
{
    if (remarks->n < remarks->capacity) return CBE_OK;
    const size_t capacity = remarks->capacity ? 2 * remarks->capacity : 4;
    char **grown = cbe_alloc(capacity, sizeof *grown, "remarks", err);
    if (!grown) return CBE_ERR_NOMEM;
    if (remarks->n) memcpy(grown, remarks->lines, remarks->n * sizeof *grown);
    cbe_free(remarks->lines);
    remarks->lines = grown;
    remarks->capacity = capacity;
    return CBE_OK;
}

cbe_status cbe_remark(cbe_remarks *remarks, cbe_error *err, const char *format, ...)
{
    char line[LINE];
    if (!remarks) return CBE_OK;
    const cbe_status st = reserve(remarks, err);
    if (st != CBE_OK) return st;
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    char *kept = cbe_copy_string(line, strlen(line), err);
    if (!kept) return CBE_ERR_NOMEM;
    remarks->lines[remarks->n++] = kept;
    return CBE_OK;
}

void cbe_remarks_give(cbe_remarks *from, cbe_remarks *to)
{
    char line[LINE];
    bool all;
    for (size_t i = 0; i < from->n; i++) {
        char *text = from->lines[i];
        const size_t size = strlen(text) + 1;
        cbe_choose_terms(line, sizeof line, text, CBE_IN_LIBRARY, &all);
        cbe_printable(text, size, line, strlen(line));
    }
    *to = *from;
    *from = (cbe_remarks){0};
}

const char *cbe_remarks_line(const cbe_remarks *remarks, size_t i)
{
    return i < remarks->n ? remarks->lines[i] : NULL;
}

void cbe_remarks_free(cbe_remarks *remarks)
{
    for (size_t i = 0; i < remarks->n; i++) cbe_free(remarks->lines[i]);
    cbe_free(remarks->lines);
    *remarks = (cbe_remarks){0};
}
