/*
 * remarks.h - what a reader of files has to say though it read them: a key that was taken for
 * another, a value that was put aside. The lines wait in a list of the caller, who tells them.
 */
#ifndef CBE_CORE_REMARKS_H
#define CBE_CORE_REMARKS_H

#include <stddef.h>

#include "cbe/status.h"

/** Lines in the order in which they came, terms in them (terms.h); begins as {0}. */
typedef struct {
    size_t n, capacity;
    char **lines; /* (n), owned */
} cbe_remarks;

/** Adds a line, cut as a message of cbe_fail is. NULL in place of remarks: nobody listens.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_remark(cbe_remarks *remarks, cbe_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** Moves the lines to a list that has none, in the library's terms and printable: for callers who
 * get them as they are. */
void cbe_remarks_give(cbe_remarks *from, cbe_remarks *to);
/** Line i; NULL: there are fewer. */
const char *cbe_remarks_line(const cbe_remarks *remarks, size_t i);
/** Forgets all lines, and is {0} again. */
void cbe_remarks_free(cbe_remarks *remarks);

#endif
