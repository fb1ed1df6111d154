/*
 * raw_ids.h - token ids one after the other in a file, without a shape: what nanoGPT, llm.c,
 * Megatron, datatrove and Dolma write for training.
 *
 *   nanoGPT, datatrove (.ds), Dolma (.npy without NumPy's head):  ids
 *   llm.c:     256 int32 (magic, version, number of ids, zeros), ids
 *   Megatron:  ids; the type is in NAME.idx beside NAME.bin
 *
 * Ids are little-endian. Where nothing says their type, it is the widest of int64, uint32 and
 * uint16 of which all are below the vocabulary's size: read as a wider type, ids of a narrower one
 * join to numbers beyond it.
 */
#ifndef CBE_TEXT_RAW_IDS_H
#define CBE_TEXT_RAW_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"
#include "files/inputs.h"

/** Whether a file holds raw ids, by its name: .bin, .ds, or .npy without NumPy's magic number. */
bool cbe_raw_ids_named(const char *path);

typedef struct {
    int64_t *ids;     /* (n), owned: cbe_free */
    size_t n, n_left; /* read, and left in the file */
    const char *type; /* "uint16", borrowed, static */
} cbe_raw_ids;

/** Reads the first `most` ids of a file (0: all).
 * @param memory  bytes that the ids may take, 8 each; 0: not limited
 * @param inputs  the file is added to this list, with the digest of the bytes used; NULL skips it
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT (another format, which is named; a damaged head; part
 *   of an id); CBE_ERR_ARG (ids of another vocabulary; more than fit in memory); CBE_ERR_NOMEM */
cbe_status cbe_raw_ids_read(cbe_raw_ids *out, const char *path, size_t vocab_size, size_t most,
                            size_t memory, cbe_inputs *inputs, cbe_error *err);

#endif
