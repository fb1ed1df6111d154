/*
 * tied.h - embedding and unembedding that are one matrix: under which of its names a model's files
 * have it, and whether it is one at all.
 */
#ifndef CBE_MODEL_TIED_H
#define CBE_MODEL_TIED_H

#include "core/remarks.h"
#include "model/private.h"

/** Sets prefix and unembedding of model->plan, whose names are set before: the prefix is that of
 * the embedding, or else of any other tensor, as files may hold a shared matrix as unembedding
 * alone. */
void cbe_tied_find_names(cbe_model *model, const cbe_source *source);

/** Settles model->config.tied and model->plan.embedding as transformers 5 does. Where the
 * configuration says that the matrices are one and the files have both, equal ones are one, and of
 * different ones each has its own place, which a remark says. Where the files have one, it is both.
 * @return CBE_OK; CBE_ERR_FORMAT, for an unembedding that is missing; CBE_ERR_SHAPE,
 *         CBE_ERR_UNSUPPORTED (tensor named); CBE_ERR_NOMEM */
cbe_status cbe_tied_settle(cbe_model *model, const cbe_source *source, cbe_remarks *remarks,
                           cbe_error *err);

#endif
