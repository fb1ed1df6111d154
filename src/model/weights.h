/*
 * weights.h - a model's tensors, checked and arranged for the forward pass.
 */
#ifndef CBE_MODEL_WEIGHTS_H
#define CBE_MODEL_WEIGHTS_H

#include "model/private.h"
#include "model/source.h"

/** Fills everything but the configuration, which model already has, and keeps the source, to be
 * closed with the model, if some weights stay in it. On failure what was filled in is left for
 * cbe_model_close.
 * @param options  memory and progress
 * @return CBE_OK; CBE_ERR_FORMAT (tensor missing), CBE_ERR_SHAPE, CBE_ERR_UNSUPPORTED,
 *         CBE_ERR_NUMERIC, each naming the tensor; CBE_ERR_ARG (memory is too small);
 *         CBE_ERR_NOMEM */
cbe_status cbe_weights_load(cbe_model *model, cbe_source **source, const cbe_model_options *options,
                            cbe_error *err);

/** Row id of the embedding, from memory or from the file. @param out [out] (d)
 * @return CBE_OK; CBE_ERR_NUMERIC */
cbe_status cbe_weights_embedding(const cbe_model *model, size_t id, float *out, cbe_error *err);

#endif
