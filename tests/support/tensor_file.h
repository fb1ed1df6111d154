/*
 * tensor_file.h - safetensors files of one tensor, for tests.
 */
#ifndef CBE_TESTS_TENSOR_FILE_H
#define CBE_TESTS_TENSOR_FILE_H

#include <stddef.h>

#include "formats/safetensors.h"

/** Writes a matrix (rows, columns) of that type under a name. @param path in which %F and the
 * others of program.h may stand */
void write_tensor(const char *path, const char *name, cbe_dtype dtype, size_t rows, size_t columns,
                  const void *data);
/** Writes the columns of a basis (d, k) as the tensor v (k, d) of float32, the directions of cbe
 * probe. */
void write_columns(const char *path, size_t d, size_t k, const float *basis);

#endif
