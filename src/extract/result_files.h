/* result_files.h - the result folder of an extraction (docs/formats.md). */
#ifndef CBE_EXTRACT_RESULT_FILES_H
#define CBE_EXTRACT_RESULT_FILES_H

#include "core/byte_buffer.h"
#include "extract/layer_result.h"
#include "extract/run_record.h"

/** Makes the folder if it is not there, and checks that files can be written in it, before hours
 * are spent. */
cbe_status cbe_result_folder_prepare(const char *folder, cbe_error *err);
/** Writes FOLDER/basis.safetensors, FOLDER/basis.json and FOLDER/vectors.csv. On failure earlier
 * files stay as they are.
 * @param table  text of vectors.csv (report/vectors_file.h); NULL: it is not written */
cbe_status cbe_result_save(const char *folder, size_t n, const cbe_layer_result *results,
                           const cbe_run_record *record, const cbe_byte_buffer *table,
                           cbe_error *err);

#endif
