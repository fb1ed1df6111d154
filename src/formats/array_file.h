/*
 * array_file.h - named arrays of numbers in .safetensors, .npz and .npy files, which are told apart
 * by their first bytes.
 *
 * Arrays are read from beginning to end, so that a compressed array is never held whole.
 */
#ifndef CBE_FORMATS_ARRAY_FILE_H
#define CBE_FORMATS_ARRAY_FILE_H

#include <stdbool.h>

#include "files/inputs.h"
#include "formats/tensor.h"

typedef struct cbe_array_file cbe_array_file;

/** Opens a file and reads the names, types and shapes of its arrays.
 * @param single_name  name of the only array of a .npy file
 * @return CBE_OK; CBE_ERR_IO; CBE_ERR_FORMAT; CBE_ERR_NOMEM */
cbe_status cbe_array_file_open(cbe_array_file **out, const char *path, const char *single_name,
                               cbe_error *err);
void cbe_array_file_close(cbe_array_file *file); /* NULL is allowed */

/** Adds the file to the inputs of a run. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_array_file_note(const cbe_array_file *file, cbe_inputs *inputs, cbe_input_role role,
                               cbe_error *err);
const char *cbe_array_file_path(const cbe_array_file *file); /* borrowed */
size_t cbe_array_file_count(const cbe_array_file *file);
const char *cbe_array_file_name(const cbe_array_file *file, size_t i); /* borrowed */
bool cbe_array_file_has(const cbe_array_file *file, const char *name);
/** Value of a key of a .safetensors file's __metadata__; NULL: there is none. */
const char *cbe_array_file_metadata(const cbe_array_file *file, const char *key);

/** Fills *out with the type and shape of an array; data is NULL.
 * @return CBE_OK; CBE_ERR_FORMAT if there is no array `name`; CBE_ERR_UNSUPPORTED for a type that
 * is not read */
cbe_status cbe_array_file_describe(const cbe_array_file *file, const char *name, cbe_tensor *out,
                                   cbe_error *err);

typedef struct cbe_array_reader cbe_array_reader;

/** Opens a reader at the first element of an array. The file must stay open.
 * @return as cbe_array_file_describe; CBE_ERR_NOMEM */
cbe_status cbe_array_reader_open(cbe_array_reader **out, const cbe_array_file *file,
                                 const char *name, cbe_error *err);
void cbe_array_reader_close(cbe_array_reader *reader); /* NULL is allowed */
/** Reads the next count elements as floats; out NULL skips them.
 * @return CBE_OK; CBE_ERR_ARG past the end; CBE_ERR_FORMAT if compressed data is damaged */
cbe_status cbe_array_reader_next(cbe_array_reader *reader, size_t count, float *out,
                                 cbe_error *err);

/** Reads a whole array of integers (I64, I32, I16, U64, U32, U16 or U8). The caller frees *out with
 * cbe_free; *tensor has the shape.
 * @return CBE_OK; CBE_ERR_SHAPE for another type (the message names it) */
cbe_status cbe_array_file_integers(const cbe_array_file *file, const char *name, cbe_tensor *tensor,
                                   int64_t **out, cbe_error *err);

/** As cbe_array_file_integers, but booleans, which are a mask, are refused with CBE_ERR_SHAPE. */
cbe_status cbe_array_file_ids(const cbe_array_file *file, const char *name, cbe_tensor *tensor,
                              int64_t **out, cbe_error *err);

#endif
