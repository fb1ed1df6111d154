/* input_list.h - adding files to the inputs of a run (files/inputs.h), by their readers. NULL in
 * place of a list is allowed: nothing is added. */
#ifndef CBE_FILES_INPUT_LIST_H
#define CBE_FILES_INPUT_LIST_H

#include "files/inputs.h"
#include "files/mapped_file.h"

/** Adds a mapped file, with the digest of the mapping. A model's file that is opened again is
 * listed once.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_inputs_add(cbe_inputs *inputs, cbe_input_role role, const cbe_mapped_file *file,
                          cbe_error *err);
/** Adds a file that was read without mapping it; n_bytes and sha256 are those of the bytes read,
 * and sha256 may be empty.
 * @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_inputs_add_read(cbe_inputs *inputs, cbe_input_role role, const char *path,
                               const cbe_file_identity *identity, uint64_t n_bytes,
                               const char *sha256, cbe_error *err);

#endif
