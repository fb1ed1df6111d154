/* byte_characters.c - see byte_characters.h. */
#include "tokenizer/byte_characters.h"

#include <utf8proc.h>

/* Bytes that are not written as the character of their number: three runs, in the order of their
 * characters. */
enum { RUN1_END = 0x21, RUN2_BEGIN = 0x7f, RUN2_END = 0xa1, LAST = 0xad };
enum { N_RUN2 = RUN2_END - RUN2_BEGIN, FIRST_CHARACTER = 0x100 };

int32_t cbe_byte_character(unsigned byte)
{
    if (byte < RUN1_END) return FIRST_CHARACTER + (int32_t)byte;
    if (byte >= RUN2_BEGIN && byte < RUN2_END)
        return FIRST_CHARACTER + RUN1_END + (int32_t)byte - RUN2_BEGIN;
    if (byte == LAST) return FIRST_CHARACTER + RUN1_END + N_RUN2;
    return (int32_t)byte;
}

cbe_status cbe_put_byte_characters(cbe_byte_buffer *out, const char *bytes, size_t length,
                                   cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < length && st == CBE_OK; i++) {
        utf8proc_uint8_t text[4];
        const utf8proc_ssize_t n =
            utf8proc_encode_char(cbe_byte_character((unsigned char)bytes[i]), text);
        st = cbe_byte_buffer_put(out, text, (size_t)n, err);
    }
    return st;
}

/* The byte of a character; -1 if it stands for none. */
static int byte_of(int32_t character)
{
    if (character < FIRST_CHARACTER)
        return character >= 0 && cbe_byte_character((unsigned)character) == character
                   ? (int)character
                   : -1;
    const int32_t number = character - FIRST_CHARACTER;
    if (number < RUN1_END) return (int)number;
    if (number < RUN1_END + N_RUN2) return (int)(number - RUN1_END) + RUN2_BEGIN;
    return number == RUN1_END + N_RUN2 ? LAST : -1;
}

bool cbe_bytes_of_characters(cbe_span text, char *out, size_t *length)
{
    size_t n = 0;
    for (size_t i = 0; i < text.length;) {
        utf8proc_int32_t character;
        const utf8proc_ssize_t read =
            utf8proc_iterate((const utf8proc_uint8_t *)text.data + i,
                             (utf8proc_ssize_t)(text.length - i), &character);
        const int byte = read > 0 ? byte_of(character) : -1;
        if (byte < 0) return false;
        out[n++] = (char)byte;
        i += (size_t)read;
    }
    *length = n;
    return n > 0;
}
