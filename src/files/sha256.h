/* sha256.h - SHA-256 digests as text, by which results and checkpoints know their inputs. */
#ifndef CBE_FILES_SHA256_H
#define CBE_FILES_SHA256_H

#include <nettle/sha2.h>
#include <stddef.h>

#include "files/inputs.h"
#include "files/mapped_file.h"

/** Writes the digest of the data put into the context, and resets the context. */
void cbe_sha256_end(struct sha256_ctx *context, char digest[CBE_SHA256_TEXT]);
/** Digest of bytes in memory. */
void cbe_sha256_bytes(const void *data, size_t size, char digest[CBE_SHA256_TEXT]);
/** Digest of a mapped file. Pages are dropped after they are read, so that they do not count as
 * memory in use. */
void cbe_sha256_mapping(const cbe_mapped_file *file, char digest[CBE_SHA256_TEXT]);

#endif
