/*
 * tensor_file.h - writing safetensors files of one tensor, in tests.
 */
#ifndef CBE_TESTS_TENSOR_FILE_H
#define CBE_TESTS_TENSOR_FILE_H

#include <stddef.h>

#include "formats/safetensors.h"

/** Writes a matrix (rows, columns) of a type under a name.
 * @param path  may have %F and the like, as in program.h */
void write_tensor(const char *path, const char *name, cbe_dtype dtype, size_t rows, size_t columns,
                  const void *data);
/** Writes the columns of a basis (d, k) as the tensor v (k, d) of float32, the directions of cbe
 * probe. */
void write_columns(const char *path, size_t d, size_t k, const float *basis);

#endif
