/*
 * arrays.h - the arrays of an object as one list: what it will take is known before it is
 * allocated, and one owner frees it.
 *
 * An object fills in a list from its own sizes, with the addresses of its pointers, and hands it to
 * these.
 */
#ifndef CBE_CORE_ARRAYS_H
#define CBE_CORE_ARRAYS_H

#include <stddef.h>

#include "cbe/status.h"

typedef struct {
    void *slot; /* address of the pointer */
    size_t count, size;
    const char *what;
} cbe_array;

/** Bytes of n arrays and `more`; SIZE_MAX when that overflows. */
size_t cbe_arrays_bytes(size_t n, const cbe_array *arrays, size_t more);
/** Allocates each array that has elements, not initialised; the pointers of the others stay NULL.
 * On failure those made so far are the object's, to be freed with it. All pointers are NULL before.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_arrays_allocate(size_t n, const cbe_array *arrays, cbe_error *err);
/** Frees what the slots point to; counts do not matter. */
void cbe_arrays_free(size_t n, const cbe_array *arrays);

#endif
