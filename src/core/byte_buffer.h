/* byte_buffer.h - bytes that grow at the end. */
#ifndef CBE_CORE_BYTE_BUFFER_H
#define CBE_CORE_BYTE_BUFFER_H

#include <stddef.h>

#include "cbe/status.h"

/** Begins as zeros; the caller frees `bytes` with cbe_free. */
typedef struct {
    char *bytes;
    size_t size, capacity;
} cbe_byte_buffer;

/** Makes room for `more` further bytes. The capacity doubles, so appending costs constant time a
 * byte.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_byte_buffer_reserve(cbe_byte_buffer *buffer, size_t more, cbe_error *err);
/** Appends length bytes. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_byte_buffer_put(cbe_byte_buffer *buffer, const void *bytes, size_t length,
                               cbe_error *err);

#endif
