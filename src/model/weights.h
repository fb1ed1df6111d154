/*
 * weights.h - a model's tensors, checked and arranged for the forward pass.
 */
#ifndef CBE_MODEL_WEIGHTS_H
#define CBE_MODEL_WEIGHTS_H

#include "model/private.h"
#include "model/source.h"

/** Fills in all of a model but its configuration, which is set before. If some weights stay in the
 * source, the model takes it over and *source becomes NULL. After a failure cbe_model_close frees
 * what was filled in.
 * @param memory  most bytes of float32 weights; 0: no limit
 * @return CBE_OK; CBE_ERR_FORMAT (tensor missing), CBE_ERR_SHAPE, CBE_ERR_UNSUPPORTED,
 *         CBE_ERR_NUMERIC, with the tensor named; CBE_ERR_ARG (memory is too small);
 * CBE_ERR_NOMEM */
cbe_status cbe_weights_load(cbe_model *model, cbe_source **source, size_t memory, cbe_error *err);

/** Copies row id of the embedding from memory or the file. @param out [out] (d)
 * @return CBE_OK; CBE_ERR_NUMERIC */
cbe_status cbe_weights_embedding(const cbe_model *model, size_t id, float *out, cbe_error *err);

#endif
