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

/** *out = a * b or a + b; false when the result does not fit size_t (*out is then untouched). */
bool cbe_mul_size(size_t a, size_t b, size_t *out);
bool cbe_add_size(size_t a, size_t b, size_t *out);

/** count elements of size bytes, aligned to CBE_ALIGNMENT, not initialised; to cbe_free.
 * NULL and *err (CBE_ERR_NOMEM, which names `what` and the size) on overflow or lack of memory.
 * count 0 gives a valid pointer to nothing. */
void *cbe_alloc(size_t count, size_t size, const char *what, cbe_error *err);
/** The same, filled with zero bytes. */
void *cbe_alloc_zero(size_t count, size_t size, const char *what, cbe_error *err);
/** Copy of a string of length bytes with a 0 added; to cbe_free. */
char *cbe_copy_string(const char *text, size_t length, cbe_error *err);
/** Frees what cbe_alloc gave; NULL is allowed. */
void cbe_free(void *memory);

/** For tests: let `countdown` allocations succeed, then fail every one; negative: never fail. */
void cbe_memory_fail_after(long countdown);

#endif
