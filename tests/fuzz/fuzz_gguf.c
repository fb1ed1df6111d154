/* GGUF: metadata, tensors and their dequantisation, the model's configuration, the tokenizer. */
#include "formats/gguf.h"
#include "fuzz_input.h"
#include "fuzz_tokenizer.h"
#include "model/config.h"

static void read_metadata(const cbe_gguf *file)
{
    cbe_span key, text, *texts = NULL;
    char value[80], name[64];
    cbe_error err = {0};
    for (size_t i = 0; cbe_gguf_describe(file, i, &key, value, sizeof value); i++) {
        uint64_t number;
        int64_t whole;
        double real;
        bool flag;
        size_t n;
        int64_t *ints = NULL;
        float *floats = NULL;
        if (key.length >= sizeof name) continue;
        for (size_t k = 0; k < key.length; k++) name[k] = key.data[k];
        name[key.length] = 0;
        fuzz_succeeded(cbe_gguf_uint(file, name, &number, &err), &err);
        fuzz_succeeded(cbe_gguf_int(file, name, &whole, &err), &err);
        fuzz_succeeded(cbe_gguf_double(file, name, &real, &err), &err);
        fuzz_succeeded(cbe_gguf_bool(file, name, &flag, &err), &err);
        fuzz_succeeded(cbe_gguf_string(file, name, &text, &err), &err);
        if (fuzz_succeeded(cbe_gguf_strings(file, name, &texts, &n, &err), &err))
            cbe_gguf_free_array(texts);
        if (fuzz_succeeded(cbe_gguf_ints(file, name, &ints, &n, &err), &err))
            cbe_gguf_free_array(ints);
        if (fuzz_succeeded(cbe_gguf_floats(file, name, &floats, &n, &err), &err))
            cbe_gguf_free_array(floats);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_gguf *file = NULL;
    const char *path = fuzz_file("x.gguf", data, size);
    if (!fuzz_succeeded(cbe_gguf_open(&file, path, &err), &err)) return 0;
    read_metadata(file);
    for (size_t i = 0; i < cbe_gguf_count(file); i++) {
        size_t n_dims;
        cbe_tensor tensor;
        cbe_gguf_shape(file, i, &n_dims);
        cbe_gguf_type_name(file, i);
        if (fuzz_succeeded(cbe_gguf_tensor(file, cbe_gguf_name(file, i), &tensor, &err), &err))
            fuzz_read_tensor(&tensor);
    }
    cbe_config config;
    cbe_remarks remarks = {0};
    fuzz_succeeded(cbe_config_from_gguf(&config, file, &remarks, &err), &err);
    cbe_tokenizer *tokenizer = NULL;
    if (fuzz_succeeded(cbe_tokenizer_from_gguf(&tokenizer, file, &remarks, &err), &err))
        fuzz_use_tokenizer(tokenizer);
    cbe_remarks_free(&remarks);
    cbe_gguf_close(file);
    return 0;
}
