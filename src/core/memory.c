/* memory.c - see memory.h. */
#define _DEFAULT_SOURCE /* madvise */
#include "core/memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/fail.h"

/* Allocations from HUGE_FROM bytes on are read from end to end. Pages of 2 MB, if the system has
 * them, take a sixth off that time (docs/performance.md). */
static const size_t HUGE_PAGE = (size_t)2 << 20, HUGE_FROM = (size_t)32 << 20;

static atomic_long allocations_left = -1;

bool cbe_mul_size(size_t a, size_t b, size_t *out)
{
    if (b != 0 && a > SIZE_MAX / b) return false;
    *out = a * b;
    return true;
}

bool cbe_add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) return false;
    *out = a + b;
    return true;
}

void cbe_memory_fail_after(long countdown)
{
    atomic_store(&allocations_left, countdown);
}

static bool allocation_allowed(void)
{
    long left = atomic_load(&allocations_left);
    if (left < 0) return true;
    if (left == 0) return false;
    atomic_store(&allocations_left, left - 1);
    return true;
}

/* Aligned memory of `bytes` bytes, a multiple of CBE_ALIGNMENT; NULL if there is none. */
static void *get_memory(size_t bytes)
{
#ifdef MADV_HUGEPAGE
    size_t whole;
    if (bytes >= HUGE_FROM && cbe_add_size(bytes, HUGE_PAGE - 1, &whole)) {
        whole = whole / HUGE_PAGE * HUGE_PAGE;
        void *memory = aligned_alloc(HUGE_PAGE, whole);
        /* The kernel may refuse huge pages, and then nothing changes. */
        if (memory) madvise(memory, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
        return memory;
    }
#endif
    return aligned_alloc(CBE_ALIGNMENT, bytes);
}

void *cbe_alloc(size_t count, size_t size, const char *what, cbe_error *err)
{
    size_t bytes, padded;
    if (!cbe_mul_size(count, size, &bytes) || !cbe_add_size(bytes, 2 * CBE_ALIGNMENT, &padded)) {
        cbe_fail(err, CBE_ERR_NOMEM, -1,
                 "%s: %zu elements of %zu bytes do not fit the address space", what, count, size);
        return NULL;
    }
    padded = padded / CBE_ALIGNMENT * CBE_ALIGNMENT;
    void *memory = allocation_allowed() ? get_memory(padded) : NULL;
    if (!memory)
        cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: out of memory (%zu bytes asked for)", what, bytes);
    return memory;
}

void *cbe_alloc_zero(size_t count, size_t size, const char *what, cbe_error *err)
{
    void *memory = cbe_alloc(count, size, what, err);
    if (memory) memset(memory, 0, count * size);
    return memory;
}

char *cbe_copy_string(const char *text, size_t length, cbe_error *err)
{
    char *copy = cbe_alloc(length + 1, 1, "string", err);
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}

void cbe_free(void *memory)
{
    free(memory);
}
