/*
 * bf16_blocks.h - bfloat16 copies of the weights of a model's last blocks.
 */
#ifndef CBE_MODEL_BF16_BLOCKS_H
#define CBE_MODEL_BF16_BLOCKS_H

#include "model/private.h"

typedef struct cbe_bf16_blocks cbe_bf16_blocks;

/** Whether the model's weights are all in memory, as copies need. */
bool cbe_bf16_blocks_possible(const cbe_model *model);
/** Copies blocks first .. L - 1. model and bf16 are borrowed until free.
 * @param back  whether the backward pass will need its products too
 * @return CBE_OK; CBE_ERR_ARG (the model's weights are not all in memory); CBE_ERR_NOMEM */
cbe_status cbe_bf16_blocks_create(cbe_bf16_blocks **out, const cbe_model *model, size_t first,
                                  bool back, cbe_bf16 *bf16, cbe_error *err);
void cbe_bf16_blocks_free(cbe_bf16_blocks *blocks); /* NULL is allowed */
/** Bytes of the copies, at most; SIZE_MAX on overflow. */
size_t cbe_bf16_blocks_bytes(const cbe_model *model, size_t first, bool back);
/** Largest number of rows or columns of a matrix, for cbe_bf16_create. */
size_t cbe_bf16_blocks_max_size(const cbe_model *model);

/** Block number `index`, at least `first`: the model's block, with its bfloat16 matrices. Borrowed
 * until free. */
const cbe_block *cbe_bf16_blocks_get(const cbe_bf16_blocks *blocks, size_t index);

#endif
