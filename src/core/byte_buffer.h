/* byte_buffer.h - bytes that grow at the end. */
#ifndef CBE_CORE_BYTE_BUFFER_H
#define CBE_CORE_BYTE_BUFFER_H

#include <stddef.h>

#include "cbe/status.h"

/** Begins as zeros, ends by cbe_free(bytes). */
typedef struct {
    char *bytes;
    size_t size, capacity;
} cbe_byte_buffer;

/** Room for `more` further bytes; doubled, so that appending costs constant time a byte. */
cbe_status cbe_byte_buffer_reserve(cbe_byte_buffer *buffer, size_t more, cbe_error *err);
cbe_status cbe_byte_buffer_put(cbe_byte_buffer *buffer, const void *bytes, size_t length,
                               cbe_error *err);

#endif
