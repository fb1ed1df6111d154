/* terminal.c - see terminal.h. */
#include "support/terminal.h"

unsigned terminal_acts_on(const void *text, size_t length)
{
    const unsigned char *bytes = text;
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = bytes[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) return c;
        if (c < 0x80) continue;
        const size_t size = c >= 0xf5 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
        if (size == 1 || size > length - i) return c;
        unsigned code = size == 2 ? c & 31u : size == 3 ? c & 15u : c & 7u;
        for (size_t k = 1; k < size; k++) {
            if ((bytes[i + k] & 0xc0) != 0x80) return c;
            code = code << 6 | (bytes[i + k] & 63u);
        }
        i += size - 1;
        if (code < 0xa0 || code == 0x61c || (code >= 0x200b && code <= 0x200f) ||
            (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) ||
            code == 0xfeff || (code >= 0xe0000 && code <= 0xe007f))
            return code;
    }
    return 0;
}
