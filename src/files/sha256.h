/* sha256.h - SHA-256 digests as text, by which results and checkpoints know what was read. */
#ifndef CBE_FILES_SHA256_H
#define CBE_FILES_SHA256_H

#include <nettle/sha2.h>
#include <stddef.h>

#include "files/inputs.h"
#include "files/mapped_file.h"

/** The digest of what was put into the context, which begins anew. */
void cbe_sha256_end(struct sha256_ctx *context, char digest[CBE_SHA256_TEXT]);
/** Of bytes in memory. */
void cbe_sha256_bytes(const void *data, size_t size, char digest[CBE_SHA256_TEXT]);
/** Of a mapped file, whose pages are let go behind the reading: they do not count as memory in
 * use. */
void cbe_sha256_mapping(const cbe_mapped_file *file, char digest[CBE_SHA256_TEXT]);

#endif
