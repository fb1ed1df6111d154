/* vectors_file.h - vectors.csv of an extraction: a row for each vector and for each direction that
 * it is compared with (docs/formats.md). */
#ifndef CBE_REPORT_VECTORS_FILE_H
#define CBE_REPORT_VECTORS_FILE_H

#include "core/byte_buffer.h"
#include "extract/layer_result.h"

/** Appends the text of vectors.csv. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_vectors_table(cbe_byte_buffer *out, size_t n, const cbe_layer_result *results,
                             cbe_error *err);

#endif
