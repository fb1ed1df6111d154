/*
 * read_tensor.h - a tensor's rows as floats, in threads, refusing NaN and infinity.
 */
#ifndef CBE_FORMATS_READ_TENSOR_H
#define CBE_FORMATS_READ_TENSOR_H

#include <stdbool.h>

#include "formats/tensor.h"

/** The rows of a matrix (or numbers of a vector) that are read, and their order. */
typedef struct {
    size_t first, count; /* the result has `count` rows; file row `first` is the first of head 0 */
    /* Row r of the result is row r % head_size of head r / head_size. Head h begins at file row
     * first + h * step; step 0: at first + h * head_size. head_size 0: all rows are one head. */
    size_t head_size, step;
    /* The first `interleaved` rows of a head lie in the file with the rotary pair (i, i +
     * interleaved / 2) as rows 2 i and 2 i + 1; the result has the pair apart again. 0: no rows. */
    size_t interleaved;
    bool transposed; /* the file's columns are the rows */
} cbe_row_order;

/** Converts a tensor row by row, where a row is the last dimension.
 * @param order  NULL: all rows in the file's order. Otherwise the tensor is a vector or a matrix
 *               that has the rows asked for
 * @param path   the file, named in messages
 * @return CBE_OK; CBE_ERR_NUMERIC (the message names tensor and element); CBE_ERR_NOMEM */
cbe_status cbe_read_tensor(const cbe_tensor *tensor, const cbe_row_order *order, const char *path,
                           float *out, cbe_error *err);

#endif
