/*
 * read_tensor.h - a tensor's rows as floats, in threads, refusing NaN and infinity.
 */
#ifndef CBE_MODEL_READ_TENSOR_H
#define CBE_MODEL_READ_TENSOR_H

#include "cbe/tensor.h"

/** Converts all of a tensor, row by row (a row: the last dimension).
 * @param head_size  0: rows in the file's order. Otherwise rows come in heads of that many, each
 *                   with its rotary pairs (i, i + half) side by side as rows 2 i, 2 i + 1, and
 *                   are put back; head_size divides the number of rows
 * @param path       the file, named in messages
 * @return CBE_OK; CBE_ERR_NUMERIC naming tensor and element */
cbe_status cbe_read_tensor(const cbe_tensor *tensor, size_t head_size, const char *path, float *out,
                           cbe_error *err);

#endif
