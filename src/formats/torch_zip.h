/*
 * torch_zip.h - state dicts as torch.save writes them since PyTorch 1.6, read and written.
 *
 *   file := zip archive, every entry stored, of
 *           FOLDER/data.pkl         pickle of a dict from names to tensors (pickle_tensors.h)
 *           FOLDER/data/<key>       a storage: elements, little-endian
 *           FOLDER/byteorder        "little"; older files have none
 * FOLDER/version          and other entries, which are not read
 */
#ifndef CBE_FORMATS_TORCH_ZIP_H
#define CBE_FORMATS_TORCH_ZIP_H

#include <stddef.h>

#include "files/inputs.h"
#include "formats/tensor.h"

typedef struct cbe_torch_zip cbe_torch_zip;

/** Opens a file, reads its pickle and checks that every storage is there and long enough.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT; CBE_ERR_UNSUPPORTED (a file from before PyTorch 1.6,
 * a big-endian file, a tensor that is not floating point: the message says how to save it again);
 * CBE_ERR_NOMEM */
cbe_status cbe_torch_zip_open(cbe_torch_zip **out, const char *path, cbe_error *err);
/** Adds the file to the inputs of a run. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_torch_zip_note(const cbe_torch_zip *file, cbe_inputs *inputs, cbe_input_role role,
                              cbe_error *err);
void cbe_torch_zip_close(cbe_torch_zip *file); /* NULL is allowed */

const char *cbe_torch_zip_path(const cbe_torch_zip *file);
size_t cbe_torch_zip_count(const cbe_torch_zip *file);
/** Tensor i in the order of names; data is NULL. Names and shape are borrowed until close. */
cbe_tensor cbe_torch_zip_tensor(const cbe_torch_zip *file, size_t i);
/** Reads the elements of tensor i as floats, row-major, whatever its strides. A storage that is
 * read whole is checked by its CRC-32.
 * @param out (n_elements)
 * @return CBE_OK, CBE_ERR_FORMAT, CBE_ERR_IO, CBE_ERR_NOMEM */
cbe_status cbe_torch_zip_read(const cbe_torch_zip *file, size_t i, float *out, cbe_error *err);

typedef struct {
    const char *name;
    size_t n_dims, dims[CBE_MAX_DIMS];
    const float *data;
} cbe_torch_tensor;

/** Writes an OrderedDict of float32 tensors, which torch.load(weights_only=True) reads and can map:
 * storages begin at multiples of 64 bytes. The file is written under a temporary name, synced and
 * renamed.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_NOMEM, CBE_ERR_ARG (more than 50,000 tensors) */
cbe_status cbe_torch_zip_save(const char *path, size_t n_tensors, const cbe_torch_tensor *tensors,
                              cbe_error *err);

#endif
