/* byte_buffer.c - see byte_buffer.h. */
#include "core/byte_buffer.h"

#include <stdint.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

enum { FIRST_CAPACITY = 256 };

cbe_status cbe_byte_buffer_reserve(cbe_byte_buffer *buffer, size_t more, cbe_error *err)
{
    if (more <= buffer->capacity - buffer->size) return CBE_OK;
    size_t needed, capacity = buffer->capacity ? buffer->capacity : FIRST_CAPACITY;
    if (!cbe_add_size(buffer->size, more, &needed) || needed > SIZE_MAX / 2)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "text does not fit the address space");
    while (capacity < needed) capacity *= 2;
    char *grown = cbe_alloc(capacity, 1, "text", err);
    if (!grown) return CBE_ERR_NOMEM;
    if (buffer->size) memcpy(grown, buffer->bytes, buffer->size);
    cbe_free(buffer->bytes);
    buffer->bytes = grown;
    buffer->capacity = capacity;
    return CBE_OK;
}

cbe_status cbe_byte_buffer_put(cbe_byte_buffer *buffer, const void *bytes, size_t length,
                               cbe_error *err)
{
    if (length == 0) return CBE_OK;
    const cbe_status st = cbe_byte_buffer_reserve(buffer, length, err);
    if (st != CBE_OK) return st;
    memcpy(buffer->bytes + buffer->size, bytes, length);
    buffer->size += length;
    return CBE_OK;
}
