/* A model folder: config.json, a zero byte, model.safetensors. What opens is run. */
#include "model/model.h"
#include "fuzz_input.h"

static cbe_status take_logits(void *context, size_t first, size_t n_tokens, const float *logits,
                              cbe_error *err)
{
    size_t *n = context;
    (void)first, (void)logits, (void)err;
    *n += n_tokens;
    return CBE_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { TOKENS = 3 };
    cbe_error err = {0};
    cbe_model *model = NULL;
    fuzz_part parts[2];
    fuzz_split(data, size, parts, 2);
    fuzz_file("config.json", parts[0].data, parts[0].size);
    fuzz_file("model.safetensors", parts[1].data, parts[1].size);
    if (!fuzz_succeeded(cbe_model_open(&model, fuzz_folder(), &err), &err)) return 0;
    const cbe_model_config *config = cbe_model_get_config(model);
    fuzz_expect(config->n_layers <= size && config->vocab_size <= size,
                "every block and token has weights");
    const int64_t ids[TOKENS] = {0, (int64_t)config->vocab_size - 1, 0};
    size_t n = 0;
    const cbe_forward_sink sink = {.logits = take_logits, .context = &n};
    if (fuzz_succeeded(cbe_model_forward(model, 1, TOKENS, ids, &sink, &err), &err))
        fuzz_expect(n == TOKENS, "each token has logits");
    cbe_model_close(model);
    return 0;
}
