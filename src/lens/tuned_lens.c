/* tuned_lens.c - see lens/tuned_lens.h. */
#include "lens/tuned_lens.h"

#include "core/memory.h"

cbe_status cbe_tuned_lens_create(cbe_tuned_lens **out, size_t n_layers, size_t hidden_size,
                                 bool bias, cbe_error *err)
{
    cbe_tuned_lens *lens = cbe_alloc_zero(1, sizeof *lens, "tuned lens", err);
    if (!lens) return CBE_ERR_NOMEM;
    lens->n_layers = n_layers;
    lens->hidden_size = hidden_size;
    lens->weight = cbe_alloc_zero(n_layers, sizeof *lens->weight, "tuned lens", err);
    if (bias) lens->bias = cbe_alloc_zero(n_layers, sizeof *lens->bias, "tuned lens", err);
    bool made = lens->weight && (!bias || lens->bias);
    size_t size = 0;
    if (made && !cbe_mul_size(hidden_size, hidden_size, &size)) size = SIZE_MAX;
    for (size_t i = 0; i < n_layers && made; i++) {
        lens->weight[i] = cbe_alloc_zero(size, sizeof **lens->weight, "tuned lens", err);
        if (bias)
            lens->bias[i] = cbe_alloc_zero(hidden_size, sizeof **lens->bias, "tuned lens", err);
        made = lens->weight[i] && (!bias || lens->bias[i]);
    }
    if (made) {
        *out = lens;
        return CBE_OK;
    }
    cbe_tuned_lens_free(lens);
    return CBE_ERR_NOMEM;
}

void cbe_tuned_lens_free(cbe_tuned_lens *lens)
{
    if (!lens) return;
    for (size_t i = 0; lens->weight && i < lens->n_layers; i++) cbe_free(lens->weight[i]);
    for (size_t i = 0; lens->bias && i < lens->n_layers; i++) cbe_free(lens->bias[i]);
    cbe_free(lens->weight);
    cbe_free(lens->bias);
    cbe_free(lens);
}

cbe_translator cbe_tuned_lens_translator(const cbe_tuned_lens *lens, size_t layer)
{
    if (!lens || layer >= lens->n_layers) return (cbe_translator){NULL, NULL};
    return (cbe_translator){lens->weight[layer], lens->bias ? lens->bias[layer] : NULL};
}
