/* lens_storage.h - how a run through a lens keeps its logits in the memory that it may take. */
#ifndef CBE_EXTRACT_LENS_STORAGE_H
#define CBE_EXTRACT_LENS_STORAGE_H

#include "objective/lens/objective.h"
#include "objective/objective.h"

/** Directions that are evaluated together where memory allows it. */
enum { CBE_LENS_BATCH = 8 };

/** Sets the storage and the batch of `lens`: the most precise storage that fits, with the largest
 * batch that fits. All processes that share the tokens get the choice of the one with least room.
 * @param memory  bytes that this process may take; 0: no limit
 * @param bytes   [out] of the objective's arrays and of the hidden states of one layer
 * @return CBE_OK; CBE_ERR_ARG (too little memory: how much is needed is said); CBE_ERR_NOMEM */
cbe_status cbe_choose_lens_storage(cbe_lens_options *lens, const cbe_decoder *decoder,
                                   size_t memory, size_t *bytes, cbe_error *err);

#endif
