/* json_memory.c - see json_memory.h. */
#include "formats/json_memory.h"

#include <string.h>

#include "core/memory.h"

static void *allocate(void *context, size_t size)
{
    (void)context;
    return cbe_alloc(size, 1, "JSON", NULL);
}

static void *resize(void *context, void *old, size_t old_size, size_t size)
{
    void *block = allocate(context, size);
    if (!block) return NULL;
    memcpy(block, old, old_size < size ? old_size : size);
    cbe_free(old);
    return block;
}

static void release(void *context, void *block)
{
    (void)context;
    cbe_free(block);
}

const yyjson_alc cbe_json_memory = {allocate, resize, release, NULL};
