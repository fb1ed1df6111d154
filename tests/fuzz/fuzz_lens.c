/* A tuned lens's folder: config.json, a zero byte, params.safetensors. */
#include <math.h>

#include "lens/tuned_lens.h"
#include "fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cbe_error err = {0};
    cbe_tuned_lens *lens = NULL;
    cbe_tuned_lens_config *config = NULL;
    fuzz_part parts[2];
    fuzz_split(data, size, parts, 2);
    fuzz_file("config.json", parts[0].data, parts[0].size);
    fuzz_file("params.safetensors", parts[1].data, parts[1].size);
    if (!fuzz_succeeded(cbe_tuned_lens_load(&lens, &config, fuzz_folder(), NULL, &err), &err))
        return 0;
    for (size_t i = 0; i < lens->n_layers; i++)
        for (size_t k = 0; k < lens->hidden_size * lens->hidden_size; k++)
            fuzz_expect(isfinite(lens->weight[i][k]), "a lens's numbers are finite");
    cbe_tuned_lens_config_get(config, "base_model_name_or_path");
    cbe_tuned_lens_config_free(config);
    cbe_tuned_lens_free(lens);
    return 0;
}
