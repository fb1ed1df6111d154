/* result_tensors.h - basis.safetensors of a result (docs/formats.md). */
#ifndef CBE_EXTRACT_RESULT_TENSORS_H
#define CBE_EXTRACT_RESULT_TENSORS_H

#include "extract/layer_result.h"
#include "formats/safetensors.h"

/** Writes the tensors of n layers to a file that still has a temporary name: layers.<i>.basis,
 * .read and .write (d, k), a vector a column, .energies and .constants (k), and where it is known
 * .mean (d). Metadata say of each layer which hidden states it is.
 * @param out [out] to be committed or abandoned */
cbe_status cbe_result_tensors_write(cbe_safetensors_writer **out, const char *path, size_t n,
                                    const cbe_layer_result *results, cbe_error *err);

#endif
