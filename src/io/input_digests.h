/* input_digests.h - the files of an input of a run, each with its SHA-256: by these a result knows its model again. */
#ifndef CBE_IO_INPUT_DIGESTS_H
#define CBE_IO_INPUT_DIGESTS_H

#include <stdbool.h>
#include <stddef.h>

#include "io/sha256_file.h"

typedef struct {
    char *path;
    char sha256[CBE_SHA256_TEXT];
} cbe_input_digest;

typedef struct {
    size_t n;
    cbe_input_digest *files;
} cbe_input_digests;

/** Of a folder config.json, tokenizer.json and *.safetensors, by name; of a model's .gguf file every part; else the file
 * itself. *out must be zeroed; it is the caller's to free on failure too.
 * @return CBE_OK, CBE_ERR_IO, CBE_ERR_NOMEM, and what cbe_gguf_open returns */
cbe_status cbe_input_digests_take(cbe_input_digests *out, const char *path, bool is_model, cbe_error *err);
void cbe_input_digests_free(cbe_input_digests *digests); /* a zeroed one is allowed */

#endif
