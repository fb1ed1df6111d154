/* bytes.c - see bytes.h. */
#include "support/bytes.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "support/assert_close.h"
#include "support/temp_folder.h"

void bytes_put(bytes *b, const void *data, size_t size)
{
    assert_true(size <= BYTES_CAPACITY - b->size);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void bytes_text(bytes *b, const char *text)
{
    bytes_put(b, text, strlen(text));
}

void bytes_u8(bytes *b, uint8_t value)
{
    bytes_put(b, &value, sizeof value);
}

void bytes_u32(bytes *b, uint32_t value)
{
    bytes_put(b, &value, sizeof value);
}

void bytes_u64(bytes *b, uint64_t value)
{
    bytes_put(b, &value, sizeof value);
}

void bytes_zeros(bytes *b, size_t count)
{
    for (size_t i = 0; i < count; i++) bytes_u8(b, 0);
}

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % limit;
}

/* A file that is changed in place: a byte at a time is much faster than a file at a time. */
static int write_and_open(const bytes *valid, const char *path)
{
    temp_write(path, valid->data, valid->size);
    const int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    return fd;
}

void bytes_visit_damaged(const bytes *valid, const char *path, size_t fixed,
                         void (*visit)(const char *path))
{
    for (size_t size = 0; size < valid->size; size++) {
        temp_write(path, valid->data, size);
        visit(path);
    }
    const int fd = write_and_open(valid, path);
    for (size_t i = 0; i < fixed; i++) {
        for (int value = 0; value < 256; value++) {
            const unsigned char byte = (unsigned char)value;
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)i), 1);
            visit(path);
        }
        assert_int_equal(pwrite(fd, valid->data + i, 1, (off_t)i), 1);
    }
    close(fd);
}

void bytes_visit_random(const bytes *valid, const char *path, size_t fixed, size_t rounds,
                        void (*visit)(const char *path))
{
    uint64_t state = 1;
    const int fd = write_and_open(valid, path);
    for (size_t round = 0; round < rounds; round++) {
        bytes damaged = *valid;
        for (uint32_t n = 2 + random_below(&state, 4); n > 0; n--)
            damaged.data[random_below(&state, (uint32_t)fixed)] =
                (unsigned char)random_below(&state, 256);
        assert_int_equal(pwrite(fd, damaged.data, damaged.size, 0), damaged.size);
        visit(path);
    }
    close(fd);
}
