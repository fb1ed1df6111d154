/* sha256.c - see sha256.h. */
#include "files/sha256.h"

#include <nettle/base16.h>
#include <stdint.h>

_Static_assert(CBE_SHA256_TEXT == BASE16_ENCODE_LENGTH(SHA256_DIGEST_SIZE) + 1, "digits and a 0");

void cbe_sha256_end(struct sha256_ctx *context, char digest[CBE_SHA256_TEXT])
{
    uint8_t bytes[SHA256_DIGEST_SIZE];
    sha256_digest(context, sizeof bytes, bytes);
    base16_encode_update(digest, sizeof bytes, bytes);
    digest[CBE_SHA256_TEXT - 1] = 0;
}

void cbe_sha256_bytes(const void *data, size_t size, char digest[CBE_SHA256_TEXT])
{
    struct sha256_ctx context;
    sha256_init(&context);
    if (size > 0) sha256_update(&context, size, data);
    cbe_sha256_end(&context, digest);
}

void cbe_sha256_mapping(const cbe_mapped_file *file, char digest[CBE_SHA256_TEXT])
{
    enum { PART = 1 << 24 };
    struct sha256_ctx context;
    sha256_init(&context);
    for (size_t at = 0; at < file->size; at += PART) {
        const size_t n = file->size - at < PART ? file->size - at : PART;
        sha256_update(&context, n, file->data + at);
        cbe_mapped_file_let_go(file, at, n);
    }
    cbe_sha256_end(&context, digest);
}
