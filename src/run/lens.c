/* lens.c - what callers of the library do with lenses; see cbe/lens.h. */
#include "cbe/lens.h"

#include "core/fail.h"
#include "lens/fit.h"
#include "lens/tuned_lens.h"
#include "math/gemm.h"
#include "run/watch.h"

/* Share of the sequences that chooses the ridge of an affine lens. */
static const double held_out = 0.1;

static cbe_status refuse(const char *caller, const char *what, cbe_error *err)
{
    return cbe_fail(err, CBE_ERR_ARG, -1, "%s: %s", caller, what);
}

cbe_status cbe_lens_create(cbe_lens **out, size_t n_layers, size_t hidden_size, cbe_error *err)
{
    if (!out || n_layers == 0 || hidden_size == 0)
        return refuse("cbe_lens_create", out ? "a lens without layers or width" : "out is NULL",
                      err);
    return cbe_tuned_lens_create(out, n_layers, hidden_size, true, err);
}

cbe_status cbe_lens_load(cbe_lens **out, const char *folder, cbe_error *err)
{
    if (!out || !folder)
        return refuse("cbe_lens_load", out ? "the folder is NULL" : "out is NULL", err);
    return cbe_tuned_lens_load(out, NULL, folder, NULL, err);
}

cbe_status cbe_lens_fit(cbe_lens **out, const cbe_model *model, size_t n_sequences,
                        size_t context_length, const int64_t *ids, cbe_callback *callback,
                        void *context, cbe_error *err)
{
    cbe_watch watch = {.callback = callback, .context = context, .side = CBE_IN_LIBRARY};
    if (!out || !model || !ids || context_length == 0)
        return refuse("cbe_lens_fit",
                      !out     ? "out is NULL"
                      : !model ? "the model is NULL"
                      : !ids   ? "the ids are NULL"
                               : "there are no tokens",
                      err);
    cbe_gemm_enter();
    const cbe_status st = cbe_affine_fit(out, model, n_sequences, context_length, ids, held_out,
                                         NULL, cbe_watch_forward, &watch, err);
    cbe_gemm_leave();
    return st;
}

cbe_status cbe_lens_save(const cbe_lens *lens, const char *folder, const cbe_model *model,
                         cbe_error *err)
{
    cbe_tuned_lens_config *config = NULL;
    if (!lens || !folder)
        return refuse("cbe_lens_save", lens ? "the folder is NULL" : "the lens is NULL", err);
    cbe_status st = CBE_OK;
    if (model)
        st = cbe_tuned_lens_config_create(&config, cbe_model_path(model), cbe_model_decoder(model),
                                          err);
    if (st == CBE_OK) st = cbe_tuned_lens_save(lens, config, folder, CBE_LENS_SAFETENSORS, err);
    cbe_tuned_lens_config_free(config);
    return st;
}

void cbe_lens_free(cbe_lens *lens)
{
    cbe_tuned_lens_free(lens);
}

size_t cbe_lens_n_layers(const cbe_lens *lens)
{
    return lens->n_layers;
}

size_t cbe_lens_hidden_size(const cbe_lens *lens)
{
    return lens->hidden_size;
}

bool cbe_lens_translator(cbe_lens *lens, size_t layer, float **weight, float **bias)
{
    if (!lens || layer >= lens->n_layers) return false;
    if (weight) *weight = lens->weight[layer];
    if (bias) *bias = lens->bias ? lens->bias[layer] : NULL;
    return true;
}
