/* basis_file_state.h - what an open basis consists of, for the files that read its tensors and its
 * record. */
#ifndef CBE_EXTRACT_BASIS_FILE_STATE_H
#define CBE_EXTRACT_BASIS_FILE_STATE_H

#include "extract/basis_file.h"
#include "files/mapped_file.h"
#include "formats/json.h"
#include "formats/safetensors.h"

struct cbe_basis_file {
    cbe_safetensors *file;
    char *path;
    char *record_path; /* NULL: there is no basis.json */
    cbe_mapped_file record_map;
    yyjson_doc *record_doc; /* NULL: no basis.json */
    yyjson_val *record;     /* its object, whose known keys have the right types */
    size_t hidden_size;
    size_t n_layers, *layers;
};

/** Reads and checks the basis.json of a basis whose tensors are known. */
cbe_status cbe_basis_read_record(cbe_basis_file *basis, cbe_error *err);

#endif
