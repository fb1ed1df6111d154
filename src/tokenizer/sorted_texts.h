/*
 * sorted_texts.h - a sorted array of texts as a trie: each byte read narrows the range of texts
 * that begin with the bytes read, by two binary searches.
 */
#ifndef CBE_TOKENIZER_SORTED_TEXTS_H
#define CBE_TOKENIZER_SORTED_TEXTS_H

#include <string.h>

#include "formats/gguf.h"

/** Index of the first of items low .. high - 1 whose byte at `depth` is not below `byte`; high:
 * there is none.
 * @param items  each begins with its text, a cbe_span longer than depth; sorted by the texts' bytes
 * @param size   of an item, in bytes */
static inline size_t cbe_first_not_below(const void *items, size_t size, size_t low, size_t high,
                                         size_t depth, unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        cbe_span text;
        memcpy(&text, (const char *)items + middle * size, sizeof text);
        if ((unsigned char)text.data[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

#endif
