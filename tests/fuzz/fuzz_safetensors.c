/* Every reader of safetensors files: tensors, hidden states, decoders, tokens. */
#include <stdlib.h>

#include "model/decoder.h"
#include "model/hidden_states.h"
#include "formats/safetensors.h"
#include "fuzz_input.h"

static void read_hidden_states(const char *path)
{
    cbe_error err = {0};
    cbe_hidden_states *states = NULL;
    if (!fuzz_succeeded(cbe_hidden_states_open(&states, path, &err), &err)) return;
    const size_t n = cbe_hidden_states_n_tokens(states, 0),
                 d = cbe_hidden_states_hidden_size(states);
    float *out = malloc((n * d + 1) * sizeof *out);
    int64_t *labels = malloc((n + 1) * sizeof *labels);
    double ratio;
    fuzz_expect(out && labels, "there is memory for hidden states");
    for (size_t layer = 0; layer < cbe_hidden_states_end(states) && layer < 4; layer++) {
        fuzz_succeeded(cbe_hidden_states_read(states, layer, 0, out, &err), &err);
        fuzz_succeeded(cbe_hidden_states_read(states, layer, 1, out, &err), &err);
        fuzz_succeeded(cbe_hidden_states_first_norm_ratio(states, layer, &ratio, &err), &err);
    }
    fuzz_succeeded(cbe_hidden_states_labels(states, 0, labels, &err), &err);
    free(labels);
    free(out);
    cbe_hidden_states_close(states);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_safetensors *file = NULL;
    const char *path = fuzz_file("x.safetensors", data, size);
    if (!fuzz_succeeded(cbe_safetensors_open(&file, path, &err), &err)) return 0;
    for (size_t i = 0; i < cbe_safetensors_count(file); i++) {
        size_t n_dims;
        cbe_tensor tensor;
        cbe_safetensors_shape(file, i, &n_dims);
        cbe_safetensors_dtype_name(file, i);
        if (fuzz_succeeded(cbe_safetensors_get(file, cbe_safetensors_name(file, i), &tensor, &err),
                           &err))
            fuzz_read_tensor(&tensor);
    }
    cbe_safetensors_metadata(file, "format");
    cbe_safetensors_close(file);

    read_hidden_states(path);
    cbe_decoder *decoder = NULL;
    if (fuzz_succeeded(cbe_decoder_read(&decoder, path, NULL, &err), &err))
        cbe_decoder_free(decoder);
    cbe_tokens tokens = {0};
    if (fuzz_succeeded(cbe_tokens_load(&tokens, path, NULL, &err), &err)) {
        fuzz_succeeded(cbe_tokens_check(&tokens, 100, &err), &err);
        cbe_tokens_free(&tokens);
    }
    return 0;
}
