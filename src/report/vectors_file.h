/* vectors_file.h - vectors.csv of an extraction: a row for each vector and for each direction that
 * it is compared with (docs/formats.md). */
#ifndef CBE_REPORT_VECTORS_FILE_H
#define CBE_REPORT_VECTORS_FILE_H

#include "extract/layer_result.h"

/** Writes FOLDER/vectors.csv. @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_IO and CBE_ERR_SYSTEM */
cbe_status cbe_vectors_file_save(const char *folder, size_t n, const cbe_layer_result *results,
                                 cbe_error *err);

#endif
