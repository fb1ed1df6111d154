/* printable.c - see printable.h. */
#include "core/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/utf8.h"

/* Characters that are not shown, in rising order: first and last of each range. */
static const uint32_t hidden[][2] = {
    {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},       {0x61c, 0x61c},
    {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},
    {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
};

/* The character of `size` well-formed bytes. */
static uint32_t character_of(const char *text, size_t size)
{
    static const unsigned char bits[] = {0, 0x7f, 0x1f, 0x0f,
                                         0x07}; /* mask of the first byte's payload, by size */
    uint32_t c = (unsigned char)text[0] & bits[size];
    for (size_t i = 1; i < size; i++) c = c << 6 | ((unsigned char)text[i] & 0x3f);
    return c;
}

static bool is_shown(uint32_t c)
{
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (c >= hidden[i][0] && c <= hidden[i][1]) return false;
    return true;
}

size_t cbe_printable(char *out, size_t size, const char *text, size_t length)
{
    size_t n = 0;
    for (size_t i = 0, part; i < length; i += part) {
        bool valid;
        part = cbe_utf8_next(text + i, length - i, &valid);
        const bool shown = valid && is_shown(character_of(text + i, part));
        const size_t width = shown ? part : 1;
        if (width >= size - n) break;
        if (shown)
            memmove(out + n, text + i, part);
        else
            out[n] = '?';
        n += width;
    }
    out[n] = 0;
    return n;
}

size_t cbe_whole_characters(const char *text, size_t length)
{
    enum { MOST = 4 };
    for (size_t back = 1; back < MOST && back <= length; back++) {
        const unsigned char c = (unsigned char)text[length - back];
        if (c < 0x80) break;
        if (c < 0xc0) continue; /* a continuation byte */
        return cbe_utf8_size((char)c) > back ? length - back : length;
    }
    return length;
}
