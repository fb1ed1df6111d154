/*
 * hidden_chunks.h - a model's hidden states, of all layers at once, for a few sequences at a time.
 *
 * A fit or a step of training needs a token's states of all layers together; memory holds the
 * states of one chunk.
 */
#ifndef CBE_LENS_HIDDEN_CHUNKS_H
#define CBE_LENS_HIDDEN_CHUNKS_H

#include "model/model.h"

/** Receives a chunk. Any status but CBE_OK ends the run, which returns it.
 * @param first  the chunk's first sequence, in the order of the run @param hidden (L + 1) pointers
 *  to (n_sequences context_length, d); borrowed for the call */
typedef cbe_status cbe_chunk_fn(void *context, size_t first, size_t n_sequences,
                                const float *const *hidden, cbe_error *err);

typedef struct {
    const cbe_model *model;
    size_t n_sequences, context_length;
    const int64_t *ids;  /* (sequences of the text, context_length) */
    const size_t *order; /* (n_sequences), rows of ids to run; NULL: in their order */
    /* sequences of a chunk; 0: those that 256 MB hold, up to 4,096 tokens, at least 1 */
    size_t chunk_sequences;
    cbe_chunk_fn *chunk;
    void *chunk_context;
    /* Called with tokens times blocks done; false cancels; NULL: no calls. */
    bool (*progress)(void *context, size_t done, size_t total);
    void *progress_context;
} cbe_hidden_chunks;

/** Runs the model and calls `chunk` with each chunk.
 * @return a status of cbe_model_forward, or that of the chunk's function if it is not CBE_OK */
cbe_status cbe_hidden_chunks_run(const cbe_hidden_chunks *chunks, cbe_error *err);

#endif
