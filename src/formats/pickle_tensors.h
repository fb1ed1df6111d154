/* pickle_tensors.h - the tensors that a pickled PyTorch state dict describes (pickle.h). */
#ifndef CBE_FORMATS_PICKLE_TENSORS_H
#define CBE_FORMATS_PICKLE_TENSORS_H

#include <stddef.h>

#include "formats/tensor.h"

/** A view of a storage: element (i, j, ..) is element offset + i strides[0] + j strides[1] + .. of
 * the storage. */
typedef struct {
    char *name, *storage; /* owned; storage: its key, letters, digits and _ */
    cbe_dtype dtype;      /* F32, F64, F16 or BF16 */
    size_t n_dims, dims[CBE_MAX_DIMS], strides[CBE_MAX_DIMS];
    size_t offset, n_elements;
    size_t storage_elements; /* elements of the storage, as the pickle says */
    /* Elements of the storage from offset to the last one used, checked to lie in it; 0: an empty
     * tensor. */
    size_t extent;
} cbe_pickle_tensor;

typedef struct {
    size_t n;
    cbe_pickle_tensor *tensors; /* sorted by name, no name twice */
} cbe_pickle_tensors;

/** Reads the pickle of a state dict (size bytes); the caller frees *out.
 * @param path the file, named in messages
 * @return CBE_OK; CBE_ERR_FORMAT (err->offset: byte in the pickle); CBE_ERR_UNSUPPORTED (a type of
 * storage that is not floating point); CBE_ERR_NOMEM */
cbe_status cbe_pickle_tensors_read(cbe_pickle_tensors *out, const unsigned char *data, size_t size,
                                   const char *path, cbe_error *err);
void cbe_pickle_tensors_free(cbe_pickle_tensors *tensors); /* a zeroed struct is allowed */

#endif
