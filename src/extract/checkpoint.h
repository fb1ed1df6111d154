/* checkpoint.h - how an extraction uses its checkpoint (cbe/checkpoint.h). */
#ifndef CBE_EXTRACT_CHECKPOINT_H
#define CBE_EXTRACT_CHECKPOINT_H

#include "extract/stored_point.h"
#include "cbe/checkpoint.h"

/** The result of a layer that was read, if it is done: moved to *result, which is part of the file
 * from then on. */
bool cbe_checkpoint_take(cbe_checkpoint *checkpoint, size_t layer, cbe_layer_result *result);
/** Where the search of a layer stood; borrowed until free. NULL: at its beginning. */
const cbe_search_point *cbe_checkpoint_point(const cbe_checkpoint *checkpoint, size_t layer);
/** Writes the file, with the layer in work at a point; or tells rank 0 of the run, which writes. */
cbe_status cbe_checkpoint_found(const cbe_checkpoint *checkpoint, size_t layer,
                                const cbe_search_point *point, cbe_error *err);
/** The same with a layer that is done; its result is borrowed from then on. */
cbe_status cbe_checkpoint_done(cbe_checkpoint *checkpoint, const cbe_layer_result *result,
                               cbe_error *err);
/** Writes the file, with a point that another process has told; it is taken over, and none is left
 * in *point. */
cbe_status cbe_checkpoint_heard(cbe_checkpoint *checkpoint, size_t layer, cbe_stored_point *point,
                                cbe_error *err);

#endif
