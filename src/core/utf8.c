/*
 * utf8.c - see utf8.h.
 *
 * The second byte's range for each first byte (Unicode's table 3-7) excludes overlong forms,
 * surrogates and characters beyond U+10FFFF. Cost: one pass, eight ASCII bytes at a time.
 */
#include "core/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* First bytes in order; a row holds for first bytes from its own up to the next row's. */
static const struct {
    unsigned char first, length, low, high; /* length 0: never a first byte */
} sequences[] = {
    {0x00, 1, 0x00, 0x00}, {0x80, 0, 0x00, 0x00}, {0xc2, 2, 0x80, 0xbf}, {0xe0, 3, 0xa0, 0xbf},
    {0xe1, 3, 0x80, 0xbf}, {0xed, 3, 0x80, 0x9f}, {0xee, 3, 0x80, 0xbf}, {0xf0, 4, 0x90, 0xbf},
    {0xf1, 4, 0x80, 0xbf}, {0xf4, 4, 0x80, 0x8f}, {0xf5, 0, 0x00, 0x00},
};

size_t cbe_utf8_next(const char *bytes, size_t length, bool *valid)
{
    const unsigned char *text = (const unsigned char *)bytes;
    size_t row = sizeof sequences / sizeof *sequences - 1;
    while (text[0] < sequences[row].first) row--;
    const size_t want = sequences[row].length;
    *valid = want == 1;
    if (want < 2) return 1;
    if (length < 2 || text[1] < sequences[row].low || text[1] > sequences[row].high) return 1;
    size_t got = 2;
    while (got < want && got < length && (text[got] & 0xc0) == 0x80) got++;
    *valid = got == want;
    return got;
}

static size_t ascii_length(const char *text, size_t length)
{
    size_t i = 0;
    for (uint64_t word; length - i >= sizeof word; i += sizeof word) {
        memcpy(&word, text + i, sizeof word);
        if (word & UINT64_C(0x8080808080808080)) break;
    }
    while (i < length && (unsigned char)text[i] < 0x80) i++;
    return i;
}

size_t cbe_utf8_valid_length(const char *text, size_t length)
{
    size_t i = 0;
    while ((i += ascii_length(text + i, length - i)) < length) {
        bool valid;
        const size_t part = cbe_utf8_next(text + i, length - i, &valid);
        if (!valid) break;
        i += part;
    }
    return i;
}

bool cbe_utf8_is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}
