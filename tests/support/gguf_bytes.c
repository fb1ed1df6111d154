/* gguf_bytes.c - see gguf_bytes.h. */
#include "support/gguf_bytes.h"

#include <string.h>

void gguf_head(bytes *b, uint64_t n_tensors, uint64_t n_pairs)
{
    b->size = 0;
    bytes_text(b, "GGUF");
    bytes_u32(b, 3);
    bytes_u64(b, n_tensors);
    bytes_u64(b, n_pairs);
}

void gguf_string(bytes *b, const char *text)
{
    bytes_u64(b, strlen(text));
    bytes_text(b, text);
}

void gguf_key(bytes *b, const char *key, uint32_t type)
{
    gguf_string(b, key);
    bytes_u32(b, type);
}

void gguf_array(bytes *b, uint32_t type, uint64_t count)
{
    bytes_u32(b, type);
    bytes_u64(b, count);
}

void gguf_pair_u32(bytes *b, const char *key, uint32_t value)
{
    gguf_key(b, key, U32);
    bytes_u32(b, value);
}

void gguf_info(bytes *b, const char *name, uint64_t fast, uint64_t slow, uint32_t type,
               uint64_t offset)
{
    gguf_string(b, name);
    bytes_u32(b, 2);
    bytes_u64(b, fast);
    bytes_u64(b, slow);
    bytes_u32(b, type);
    bytes_u64(b, offset);
}

void gguf_data(bytes *b, size_t alignment, size_t size)
{
    while (b->size % alignment) bytes_u8(b, 0);
    for (size_t i = 0; i < size; i++) bytes_u8(b, (uint8_t)i);
}
