/*
 * text_stream.h - a text read from its beginning to its end, a part at a time. The first bytes tell
 * whether it is plain or compressed by gzip or zstd. A byte order mark at its beginning is left
 * out, and what is no plain text is refused by name (foreign_format.h).
 *
 * Any readable file will do, also pipes, devices and files whose size stat does not tell; each is
 * read once, until its end.
 */
#ifndef CBE_FILES_TEXT_STREAM_H
#define CBE_FILES_TEXT_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "files/inputs.h"
#include "cbe/status.h"

typedef struct cbe_text_stream cbe_text_stream;

/** @param path    file to read; "-" is standard input
 * @param digest  whether cbe_text_stream_note will need the SHA-256
 * @param memory  bytes that decompression may take beyond the usual 128 MB; 0: not limited
 * @return CBE_OK; CBE_ERR_IO (path and reason); CBE_ERR_NOMEM */
cbe_status cbe_text_stream_open(cbe_text_stream **out, const char *path, bool digest, size_t memory,
                                cbe_error *err);
void cbe_text_stream_close(cbe_text_stream *stream); /* NULL is allowed */

/** Reads up to size bytes. *n is 0 at the end, and if a pipe has had nothing for a moment: the
 * caller may check for cancellation and call again.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT if compressed data is damaged or ends too early;
 *   CBE_ERR_UNSUPPORTED for another format, which is named; CBE_ERR_ARG for a zstd window that
 *   memory has no room for; CBE_ERR_NOMEM */
cbe_status cbe_text_stream_read(cbe_text_stream *stream, char *out, size_t size, size_t *n,
                                cbe_error *err);
/** Whether the whole text has been read. */
bool cbe_text_stream_ended(const cbe_text_stream *stream);
/** Bytes behind gzip data that were passed over: neither gzip nor zeros that pad it. */
uint64_t cbe_text_stream_passed_over(const cbe_text_stream *stream);
/** Adds the text to the inputs of a run, with the digest of the bytes read so far.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_text_stream_note(const cbe_text_stream *stream, cbe_inputs *inputs, cbe_error *err);

/** Name of a text in messages: its path, or "standard input". */
const char *cbe_text_name(const char *path);
/** Checks that there is a text, without reading it. @return CBE_OK; CBE_ERR_IO (path and reason) */
cbe_status cbe_text_look(const char *path, cbe_error *err);
/** Whether any process can read the text from its beginning any number of times. A missing file
 * counts as such a text. */
bool cbe_text_is_file(const char *path);

#endif
