/* SentencePiece's tables of normalisation: a text, up to the first zero byte, and the table, which
 * is applied to it. */
#include <string.h>

#include "core/memory.h"
#include "core/utf8.h"
#include "core/utf8_replace.h"
#include "fuzz_input.h"
#include "tokenizer/charsmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_charsmap *map = NULL;
    cbe_byte_buffer out = {0};
    fuzz_part parts[2];
    char *text = NULL;
    size_t length;
    fuzz_split(data, size, parts, 2);
    fuzz_expect(cbe_utf8_replace(&text, (const char *)parts[0].data, parts[0].size, &length, NULL,
                                 &err) == CBE_OK,
                "ill-formed text can be replaced");
    if (fuzz_succeeded(cbe_charsmap_create(&map, parts[1].data, parts[1].size, "fuzz", &err),
                       &err) &&
        fuzz_succeeded(cbe_charsmap_apply(map, text, length, &out, &err), &err))
        fuzz_expect(out.size == 0 || cbe_utf8_valid_length(out.bytes, out.size) == out.size,
                    "normalised text is UTF-8");
    cbe_free(out.bytes);
    cbe_charsmap_free(map);
    map = NULL;
    if (fuzz_succeeded(cbe_charsmap_create_base64(&map, (const char *)parts[1].data, parts[1].size,
                                                  "fuzz", &err),
                       &err))
        cbe_charsmap_free(map);
    cbe_free(text);
    return 0;
}
