/*
 * safetensors.h - reading and writing .safetensors files.
 *
 *   file   := header_length (u64, little-endian) header (JSON object) data
 *   header := { "NAME": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ...,
 *               "__metadata__": {"KEY": "STRING", ...} }
 *
 * Files are mapped, never read whole. Everything in the header is checked before it is used:
 * lengths against the file's size, products for overflow, tensors for overlap and holes. F64, F32,
 * F16, BF16, I64, I32, U8 and BOOL (as U8) are read; another dtype is an error only when its tensor
 * is read.
 */
#ifndef CBE_FORMATS_SAFETENSORS_H
#define CBE_FORMATS_SAFETENSORS_H

#include <stdbool.h>

#include "files/inputs.h"
#include "formats/tensor.h"

typedef struct cbe_safetensors cbe_safetensors;

/** Maps a file and checks its header.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_FORMAT (err->offset: byte in the file), CBE_ERR_NOMEM */
cbe_status cbe_safetensors_open(cbe_safetensors **out, const char *path, cbe_error *err);
void cbe_safetensors_close(cbe_safetensors *file); /* NULL is allowed */

/** The file's path, borrowed until close. */
const char *cbe_safetensors_path(const cbe_safetensors *file);
/** Number of tensors; name and dtype of tensor i in the order of the header, for listings.
 * dtype_name is the file's own word, also for dtypes that are not read. */
size_t cbe_safetensors_count(const cbe_safetensors *file);
const char *cbe_safetensors_name(const cbe_safetensors *file, size_t i);
const char *cbe_safetensors_dtype_name(const cbe_safetensors *file, size_t i);
/** Shape of tensor i, borrowed: *n_dims dimensions. */
const size_t *cbe_safetensors_shape(const cbe_safetensors *file, size_t i, size_t *n_dims);
/** Adds the file to the inputs of a run. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_safetensors_note(const cbe_safetensors *file, cbe_inputs *inputs,
                                cbe_input_role role, cbe_error *err);
/** Value of a key of __metadata__, borrowed; NULL: there is none. */
const char *cbe_safetensors_metadata(const cbe_safetensors *file, const char *key);

bool cbe_safetensors_has(const cbe_safetensors *file, const char *name);
/** Finds a tensor by name.
 * @return CBE_OK; CBE_ERR_FORMAT if there is none (the message lists names as space allows);
 *         CBE_ERR_UNSUPPORTED for a dtype that is not read (the message names it) */
cbe_status cbe_safetensors_get(const cbe_safetensors *file, const char *name, cbe_tensor *out,
                               cbe_error *err);

/* Writing. All tensors are declared first; their data may then come in any order and in parts, so
 * that a file may be larger than memory. The file appears under its name only at commit. */

typedef struct {
    const char *name;
    cbe_dtype dtype; /* any but the quantised types */
    size_t n_dims;
    size_t dims[CBE_MAX_DIMS];
} cbe_tensor_spec;

typedef struct cbe_safetensors_writer cbe_safetensors_writer;

/** Starts writing to a file without a name in path's folder. The header lists the tensors as
 * declared; their data lies by decreasing element size, so that every tensor is aligned.
 * @param metadata n_metadata pairs key, value (2 * n_metadata strings); may be NULL if n_metadata
 * is 0
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_NOMEM, CBE_ERR_ARG */
cbe_status cbe_safetensors_writer_create(cbe_safetensors_writer **out, const char *path,
                                         size_t n_tensors, const cbe_tensor_spec *tensors,
                                         size_t n_metadata, const char *const *metadata,
                                         cbe_error *err);
/** Writes count elements of the i-th declared tensor, from element `first` on; data holds elements
 * of the declared dtype.
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_SYSTEM; CBE_ERR_ARG (elements outside of the tensor) */
cbe_status cbe_safetensors_writer_put(cbe_safetensors_writer *writer, size_t i, size_t first,
                                      size_t count, const void *data, cbe_error *err);
/** Brings the written data to the disk: commit then only renames.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_SYSTEM */
cbe_status cbe_safetensors_writer_flush(cbe_safetensors_writer *writer, cbe_error *err);
/** Syncs, renames over path and frees the writer, also on failure.
 * @return CBE_OK, CBE_ERR_IO; CBE_ERR_ARG if fewer elements of a tensor were put than declared */
cbe_status cbe_safetensors_writer_commit(cbe_safetensors_writer *writer, cbe_error *err);
/** Leaves path as it is and frees the writer; NULL is allowed. */
void cbe_safetensors_writer_abandon(cbe_safetensors_writer *writer);

#endif
