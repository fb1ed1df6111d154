/*
 * gguf_bytes.h - parts of a .gguf file, for building small files; see bytes.h.
 */
#ifndef CBE_TESTS_GGUF_BYTES_H
#define CBE_TESTS_GGUF_BYTES_H

#include "support/bytes.h"

/** Types of metadata values, by number. */
enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

/** Appends the head of a file of version 3. */
void gguf_head(bytes *b, uint64_t n_tensors, uint64_t n_pairs);
void gguf_string(bytes *b, const char *text);
/** Appends a key and the type of its value; the caller appends the value. */
void gguf_key(bytes *b, const char *key, uint32_t type);
/** Appends the head of an array, behind a key of type ARRAY. */
void gguf_array(bytes *b, uint32_t type, uint64_t count);
void gguf_pair_u32(bytes *b, const char *key, uint32_t value);
/** Appends the info of a tensor of two dimensions, the fastest first as in the file. Types are
 * numbers: 0 f32, 1 f16, 2 q4_0. */
void gguf_info(bytes *b, const char *name, uint64_t fast, uint64_t slow, uint32_t type,
               uint64_t offset);
/** Appends padding, then size bytes that count up. */
void gguf_data(bytes *b, size_t alignment, size_t size);

#endif
