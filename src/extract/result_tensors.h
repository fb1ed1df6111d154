/* result_tensors.h - basis.safetensors of a result (docs/formats.md). */
#ifndef CBE_EXTRACT_RESULT_TENSORS_H
#define CBE_EXTRACT_RESULT_TENSORS_H

#include "extract/layer_result.h"
#include "formats/safetensors.h"

/** Writes the tensors of n layers to a file that still has a temporary name: layers.<i>.basis (d,
 * k), a vector a column, layers.<i>.energies (k) and layers.<i>.constants (k).
 * @param out [out] to be committed or abandoned */
cbe_status cbe_result_tensors_write(cbe_safetensors_writer **out, const char *path, size_t n,
                                    const cbe_layer_result *results, cbe_error *err);

#endif
