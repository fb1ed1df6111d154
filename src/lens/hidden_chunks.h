/*
 * hidden_chunks.h - a model's hidden states, of all layers at once, for a few sequences at a time.
 *
 * What is learned from a text (a fit, a step of training) needs a token's states of all layers
 * together; memory holds those of one chunk.
 */
#ifndef CBE_LENS_HIDDEN_CHUNKS_H
#define CBE_LENS_HIDDEN_CHUNKS_H

#include "model/model.h"

/** @param first  the chunk's first sequence, in the order in which they are run
 *  @param hidden (L + 1) pointers to (n_sequences context_length, d); borrowed for the call */
typedef cbe_status cbe_chunk_fn(void *context, size_t first, size_t n_sequences,
                                const float *const *hidden, cbe_error *err);

typedef struct {
    const cbe_model *model;
    size_t n_sequences, context_length;
    const int64_t *ids;     /* (sequences of the text, context_length) */
    const size_t *order;    /* (n_sequences) rows of ids to run; NULL: as they are */
    size_t chunk_sequences; /* in one chunk; 0: as many as 256 MB hold, up to 4,096 tokens, or 1 */
    cbe_chunk_fn *chunk;
    void *chunk_context;
    /* of tokens times blocks; NULL: none */
    bool (*progress)(void *context, size_t done, size_t total);
    void *progress_context;
} cbe_hidden_chunks;

/** @return what cbe_model_forward returns, or what the chunk's function did if that is not
 * CBE_OK */
cbe_status cbe_hidden_chunks_run(const cbe_hidden_chunks *chunks, cbe_error *err);

#endif
