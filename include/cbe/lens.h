/*
 * lens.h - lenses: for each layer a translator x = h + A h + b, then the model's decoder.
 *
 * Translator i reads hidden_states.i, i = 0 .. L - 1; hidden_states.L needs none. Source: Belrose
 * et al. 2023, arXiv:2303.08112. A lens lies in a folder: config.json with params.pt or
 * params.safetensors, as the package tuned-lens has them (docs/formats.md).
 */
#ifndef CBE_LENS_H
#define CBE_LENS_H

#include "cbe/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cbe_tuned_lens cbe_lens;

/** A lens of zeros, which is the logit lens.
 * @return CBE_OK; CBE_ERR_ARG (a size of 0); CBE_ERR_NOMEM */
CBE_API cbe_status cbe_lens_create(cbe_lens **out, size_t n_layers, size_t hidden_size,
                                   cbe_error *err);
/** Reads a lens folder. Nothing in params.pt is executed.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT; CBE_ERR_SHAPE; CBE_ERR_UNSUPPORTED; CBE_ERR_NUMERIC;
 * CBE_ERR_NOMEM */
CBE_API cbe_status cbe_lens_load(cbe_lens **out, const char *folder, cbe_error *err);
/** The affine lens of a model, in closed form: the ridge regression of hidden_states.L on each
 * layer's hidden states (docs/tuned-lenses.md). A tenth of the sequences chooses the ridge.
 * @param ids       (n_sequences, context_length), at least 2 sequences
 * @param callback  told of progress, and may cancel; NULL: none
 * @return CBE_OK; CBE_ERR_ARG; CBE_ERR_NOMEM; CBE_ERR_NUMERIC (layer named); CBE_ERR_CANCELLED */
CBE_API cbe_status cbe_lens_fit(cbe_lens **out, const cbe_model *model, size_t n_sequences,
                                size_t context_length, const int64_t *ids, cbe_callback *callback,
                                void *context, cbe_error *err);
/** Writes a lens folder with params.safetensors.
 * @param model  the model that the lens is for, which config.json then names; NULL: not known
 * @return CBE_OK; CBE_ERR_ARG (the folder holds a lens in params.pt, or a model); CBE_ERR_IO;
 * CBE_ERR_SYSTEM; CBE_ERR_NOMEM */
CBE_API cbe_status cbe_lens_save(const cbe_lens *lens, const char *folder, const cbe_model *model,
                                 cbe_error *err);
CBE_API void cbe_lens_free(cbe_lens *lens);

/** L and d. */
CBE_API size_t cbe_lens_n_layers(const cbe_lens *lens);
CBE_API size_t cbe_lens_hidden_size(const cbe_lens *lens);
/** The translator of a layer, to read and to write; borrowed until free.
 * @param weight  [out] A (d, d), row-major: outputs by inputs
 * @param bias    [out] b (d); NULL: the lens has none
 * @return false: there is no such layer */
CBE_API bool cbe_lens_translator(cbe_lens *lens, size_t layer, float **weight, float **bias);

#ifdef __cplusplus
}
#endif
#endif
