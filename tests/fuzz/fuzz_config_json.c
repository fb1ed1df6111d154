/* The config.json of a model, with its rotary settings and windows. */
#include "fuzz_input.h"
#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_config config;
    if (!fuzz_succeeded(
            cbe_config_from_json(&config, (const char *)data, size, "config.json", &err), &err))
        return 0;
    const cbe_model_config *s = &config.sizes;
    fuzz_expect(s->hidden_size && s->n_layers && s->n_heads && s->n_kv_heads && s->head_size,
                "sizes are not 0");
    fuzz_expect(s->n_heads % s->n_kv_heads == 0, "query heads share key heads evenly");
    fuzz_expect(config.rotary_size <= s->head_size && config.rotary_size % 2 == 0,
                "what is rotated is part of a head");
    for (size_t block = 0; block < s->n_layers && block < CBE_MAX_LOCAL_BLOCKS; block++)
        cbe_config_reach(&config, block);
    return 0;
}
