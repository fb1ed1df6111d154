/*
 * params.h - the tensors of a lens folder's params.pt or params.safetensors.
 */
#ifndef CBE_LENS_PARAMS_H
#define CBE_LENS_PARAMS_H

#include "files/inputs.h"
#include "formats/tensor.h"
#include "lens/tuned_lens.h"

typedef struct cbe_lens_params cbe_lens_params;

/** Opens the file of parameters of a lens.
 * @return CBE_OK or the status of cbe_safetensors_open or cbe_torch_zip_open */
cbe_status cbe_lens_params_open(cbe_lens_params **out, const char *path, cbe_lens_format format,
                                cbe_error *err);
/** Adds the file to the inputs of a run. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_lens_params_note(const cbe_lens_params *params, cbe_inputs *inputs, cbe_error *err);
void cbe_lens_params_close(cbe_lens_params *params); /* NULL is allowed */
size_t cbe_lens_params_count(const cbe_lens_params *params);
/** Name, shape and type of tensor i; CBE_ERR_UNSUPPORTED for a type that is not read. */
cbe_status cbe_lens_params_tensor(const cbe_lens_params *params, size_t i, cbe_tensor *out,
                                  cbe_error *err);
/** Reads the elements of tensor i; CBE_ERR_NUMERIC if one is NaN or infinite. */
cbe_status cbe_lens_params_read(const cbe_lens_params *params, size_t i, float *out,
                                cbe_error *err);

/** Writes <i>.weight and <i>.bias of all layers.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_SYSTEM, CBE_ERR_NOMEM */
cbe_status cbe_lens_params_save(const cbe_tuned_lens *lens, const char *path,
                                cbe_lens_format format, cbe_error *err);

#endif
