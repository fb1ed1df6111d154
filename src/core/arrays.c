/* arrays.c - see arrays.h. Pointers of any type are read and written as bytes. */
#include "core/arrays.h"

#include <string.h>

#include "core/sizes.h"

size_t cbe_arrays_bytes(size_t n, const cbe_array *arrays, size_t more)
{
    for (size_t i = 0; i < n; i++) {
        size_t bytes;
        if (!cbe_mul_size(arrays[i].count, arrays[i].size, &bytes) ||
            !cbe_add_size(more, bytes, &more))
            return SIZE_MAX;
    }
    return more;
}

cbe_status cbe_arrays_allocate(size_t n, const cbe_array *arrays, cbe_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (arrays[i].count == 0) continue;
        void *memory = cbe_alloc(arrays[i].count, arrays[i].size, arrays[i].what, err);
        if (!memory) return CBE_ERR_NOMEM;
        memcpy(arrays[i].slot, &memory, sizeof memory);
    }
    return CBE_OK;
}

void cbe_arrays_free(size_t n, const cbe_array *arrays)
{
    for (size_t i = 0; i < n; i++) {
        void *memory;
        memcpy(&memory, arrays[i].slot, sizeof memory);
        cbe_free(memory);
    }
}
