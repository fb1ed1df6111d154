/*
 * embedding.h - from token ids to the stream that enters block 0.
 */
#ifndef CBE_MODEL_EMBEDDING_H
#define CBE_MODEL_EMBEDDING_H

#include "model/private.h"

/** hidden = norm(scale * embedding + position) of n tokens, whole sequences; a model may have no
 * norm, scale or position.
 * @param hidden [out] (n, d)
 * @return CBE_OK; CBE_ERR_NUMERIC for a row that is read from the file only now */
cbe_status cbe_embed(const cbe_model *model, size_t context_length, size_t n, const int64_t *ids,
                     float *hidden, cbe_error *err);

#endif
