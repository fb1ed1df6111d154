/*
 * bytes.h - building small files, valid and damaged, byte by byte.
 */
#ifndef CBE_TESTS_BYTES_H
#define CBE_TESTS_BYTES_H

#include <stddef.h>
#include <stdint.h>

enum { BYTES_CAPACITY = 16384 };

/** Start with size 0. Appending past the capacity fails the test. */
typedef struct {
    size_t size;
    unsigned char data[BYTES_CAPACITY];
} bytes;

void bytes_put(bytes *b, const void *data, size_t size);
void bytes_text(bytes *b, const char *text); /* without the 0 at its end */
void bytes_u8(bytes *b, uint8_t value);
void bytes_u32(bytes *b, uint32_t value);
void bytes_u64(bytes *b, uint64_t value);
void bytes_zeros(bytes *b, size_t count);

/* Damaged versions of a file, each written to path and visited. Only the first `fixed` bytes, the
 * header, are changed. */

/** Visits every shorter file, and every value of every byte of the header. */
void bytes_visit_damaged(const bytes *valid, const char *path, size_t fixed,
                         void (*visit)(const char *path));
/** Visits `rounds` files with 2 to 5 bytes of the header changed, the same files in every run. */
void bytes_visit_random(const bytes *valid, const char *path, size_t fixed, size_t rounds,
                        void (*visit)(const char *path));

#endif
