/*
 * text_stream.h - a text read from its beginning to its end, a part at a time, whether it is
 * plain or compressed by gzip or zstd, which is known by its first bytes.
 *
 * Whatever can be read is read until its end, once: files whose size stat does not tell, pipes,
 * devices.
 */
#ifndef CBE_FILES_TEXT_STREAM_H
#define CBE_FILES_TEXT_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "files/inputs.h"
#include "cbe/status.h"

typedef struct cbe_text_stream cbe_text_stream;

/** @param path    "-": standard input
 * @param digest  whether cbe_text_stream_note will want one
 * @return CBE_OK; CBE_ERR_IO (path and reason); CBE_ERR_NOMEM */
cbe_status cbe_text_stream_open(cbe_text_stream **out, const char *path, bool digest,
                                cbe_error *err);
void cbe_text_stream_close(cbe_text_stream *stream); /* NULL is allowed */

/** Reads up to size bytes. *n is 0 at the end, and where a pipe has had nothing for a moment: the
 * caller may look whether it should go on, and call again.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT when compressed data is damaged or ends too early;
 *   CBE_ERR_NOMEM */
cbe_status cbe_text_stream_read(cbe_text_stream *stream, char *out, size_t size, size_t *n,
                                cbe_error *err);
/** Whether all has been read. */
bool cbe_text_stream_ended(const cbe_text_stream *stream);
/** Adds the text to the inputs of a run, with the digest of what was read so far. @return CBE_OK,
 * CBE_ERR_NOMEM */
cbe_status cbe_text_stream_note(const cbe_text_stream *stream, cbe_inputs *inputs, cbe_error *err);

/** What a text is called in messages. */
const char *cbe_text_name(const char *path);
/** That there is a text, which is not read. @return CBE_OK; CBE_ERR_IO (path and reason) */
cbe_status cbe_text_look(const char *path, cbe_error *err);
/** Whether a text can be read from its beginning any number of times, by any process; what is not
 * there counts so too. */
bool cbe_text_is_file(const char *path);

#endif
