/*
 * checkpoint.h - a file that keeps up with an extraction, from which an interrupted one goes on to
 * the very same result.
 *
 * The file is replaced as a whole after each vector, so that one always stands. It holds what
 * was found, all that the next vectors of layers in work depend on, and what the run is, by
 * which another run is refused. Of several processes one writes it.
 */
#ifndef CBE_EXTRACT_CHECKPOINT_H
#define CBE_EXTRACT_CHECKPOINT_H

#include "extract/layer_result.h"
#include "extract/run_record.h"
#include "extract/stored_point.h"
#include "processes/processes.h"

typedef struct cbe_checkpoint cbe_checkpoint;

/** Describes a run; writes nothing yet.
 * @param path      the file, in a folder that there is
 * @param record    what is compared with another run: options that decide on the result, inputs by
 * their SHA-256, kernels, logits, numbers of tokens and hidden size
 * @param layers    (n_layers) of the run
 * @param n_vectors of a layer; 0: hidden size
 * @param run       all processes of the run, borrowed; NULL: there is one. In all but
 * rank 0 the checkpoint only reads, and tells rank 0
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_NOMEM */
cbe_status cbe_checkpoint_create(cbe_checkpoint **out, const char *path,
                                 const cbe_run_record *record, size_t n_layers,
                                 const size_t *layers, size_t n_vectors, cbe_processes *run,
                                 cbe_error *err);
/** Reads the file, if there is one: cbe_extract goes on from there.
 * @param n_done     [out] layers that are done
 * @param n_vectors  [out] vectors of layers in work
 * @return CBE_OK; CBE_ERR_ARG (of another run: what differs is named); CBE_ERR_FORMAT (not a
 * checkpoint, damaged); CBE_ERR_IO; CBE_ERR_NOMEM */
cbe_status cbe_checkpoint_load(cbe_checkpoint *checkpoint, size_t *n_done, size_t *n_vectors,
                               cbe_error *err);
/** Removes the file once the result is written. @return CBE_OK, CBE_ERR_IO */
cbe_status cbe_checkpoint_remove(cbe_checkpoint *checkpoint, cbe_error *err);
void cbe_checkpoint_free(cbe_checkpoint *checkpoint); /* NULL is allowed; the file stays */

/* For cbe_extract. */

/** Moves the result of a layer that was read to *result, which is part of the file from then on.
 * @return whether the layer was done */
bool cbe_checkpoint_take(cbe_checkpoint *checkpoint, size_t layer, cbe_layer_result *result);
/** Whether the result of a layer was read and is not taken yet. */
bool cbe_checkpoint_is_done(const cbe_checkpoint *checkpoint, size_t layer);
/** Returns where the search of a layer stood, borrowed until free; NULL: at its beginning. */
const cbe_search_point *cbe_checkpoint_point(const cbe_checkpoint *checkpoint, size_t layer);
/** Writes the file with a layer in work at a point; in other processes than rank 0 of the run:
 * tells rank 0, which writes. */
cbe_status cbe_checkpoint_found(const cbe_checkpoint *checkpoint, size_t layer,
                                const cbe_search_point *point, cbe_error *err);
/** Writes the file, or tells rank 0, with a layer that is done; the result is borrowed from then
 * on. */
cbe_status cbe_checkpoint_done(cbe_checkpoint *checkpoint, const cbe_layer_result *result,
                               cbe_error *err);
/** Writes the file with a point that another process has told. The point is moved out of *point. */
cbe_status cbe_checkpoint_heard(cbe_checkpoint *checkpoint, size_t layer, cbe_stored_point *point,
                                cbe_error *err);

#endif
