/*
 * weights.h - a model's tensors as float32, checked and arranged for the forward pass.
 */
#ifndef CBE_MODEL_WEIGHTS_H
#define CBE_MODEL_WEIGHTS_H

#include "model/private.h"
#include "model/source.h"

/** Fills everything but the configuration, which model already has. On failure what was filled in
 * is left for cbe_model_close.
 * @return CBE_OK; CBE_ERR_FORMAT (tensor missing), CBE_ERR_SHAPE, CBE_ERR_UNSUPPORTED,
 *         CBE_ERR_NUMERIC, each naming the tensor; CBE_ERR_NOMEM */
cbe_status cbe_weights_load(cbe_model *model, const cbe_source *source, cbe_error *err);

#endif
