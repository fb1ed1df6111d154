/*
 * The other files of a model folder: config.json, tokenizer_config.json, special_tokens_map.json
 * and model.safetensors.index.json, with zero bytes between them, beside a tokenizer.json and
 * weights that are right.
 */
#include <string.h>

#include "fuzz_input.h"
#include "fuzz_tokenizer.h"
#include "model/source.h"

static const char tokenizer_json[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,"
    "\"rstrip\":false,\"normalized\":false,"
    "\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":null,\"post_processor\":null,"
    "\"decoder\":null,"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<s>\",0.0],[\"a\",-1.0],[\"b\",-2."
    "0],[\"ab\",-1.5]]}}";
/* A header of 64 bytes. */
static const char weights[] = "\x40\0\0\0\0\0\0\0{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
                              "offsets\":[0,4]}}          \0\0\x80\x3f";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { N = 4 };
    static const char *const names[N] = {"config.json", "tokenizer_config.json",
                                         "special_tokens_map.json", "model.safetensors.index.json"};
    cbe_error err = {0};
    cbe_tokenizer *tokenizer = NULL;
    cbe_source *source = NULL;
    fuzz_part parts[N];
    static bool ready;
    if (!ready) {
        fuzz_file("tokenizer.json", tokenizer_json, sizeof tokenizer_json - 1);
        char other[sizeof weights];
        memcpy(other, weights, sizeof weights);
        other[sizeof weights - 2] = 0x40; /* its number differs */
        fuzz_file("model-1.safetensors", weights, sizeof weights - 1);
        fuzz_file("model-2.safetensors", other, sizeof other - 1);
        ready = true;
    }
    fuzz_split(data, size, parts, N);
    for (size_t i = 0; i < N; i++) fuzz_file(names[i], parts[i].data, parts[i].size);
    if (fuzz_succeeded(cbe_tokenizer_from_folder(&tokenizer, fuzz_folder(), NULL, NULL, &err),
                       &err)) {
        /* Tokens that the other files add are part of it. */
        const int64_t n = (int64_t)cbe_tokenizer_vocab_size(tokenizer);
        fuzz_expect(cbe_tokenizer_bos(tokenizer) < n && cbe_tokenizer_eos(tokenizer) < n,
                    "bos and eos are of the vocabulary");
        fuzz_encode(tokenizer, "ab <s>", 6);
        cbe_tokenizer_free(tokenizer);
    }
    if (fuzz_succeeded(cbe_source_open(&source, fuzz_folder(), &err), &err)) {
        cbe_config config;
        cbe_remarks remarks = {0};
        cbe_tensor tensor;
        const char *path;
        fuzz_succeeded(cbe_source_config(source, &config, NULL, &err), &err);
        fuzz_expect(cbe_source_remark(source, &remarks, &err) == CBE_OK, "files are compared");
        cbe_remarks_free(&remarks);
        for (size_t i = 0; i < cbe_source_count(source); i++)
            fuzz_expect(cbe_source_get(source, cbe_source_name(source, i), &tensor, &path, &err) ==
                            CBE_OK,
                        "listed tensors are there");
        cbe_source_close(source);
    }
    return 0;
}
