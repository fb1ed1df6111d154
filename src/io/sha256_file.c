/* sha256_file.c - see sha256_file.h. */
#include "io/sha256_file.h"

#include <nettle/base16.h>
#include <nettle/sha2.h>
#include <stdint.h>

#include "io/mapped_file.h"

_Static_assert(CBE_SHA256_TEXT == BASE16_ENCODE_LENGTH(SHA256_DIGEST_SIZE) + 1, "digits and a 0");

cbe_status cbe_sha256_file(const char *path, char digest[CBE_SHA256_TEXT], cbe_error *err)
{
    cbe_mapped_file file;
    const cbe_status st = cbe_mapped_file_open(&file, path, err);
    if (st != CBE_OK) return st;
    struct sha256_ctx context;
    uint8_t bytes[SHA256_DIGEST_SIZE];
    sha256_init(&context);
    if (file.size > 0) sha256_update(&context, file.size, file.data);
    sha256_digest(&context, sizeof bytes, bytes);
    base16_encode_update(digest, sizeof bytes, bytes);
    digest[CBE_SHA256_TEXT - 1] = 0;
    cbe_mapped_file_close(&file);
    return CBE_OK;
}
