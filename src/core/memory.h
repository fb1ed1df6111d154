/*
 * memory.h - allocation with checked sizes.
 *
 * Every allocation of the library goes through here: sizes multiply with an overflow check, memory
 * is aligned for vector loads, and tests can make the n-th allocation fail.
 */
#ifndef CBE_CORE_MEMORY_H
#define CBE_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "cbe/status.h"

enum { CBE_ALIGNMENT = 64 };

/** *out = a * b or a + b; false if the result does not fit size_t, and *out is then untouched. */
bool cbe_mul_size(size_t a, size_t b, size_t *out);
bool cbe_add_size(size_t a, size_t b, size_t *out);

/** Allocates count elements of size bytes, aligned to CBE_ALIGNMENT, not initialised; the caller
 * frees them with cbe_free. count 0 gives a valid pointer to no elements.
 * @return NULL on overflow or lack of memory; err then has CBE_ERR_NOMEM and names `what` and the
 * size */
void *cbe_alloc(size_t count, size_t size, const char *what, cbe_error *err);
/** As cbe_alloc, filled with zero bytes. */
void *cbe_alloc_zero(size_t count, size_t size, const char *what, cbe_error *err);
/** Copies a string of length bytes and adds a 0; the caller frees the copy with cbe_free. NULL as
 * in cbe_alloc. */
char *cbe_copy_string(const char *text, size_t length, cbe_error *err);
/** Frees memory of cbe_alloc, cbe_alloc_zero or cbe_copy_string; NULL is allowed. */
void cbe_free(void *memory);

/** For tests: `countdown` allocations succeed, then every one fails; negative: none fails. */
void cbe_memory_fail_after(long countdown);

#endif
