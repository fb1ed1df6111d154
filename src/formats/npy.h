/*
 * npy.h - the header of NumPy's .npy format.
 *
 *   file   := "\x93NUMPY" major(u8) minor(u8) length(u16, from major 2 on u32) header data
 *   header := {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
 *             a Python literal, padded by spaces
 */
#ifndef CBE_FORMATS_NPY_H
#define CBE_FORMATS_NPY_H

#include <stdbool.h>

#include "formats/tensor.h"

enum {
    CBE_NPY_MAGIC_SIZE = 6,
    CBE_NPY_HEAD_MOST = 65536 /* most bytes of a head; a longer head is refused */
};

/** Whether size bytes of data begin with the magic of .npy. */
bool cbe_npy_is(const unsigned char *data, size_t size);

/** Reads the head of an array. Sets dtype, dimensions, n_elements and n_bytes of *out; data and
 * name stay as they are.
 * @param data       the first size bytes: the whole file or at least CBE_NPY_HEAD_MOST bytes
 * @param file_size  bytes of the whole file, into which the array must fit
 * @param path       named in messages
 * @param head_size  [out] bytes before the data
 * @return CBE_OK; CBE_ERR_FORMAT; CBE_ERR_UNSUPPORTED for big-endian, Fortran order and types that
 * are not read */
cbe_status cbe_npy_read_head(const unsigned char *data, size_t size, size_t file_size,
                             const char *path, cbe_tensor *out, size_t *head_size, cbe_error *err);

#endif
