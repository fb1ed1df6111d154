/*
 * block_weights.h - the tensors of one block: found, checked, and expanded to float32.
 */
#ifndef CBE_MODEL_BLOCK_WEIGHTS_H
#define CBE_MODEL_BLOCK_WEIGHTS_H

#include "model/private.h"

/** Writes a tensor's name: "model.layers.3.mlp.up_proj.weight". */
void cbe_tensor_name(const cbe_block_plan *plan, cbe_tensor_role role, size_t block,
                     const char *ending, char out[CBE_TENSOR_NAME_SIZE]);

/** Sets model->plan, whose names and prefix are set before, and model->block_floats; checks that
 * every block has its tensors, with the right shapes, and no further tensors. Blocks of a folder
 * that the configuration leaves out are remarked on.
 * @return CBE_OK; CBE_ERR_FORMAT (tensor missing), CBE_ERR_SHAPE, CBE_ERR_UNSUPPORTED (a tensor
 *         without a place); messages name the tensor */
cbe_status cbe_blocks_check(cbe_model *model, const cbe_source *source, cbe_remarks *remarks,
                            cbe_error *err);

/** Expands block i to float32.
 * @param memory [out] (model->block_floats); *out points into it
 * @return CBE_OK; CBE_ERR_NUMERIC (tensor named), CBE_ERR_NOMEM */
cbe_status cbe_block_expand(const cbe_model *model, const cbe_source *source, size_t i,
                            float *memory, cbe_block *out, cbe_error *err);

#endif
