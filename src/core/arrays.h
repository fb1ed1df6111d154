/*
 * arrays.h - lists of an object's arrays: their bytes are known before they are allocated, and all
 * are freed together.
 *
 * An object fills in a list from its own sizes, with the addresses of its pointers, and hands the
 * list to the functions below.
 */
#ifndef CBE_CORE_ARRAYS_H
#define CBE_CORE_ARRAYS_H

#include <stddef.h>

#include "cbe/status.h"

typedef struct {
    void *slot; /* address of the object's pointer */
    size_t count, size;
    const char *what;
} cbe_array;

/** Bytes of n arrays and `more` bytes; SIZE_MAX if the sum overflows. */
size_t cbe_arrays_bytes(size_t n, const cbe_array *arrays, size_t more);
/** Allocates each array that has elements, not initialised; the pointers of empty arrays stay NULL.
 * All pointers are NULL before. On failure the arrays allocated so far belong to the object, which
 * frees them with cbe_arrays_free.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_arrays_allocate(size_t n, const cbe_array *arrays, cbe_error *err);
/** Frees the arrays that the slots point to; counts do not matter. */
void cbe_arrays_free(size_t n, const cbe_array *arrays);

#endif
