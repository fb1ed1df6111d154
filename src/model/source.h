/*
 * source.h - a model's files: .gguf files, or a Hugging Face folder of config.json and one or more
 * .safetensors files. Tensors are found by name in all files.
 */
#ifndef CBE_MODEL_SOURCE_H
#define CBE_MODEL_SOURCE_H

#include <stdbool.h>

#include "core/remarks.h"
#include "formats/gguf.h"
#include "formats/tensor.h"
#include "model/config.h"

typedef struct cbe_source cbe_source;

enum { CBE_TENSOR_NAME_SIZE = 128 }; /* of a name by which a tensor is looked for, with its NUL */

/** Opens all files of a model; no file is read whole.
 * @return CBE_OK; CBE_ERR_IO for a missing file or shard (named); CBE_ERR_FORMAT;
 *         CBE_ERR_UNSUPPORTED for a folder that holds only pickled weights; CBE_ERR_NOMEM */
cbe_status cbe_source_open(cbe_source **out, const char *path, cbe_error *err);
void cbe_source_close(cbe_source *source); /* NULL is allowed */

const char *cbe_source_path(const cbe_source *source); /* path as given to open; borrowed */
cbe_model_format cbe_source_format(const cbe_source *source);
/** Number and paths, borrowed, of the files that define the model: every part of a .gguf file, or
 * config.json and the files with weights. */
size_t cbe_source_n_files(const cbe_source *source);
const char *cbe_source_file(const cbe_source *source, size_t i);
/** Adds all files that were read to the inputs of a run. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_source_note(const cbe_source *source, cbe_inputs *inputs, cbe_error *err);
/** Reads the configuration from the file's metadata or config.json.
 * @param remarks  as for cbe_config_from_gguf
 * @return as cbe_config_from_gguf and cbe_config_from_json */
cbe_status cbe_source_config(const cbe_source *source, cbe_config *out, cbe_remarks *remarks,
                             cbe_error *err);

/** Remarks on tensors that differ between files, where transformers takes another than the index
 * names. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_source_remark(const cbe_source *source, cbe_remarks *remarks, cbe_error *err);

size_t cbe_source_count(const cbe_source *source);               /* tensors in all files */
const char *cbe_source_name(const cbe_source *source, size_t i); /* name of tensor i; borrowed */
bool cbe_source_has(const cbe_source *source, const char *name);
/** Finds a tensor by name, and the path of its file (borrowed).
 * @return CBE_OK; CBE_ERR_FORMAT if there is none; CBE_ERR_UNSUPPORTED for a type that is not read
 * (named) */
cbe_status cbe_source_get(const cbe_source *source, const char *name, cbe_tensor *tensor,
                          const char **path, cbe_error *err);

#endif
