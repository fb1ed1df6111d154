/* tokenizer.json: what can be loaded tokenises a text and decodes it again. */
#include "fuzz_input.h"
#include "fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_tokenizer *tokenizer = NULL;
    const char *path = fuzz_file("tokenizer.json", data, size);
    if (fuzz_succeeded(cbe_tokenizer_from_json(&tokenizer, path, NULL, NULL, &err), &err))
        fuzz_use_tokenizer(tokenizer);
    return 0;
}
