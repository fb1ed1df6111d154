/*
 * text_stream.h - a file read from its beginning to its end, a part at a time, whether it is plain or compressed
 * by gzip or zstd, which is known by its first bytes.
 */
#ifndef CBE_IO_TEXT_STREAM_H
#define CBE_IO_TEXT_STREAM_H

#include <stddef.h>

#include "cbe/status.h"

typedef struct cbe_text_stream cbe_text_stream;

/** Opens a regular file. @return CBE_OK; CBE_ERR_IO (path and reason); CBE_ERR_NOMEM */
cbe_status cbe_text_stream_open(cbe_text_stream **out, const char *path, cbe_error *err);
void cbe_text_stream_close(cbe_text_stream *stream); /* NULL is allowed */

/** Reads up to size bytes; *n is 0 at the end alone.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT when compressed data is damaged or ends too early; CBE_ERR_NOMEM */
cbe_status cbe_text_stream_read(cbe_text_stream *stream, char *out, size_t size, size_t *n,
                                cbe_error *err);

#endif
