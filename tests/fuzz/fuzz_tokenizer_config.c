/* The files beside a tokenizer.json that is always the same: tokenizer_config.json,
 * special_tokens_map.json, added_tokens.json and config.json, with zero bytes between them. */
#include "fuzz_input.h"
#include "fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char tokenizer_json[] =
        "{\"added_tokens\": [{\"id\": 6, \"content\": \"<s>\", \"special\": true}, {\"id\": 1, "
        "\"content\": \"a\"}], \"padding\": {\"pad_token\": \"<p>\"}, \"normalizer\": {\"type\": "
        "\"NFC\"}, \"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", "
        "\"vocab\": {\"<u>\": 0, \"a\": 1, \"b\": 2, \"ab\": 3, \"1\": 4, \"2\": 5}, \"merges\": "
        "[\"a b\"], \"unk_token\": \"<u>\"}}";
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json",
                                        "added_tokens.json", "config.json"};
    cbe_error err = {0};
    cbe_tokenizer *tokenizer = NULL;
    cbe_remarks remarks = {0};
    fuzz_part parts[4];
    fuzz_file("tokenizer.json", tokenizer_json, sizeof tokenizer_json - 1);
    fuzz_split(data, size, parts, 4);
    for (size_t i = 0; i < 4; i++) fuzz_file(names[i], parts[i].data, parts[i].size);
    if (fuzz_succeeded(cbe_tokenizer_from_folder(&tokenizer, fuzz_folder(), NULL, &remarks, &err),
                       &err))
        fuzz_use_tokenizer(tokenizer);
    cbe_remarks_free(&remarks);
    return 0;
}
