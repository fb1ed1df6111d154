/*
 * read_tensor.h - a tensor's rows as floats, in threads, refusing NaN and infinity.
 */
#ifndef CBE_FORMATS_READ_TENSOR_H
#define CBE_FORMATS_READ_TENSOR_H

#include <stdbool.h>

#include "formats/tensor.h"

/** Which rows of a matrix (or numbers of a vector) are read, and in which order. */
typedef struct {
    size_t first, count; /* rows of the result: count of them; where `step` is 0, from `first` on */
    /* Rows come in heads: row r is number r % head_size of head r / head_size, which begins at row
     * first + (r / head_size) * step of the file. step 0: heads follow one another. */
    size_t head_size, step;
    /* Of each head's first rows that many hold rotary pairs (i, i + half) side by side, as rows
     * 2 i and 2 i + 1, and are put back; 0: none. */
    size_t interleaved;
    bool transposed; /* the file's columns are the rows */
} cbe_row_order;

/** Converts a tensor, row by row (a row: the last dimension).
 * @param order  NULL: all of it in the file's order. Otherwise the tensor is a vector or a matrix
 *               that has the rows which are asked for
 * @param path   the file, named in messages
 * @return CBE_OK; CBE_ERR_NUMERIC naming tensor and element; CBE_ERR_NOMEM */
cbe_status cbe_read_tensor(const cbe_tensor *tensor, const cbe_row_order *order, const char *path,
                           float *out, cbe_error *err);

#endif
