/*
 * bf16_blocks.h - the weights of a model's last blocks in bfloat16, beside those in float32.
 */
#ifndef CBE_MODEL_BF16_BLOCKS_H
#define CBE_MODEL_BF16_BLOCKS_H

#include "model/private.h"

typedef struct cbe_bf16_blocks cbe_bf16_blocks;

/** Blocks first .. L - 1. Both are borrowed until free.
 * @param back  products of the way back are wanted too
 * @return CBE_OK; CBE_ERR_ARG (the model's weights are not all in memory); CBE_ERR_NOMEM */
cbe_status cbe_bf16_blocks_create(cbe_bf16_blocks **out, const cbe_model *model, size_t first,
                                  bool back, cbe_bf16 *bf16, cbe_error *err);
void cbe_bf16_blocks_free(cbe_bf16_blocks *blocks); /* NULL is allowed */
/** Bytes of that, at most; SIZE_MAX when that overflows. */
size_t cbe_bf16_blocks_bytes(const cbe_model *model, size_t first, bool back);
/** The most rows or columns of a matrix. */
size_t cbe_bf16_blocks_max_size(const cbe_model *model);

/** Block number `index`, first or more: the model's, with matrices. */
const cbe_block *cbe_bf16_blocks_get(const cbe_bf16_blocks *blocks, size_t index);

#endif
