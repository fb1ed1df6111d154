/* utf8_replace.c - see utf8_replace.h. */
#include "core/utf8_replace.h"

#include <stdbool.h>
#include <string.h>

#include "core/memory.h"
#include "core/utf8.h"

static const char replacement[] = "\xef\xbf\xbd";
enum { REPLACEMENT_LENGTH = sizeof replacement - 1 };

cbe_status cbe_utf8_replace(char **out, const char *text, size_t length, size_t *out_length,
                            size_t *n_replaced, cbe_error *err)
{
    size_t size = 0, replaced = 0;
    for (size_t i = 0;
         /* Each byte becomes at most 3, so size cannot overflow for a text in memory. */
         i < length;) {
        const size_t good = cbe_utf8_valid_length(text + i, length - i);
        i += good;
        size += good;
        if (i == length) break;
        bool valid;
        i += cbe_utf8_next(text + i, length - i, &valid);
        size += REPLACEMENT_LENGTH;
        replaced++;
    }
    char *copy = cbe_alloc(size + 1, 1, "text", err);
    if (!copy) return CBE_ERR_NOMEM;
    char *to = copy;
    for (size_t i = 0; i < length;) {
        const size_t good = cbe_utf8_valid_length(text + i, length - i);
        if (good) memcpy(to, text + i, good);
        i += good;
        to += good;
        if (i == length) break;
        bool valid;
        i += cbe_utf8_next(text + i, length - i, &valid);
        memcpy(to, replacement, REPLACEMENT_LENGTH);
        to += REPLACEMENT_LENGTH;
    }
    *to = 0;
    *out = copy;
    *out_length = size;
    if (n_replaced) *n_replaced = replaced;
    return CBE_OK;
}
