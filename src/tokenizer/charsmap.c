/*
 * charsmap.c - see charsmap.h.
 *
 * A unit of the trie: bits 0-7 and 31 its label, bit 8 whether a text's place is below it, bits
 * 10-30 the offset of the units below it, times 256 if bit 9 is set. A unit that holds a place has
 * it in bits 0-30.
 */
#include "tokenizer/charsmap.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/utf8.h"

enum { SIZE_BYTES = 4, WHOLE_GRAPHEME = 6, NONE = -1, OUTSIDE = -2 };

struct cbe_charsmap {
    char *path;
    size_t n_units, n_texts;
    uint32_t *units; /* (n_units) */
    char *texts;     /* n_texts bytes and a 0 */
};

static uint32_t read_u32(const unsigned char *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static cbe_status wrong(const char *path, const char *what, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_FORMAT, -1,
                    "%s: precompiled_charsmap, a table of normalisation, %s; save the tokenizer "
                    "again with tokenizers or transformers",
                    path, what);
}

cbe_status cbe_charsmap_create(cbe_charsmap **out, const void *bytes, size_t size, const char *path,
                               cbe_error *err)
{
    const unsigned char *data = bytes;
    size_t trie = 0;
    if (size > 0 && size < SIZE_BYTES) return wrong(path, "is cut off", err);
    if (size > 0) {
        trie = read_u32(data);
        data += SIZE_BYTES;
        size -= SIZE_BYTES;
    }
    trie -= trie % sizeof(uint32_t);
    if (trie > size) return wrong(path, "is cut off", err);
    const char *texts = size > trie ? (const char *)data + trie : "";
    if (cbe_utf8_valid_length(texts, size - trie) < size - trie)
        return wrong(path, "holds texts that are not UTF-8", err);
    cbe_charsmap *made = cbe_alloc_zero(1, sizeof *made, "charsmap", err);
    if (!made) return CBE_ERR_NOMEM;
    made->n_units = trie / sizeof(uint32_t);
    made->n_texts = size - trie;
    made->path = cbe_copy_string(path, strlen(path), err);
    made->units = cbe_alloc(made->n_units, sizeof *made->units, "charsmap", err);
    made->texts = cbe_copy_string(texts, made->n_texts, err);
    if (!made->path || !made->units || !made->texts) {
        cbe_charsmap_free(made);
        return CBE_ERR_NOMEM;
    }
    for (size_t i = 0; i < made->n_units; i++) made->units[i] = read_u32(data + 4 * i);
    *out = made;
    return CBE_OK;
}

static int base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

cbe_status cbe_charsmap_create_base64(cbe_charsmap **out, const char *text, size_t length,
                                      const char *path, cbe_error *err)
{
    size_t n = 0;
    uint32_t bits = 0;
    int n_bits = 0;
    while (length > 0 && text[length - 1] == '=') length--;
    unsigned char *bytes = cbe_alloc(length, 1, "charsmap", err);
    if (!bytes) return CBE_ERR_NOMEM;
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < length && st == CBE_OK; i++) {
        const int digit = base64_digit(text[i]);
        if (digit < 0) {
            st = wrong(path, "is not base64", err);
            break;
        }
        bits = bits << 6 | (uint32_t)digit;
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        bytes[n++] = (unsigned char)(bits >> n_bits);
    }
    if (st == CBE_OK) st = cbe_charsmap_create(out, bytes, n, path, err);
    cbe_free(bytes);
    return st;
}

void cbe_charsmap_free(cbe_charsmap *map)
{
    if (!map) return;
    cbe_free(map->path);
    cbe_free(map->units);
    cbe_free(map->texts);
    cbe_free(map);
}

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & (1U << 9)) >> 6);
}

/* Place of the text that the trie has for the shortest beginning of key, or NONE or OUTSIDE. */
static int64_t look_up(const cbe_charsmap *map, const char *key, size_t length)
{
    if (map->n_units == 0) return NONE;
    size_t at = offset_of(map->units[0]);
    for (size_t i = 0; i < length && key[i]; i++) {
        const unsigned char byte = (unsigned char)key[i];
        at ^= byte;
        if (at >= map->n_units) return OUTSIDE;
        const uint32_t unit = map->units[at];
        if ((unit & (1U << 31 | 0xff)) != byte) return NONE;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (at >= map->n_units) return OUTSIDE;
        const uint32_t place = map->units[at] & ~(1U << 31);
        const bool inside = place <= map->n_texts && (map->texts[place] & 0xc0) != 0x80;
        return inside ? (int64_t)place : OUTSIDE;
    }
    return NONE;
}

/* Appends what replaces key, if the table has something for it. */
static cbe_status replace(const cbe_charsmap *map, const char *key, size_t length, bool *replaced,
                          cbe_byte_buffer *out, cbe_error *err)
{
    const int64_t place = look_up(map, key, length);
    *replaced = place >= 0;
    if (place == OUTSIDE) return wrong(map->path, "leads out of itself", err);
    if (place == NONE) return CBE_OK;
    return cbe_byte_buffer_put(out, map->texts + place, strlen(map->texts + place), err);
}

static size_t grapheme_size(const char *text, size_t length)
{
    utf8proc_int32_t before, character, state = 0;
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text;
    size_t size = (size_t)utf8proc_iterate(bytes, (utf8proc_ssize_t)length, &before);
    while (size < length) {
        const utf8proc_ssize_t next =
            utf8proc_iterate(bytes + size, (utf8proc_ssize_t)(length - size), &character);
        if (utf8proc_grapheme_break_stateful(before, character, &state)) break;
        size += (size_t)next;
        before = character;
    }
    return size;
}

cbe_status cbe_charsmap_apply(const cbe_charsmap *map, const char *text, size_t length,
                              cbe_byte_buffer *out, cbe_error *err)
{
    cbe_status st = CBE_OK;
    for (size_t i = 0, end; i < length && st == CBE_OK; i = end) {
        bool replaced = false;
        end = i + grapheme_size(text + i, length - i);
        if (end - i < WHOLE_GRAPHEME) st = replace(map, text + i, end - i, &replaced, out, err);
        for (size_t at = i, size; !replaced && at < end && st == CBE_OK; at += size) {
            bool other;
            size = cbe_utf8_size(text[at]);
            st = replace(map, text + at, size, &other, out, err);
            if (st == CBE_OK && !other) st = cbe_byte_buffer_put(out, text + at, size, err);
        }
    }
    return st;
}
